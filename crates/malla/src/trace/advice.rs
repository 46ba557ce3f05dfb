//! Why a packet died, and what would let it pass. Pure.

use super::visits::Visit;
use agent::events::{Party, Record};

/// An end by its best name.
pub fn party(party: &Party) -> String {
    let address = std::net::SocketAddr::new(party.address, party.port);
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
    match (&record.decided_by, &*record.default_deny, record.rule) {
        (Some(rule), ..) => format!("{name} by {rule}"),
        (None, [], 0) => name.to_owned(),
        (None, [], number) => format!("{name} by rule {number}, which is not there any more"),
        (None, policies, _) => {
            let policies: Vec<String> = policies.iter().map(ToString::to_string).collect();
            format!("{name} by default deny of {}", policies.join(", "))
        }
    }
}

/// Where and why, in one sentence.
pub fn death(record: &Record) -> String {
    format!("dropped on node {} ({}): {}", record.node, record.point, reason(record))
}

/// What would let it pass.
pub fn remedy(record: &Record) -> String {
    let (from, to) = (party(&record.source), party(&record.destination));
    let port = format!("{} {}", record.protocol, record.destination.port);
    match record.drop_reason.as_deref().unwrap_or_default() {
        "POLICY_DENIED" if record.ingress => format!("an ingress rule for {to} that allows {port} from {from}"),
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
            format!("{} in the Service's loadBalancerSourceRanges", record.source.address)
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
