//! The cases: policy objects, and for most of them what they mean, written by hand.
//!
//! Many are made of axes (direction × peers × ports × what is done), each value of which says beside its YAML whom or what it
//! means; every second combination is taken, so that each pair of values comes up. The rest is written out.

mod cilium;
mod examples;
mod kubernetes;
mod tiers;

use crate::table::Table;

/// One set of policies.
pub struct Case {
    pub name: String,
    pub yaml: String,
    /// What it means, by hand; the reference alone says it where this is missing.
    pub by_hand: Option<Table>,
}

impl Case {
    fn new(name: impl Into<String>, yaml: impl Into<String>, by_hand: Table) -> Self {
        Self { name: name.into(), yaml: yaml.into(), by_hand: Some(by_hand) }
    }
}

/// Every case.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    examples::cases(&mut cases);
    kubernetes::cases(&mut cases);
    cilium::cases(&mut cases);
    tiers::cases(&mut cases);
    cases
}

/// Whom a value of the axis of peers means.
struct Peers {
    name: &'static str,
    yaml: &'static str,
    /// In the words of [`Table`].
    who: &'static str,
}

/// What a value of the axis of ports means.
struct Ports {
    name: &'static str,
    yaml: &'static str,
    /// In the words of [`Table`].
    what: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

impl Way {
    const BOTH: [Self; 2] = [Self::In, Self::Out];

    const fn name(self) -> &'static str {
        match self {
            Self::In => "ingress",
            Self::Out => "egress",
        }
    }

    /// `policyTypes` of a NetworkPolicy.
    const fn policy_type(self) -> &'static str {
        match self {
            Self::In => "Ingress",
            Self::Out => "Egress",
        }
    }

    const fn preposition(self) -> &'static str {
        match self {
            Self::In => "from",
            Self::Out => "to",
        }
    }

    /// The table, with what x/a and these peers say to each other on these ports denied or allowed.
    fn deny(self, table: Table, who: &str, what: &str) -> Table {
        match self {
            Self::In => table.deny(who, "x/a", what),
            Self::Out => table.deny("x/a", who, what),
        }
    }

    fn allow(self, table: Table, who: &str, what: &str) -> Table {
        match self {
            Self::In => table.allow(who, "x/a", what),
            Self::Out => table.allow("x/a", who, what),
        }
    }

    /// Everything goes, but with x/a only this in this direction.
    fn only(self, who: &str, what: &str) -> Table {
        self.allow(self.deny(Table::ALL, "*", "*"), who, what)
    }
}

/// Every second combination.
fn combined<'a>(
    peers: &'a [Peers],
    ports: &'a [Ports],
    turn: usize,
) -> impl Iterator<Item = (Way, &'a Peers, &'a Ports)> {
    Way::BOTH.into_iter().enumerate().flat_map(move |(w, way)| {
        peers.iter().enumerate().flat_map(move |(p, peer)| {
            let chosen = ports.iter().enumerate().filter(move |(q, _)| (w + p + q + turn).is_multiple_of(2));
            chosen.map(move |(_, port)| (way, peer, port))
        })
    })
}
