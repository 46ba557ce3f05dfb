//! Why a packet died, and what would let it pass. Pure.

use super::visits::Visit;
use agent::events::{Kind, Party, Record, Way};

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
    // Rules are about the initiator and the responder, whichever of them sent this packet.
    let (client, server) = match record.reply {
        false => (&record.source, &record.destination),
        true => (&record.destination, &record.source),
    };
    let (from, to) = (party(client), party(server));
    let port = format!("{} {}", record.protocol, server.port);
    match record.drop_reason.as_deref().unwrap_or_default() {
        // The end that was judged is the receiver of this packet, or its sender.
        "POLICY_DENIED" if record.ingress != record.reply => {
            format!("an ingress rule for {to} that allows {port} from {from}")
        }
        "POLICY_DENIED" => format!("an egress rule for {from} that allows {port} to {to}"),
        "POLICY_DENY" => format!("{} without the rule that denies {port} from {from} to {to}", named(record)),
        "SERVICE_BACKEND_NOT_FOUND" => {
            let service = service(record);
            format!("a ready endpoint of {service}: a Pod that its selector finds and that is Ready")
        }
        "NO_LOCAL_BACKEND" => {
            format!("a ready endpoint of {} on this node, or traffic policy Cluster", service(record))
        }
        "DENIED_BY_LB_SRC_RANGE_CHECK" => {
            format!("{} in the Service's loadBalancerSourceRanges", client.address)
        }
        "IS_A_CLUSTERIP" => "a port that the Service has".to_owned(),
        "TTL_EXCEEDED" => "a packet with a larger TTL".to_owned(),
        "PACKET_TOO_BIG" => "smaller packets: the sender was told the size that passes".to_owned(),
        "INVALID_SOURCE_IP" | "INVALID_SOURCE_MAC" => "the address that its interface was given".to_owned(),
        _ => "nothing that this command knows: `malla monitor --type drop` shows its like".to_owned(),
    }
}

fn named(record: &Record) -> String {
    record.decided_by.as_ref().map_or_else(|| "the policies".to_owned(), ToString::to_string)
}

fn service(record: &Record) -> String {
    let of_record = record.service.as_ref().and_then(|service| service.name.as_ref());
    let name = of_record.or(record.destination.service.as_ref());
    name.map_or_else(|| "the Service".to_owned(), |name| format!("Service {name}"))
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
}
