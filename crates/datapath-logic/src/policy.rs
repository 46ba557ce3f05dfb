//! Whether policy lets a packet pass at one end: the same code over the kernel's maps and over tables in memory.
//!
//! The contract: of all rules that match, the Admin tier's highest precedence decides; if that is a pass, or none matched,
//! the highest precedence below decides; if none matched there either, the policy's default. The rules that match lie on
//! three sides (the peer's identity, its prefix, everybody), each resolved per class and port when it was written.
//!
//! At most 13 hash look-ups and one by longest prefix (two, where a policy has port ranges that no port falls into exactly);
//! usually six: the flags of policies and classes say which ones are worth it.

use datapath_layouts::policy::{Action, Kind, class_flags, level, policy_flags, row_scope};
use datapath_layouts::{
    Address, IdentityInfo, Outcome, PeerKey, Policy, PolicyKey, PrefixKey, RangeKey, Row, RowKey, identity,
};

/// One look-up each. What is returned is read at once and not kept.
pub trait PolicyTables {
    /// In `policies`.
    fn policy(&self, key: &PolicyKey) -> Option<&Policy>;
    /// In `identities`.
    fn identity(&self, identity: &u32) -> Option<&IdentityInfo>;
    /// In `policy_peers`: the class.
    fn peer(&self, key: &PeerKey) -> Option<u32>;
    /// In `policy_cidrs`: the number of the longest prefix.
    fn cidr(&self, key: &PrefixKey) -> Option<u32>;
    /// In `policy_rows`.
    fn row(&self, key: &RowKey) -> Option<&Row>;
    /// In `policy_ranges`: the longest prefix.
    fn range(&self, key: &RangeKey) -> Option<&Row>;
}

/// One packet at one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The other end's address.
    pub peer_address: Address,
    /// The subject's policy; 0 = none.
    pub policy_id: u32,
    /// The other end's identity, `WORLD` for both families.
    pub peer_identity: u32,
    /// Port of the destination after service translation, host order; ICMP: the type; others 0.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`datapath_layouts::policy::Direction`] as a number.
    pub direction: u8,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// The subject has no policy.
    NoPolicy = 0,
    /// A rule.
    Rule = 1,
    /// No rule; what no rule allows is denied.
    DefaultDeny = 2,
    /// No rule, and none is needed.
    DefaultAllow = 3,
    /// The subject's policy is not in the tables (yet).
    NotThere = 4,
    /// The subject's policy did not fit into the tables.
    Overflow = 5,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The policy's epoch, read before everything else; 0 = it has none.
    pub epoch: u32,
    /// Generation of the peer's identity; 0 = it is unknown.
    pub generation: u32,
    /// By which to judge a packet that passes once more, only to report it; 0 = by none.
    pub shadow: u32,
    /// What decided, where it was a rule.
    pub outcome: Outcome,
    /// What decided.
    pub cause: Cause,
    /// Only [`Action::Allow`] lets the packet pass.
    pub action: Action,
}

/// Keys and what was found so far. 140 bytes, which belong into the caller's per-CPU scratch and not onto its stack.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    prefix: PrefixKey,
    policy_key: PolicyKey,
    peer: PeerKey,
    row: RowKey,
    range: RangeKey,
    policy: Policy,
    admin: Outcome,
    rest: Outcome,
    identity: u32,
}

impl Work {
    /// Nothing found.
    pub const ZERO: Self = Self {
        prefix: PrefixKey::ZERO,
        policy_key: PolicyKey::ZERO,
        peer: PeerKey::ZERO,
        row: RowKey::ZERO,
        range: RangeKey::ZERO,
        policy: Policy::ZERO,
        admin: Outcome::ZERO,
        rest: Outcome::ZERO,
        identity: 0,
    };
}

/// Judges a packet with work of its own, where the stack is large enough.
#[must_use]
pub fn judge_once<T: PolicyTables>(tables: &T, question: &Question) -> Verdict {
    let mut work = Work::ZERO;
    judge(tables, question, &mut work)
}

/// Judges a packet.
#[inline(always)]
pub fn judge<T: PolicyTables>(tables: &T, question: &Question, work: &mut Work) -> Verdict {
    let mut verdict = Verdict {
        epoch: 0,
        generation: 0,
        shadow: 0,
        outcome: Outcome::ZERO,
        cause: Cause::NoPolicy,
        action: Action::Allow,
    };
    if question.policy_id == 0 {
        return verdict;
    }
    work.policy_key = PolicyKey { policy_id: question.policy_id, direction: question.direction, reserved: [0; 3] };
    let Some(policy) = tables.policy(&work.policy_key) else {
        verdict.cause = Cause::NotThere;
        verdict.action = Action::Deny;
        return verdict;
    };
    work.policy = *policy;
    verdict.epoch = work.policy.epoch;
    verdict.shadow = work.policy.shadow;
    let flags = work.policy.flags;
    work.identity = split_world(question);
    let (mut kind, mut namespace) = (Kind::Unknown as u8, 0);
    if let Some(info) = tables.identity(&work.identity) {
        kind = info.kind;
        namespace = info.namespace;
        verdict.generation = info.generation;
    }
    if flags & policy_flags::OVERFLOW != 0 {
        verdict.cause = Cause::Overflow;
        verdict.action = Action::Deny;
        return verdict;
    }
    work.admin = Outcome::ZERO;
    work.rest = Outcome::ZERO;
    work.peer.table = work.policy.table;
    let class = identity_class(tables, work, kind, namespace);
    weigh(tables, question, work, class);
    weigh(tables, question, work, work.policy.base_class);
    if flags & policy_flags::CIDRS != 0 {
        let class = prefix_class(tables, question, work, kind);
        weigh(tables, question, work, class);
    }
    settle(work, &mut verdict);
    verdict
}

/// The world is one identity on the wire and two peers in policy.
#[inline(always)]
fn split_world(question: &Question) -> u32 {
    if question.peer_identity != identity::WORLD {
        question.peer_identity
    } else if question.peer_address.is_v4() {
        identity::WORLD_IPV4
    } else {
        identity::WORLD_IPV6
    }
}

/// The first hit of identity, namespace, kind. Who is unknown has only a kind.
#[inline(always)]
fn identity_class<T: PolicyTables>(tables: &T, work: &mut Work, kind: u8, namespace: u32) -> u32 {
    let flags = work.policy.flags;
    if kind != Kind::Unknown as u8 {
        if flags & policy_flags::IDENTITIES != 0 {
            work.peer.level = level::IDENTITY;
            work.peer.value = work.identity;
            if let Some(class) = tables.peer(&work.peer) {
                return class;
            }
        }
        if flags & policy_flags::NAMESPACES != 0 && namespace != 0 {
            work.peer.level = level::NAMESPACE;
            work.peer.value = namespace;
            if let Some(class) = tables.peer(&work.peer) {
                return class;
            }
        }
    }
    if flags & policy_flags::KINDS != 0 {
        work.peer.level = level::KIND;
        work.peer.value = kind as u32;
        if let Some(class) = tables.peer(&work.peer) {
            return class;
        }
    }
    0
}

/// The class of the longest prefix that any policy names and that holds the address.
#[inline(always)]
fn prefix_class<T: PolicyTables>(tables: &T, question: &Question, work: &mut Work, kind: u8) -> u32 {
    work.prefix = PrefixKey::lookup(question.peer_address);
    let Some(id) = tables.cidr(&work.prefix) else { return 0 };
    work.peer.value = id;
    work.peer.level = if kind == Kind::Unknown as u8 {
        level::CIDR_UNKNOWN
    } else if Kind::number_is_outside(kind) {
        level::CIDR_OUTSIDE
    } else {
        level::CIDR
    };
    tables.peer(&work.peer).unwrap_or(0)
}

/// Finds the row of a class and keeps what is better than what was found before.
#[inline(always)]
fn weigh<T: PolicyTables>(tables: &T, question: &Question, work: &mut Work, class: u32) {
    if class == 0 {
        return;
    }
    let Work { row: key, range, admin, rest, .. } = work;
    key.class = class;
    if class & class_flags::of_protocol(question.protocol) != 0 {
        key.protocol = question.protocol;
        key.port = question.port;
        key.scope = row_scope::PORT;
        if let Some(row) = tables.row(key) {
            return keep(row, admin, rest);
        }
        if class & class_flags::RANGES != 0 {
            *range = RangeKey::new(class, question.protocol, question.port, 16);
            if let Some(row) = tables.range(range) {
                return keep(row, admin, rest);
            }
        }
        key.port = 0;
        key.scope = row_scope::PROTOCOL;
        if let Some(row) = tables.row(key) {
            return keep(row, admin, rest);
        }
        // One flag stands for all protocols without ports, of which this may be one without rows.
        if class_flags::of_protocol(question.protocol) != class_flags::OTHER {
            return;
        }
    }
    key.protocol = 0;
    key.port = 0;
    key.scope = row_scope::PROTOCOL;
    if let Some(row) = tables.row(key) {
        keep(row, admin, rest);
    }
}

#[inline(always)]
fn keep(row: &Row, admin: &mut Outcome, rest: &mut Outcome) {
    if wins(&row.admin, admin) {
        *admin = row.admin;
    }
    if wins(&row.rest, rest) {
        *rest = row.rest;
    }
}

/// Whether an outcome beats another one: by precedence; among equals deny before pass before the others.
#[must_use]
#[inline(always)]
pub const fn wins(one: &Outcome, other: &Outcome) -> bool {
    if one.action == Action::None as u8 {
        return false;
    }
    if other.action == Action::None as u8 || one.precedence != other.precedence {
        return other.action == Action::None as u8 || one.precedence > other.precedence;
    }
    severity(one.action) > severity(other.action)
}

#[inline(always)]
const fn severity(action: u8) -> u8 {
    if action == Action::Deny as u8 {
        2
    } else if action == Action::Pass as u8 {
        1
    } else {
        0
    }
}

#[inline(always)]
fn settle(work: &Work, verdict: &mut Verdict) {
    let admin = Action::from_number(work.admin.action);
    let decided = if matches!(admin, Action::None | Action::Pass) { &work.rest } else { &work.admin };
    let action = Action::from_number(decided.action);
    if !matches!(action, Action::None) {
        verdict.cause = Cause::Rule;
        verdict.outcome = *decided;
        verdict.action = action;
    } else if work.policy.flags & policy_flags::DEFAULT_DENY != 0 {
        verdict.cause = Cause::DefaultDeny;
        verdict.action = Action::Deny;
    } else {
        verdict.cause = Cause::DefaultAllow;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn outcome(precedence: u32, action: Action) -> Outcome {
        Outcome { precedence, action: action as u8, ..Outcome::ZERO }
    }

    #[test]
    fn precedence_then_severity() {
        for (one, other, expected) in [
            (outcome(2, Action::Allow), outcome(1, Action::Deny), true),
            (outcome(1, Action::Deny), outcome(2, Action::Allow), false),
            (outcome(1, Action::Deny), outcome(1, Action::Allow), true),
            (outcome(1, Action::Deny), outcome(1, Action::Pass), true),
            (outcome(1, Action::Pass), outcome(1, Action::Allow), true),
            (outcome(1, Action::Allow), outcome(1, Action::Deny), false),
            (outcome(1, Action::Allow), outcome(1, Action::Allow), false),
            (outcome(0, Action::Allow), Outcome::ZERO, true),
            (Outcome::ZERO, Outcome::ZERO, false),
            (outcome(9, Action::None), outcome(1, Action::Allow), false),
        ] {
            assert_eq!(wins(&one, &other), expected, "{one:?} {other:?}");
        }
    }

    #[test]
    fn the_work_fits_the_scratch() {
        assert!(core::mem::size_of::<Work>() <= 140);
        assert!(core::mem::size_of::<Verdict>() <= 28);
    }
}
