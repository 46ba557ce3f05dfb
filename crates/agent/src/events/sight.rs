//! Who was that? An event with everything that this node knows about it at that moment.
//!
//! Numbers and pointers alone: [`super::Record`] and `flow.Flow` are made out of it when somebody wants to read it, which may be
//! never, and say then what was true at the time of the event.

use super::clock::Clock;
use super::ending::way;
use super::names::{Denying, Device, Here, Names, RuleFacts, Who};
use super::record::{TcpEnd, Way};
use super::tcp_ends::{TcpEnds, tcp_ends};
use datapath_layouts::event::event_flags;
use datapath_layouts::policy::Direction;
use datapath_layouts::{Address, DropReason, Event, EventKind};
use model::{Labels, ObjectName};
use policy::told::Named;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// An event, and what was known.
#[derive(Clone, Debug)]
pub struct Sight {
    /// As the datapath told it; of a call that had no address yet, with its caller's.
    pub event: Event,
    /// What happened.
    pub kind: EventKind,
    /// Microseconds since 1970-01-01 UTC.
    pub time_us: u64,
    /// Its place among all that this process has seen.
    pub number: u64,
    /// Who saw it.
    pub here: Arc<Here>,
    /// Who sent.
    pub source: Known,
    /// Who gets it.
    pub destination: Known,
    /// The Service that was asked before translation, of its packets or at its socket.
    pub addressed: Option<Arc<ObjectName>>,
    /// The device on which the program ran.
    pub device: Option<Arc<Device>>,
    /// The rule that decided.
    pub rule: Option<Arc<RuleFacts>>,
    /// The one that let the flow out of its initiator.
    pub egress_rule: Option<Arc<RuleFacts>>,
    /// And the one that let it into its responder.
    pub ingress_rule: Option<Arc<RuleFacts>>,
    /// No rule allowed it, and these policies have default deny.
    pub default_deny: Option<Arc<Denying>>,
    /// Nobody answered, and these policies deny it at its responder's node.
    pub denied_elsewhere: Option<Arc<Denying>>,
    /// The reading of the policy clock by which it was judged; 0 = not known.
    pub revision: u64,
    /// What the sockets of initiator and responder knew, at the end of a TCP connection.
    pub sockets: [Option<TcpEnd>; 2],
}

/// One end.
#[derive(Clone, Debug)]
pub struct Known {
    /// Whose address it is.
    pub who: Option<Arc<Who>>,
    /// Labels of its identity, unless it is a reserved one.
    pub labels: Option<Labels>,
    /// The Service, where address and port are one's.
    pub service: Option<Arc<ObjectName>>,
}

impl Known {
    /// The Pod.
    #[must_use]
    pub fn pod(&self) -> Option<&ObjectName> {
        self.who.as_ref()?.pod.as_ref()
    }

    /// The Pod's namespace; empty where there is none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.pod().map_or("", |pod| &pod.namespace)
    }

    /// Whether it is one of this node's endpoints.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.who.as_ref().is_some_and(|who| who.endpoint.is_some())
    }
}

impl Sight {
    /// The event with its names; `None` for a kind that a newer datapath writes and this agent does not know.
    #[must_use]
    pub fn of(event: &Event, names: &Names, clock: &Clock, sockets: &dyn TcpEnds) -> Option<Arc<Self>> {
        let kind = EventKind::from_number(event.kind)?;
        let called = (event.netns_cookie != 0).then(|| of_its_caller(event, names));
        let event = called.as_ref().unwrap_or(event);
        let end = |address, port, identity| {
            let who = names.who.get(&address);
            Known {
                who: who.cloned(),
                labels: names.labels.get(&identity).cloned(),
                service: names.service_of(who.map(|who| &**who), address, port, event.protocol).cloned(),
            }
        };
        let asks_service = event.flags & (event_flags::TRANSLATED | event_flags::ASKED) != 0;
        // 0 is no rule, and most events have none.
        let rule = |number: u32| (number != 0).then(|| names.rules.get(&number).cloned()).flatten();
        let source = end(event.source, event.source_port, event.source_identity);
        let destination = end(event.destination, event.destination_port, event.destination_identity);
        Some(Arc::new(Self {
            denied_elsewhere: names.elsewhere.denied(event, &source, &destination),
            kind,
            time_us: clock.wall_us(event.time_ns),
            number: next_number(),
            here: names.here.clone(),
            source,
            destination,
            addressed: asks_service
                .then(|| names.service(event.original, event.original_port, event.protocol).cloned())
                .flatten(),
            device: (event.ifindex != 0).then(|| names.devices.get(&event.ifindex).cloned()).flatten(),
            rule: rule(event.rule),
            egress_rule: rule(event.egress_rule),
            ingress_rule: rule(event.ingress_rule),
            default_deny: default_deny(event, kind, names),
            revision: revision(event, kind, names),
            sockets: tcp_ends(event, sockets),
            event: *event,
        }))
    }

    /// One of [`event_flags`].
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.event.flags & flag != 0
    }

    /// How its flow ended with it, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<Way> {
        if self.denied_elsewhere.is_some() { Some(Way::DeniedAtDestination) } else { way(&self.event) }
    }

    /// Whose default deny it was, where no rule allowed it.
    #[must_use]
    pub fn default_deny(&self) -> &[Named] {
        self.default_deny.as_ref().map_or(&[], |denying| &denying.policies)
    }

    /// The same, each with what [`RuleFacts::uid`] says of a rule's.
    pub(super) fn denying(&self) -> impl Iterator<Item = (&Named, Option<&str>)> {
        let denying = self.default_deny.iter().chain(&self.denied_elsewhere);
        denying.flat_map(|denying| denying.policies.iter().zip(denying.uids.iter().map(Option::as_deref)))
    }
}

/// The next place among all that this process has seen.
pub(super) fn next_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Relaxed)
}

/// A call that was refused before its socket had an address: from that of the Pod, or the node, whose socket it is.
fn of_its_caller(event: &Event, names: &Names) -> Event {
    let Some(caller) = names.callers.get(&event.netns_cookie) else { return *event };
    let family = |address: &&Address| address.is_v4() == event.destination.is_v4();
    let source = caller.addresses.iter().find(family).copied().unwrap_or(event.source);
    Event { source, source_identity: caller.identity, ..*event }
}

/// Of what no rule allowed: whose default deny it was. The flow is judged by its forward tuple at the end that is here.
fn default_deny(event: &Event, kind: EventKind, names: &Names) -> Option<Arc<Denying>> {
    if kind != EventKind::Drop || event.reason != DropReason::PolicyDenied as u8 || event.rule != 0 {
        return None;
    }
    let (into, reply) = (event.flags & event_flags::INGRESS != 0, event.flags & event_flags::REPLY != 0);
    let subject = if into { event.destination_identity } else { event.source_identity };
    let direction = if into == reply { Direction::Egress } else { Direction::Ingress };
    names.default_deny.get(&(subject, direction)).cloned()
}

/// Of what was judged just then. Neither of the end of a flow, whose last packet was, nor of an ICMP error, for which the rules
/// of its flow stand as they were.
fn revision(event: &Event, kind: EventKind, names: &Names) -> u64 {
    let was_judged_before = kind == EventKind::EndOfFlow || event.flags & event_flags::RELATED != 0;
    if was_judged_before { 0 } else { names.revision.at(event.time_ns) }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::events::names::Revision;
    use datapath_layouts::{ObservationPoint, TcpEndKey};
    use std::sync::atomic::AtomicBool;

    /// No socket has told anything.
    pub struct NoSockets;

    impl TcpEnds for NoSockets {
        fn of(&self, _: &TcpEndKey) -> Option<datapath_layouts::TcpEnd> {
            None
        }
    }

    /// What the node `n` knows of an event, without any socket.
    pub fn seen(event: &Event, names: &Names) -> Sight {
        Arc::unwrap_or_clone(Sight::of(event, names, &Clock::now(), &NoSockets).unwrap())
    }

    /// Whose address is this?
    pub fn pod(namespace: &str, name: &str) -> Arc<Who> {
        Arc::new(Who { pod: Some(ObjectName::new(namespace, name)), ..Who::default() })
    }

    /// A node's.
    pub fn node(name: &str) -> Arc<Who> {
        Arc::new(Who { node: Some(name.into()), ..Who::default() })
    }

    #[test]
    fn a_drop_names_its_rule_or_whose_default_deny_it_was() {
        let policy = |name: &str, field: Option<&str>| Named {
            kind: "NetworkPolicy".into(),
            namespace: "shop".into(),
            name: name.into(),
            field: field.map(str::to_owned),
        };
        let mut names = Names::default();
        let name = policy("shut", Some("spec.ingress[0]"));
        names.rules.insert(77, Arc::new(RuleFacts { name, match_type: 1, log: None, uid: None }));
        let only = |name| Arc::new(Denying::from_iter([(policy(name, None), None)]));
        names.default_deny.insert((301, Direction::Ingress), only("in"));
        names.default_deny.insert((300, Direction::Egress), only("out"));
        let told = |reason: DropReason, rule, flags| {
            let ends = Event { source_identity: 300, destination_identity: 301, protocol: 6, ..Event::ZERO };
            let event = Event { kind: EventKind::Drop as u8, reason: reason as u8, rule, flags, ..ends };
            let sight = seen(&event, &names);
            let texts: Vec<String> = sight.default_deny().iter().map(ToString::to_string).collect();
            (sight.rule.map(|rule| rule.name.to_string()), texts.join(" "))
        };
        let (ingress, reply) = (event_flags::INGRESS, event_flags::REPLY);
        let rule = Some("NetworkPolicy shop/shut spec.ingress[0]".to_owned());
        assert_eq!(told(DropReason::PolicyDeny, 77, ingress), (rule, String::new()));
        assert_eq!(told(DropReason::PolicyDeny, 78, ingress), (None, String::new()), "a rule that has gone");
        assert_eq!(told(DropReason::PolicyDenied, 0, ingress), (None, "NetworkPolicy shop/in".into()));
        assert_eq!(told(DropReason::PolicyDenied, 0, 0), (None, "NetworkPolicy shop/out".into()));
        assert_eq!(told(DropReason::PolicyDenied, 0, reply), (None, String::new()), "300 let nobody in");
        assert_eq!(told(DropReason::PolicyDenied, 0, ingress | reply), (None, String::new()), "301 went nowhere");
        assert_eq!(told(DropReason::SourceRange, 0, ingress), (None, String::new()), "no policy's");
    }

    #[test]
    fn a_call_that_was_refused_comes_from_its_pod() {
        let mut names = Names::default();
        names.who.insert(Address::from_v4([10, 244, 1, 2]), pod("default", "client"));
        let addresses = vec![Address::from_ip("fd00::2".parse().unwrap()), Address::from_v4([10, 244, 1, 2])];
        names.callers.insert(99, super::super::names::Caller { addresses, identity: 4711 });
        let call = Event {
            kind: EventKind::Drop as u8,
            reason: DropReason::NoBackend as u8,
            point: ObservationPoint::FromEndpoint as u8,
            destination: Address::from_v4([10, 96, 0, 7]),
            netns_cookie: 99,
            ..Event::ZERO
        };
        let sight = seen(&call, &names);
        assert_eq!(sight.source.pod().unwrap().to_string(), "default/client");
        assert_eq!((sight.event.source_identity, sight.ended()), (4711, Some(Way::NoBackends)));
        let unknown = seen(&Event { netns_cookie: 98, ..call }, &names);
        assert_eq!((unknown.source.pod(), unknown.event.source_identity), (None, 0));
    }

    #[test]
    fn the_revision_is_that_by_which_it_was_judged_or_none() {
        let mut names = Names::default();
        let event = |kind: EventKind, time_ns| Event { kind: kind as u8, time_ns, ..Event::ZERO };
        let told = |names: &Names, event| seen(&event, names).revision;
        assert_eq!(told(&names, event(EventKind::NewFlow, 100)), 0, "nobody has read the clock");
        let stands = Arc::new(AtomicBool::new(true));
        names.revision = Revision { clock: 7, since_ns: 100, stands: stands.clone() };
        for kind in [EventKind::NewFlow, EventKind::Drop, EventKind::Audit] {
            assert_eq!(told(&names, event(kind, 100)), 7, "{kind:?}");
            assert_eq!(told(&names, event(kind, 99)), 0, "{kind:?}: before it was read");
        }
        assert_eq!(told(&names, event(EventKind::EndOfFlow, 100)), 0, "its packets were judged before");
        let error = Event { flags: event_flags::RELATED, ..event(EventKind::Drop, 100) };
        assert_eq!(told(&names, error), 0, "its flow was judged before");
        stands.store(false, Relaxed);
        assert_eq!(told(&names, event(EventKind::NewFlow, 100)), 0, "another plan was begun");
    }

    #[test]
    fn what_was_known_stays_though_names_change() {
        let mut names = Names::default();
        let address = Address::from_v4([10, 244, 1, 2]);
        names.who.insert(address, pod("shop", "before"));
        let event = Event { kind: EventKind::NewFlow as u8, source: address, ..Event::ZERO };
        let sight = seen(&event, &names);
        names.who.insert(address, pod("shop", "after"));
        assert_eq!(sight.source.pod().unwrap().to_string(), "shop/before");
        assert!(seen(&event, &names).number > sight.number);
    }

    #[test]
    fn a_kind_from_the_future_is_left_out() {
        let event = Event { kind: 77, ..Event::ZERO };
        assert!(Sight::of(&event, &Names::default(), &Clock::now(), &NoSockets).is_none());
    }
}
