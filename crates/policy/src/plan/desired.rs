//! What a subject's direction should have in the maps.

use super::content::{Content, Effect, Piece};
use super::lines::{Lines, Place, Seen};
use super::namespaces::{Namespaces, anybody};
use crate::subject::{IdentityFacts, Kind};
use datapath_layouts::policy::{level, policy_flags};
use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Level and value of a peer.
pub(super) type Entry = (u8, u32);

/// One direction of a subject.
#[derive(Debug, Default)]
pub(super) struct Desired {
    /// Without `OVERFLOW`.
    pub flags: u32,
    pub base: Arc<Content>,
    pub entries: HashMap<Entry, Arc<Content>>,
}

/// Everybody a peer could be.
pub(super) struct World<'a> {
    pub identities: &'a BTreeMap<u32, IdentityFacts>,
    pub namespaces: &'a Namespaces,
    /// Prefixes in the map, with their numbers.
    pub prefixes: &'a BTreeMap<IpNet, u32>,
}

impl World<'_> {
    pub fn desired(&self, lines: &Lines) -> Desired {
        let mut contents = Contents::default();
        let mut entries = HashMap::new();
        let kinds = Kind::ALL.map(|kind| contents.of(about_kind(lines, kind)));
        for (kind, content) in Kind::ALL.iter().zip(&kinds) {
            if !content.is_empty() {
                entries.insert((level::KIND, *kind as u32), content.clone());
            }
        }
        let mut namespaces = HashMap::new();
        for namespace in self.namespaces.iter() {
            let content = contents.of(lines.about_identity(Seen::Known(&namespace.anybody)));
            if content != kinds[Kind::Pod as usize] {
                entries.insert((level::NAMESPACE, namespace.number), content.clone());
            }
            namespaces.insert(namespace.number, content);
        }
        for facts in self.identities.values() {
            let content = contents.of(lines.about_identity(Seen::Known(facts)));
            let namespace = self.namespaces.of(facts).and_then(|namespace| namespaces.get(&namespace.number));
            if content != *namespace.unwrap_or(&kinds[facts.kind as usize]) {
                entries.insert((level::IDENTITY, facts.number), content);
            }
        }
        if lines.prefixes().next().is_some() {
            for (prefix, id) in self.prefixes {
                for (place, level) in PLACES {
                    let content = contents.of(lines.about_prefix(prefix, place));
                    if !content.is_empty() {
                        entries.insert((level, *id), content);
                    }
                }
            }
        }
        let base = contents.of(lines.about_everybody());
        let deny = if lines.default_deny { policy_flags::DEFAULT_DENY } else { 0 };
        let flags = entries.keys().fold(deny, |flags, (level, _)| flags | flag_of(*level));
        Desired { flags, base, entries }
    }

    /// The entries that identities need, and their namespaces; `None` = none, the next level says the same.
    pub fn for_some<'f>(
        &self,
        lines: &Lines,
        all: impl Iterator<Item = &'f IdentityFacts>,
    ) -> Vec<(Entry, Option<Content>)> {
        // What comes together often comes into one namespace.
        let mut kinds: HashMap<Kind, Vec<(Effect, Piece)>> = HashMap::new();
        let mut namespaces: HashMap<u32, Vec<(Effect, Piece)>> = HashMap::new();
        let mut entries = Vec::new();
        for facts in all {
            let of_kind = kinds.entry(facts.kind).or_insert_with(|| about_kind(lines, facts.kind));
            let fallback = match self.namespaces.of(facts) {
                None => of_kind,
                Some(namespace) => namespaces.entry(namespace.number).or_insert_with(|| {
                    let effects = lines.about_identity(Seen::Known(&namespace.anybody));
                    entries.push(((level::NAMESPACE, namespace.number), difference(&effects, of_kind)));
                    effects
                }),
            };
            let effects = lines.about_identity(Seen::Known(facts));
            entries.push(((level::IDENTITY, facts.number), difference(&effects, fallback)));
        }
        entries
    }
}

const PLACES: [(Place, u8); 3] =
    [(Place::Inside, level::CIDR), (Place::Outside, level::CIDR_OUTSIDE), (Place::Unknown, level::CIDR_UNKNOWN)];

fn about_kind(lines: &Lines, kind: Kind) -> Vec<(Effect, Piece)> {
    match kind {
        Kind::Unknown => lines.about_identity(Seen::Unknown),
        kind => lines.about_identity(Seen::Known(&anybody(kind))),
    }
}

fn difference(effects: &[(Effect, Piece)], fallback: &[(Effect, Piece)]) -> Option<Content> {
    // Nearly all identities are like their namespace, and then nothing has to be resolved.
    if effects == fallback {
        return None;
    }
    let content = Content::of(effects);
    (content != Content::of(fallback)).then_some(content)
}

/// The flag without which a level is not looked at.
pub(super) const fn flag_of(entry_level: u8) -> u32 {
    match entry_level {
        level::IDENTITY => policy_flags::IDENTITIES,
        level::NAMESPACE => policy_flags::NAMESPACES,
        level::KIND => policy_flags::KINDS,
        _ => policy_flags::CIDRS,
    }
}

/// Contents that were resolved already.
#[derive(Default)]
struct Contents(HashMap<Vec<(Effect, Piece)>, Arc<Content>>);

impl Contents {
    fn of(&mut self, effects: Vec<(Effect, Piece)>) -> Arc<Content> {
        self.0.entry(effects).or_insert_with_key(|effects| Arc::new(Content::of(effects))).clone()
    }
}
