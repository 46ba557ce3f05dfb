//! Why a packet died, and what would let it pass, by what agents tell of it. Pure.

use super::visits::Visit;
use crate::advice::{Dropped, End, Origin};
use agent::events::{Kind, Party, Record, Way};
use datapath_layouts::DropReason;

/// An end by its best name.
pub fn party(party: &Party) -> String {
    let address = party.socket();
    match (&party.pod, &party.node) {
        (Some(pod), _) => format!("Pod {pod} ({address})"),
        (None, Some(node)) => format!("node {node} ({address})"),
        (None, None) => match &party.identity_name {
            Some(name) => format!("{name} ({address})"),
            None => address.to_string(),
        },
    }
}

/// Where the packet came to that node.
pub fn place_of(visit: &Visit) -> &str {
    visit.first().map_or("", |record| &record.point)
}

/// The reason with who is responsible for it.
pub fn reason(record: &Record) -> String {
    let name = record.drop_reason.as_deref().unwrap_or("no reason given");
    record.blame().map_or_else(|| name.to_owned(), |blame| format!("{name} by {blame}"))
}

/// Whether it is a call that the socket hook refused, and no packet: that ran on no device.
pub fn is_call(record: &Record) -> bool {
    record.kind == Kind::Drop && record.interface.index == 0
}

/// Where and why, in one sentence.
pub fn death(record: &Record) -> String {
    if is_call(record) {
        let (node, to) = (&record.node, record.destination.socket());
        return format!("refused on node {node} at the socket, before any packet to {to}: {}", reason(record));
    }
    format!("dropped on node {} ({}): {}", record.node, record.point, reason(record))
}

/// How a connection that was answered ended.
pub const fn ending(way: Way) -> &'static str {
    match way {
        Way::Closed => "closed by both ends",
        Way::RefusedByServer => "refused by the server",
        Way::NoBackends => "ended for lack of backends",
        Way::NoSuchPort => "ended at a port that no Service has",
        Way::DeniedAtSource => "denied at the client's end",
        Way::DeniedAtDestination => "denied at the server's end",
        Way::ResetBySource => "reset by the client",
        Way::ResetByDestination => "reset by the server",
        Way::TimedOut => "forgotten, because nobody spoke any more",
        Way::PeerGone => "ended with the Pod at one of its ends",
        Way::Idle => "over when nobody spoke any more",
    }
}

/// What would let it pass.
pub fn remedy(record: &Record) -> String {
    crate::advice::remedy(&dropped(record))
}

fn dropped(record: &Record) -> Dropped {
    let server = if record.reply { &record.source } else { &record.destination };
    let name = record.drop_reason.as_deref();
    let of_record = record.service.as_ref().and_then(|service| service.name.as_ref());
    let end = |one: &Party| End { name: party(one), address: one.address.to_string() };
    Dropped {
        reason: DropReason::ALL.iter().copied().find(|reason| Some(reason.name()) == name),
        node: record.node.to_string(),
        origin: if record.point == "from-endpoint" { Origin::Pod } else { Origin::Network },
        sender: end(&record.source),
        receiver: end(&record.destination),
        is_reply: record.reply,
        is_ingress: record.ingress,
        protocol: record.protocol.clone(),
        // That of ICMP is an id.
        port: record.icmp.is_none().then_some(server.port),
        service: of_record.or(server.service.as_ref()).map(ToString::to_string),
        rule: record.decided_by.as_ref().map(ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{BACKEND, CLIENT, event};
    use super::*;

    #[test]
    fn advice_is_about_initiator_and_responder_whoever_sent_the_packet() {
        let denied = |from, to, ingress, reply| {
            let record = event("worker-1", "from-overlay", 0, from, to, &["ACK"]);
            let drop_reason = Some("POLICY_DENIED".to_owned());
            remedy(&Record { kind: Kind::Drop, drop_reason, ingress, reply, ..record })
        };
        let into = "an ingress rule for Pod default/pod-10.244.1.2 (10.244.1.2:8080) that allows TCP 8080 from";
        let out = "that allows TCP 8080 to Pod default/pod-10.244.1.2";
        let told = denied(CLIENT, BACKEND, true, false);
        assert!(told.starts_with(into) && told.ends_with(CLIENT), "{told}");
        assert!(denied(BACKEND, CLIENT, false, true).starts_with(into), "an answer that goes out of the responder");
        let told = denied(CLIENT, BACKEND, false, false);
        assert!(told.starts_with(&format!("an egress rule for {CLIENT}")) && told.contains(out), "{told}");
        let told = denied(BACKEND, CLIENT, true, true);
        assert!(told.starts_with(&format!("an egress rule for {CLIENT}")) && told.contains(out), "{told}");
    }

    #[test]
    fn every_way_to_die_has_its_advice() {
        let died = |reason: &str, point| {
            let record = event("worker-1", point, 0, CLIENT, BACKEND, &["SYN"]);
            remedy(&Record { kind: Kind::Drop, drop_reason: Some(reason.to_owned()), ..record })
        };
        let unknown = died("REASON_99", "from-network");
        assert!(unknown.starts_with("nothing that this command knows"), "{unknown}");
        for reason in DropReason::ALL {
            for point in ["from-endpoint", "from-network", "from-overlay"] {
                let told = died(reason.name(), point);
                assert!(!told.is_empty() && told != unknown, "{reason:?}");
            }
        }
        for (reason, words) in [
            ("POLICY_DENY", "policies without the rule, which denies TCP 8080 from 172.18.0.1:40000 to Pod default/"),
            ("NO_LOCAL_BACKEND", "a ready endpoint of the Service on node worker-1, or traffic policy Cluster"),
            ("DENIED_BY_LB_SRC_RANGE_CHECK", "172.18.0.1 in the loadBalancerSourceRanges of the Service"),
            ("IS_A_CLUSTERIP", "a port that the Service has: TCP 8080 is none"),
            ("NO_MATCHING_LOCAL_CONTAINER_FOUND", "a Pod with address 10.244.1.2 on node worker-1, which has none"),
            ("NO_MAPPING_FOR_NAT_MASQUERADE", "a free port of its --nat-port-range towards 10.244.1.2"),
            ("INVALID_SOURCE_IP", "172.18.0.1:40000 at the node that it came from"),
        ] {
            let told = died(reason, "from-network");
            assert!(told.contains(words), "{reason}: {told}");
        }
        let own = died("INVALID_SOURCE_IP", "from-endpoint");
        assert!(own.contains("the Pod's interface"), "{own}");
    }
}
