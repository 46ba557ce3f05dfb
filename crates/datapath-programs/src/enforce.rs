//! Policy at the ends that are on this node: egress of the Pod that began a flow, ingress of the Pod that it leads to; and
//! the same of the node itself, where a policy is about it.
//!
//! A flow remembers, for each end, what judged it. While the node's policy clock and the peer's identity stand, a packet
//! costs one look-up in an array. When they don't, the flow is judged again, always as its forward tuple, at the next
//! packet of either direction: so an allow that is taken away cuts a live connection at once. What is denied stays in the
//! tables as such, so that nobody's answers pass as a flow of their own.

use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::flow::half_state;
use datapath_layouts::policy::{Action, Direction};
use datapath_layouts::{
    Address, CidrId, DropReason, Endpoint, Half, IdentityInfo, PeerKey, Policy, PolicyKey, PrefixKey, RangeKey, Row,
    RowKey, event::event_flags, identity,
};
use datapath_logic::policy::{self, Cause, PolicyTables, Question};
use packet_headers::{flags, is_neighbour_chatter, protocol};

use crate::code::{self, Code};
use crate::config::config;
use crate::events;
use crate::maps;
use crate::scratch::{Scratch, endpoint_of};
use crate::skb::Skb;
use crate::track;

/// Which end of the *packet* is here: a Pod of this node, or the node.
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
    code::decode(tell(skb, s, ends, policy_at_an_end(policy_id, ends)))
}

/// [`policy`] of the node itself. False: the packet passes and its flow is not to be tracked, for it is older than the
/// node's policy and nobody knows which end began it. The node's connections are tracked only while a policy is about it, so
/// a segment in the middle of one passes if either direction may be opened; whichever end may not open it never tracks it.
/// No segment but a SYN makes a connection, so nothing is opened that way.
#[inline(always)]
pub fn host(skb: Skb, s: &mut Scratch, here: Here, policy_id: u32, found: bool) -> Result<bool, DropReason> {
    if policy_id == 0 {
        return Ok(true);
    }
    let ends = if here == Here::Sender { SENDER } else { 0 } | if found { FOUND } else { NODE };
    let answer = tell(skb, s, ends, policy_at_an_end(policy_id, ends));
    code::decode(answer & !OLDER)?;
    Ok(answer & OLDER == 0)
}

/// Reports what the answer holds besides the outcome, which is left.
#[inline(always)]
fn tell(skb: Skb, s: &mut Scratch, ends: u32, answer: Code) -> Code {
    if answer & AUDITED != 0 {
        let reason = audit(ends);
        if reason != 0 {
            events::audited(skb, s, reason);
        }
    }
    if answer & RESUMED != 0 {
        events::new_flow_here(skb, s);
    }
    answer & !(RESUMED | AUDITED)
}

/// The policy of this node, if the packet's end at `address` is the node (`own`: what the map says of it): one of its
/// addresses, or one of the link, which no table has. 0: none, or another end.
#[inline(always)]
pub fn policy_of_node(own: Option<&Endpoint>, address: &Address) -> u32 {
    match own {
        Some(endpoint) if endpoint.flags & FLAG_HOST != 0 => endpoint.policy_id,
        Some(_) => 0,
        None if is_link_local(address) => policy_of_link(address.is_v4()),
        None => 0,
    }
}

/// What governs the node's addresses of one family that are its links' own. Links have them whatever addresses the
/// node has, so a node without the family is found by the other. A function of its own keeps the keys off the stack
/// of the chain that goes on from here.
#[inline(never)]
fn policy_of_link(is_v4: bool) -> u32 {
    let (v4, v6) = (config!(node_ipv4), config!(node_ipv6));
    let node = if v6.is_zero() || is_v4 && !v4.is_zero() { v4 } else { v6 };
    endpoint_of(&node).map_or(0, |endpoint| endpoint.policy_id)
}

/// 169.254.0.0/16 (RFC 3927 §2.1) and fe80::/10 (RFC 4291 §2.5.6).
#[inline(always)]
fn is_link_local(address: &Address) -> bool {
    let a = &address.0;
    if address.is_v4() { a[12] == 169 && a[13] == 254 } else { a[0] == 0xfe && a[1] & 0xc0 == 0x80 }
}

/// What a node says and hears of its neighbours is nobody's policy: without it there is no link. Nor are groups and
/// broadcasts, which have no end.
#[inline(always)]
pub fn is_of_the_link(s: &Scratch) -> bool {
    let to = &s.headers.destination;
    let group = if to.is_v4() { to.0[12] >= 224 } else { to.0[0] == 0xff };
    group || is_neighbour_chatter(s.headers.protocol, s.headers.icmp_type)
}

/// The packet's sender is here.
const SENDER: u32 = 1;
/// The flow is known.
const FOUND: u32 = 2;
/// This end is the node, and the flow may be older than its policy.
const NODE: u32 = 4;
/// The packet goes from the flow's responder to its initiator.
const REPLY: u32 = 8;
/// In the answer: the flow was held back until now.
const RESUMED: Code = 256;
/// In the answer: the packet passes as one of a flow that is older than the node's policy.
const OLDER: Code = 512;
/// In the answer: it passes, was judged just now, and a policy in audit mode has something to say.
const AUDITED: Code = 1024;

/// A global function, which the verifier goes through once and not again for every way that leads here. Such a function
/// takes numbers alone, so it finds this CPU's scratch by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn policy_at_an_end(policy_id: u32, ends: u32) -> Code {
    let Some(s) = Scratch::current() else { return DropReason::PolicyDenied as Code };
    let (sender, found) = (ends & SENDER != 0, ends & FOUND != 0);
    let reply = found && s.known.reply;
    let initiator = sender != reply;
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
        let way = ends & SENDER | if reply { REPLY } else { 0 };
        let (begins, answers) = if ends & NODE != 0 && goes_on(s) { sides(s) } else { (true, false) };
        let asked = if begins { ask_policy(policy_id, way, peer) } else { DENIED };
        if asked == DENIED && answers {
            if ask_policy(policy_id, way ^ REPLY, peer) != DENIED {
                return OLDER;
            }
            if !begins {
                // Nothing is remembered of it: an entry would say that this end began.
                return refused(s, sender);
            }
            // Told by the rule that keeps it from being opened this way.
            let _ = ask_policy(policy_id, way, peer);
        }
        if asked == AUDITED {
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
    if !found {
        track::bury(s);
    }
    refused(s, sender)
}

/// What `s.half` says of a refusal. Told as the end that was judged, whatever the packet is on its way.
#[inline(always)]
fn refused(s: &mut Scratch, sender: bool) -> Code {
    s.rule = s.half.rule;
    if sender {
        s.event_flags &= !event_flags::INGRESS;
    } else {
        s.event_flags |= event_flags::INGRESS;
    }
    (if s.half.rule == 0 { DropReason::PolicyDenied } else { DropReason::PolicyDeny }) as Code
}

/// Whether what the node sends can be the beginning of a flow that nobody knows, and not an answer in one: for TCP's first
/// segments they say so themselves, for the rest see [`sides`].
#[inline(always)]
pub fn may_begin(s: &Scratch) -> bool {
    let syn = s.headers.tcp_flags & (protocol::tcp::SYN | protocol::tcp::ACK);
    match s.tuple.protocol {
        protocol::TCP if syn & protocol::tcp::SYN != 0 => syn == protocol::tcp::SYN,
        protocol::TCP | protocol::UDP | protocol::SCTP => sides(s).0,
        _ => true,
    }
}

/// Whether a segment of a connection whose beginning nobody saw can come from the end that began it, and whether from the
/// other one. Who begins has an ephemeral port (32768 and above: `net.ipv4.ip_local_port_range`, and RFC 6335's lie in
/// there); where both ends have one, or none, nobody knows.
#[inline(always)]
fn sides(s: &Scratch) -> (bool, bool) {
    let (from, to) = (s.tuple.source_port >= EPHEMERAL, s.tuple.destination_port >= EPHEMERAL);
    (from || !to, to || !from)
}

const EPHEMERAL: u16 = 32768;

const DENIED: u32 = half_state::DENIED as u32;

/// A segment in the middle of a connection.
#[inline(always)]
fn goes_on(s: &Scratch) -> bool {
    s.tuple.protocol == protocol::TCP && s.headers.tcp_flags & protocol::tcp::SYN == 0
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

/// Judges the flow's forward tuple at its initiator's or its responder's end, into `s.half`. Answers [`DENIED`]; [`AUDITED`]: it
/// passes and [`audit`] is to be asked too; or 0: it passes. Global, as [`policy_at_an_end`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn ask_policy(policy_id: u32, way: u32, peer: u32) -> u32 {
    let Some(s) = Scratch::current() else { return DENIED };
    let (sender, reply) = (way & SENDER != 0, way & REPLY != 0);
    let initiator = sender != reply;
    let t = &s.tuple;
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
    // A node without its tables has not even what keeps it reachable: it is open, so that somebody can write them.
    let lost = policy_id == identity::HOST && matches!(verdict.cause, Cause::NotThere);
    // What is not a plain "allow" is for proxies that are not there: it does not pass.
    half.state = if lost || matches!(verdict.action, Action::Allow) {
        half_state::ACCEPTED
    } else {
        half_state::DENIED
    };
    half.reserved = [0; 3];
    s.rule = half.rule;
    s.audit.policy_id = verdict.shadow;
    match half.state {
        half_state::DENIED => DENIED,
        _ if verdict.shadow != 0 => AUDITED,
        _ => 0,
    }
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
