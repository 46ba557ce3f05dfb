//! What a class says: rules that hold for its peers, resolved into disjoint ports.

use datapath_layouts::policy::{class_flags, row_scope};
use datapath_layouts::{Outcome, RangeKey, Row, RowKey};
use datapath_logic::policy::wins;
use std::collections::BTreeSet;

/// Ports of one protocol, first and last; ICMP: types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Piece {
    /// IP protocol number; 0 = every protocol, and then all ports.
    pub protocol: u8,
    pub first: u16,
    pub last: u16,
}

impl Piece {
    pub const EVERYTHING: Self = Self::whole(0);

    pub const fn whole(protocol: u8) -> Self {
        Self { protocol, first: 0, last: u16::MAX }
    }

    const fn is_whole(self) -> bool {
        self.first == 0 && self.last == u16::MAX
    }
}

/// Which half of a row a rule is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    Admin,
    Rest,
}

/// What a rule says where it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Effect {
    pub slot: Slot,
    pub outcome: Outcome,
}

/// Rows without their class' number; sorted. Equal contents are one class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Content {
    /// Protocol, port, scope.
    pub rows: Vec<((u8, u16, u8), Row)>,
    /// Protocol, first port, bits.
    pub ranges: Vec<((u8, u16, u32), Row)>,
}

/// Of at most this many ports each gets a row of its own, which is found faster than a prefix.
const SINGLE_ROWS: u32 = 8;

impl Content {
    /// Resolves effects and where they hold.
    pub fn of(effects: &[(Effect, Piece)]) -> Self {
        let mut content = Self::default();
        let everything = best(effects.iter().filter(|(_, piece)| piece.protocol == 0));
        if everything != Row::ZERO {
            content.rows.push(((0, 0, row_scope::PROTOCOL), everything));
        }
        let protocols: BTreeSet<u8> = effects.iter().map(|(_, piece)| piece.protocol).filter(|p| *p != 0).collect();
        for protocol in protocols {
            let here: Vec<&(Effect, Piece)> =
                effects.iter().filter(|(_, piece)| piece.protocol == 0 || piece.protocol == protocol).collect();
            content.resolve(protocol, &here, &everything);
        }
        content.rows.sort_unstable_by_key(|(key, _)| *key);
        content.ranges.sort_unstable_by_key(|(key, _)| *key);
        content
    }

    fn resolve(&mut self, protocol: u8, effects: &[&(Effect, Piece)], everything: &Row) {
        let background = best(effects.iter().copied().filter(|(_, piece)| piece.is_whole()));
        let mut own: Vec<(u32, u32, Row)> = Vec::new();
        let cuts: BTreeSet<u32> = effects
            .iter()
            .flat_map(|(_, piece)| [u32::from(piece.first), u32::from(piece.last) + 1])
            .chain([0, 1 << 16])
            .collect();
        let cuts: Vec<u32> = cuts.into_iter().collect();
        for pair in cuts.windows(2) {
            let (first, end) = (pair[0], pair[1]);
            let row = best(
                effects
                    .iter()
                    .copied()
                    .filter(|(_, piece)| u32::from(piece.first) <= first && end <= u32::from(piece.last) + 1),
            );
            if row == background {
                continue;
            }
            match own.last_mut() {
                Some(last) if last.1 == first && last.2 == row => last.1 = end,
                _ => own.push((first, end, row)),
            }
        }
        if own.is_empty() && background == *everything {
            return;
        }
        if background != Row::ZERO {
            self.rows.push(((protocol, 0, row_scope::PROTOCOL), background));
        }
        for (first, end, row) in own {
            if end - first <= SINGLE_ROWS {
                self.rows.extend((first..end).map(|port| ((protocol, port as u16, row_scope::PORT), row)));
            } else {
                self.ranges.extend(prefixes(first, end).map(|(port, bits)| ((protocol, port, bits), row)));
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.ranges.is_empty()
    }

    /// What a look-up needs to know beforehand.
    pub fn flags(&self) -> u32 {
        let protocols = self.rows.iter().map(|((p, ..), _)| *p).chain(self.ranges.iter().map(|((p, ..), _)| *p));
        let flags = protocols.filter(|p| *p != 0).fold(0, |flags, p| flags | class_flags::of_protocol(p));
        if self.ranges.is_empty() { flags } else { flags | class_flags::RANGES }
    }

    pub fn row_keys(&self, class: u32) -> impl Iterator<Item = (RowKey, Row)> {
        self.rows.iter().map(move |&((protocol, port, scope), row)| (RowKey { class, port, protocol, scope }, row))
    }

    pub fn range_keys(&self, class: u32) -> impl Iterator<Item = (RangeKey, Row)> {
        self.ranges.iter().map(move |&((protocol, port, bits), row)| (RangeKey::new(class, protocol, port, bits), row))
    }
}

/// The best outcome for each half. Among equals the rule with the lowest number is named, so that the result does not
/// depend on an order.
fn best<'a>(effects: impl Iterator<Item = &'a (Effect, Piece)>) -> Row {
    let mut row = Row::ZERO;
    for (effect, _) in effects {
        let half = match effect.slot {
            Slot::Admin => &mut row.admin,
            Slot::Rest => &mut row.rest,
        };
        let new = &effect.outcome;
        if wins(new, half) || (!wins(half, new) && new.rule < half.rule) {
            *half = *new;
        }
    }
    row
}

/// Splits ports `first..end` into prefixes.
fn prefixes(first: u32, end: u32) -> impl Iterator<Item = (u16, u32)> {
    let mut at = first;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let mut size = 1 << at.trailing_zeros().min(16);
            while at + size > end {
                size >>= 1;
            }
            let prefix = (at as u16, 16 - size.trailing_zeros());
            at += size;
            prefix
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prefixes_cover_a_range_once(first in 0u32..65536, length in 1u32..65536) {
            let end = (first + length).min(65536);
            let mut at = first;
            for (port, bits) in prefixes(first, end) {
                prop_assert_eq!(u32::from(port), at);
                prop_assert_eq!(at % (1 << (16 - bits)), 0);
                at += 1 << (16 - bits);
            }
            prop_assert_eq!(at, end);
        }
    }
}
