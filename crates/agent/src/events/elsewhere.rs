//! What the node of a connection's responder did to it, where nobody answered.
//!
//! Of a packet that another node drops, this one sees nothing: to it the connection has timed out. Every node knows all policies
//! and all identities, and so what that one was told to do with it. This is an inference, and told as one: policies may have
//! changed since, and a Pod that policy lets be asked may be silent, too, which is not said to be denied.

use super::names::Denying;
use super::sight::Known;
use crate::policies::{pod_facts, uid};
use datapath_layouts::event::end;
use datapath_layouts::{Event, EventKind, identity};
use policy::explain::explain;
use policy::reference::{Decision, Packet, World, governs};
use policy::rule::{Direction, Policy, Rule};
use policy::subject::IdentityFacts;
use policy::told::Named;
use std::sync::Arc;

/// All policies, as they are in force.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere(pub Vec<Arc<Policy>>);

impl Elsewhere {
    /// The policies that deny it at its responder's end; `None` where they allow it, where that end is here or no Pod's, or where
    /// somebody answered.
    #[must_use]
    pub fn denied(&self, event: &Event, source: &Known, destination: &Known) -> Option<Arc<Denying>> {
        let is_unanswered = event.kind == EventKind::EndOfFlow as u8
            && matches!(event.reason, end::SILENT)
            && event.reply_packets == 0
            && event.tcp_flags_reply == 0;
        if !is_unanswered || destination.is_here() || destination.pod().is_none() {
            return None;
        }
        let subject = facts(event.destination_identity, destination)?;
        let peer = match event.source_identity {
            identity::WORLD if event.source.is_v4() => identity::WORLD_IPV4,
            identity::WORLD => identity::WORLD_IPV6,
            number => number,
        };
        let peer = facts(peer, source)?;
        let policies: Vec<Policy> =
            self.0.iter().filter(|policy| governs(policy, &subject)).map(|policy| Policy::clone(policy)).collect();
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
            _ => explained
                .default_deny
                .iter()
                .map(|policy| (Named::policy(&policy.origin), uid(&policy.origin)))
                .collect(),
        }))
    }
}

/// Who is at an end, in policy's words. A node is somebody else at the other end (`host` here is `remote-node` there), and may be
/// the API server's: nothing is said of it.
fn facts(number: u32, end: &Known) -> Option<IdentityFacts> {
    if number >= identity::FIRST_ALLOCATED {
        return end.labels.as_ref().map(|labels| pod_facts(number, labels));
    }
    let is_node = matches!(number, identity::HOST | identity::REMOTE_NODE | identity::KUBE_APISERVER);
    if is_node { None } else { IdentityFacts::reserved(number) }
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
        names.elsewhere = Elsewhere(vec![Arc::new(policy)]);
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
    fn an_echo_is_asked_for_as_one_and_the_world_by_its_address() {
        let echo = Event { protocol: super::super::to_record::ICMP, ..unanswered(80) };
        assert_eq!(seen(&echo, &names()).ended(), Some(Way::DeniedAtDestination), "80 is its id");
        let world = Event { source_identity: identity::WORLD, ..unanswered(80) };
        assert_eq!(seen(&world, &names()).ended(), Some(Way::DeniedAtDestination));
    }
}
