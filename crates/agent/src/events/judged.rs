//! What policy said, as an event of its own beside that of the packet: Cilium's PolicyVerdict.
//!
//! A connection that begins has one for each end here whose policy let it pass by a rule, and each packet that policy dropped has
//! one. Where nothing governs an end there is nothing to say; an audit is such an event from the beginning. It points to the sight
//! of its packet, so that what both have in common is known, and kept, once.

use super::deciding::{allowed, logs};
use super::record::Way;
use super::sight::{Sight, next_number};
use super::to_flow::{direction, to_flow, uuid};
use datapath_layouts::EventKind;
use flow_api::flow;
use flow_api::flow::TrafficDirection;
use flow_api::numbers::event::POLICY_VERDICT;
use flow_api::seen::Witness;
use std::sync::Arc;

/// What one end's policy said.
#[derive(Debug)]
pub struct Judged {
    sight: Arc<Sight>,
    /// The initiator's end, whose policy of egress was asked, or the responder's.
    end: TrafficDirection,
    /// Its place among all that this process has seen.
    number: u64,
}

/// All that policy said of it, in the order in which it was asked.
pub fn judged(sight: &Arc<Sight>) -> impl Iterator<Item = Judged> {
    let ends = [TrafficDirection::Egress, TrafficDirection::Ingress].into_iter().zip(have_spoken(sight));
    let spoken = ends.filter(|(_, has_spoken)| *has_spoken);
    spoken.map(|(end, _)| Judged { sight: sight.clone(), end, number: next_number() })
}

/// Whether policy has said something at the initiator's end, and at the responder's.
fn have_spoken(sight: &Sight) -> [bool; 2] {
    match sight.kind {
        EventKind::NewFlow if is_resumed(sight) => {
            let is_initiators = direction(sight) == TrafficDirection::Egress;
            [is_initiators, !is_initiators]
        }
        EventKind::NewFlow => [sight.event.egress_rule != 0, sight.event.ingress_rule != 0],
        EventKind::Drop => [Way::DeniedAtSource, Way::DeniedAtDestination].map(|way| sight.ended() == Some(way)),
        EventKind::EndOfFlow | EventKind::Trace | EventKind::Audit => [false; 2],
    }
}

/// What policy had held back goes on: told without its flow, by the rule alone that lets it.
fn is_resumed(sight: &Sight) -> bool {
    let event = &sight.event;
    event.rule != 0 && event.egress_rule == 0 && event.ingress_rule == 0
}

impl Witness for Judged {
    fn namespaces(&self) -> [&str; 2] {
        self.sight.namespaces()
    }

    fn tell(&self) -> flow::Flow {
        let sight = &*self.sight;
        let is_egress = self.end == TrafficDirection::Egress;
        let rule = match sight.kind {
            EventKind::NewFlow if !is_resumed(sight) && is_egress => &sight.egress_rule,
            EventKind::NewFlow if !is_resumed(sight) => &sight.ingress_rule,
            _ => &sight.rule,
        };
        let by = if sight.kind == EventKind::Drop { Vec::new() } else { allowed(sight, rule) };
        let (egress_allowed_by, ingress_allowed_by) = if is_egress { (by, Vec::new()) } else { (Vec::new(), by) };
        flow::Flow {
            uuid: uuid(sight, self.number),
            event_type: Some(flow::CiliumEventType { r#type: POLICY_VERDICT, sub_type: 0 }),
            policy_match_type: rule.as_ref().map_or(0, |rule| rule.match_type),
            traffic_direction: self.end as i32,
            egress_allowed_by,
            ingress_allowed_by,
            policy_log: logs([rule]),
            // Where the packet was, and how its flow ended with it, is told by its own event.
            trace_observation_point: flow::TraceObservationPoint::UnknownPoint as i32,
            trace_reason: flow::TraceReason::Unknown as i32,
            extensions: None,
            ..to_flow(sight)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::names::{Denying, Names, RuleFacts};
    use crate::events::sight::tests::{pod, seen};
    use datapath_layouts::event::event_flags::{INGRESS, REPLY};
    use datapath_layouts::policy::Direction;
    use datapath_layouts::{Address, DropReason, Event};
    use flow::Verdict;
    use policy::told::Named;
    use std::collections::HashSet;
    use std::sync::atomic::Ordering::Relaxed;

    const CLIENT: Address = Address::from_v4([10, 244, 1, 2]);

    fn named(name: &str) -> Named {
        let field = Some("spec.egress[0]".to_owned());
        Named { kind: "NetworkPolicy".into(), namespace: "shop".into(), name: name.into(), field }
    }

    /// The rule 8 is of a policy that wants nothing told.
    fn log_of(number: u32) -> Option<Arc<str>> {
        (number != 8).then(|| format!("log {number}").into())
    }

    fn names() -> Names {
        let mut names = Names::of_node("worker-1".into());
        names.who.insert(CLIENT, pod("shop", "client"));
        for (number, name, match_type) in [(7, "out", 1), (8, "in", 2), (9, "shut", 3)] {
            let uid = Some("17-4".into());
            let facts = RuleFacts { name: named(name), match_type, log: log_of(number), uid };
            names.rules.insert(number, Arc::new(facts));
        }
        let closed = Denying::from_iter([(named("closed"), Some("17-5".into()))]);
        names.default_deny.insert((301, Direction::Ingress), Arc::new(closed));
        names
    }

    fn event(kind: EventKind) -> Event {
        Event {
            kind: kind as u8,
            source: CLIENT,
            destination: Address::from_v4([10, 244, 1, 3]),
            source_identity: 300,
            destination_identity: 301,
            source_port: 40_000,
            destination_port: 80,
            protocol: 6,
            tcp_flags: 2,
            flags: INGRESS,
            point: 101,
            ..Event::ZERO
        }
    }

    fn told(event: &Event) -> Vec<flow::Flow> {
        judged(&Arc::new(seen(event, &names()))).map(|one| one.tell()).collect()
    }

    /// Direction, match type, and who allowed it out, in, and denied it out, in.
    fn said(event: &Event) -> Vec<(TrafficDirection, u32, [String; 4])> {
        let names = |by: &[flow::Policy]| by.iter().map(|one| one.name.clone()).collect::<Vec<_>>().join(" ");
        let of = |flow: flow::Flow| {
            let (out, into) = (&flow.egress_allowed_by, &flow.ingress_allowed_by);
            let by = [out, into, &flow.egress_denied_by, &flow.ingress_denied_by].map(|by| names(by));
            (flow.traffic_direction(), flow.policy_match_type, by)
        };
        told(event).into_iter().map(of).collect()
    }

    #[test]
    fn a_connection_that_rules_let_pass_is_told_for_each_end() {
        use TrafficDirection::{Egress, Ingress};
        let by = |end, kind, at: usize, name: &str| {
            let mut by: [String; 4] = Default::default();
            by[at] = name.to_owned();
            (end, kind, by)
        };
        let begins =
            |rule, egress_rule, ingress_rule| Event { rule, egress_rule, ingress_rule, ..event(EventKind::NewFlow) };
        assert_eq!(said(&begins(8, 7, 8)), [by(Egress, 1, 0, "out"), by(Ingress, 2, 1, "in")]);
        assert_eq!(said(&begins(7, 7, 0)), [by(Egress, 1, 0, "out")]);
        assert_eq!(said(&begins(8, 0, 8)), [by(Ingress, 2, 1, "in")]);
        assert_eq!(said(&begins(99, 0, 99)), [by(Ingress, 0, 1, "")], "a rule that has gone");
        assert_eq!(said(&begins(0, 0, 0)), [], "no rule was asked");
        // What was held back goes on.
        assert_eq!(said(&begins(8, 0, 0)), [by(Ingress, 2, 1, "in")]);
        assert_eq!(said(&Event { flags: 0, ..begins(7, 0, 0) }), [by(Egress, 1, 0, "out")]);
        let flow = told(&begins(8, 0, 8)).remove(0);
        assert_eq!((flow.verdict(), flow.is_reply, flow.drop_reason), (Verdict::Forwarded, Some(false), 0));
        assert_eq!((flow.trace_observation_point, flow.trace_reason), (0, 0));
        assert_eq!(flow.event_type.unwrap(), flow::CiliumEventType { r#type: 5, sub_type: 0 });
        assert_eq!((flow.summary.as_str(), flow.source.unwrap().pod_name.as_str()), ("TCP Flags: SYN", "client"));
    }

    #[test]
    fn each_end_has_what_its_own_policy_wants_told() {
        let logs = |event: Event| told(&event).into_iter().map(|flow| flow.policy_log.join(" ")).collect::<Vec<_>>();
        let begins = Event { rule: 8, egress_rule: 7, ingress_rule: 8, ..event(EventKind::NewFlow) };
        assert_eq!(logs(begins), ["log 7", ""]);
        assert_eq!(logs(Event { ingress_rule: 9, rule: 9, ..begins }), ["log 7", "log 9"]);
        let denied = Event { reason: DropReason::PolicyDeny as u8, rule: 9, ..event(EventKind::Drop) };
        assert_eq!(logs(denied), ["log 9"]);
        assert_eq!(logs(Event { reason: DropReason::PolicyDenied as u8, rule: 0, ..denied }), [""]);
    }

    #[test]
    fn a_packet_that_policy_dropped_is_told_at_the_end_that_was_asked() {
        use TrafficDirection::{Egress, Ingress};
        let dropped = |reason, rule, flags| Event { reason: reason as u8, rule, flags, ..event(EventKind::Drop) };
        let denied = |end, kind, at: usize, name: &str| {
            let mut by: [String; 4] = Default::default();
            by[at] = name.to_owned();
            vec![(end, kind, by)]
        };
        assert_eq!(said(&dropped(DropReason::PolicyDenied, 0, INGRESS)), denied(Ingress, 0, 3, "closed"));
        assert_eq!(said(&dropped(DropReason::PolicyDeny, 9, 0)), denied(Egress, 3, 2, "shut"));
        assert_eq!(said(&dropped(DropReason::PolicyDeny, 9, INGRESS | REPLY)), denied(Egress, 3, 2, "shut"));
        assert_eq!(said(&dropped(DropReason::NoBackend, 0, 0)), [], "no policy's");
        let flow = told(&dropped(DropReason::PolicyDenied, 0, INGRESS)).remove(0);
        assert_eq!((flow.verdict(), flow.drop_reason, flow.is_reply), (Verdict::Dropped, 133, None));
        assert_eq!((flow.event_type.unwrap().r#type, flow.extensions), (5, None), "it ends once");
    }

    #[test]
    fn each_policy_is_told_with_its_object_and_the_revision() {
        let mut names = names();
        names.revision.clock = 42;
        names.revision.stands.store(true, Relaxed);
        let told = |event: &Event| judged(&Arc::new(seen(event, &names))).map(|one| one.tell()).collect::<Vec<_>>();
        let uid = |policy: &flow::Policy| {
            let uid = policy.labels.iter().find_map(|label| label.strip_prefix("k8s:io.cilium.k8s.policy.uid="));
            (uid.unwrap().to_owned(), policy.revision)
        };
        let begins = Event { rule: 8, egress_rule: 7, ingress_rule: 8, ..event(EventKind::NewFlow) };
        let flows = told(&begins);
        assert_eq!(uid(&flows[0].egress_allowed_by[0]), ("17-4".to_owned(), 42));
        assert_eq!(uid(&flows[1].ingress_allowed_by[0]), ("17-4".to_owned(), 42));
        let denied = Event { reason: DropReason::PolicyDenied as u8, ..event(EventKind::Drop) };
        assert_eq!(uid(&told(&denied)[0].ingress_denied_by[0]), ("17-5".to_owned(), 42));
    }

    #[test]
    fn nothing_else_is_told_and_each_is_itself() {
        let all = |kind| Event { rule: 7, egress_rule: 7, ingress_rule: 8, ..event(kind) };
        for kind in [EventKind::EndOfFlow, EventKind::Trace, EventKind::Audit] {
            assert_eq!(said(&all(kind)), [], "{kind:?}");
        }
        let sight = Arc::new(seen(&all(EventKind::NewFlow), &names()));
        let mut ids: Vec<String> = judged(&sight).map(|one| one.tell().uuid).collect();
        ids.push(to_flow(&sight).uuid);
        assert_eq!((ids.len(), ids.iter().collect::<HashSet<_>>().len()), (3, 3), "{ids:?}");
        assert!(judged(&sight).all(|one| one.namespaces() == ["shop", ""]));
    }
}
