//! What the node of a connection's responder did to it, where nobody answered.
//!
//! Of a packet that another node drops, this one sees nothing: to it the connection has timed out. Every node knows all policies
//! and all identities, and so what that one was told to do with it. This is an inference, and told as one: policies may have
//! changed since, and a Pod that policy lets be asked may be silent, too, which is not said to be denied.

use super::names::{Denying, Table};
use super::sight::Known;
use crate::policies::{pod_facts, uid};
use datapath_layouts::event::end;
use datapath_layouts::{Event, EventKind, identity};
use policy::explain::explain;
use policy::reference::{Decision, Packet, World, governs};
use policy::rule::{Direction, Policy, Rule};
use policy::subject::IdentityFacts;
use policy::told::Named;
use std::sync::{Arc, Mutex, PoisonError};

/// All policies, as they are in force.
#[derive(Debug, Default)]
pub struct Elsewhere {
    policies: Vec<Arc<Policy>>,
    /// By identity, of those that were asked for: flows that nobody answers come by the thousand.
    governing: Mutex<Table<u32, Arc<Vec<Policy>>>>,
}

impl Elsewhere {
    /// By these.
    #[must_use]
    pub fn new(policies: Vec<Arc<Policy>>) -> Self {
        Self { policies, governing: Mutex::default() }
    }

    /// The policies that deny it at its responder's end; `None` where they allow it, where that end is here or no Pod's, where who began
    /// it is not here, or where somebody answered.
    #[must_use]
    pub fn denied(&self, event: &Event, source: &Known, destination: &Known) -> Option<Arc<Denying>> {
        let is_unanswered = event.kind == EventKind::EndOfFlow as u8
            && event.reason == end::SILENT
            && event.reply_packets == 0
            && event.tcp_flags_reply == 0;
        if !is_unanswered || !source.is_here() || destination.is_here() || destination.pod().is_none() {
            return None;
        }
        let (subject, peer) = (facts(event.destination_identity, destination)?, facts(event.source_identity, source)?);
        let policies = self.governing(&subject);
        let packet = Packet {
            direction: Direction::Ingress,
            subject: subject.number,
            peer: peer.number,
            address: event.source.to_ip(),
            protocol: event.protocol,
            port: port(event),
        };
        let identities = [subject, peer];
        let world = World { policies: &policies, identities: &identities, nodes: &[] };
        let explained = explain(&world, &packet, false);
        if explained.judgement.allowed {
            return None;
        }
        Some(Arc::new(match explained.judgement.decision {
            Decision::Rules(rules) => {
                let named =
                    |(policy, rule): &(&Policy, &Rule)| (Named::rule(&policy.origin, &rule.field), uid(&policy.origin));
                rules.iter().map(named).collect()
            }
            _ => {
                let named = |policy: &&Policy| (Named::policy(&policy.origin), uid(&policy.origin));
                explained.default_deny.iter().map(named).collect()
            }
        }))
    }

    fn governing(&self, subject: &IdentityFacts) -> Arc<Vec<Policy>> {
        let mut governing = self.governing.lock().unwrap_or_else(PoisonError::into_inner);
        let all = || self.policies.iter().filter(|policy| governs(policy, subject)).map(|policy| Policy::clone(policy));
        governing.entry(subject.number).or_insert_with(|| Arc::new(all().collect())).clone()
    }
}

/// A Pod, in policy's words, that speaks across nodes as itself. A node is somebody else at the other end (`host` here is `remote-node`
/// there), and whose number is too large for the wire speaks as the world: nothing is said of them.
fn facts(number: u32, end: &Known) -> Option<IdentityFacts> {
    let is_itself = (identity::FIRST_ALLOCATED..=identity::LAST_ON_WIRE).contains(&number);
    end.labels.as_ref().filter(|_| is_itself).map(|labels| pod_facts(number, labels))
}

/// Policy asks an echo for its type; what else has an id is as rare as it is old.
fn port(event: &Event) -> u16 {
    match event.protocol {
        super::to_record::ICMP => 8,
        super::to_record::ICMPV6 => 128,
        _ => event.destination_port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::names::{Names, Who};
    use crate::events::record::Way;
    use crate::events::sight::tests::{pod, seen};
    use crate::events::to_flow;
    use datapath_layouts::Address;
    use model::Labels;
    use policy::dialect::network_policy;
    use std::collections::BTreeMap;

    const CLIENT: [u8; 4] = [10, 244, 1, 2];
    const SERVER: [u8; 4] = [10, 244, 2, 2];

    fn labels(app: &str) -> Labels {
        let all = [("k8s:app", app), ("k8s:io.kubernetes.pod.namespace", "shop")];
        Labels::from_map(&BTreeMap::from(all.map(|(key, value)| (key.to_owned(), value.to_owned())))).unwrap()
    }

    /// Of a node on which neither is; the server lets clients in at port 80.
    fn names() -> Names {
        let object = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "shop", "name": "clients"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "server"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": 80}]}],
            },
        }));
        let policy = network_policy::convert(&object.unwrap()).unwrap();
        let mut names = Names::of_node("worker-1".into());
        names
            .who
            .insert(Address::from_v4(CLIENT), Arc::new(Who { endpoint: Some(7), ..(*pod("shop", "client")).clone() }));
        names.who.insert(Address::from_v4(SERVER), pod("shop", "server"));
        names.labels.insert(4711, labels("client"));
        names.labels.insert(4712, labels("server"));
        names.elsewhere = Elsewhere::new(vec![Arc::new(policy)]);
        names
    }

    fn unanswered(port: u16) -> Event {
        Event {
            kind: EventKind::EndOfFlow as u8,
            reason: end::SILENT,
            source: Address::from_v4(CLIENT),
            destination: Address::from_v4(SERVER),
            source_identity: 4711,
            destination_identity: 4712,
            destination_port: port,
            protocol: 6,
            forward_packets: 3,
            ..Event::ZERO
        }
    }

    #[test]
    fn what_nobody_answers_and_policy_denies_there_was_denied() {
        let names = names();
        let sight = seen(&unanswered(81), &names);
        assert_eq!(sight.ended(), Some(Way::DeniedAtDestination));
        let flow = to_flow(&sight);
        assert_eq!((flow.egress_denied_by.len(), flow.ingress_denied_by[0].name.as_str()), (0, "clients"));
        let ended: flow_api::malla::Ended = flow_api::extension::ended(&flow).unwrap();
        assert_eq!((ended.way(), ended.inferred), (flow_api::malla::Way::DeniedAtDestination, true));
        assert_eq!(seen(&unanswered(80), &names).ended(), Some(Way::TimedOut), "it is allowed, and silent");
    }

    #[test]
    fn nothing_is_inferred_of_what_is_seen_or_not_known() {
        let timed_out = |event: Event, names: &Names| assert_eq!(seen(&event, names).ended(), Some(Way::TimedOut));
        let mut here = names();
        let server = Who { endpoint: Some(8), ..(*pod("shop", "server")).clone() };
        here.who.insert(Address::from_v4(SERVER), Arc::new(server));
        timed_out(unanswered(81), &here);
        timed_out(Event { reply_packets: 1, ..unanswered(81) }, &names());
        timed_out(Event { source_identity: identity::HOST, ..unanswered(81) }, &names());
        let mut nobody = names();
        nobody.labels.remove(&4712);
        timed_out(unanswered(81), &nobody);
        let mut stranger = names();
        stranger.who.remove(&Address::from_v4(SERVER));
        timed_out(unanswered(81), &stranger);
        let gone = Event { reason: end::GONE, ..unanswered(81) };
        assert_eq!(seen(&gone, &names()).ended(), Some(Way::PeerGone));
    }

    #[test]
    fn an_echo_is_asked_for_as_one() {
        let echo = Event { protocol: super::super::to_record::ICMP, ..unanswered(80) };
        assert_eq!(seen(&echo, &names()).ended(), Some(Way::DeniedAtDestination), "80 is its id");
    }

    #[test]
    fn who_speaks_there_as_somebody_else_is_not_judged_as_itself() {
        let mut far = names();
        far.who.insert(Address::from_v4(CLIENT), pod("shop", "client"));
        assert_eq!(seen(&unanswered(81), &far).ended(), Some(Way::TimedOut), "it came in here as the world");
        let mut large = names();
        large.labels.insert(0x1_0000, labels("client"));
        let speaks = Event { source_identity: 0x1_0000, ..unanswered(81) };
        assert_eq!(seen(&speaks, &large).ended(), Some(Way::TimedOut));
        let world = Event { source_identity: identity::WORLD, ..unanswered(81) };
        assert_eq!(seen(&world, &names()).ended(), Some(Way::TimedOut));
    }
}
