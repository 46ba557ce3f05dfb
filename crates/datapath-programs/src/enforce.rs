//! Policy at the ends that are on this node: egress of the Pod that began a flow, ingress of the Pod that it leads to.
//!
//! A flow remembers, for each end, what judged it. While the node's policy clock and the peer's identity stand, a packet
//! costs one look-up in an array. When they don't, the flow is judged again, always as its forward tuple, at the next
//! packet of either direction: so an allow that is taken away cuts a live connection at once. What is denied stays in the
//! tables as such, so that nobody's answers pass as a flow of their own.

use datapath_layouts::flow::half_state;
use datapath_layouts::policy::{Action, Direction};
use datapath_layouts::{
    Address, CidrId, DropReason, Half, IdentityInfo, PeerKey, Policy, PolicyKey, PrefixKey, RangeKey, Row, RowKey,
    event::event_flags,
};
use datapath_logic::policy::{self, Cause, PolicyTables, Question};
use packet_headers::{flags, protocol};

use crate::code::{self, Code};
use crate::events;
use crate::maps;
use crate::scratch::Scratch;
use crate::skb::Skb;
use crate::track;

/// Which end of the *packet* is a Pod of this node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Here {
    Sender,
    Receiver,
}

/// Judges the packet at that end, whose policy this is (0 = none: everything passes). `found`: `s.known` tells of its
/// flow; otherwise it opens one, and `s.opening` takes what was decided.
///
/// Both identities in `s` must be those of the packet's ends.
#[inline(always)]
pub fn policy(skb: Skb, s: &mut Scratch, here: Here, policy_id: u32, found: bool) -> Result<(), DropReason> {
    if policy_id == 0 {
        return Ok(());
    }
    let ends = if here == Here::Sender { SENDER } else { 0 } | if found { FOUND } else { 0 };
    let answer = policy_at_an_end(policy_id, ends);
    if answer & AUDITED != 0 {
        let reason = audit(ends);
        if reason != 0 {
            events::audited(skb, s, reason);
        }
    }
    if answer & RESUMED != 0 {
        events::new_flow_here(skb, s);
    }
    code::decode(answer & !(RESUMED | AUDITED))
}

/// The packet's sender is here.
const SENDER: u32 = 1;
/// The flow is known.
const FOUND: u32 = 2;
/// In the answer: the flow was held back until now.
const RESUMED: Code = 256;
/// In the answer: it passes, was judged just now, and a policy in audit mode has something to say.
const AUDITED: Code = 512;

/// A global function, which the verifier goes through once and not again for every way that leads here. Such a function
/// takes numbers alone, so it finds this CPU's scratch by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn policy_at_an_end(policy_id: u32, ends: u32) -> Code {
    let Some(s) = Scratch::current() else { return DropReason::PolicyDenied as Code };
    let (sender, found) = (ends & SENDER != 0, ends & FOUND != 0);
    let initiator = sender != (found && s.known.reply);
    let before = if initiator { s.known.source } else { s.known.destination };
    let error = s.headers.is(flags::ICMP_ERROR);
    let peer = if sender { s.destination_identity } else { s.source_identity };
    let clock = clock();
    let mut resumed = 0;
    if found
        && (error || before.policy_id == policy_id && before.epoch == clock && before.peer_identity == peer)
    {
        s.half = before;
    } else {
        if ask(s, policy_id, initiator, sender, found, peer) {
            resumed = AUDITED;
        }
        // The clock was read first: what changes from here on makes the next packet ask again.
        s.half.epoch = clock;
        if found {
            remember(s, initiator);
            if before.state == half_state::DENIED {
                resumed |= RESUMED;
            }
        } else if initiator {
            s.opening.source = s.half;
        } else {
            s.opening.destination = s.half;
        }
    }
    if s.half.state != half_state::DENIED {
        return resumed;
    }
    if error && is_too_big(s) {
        return 0;
    }
    s.rule = s.half.rule;
    if !sender {
        s.event_flags |= event_flags::INGRESS;
    }
    if !found {
        track::bury(s);
    }
    (if s.half.rule == 0 { DropReason::PolicyDenied } else { DropReason::PolicyDeny }) as Code
}

/// "Fragmentation needed" and "packet too big" always pass: without them a path's MTU can't be learned.
#[inline(always)]
fn is_too_big(s: &Scratch) -> bool {
    let (kind, code) = (s.headers.icmp_type, s.headers.icmp_code);
    if s.headers.is(flags::V6) { kind == 2 } else { kind == 3 && code == 4 }
}

/// What is reported of a flow that a policy in audit mode denies.
#[derive(Clone, Copy)]
pub struct Audit {
    /// Policy that judges what passes once more; 0 = none.
    pub policy_id: u32,
    /// The rule that denies; 0 = by default.
    pub rule: u32,
    /// `event_flags` of the end that denies.
    pub flags: u8,
}

/// Asks `s.audit.policy_id` what has just been asked, and passed: why it would drop it, 0 = it would not. Nothing but a
/// report follows. Global for the same reason as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn audit(ends: u32) -> Code {
    let Some(s) = Scratch::current() else { return 0 };
    s.question.policy_id = s.audit.policy_id;
    let verdict = policy::judge(&Kernel, &s.question, &mut s.work);
    let passes = matches!(verdict.action, Action::Allow);
    if passes {
        return 0;
    }
    s.audit.rule = if matches!(verdict.cause, Cause::Rule) { verdict.outcome.rule } else { 0 };
    s.audit.flags = if ends & SENDER != 0 { 0 } else { event_flags::INGRESS };
    (if s.audit.rule == 0 { DropReason::PolicyDenied } else { DropReason::PolicyDeny }) as Code
}

/// Judges the flow's forward tuple at its initiator's or its responder's end, into `s.half`. Whether it passes and
/// `s.audit` is to be asked too.
#[inline(always)]
fn ask(s: &mut Scratch, policy_id: u32, initiator: bool, sender: bool, found: bool, peer: u32) -> bool {
    let t = &s.tuple;
    let reply = found && s.known.reply;
    let question = &mut s.question;
    question.peer_address = if sender { t.destination } else { t.source };
    question.policy_id = policy_id;
    question.peer_identity = peer;
    question.protocol = t.protocol;
    question.direction = if initiator { Direction::Egress } else { Direction::Ingress } as u8;
    question.port = match t.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            if reply {
                t.source_port
            } else {
                t.destination_port
            }
        }
        protocol::ICMP | protocol::ICMPV6 => u16::from(asked_type(t.protocol, s.headers.icmp_type)),
        _ => 0,
    };
    let verdict = policy::judge(&Kernel, &s.question, &mut s.work);
    let half = &mut s.half;
    half.policy_id = policy_id;
    half.peer_identity = peer;
    half.peer_generation = verdict.generation;
    half.rule = if matches!(verdict.cause, Cause::Rule) { verdict.outcome.rule } else { 0 };
    // What is not a plain "allow" is for proxies that are not there: it does not pass.
    half.state =
        if matches!(verdict.action, Action::Allow) { half_state::ACCEPTED } else { half_state::DENIED };
    half.reserved = [0; 3];
    s.rule = half.rule;
    s.audit.policy_id = verdict.shadow;
    s.audit.policy_id != 0 && half.state == half_state::ACCEPTED
}

/// An answer to an echo is judged as the echo (RFC 792, RFC 4443 §4.1).
#[inline(always)]
const fn asked_type(transport: u8, icmp_type: u8) -> u8 {
    match (transport, icmp_type) {
        (protocol::ICMP, 0) => 8,
        (protocol::ICMPV6, 129) => 128,
        _ => icmp_type,
    }
}

/// `s.half` into the flow's entry.
#[inline(always)]
fn remember(s: &mut Scratch, initiator: bool) {
    if let Some(flow) = track::entry(s) {
        if initiator {
            flow.source = s.half;
        } else {
            flow.destination = s.half;
        }
    }
}

/// Goes up after every change of policy, of an identity or of an endpoint's policy.
#[inline(always)]
fn clock() -> u32 {
    match maps::POLICY_CLOCK.get(0) {
        Some(clock) => *clock,
        None => 0,
    }
}

/// The maps of policy.
struct Kernel;

// SAFETY of every read below: a map value lives as long as this program runs (RCU) and is copied or read at once.
impl PolicyTables for Kernel {
    #[inline(always)]
    fn policy(&self, key: &PolicyKey) -> Option<&Policy> {
        // SAFETY: see above.
        maps::POLICIES.get_ptr(key).map(|value| unsafe { &*value })
    }
    #[inline(always)]
    fn identity(&self, identity: &u32) -> Option<&IdentityInfo> {
        // SAFETY: see above.
        maps::IDENTITIES.get_ptr(identity).map(|value| unsafe { &*value })
    }
    #[inline(always)]
    fn peer(&self, key: &PeerKey) -> Option<u32> {
        // SAFETY: see above.
        maps::POLICY_PEERS.get_ptr(key).map(|value| unsafe { *value })
    }
    #[inline(always)]
    fn cidr(&self, key: &PrefixKey) -> Option<u32> {
        // SAFETY: aya's key is a length and the bytes behind it, which is what `PrefixKey` is.
        let key = unsafe { &*core::ptr::from_ref(key).cast() };
        maps::POLICY_CIDRS.get(key).map(|value: &CidrId| value.id)
    }
    #[inline(always)]
    fn row(&self, key: &RowKey) -> Option<&Row> {
        // SAFETY: see above.
        maps::POLICY_ROWS.get_ptr(key).map(|value| unsafe { &*value })
    }
    #[inline(always)]
    fn range(&self, key: &RangeKey) -> Option<&Row> {
        // SAFETY: as for prefixes.
        let key = unsafe { &*core::ptr::from_ref(key).cast() };
        maps::POLICY_RANGES.get(key)
    }
}
