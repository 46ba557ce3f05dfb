//! Numbers that stand in flows, and Cilium's words for them (`pkg/monitor/api`).

use crate::flow::{DropReason, Flow, Verdict};

/// Types of events: `CiliumEventType.type`.
pub mod event {
    /// A packet was dropped.
    pub const DROP: i32 = 1;
    /// For those who debug the datapath.
    pub const DEBUG: i32 = 2;
    /// The same, with a packet.
    pub const CAPTURE: i32 = 3;
    /// A packet passed an observation point.
    pub const TRACE: i32 = 4;
    /// Policy has judged a packet.
    pub const POLICY_VERDICT: i32 = 5;
    /// A socket's address was translated.
    pub const TRACE_SOCK: i32 = 8;
    /// A proxy has seen a request.
    pub const ACCESS_LOG: i32 = 129;
    /// An agent tells of itself.
    pub const AGENT: i32 = 130;
}

/// Types of events by the names that `hubble observe --type` has.
pub const EVENT_TYPES: [(&str, i32); 8] = [
    ("drop", event::DROP),
    ("debug", event::DEBUG),
    ("capture", event::CAPTURE),
    ("trace", event::TRACE),
    ("policy-verdict", event::POLICY_VERDICT),
    ("trace-sock", event::TRACE_SOCK),
    ("l7", event::ACCESS_LOG),
    ("agent", event::AGENT),
];

/// Sub types of traces, from 0 on.
pub const OBSERVATION_POINTS: [&str; 14] = [
    "to-endpoint",
    "to-proxy",
    "to-host",
    "to-stack",
    "to-overlay",
    "from-endpoint",
    "from-proxy",
    "from-host",
    "from-stack",
    "from-overlay",
    "from-network",
    "to-network",
    "from-crypto",
    "to-crypto",
];

/// What of a policy's rule decided (`Flow.policy_match_type`), from 0 on.
pub const MATCH_TYPES: [&str; 7] = ["none", "L3-Only", "L3-L4", "L4-Only", "all", "L3-Proto", "Proto-Only"];

/// Whether it is what policy said of a packet.
#[must_use]
pub fn is_policy_verdict(flow: &Flow) -> bool {
    flow.event_type.is_some_and(|event| event.r#type == event::POLICY_VERDICT)
}

/// Whether it is what policy said of a packet that is told besides as what became of it, passed or dropped: who counts packets or
/// connections leaves it out. Of an audit nothing else need be told.
#[must_use]
pub fn repeats_another(flow: &Flow) -> bool {
    is_policy_verdict(flow) && flow.verdict != Verdict::Audit as i32
}

/// `POLICY_DENIED`; of what is neither Cilium's nor Malla's, the number.
#[must_use]
pub fn drop_reason(number: i32) -> String {
    let own = OWN_REASONS.iter().find(|(own, _)| *own == number).map(|(_, name)| *name);
    let name = own.or_else(|| DropReason::try_from(number).ok().map(|reason| reason.as_str_name()));
    name.map_or_else(|| number.to_string(), ToOwned::to_owned)
}

/// The number of such a name.
#[must_use]
pub fn drop_reason_number(name: &str) -> Option<i32> {
    let own = OWN_REASONS.iter().find(|(_, own)| *own == name).map(|(number, _)| *number);
    own.or_else(|| DropReason::from_str_name(name).map(|reason| reason as i32))
}

/// What Cilium has no number for: Malla's own.
const OWN_REASONS: [(i32, &str); 2] = [(240, "PACKET_TOO_BIG"), (241, "NO_LOCAL_BACKEND")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::CiliumEventType;

    #[test]
    fn a_verdict_repeats_its_packet_and_an_audit_does_not() {
        let flow = |kind, verdict: Verdict| Flow {
            event_type: Some(CiliumEventType { r#type: kind, sub_type: 0 }),
            verdict: verdict as i32,
            ..Flow::default()
        };
        for (kind, verdict, is_verdict, repeats) in [
            (event::POLICY_VERDICT, Verdict::Forwarded, true, true),
            (event::POLICY_VERDICT, Verdict::Dropped, true, true),
            (event::POLICY_VERDICT, Verdict::Audit, true, false),
            (event::DROP, Verdict::Dropped, false, false),
            (event::TRACE, Verdict::Forwarded, false, false),
        ] {
            let flow = flow(kind, verdict);
            assert_eq!((is_policy_verdict(&flow), repeats_another(&flow)), (is_verdict, repeats), "{kind} {verdict:?}");
        }
        assert!(!is_policy_verdict(&Flow::default()));
    }

    #[test]
    fn reasons_have_their_names() {
        for (number, name) in [(133, "POLICY_DENIED"), (181, "POLICY_DENY"), (240, "PACKET_TOO_BIG")] {
            assert_eq!((drop_reason(number).as_str(), drop_reason_number(name)), (name, Some(number)));
        }
        assert_eq!((drop_reason(250).as_str(), drop_reason_number("250")), ("250", None));
    }
}
