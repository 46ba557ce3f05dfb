//! Why a packet died, and what would let it pass. Pure.

use super::visits::Visit;
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

/// What would let it pass. Every reason that the programs know has an answer.
pub fn remedy(record: &Record) -> String {
    // Rules are about the initiator and the responder, whichever of them sent this packet.
    let (client, server) = match record.reply {
        false => (&record.source, &record.destination),
        true => (&record.destination, &record.source),
    };
    let (from, to) = (party(client), party(server));
    let port = format!("{} {}", record.protocol, server.port);
    let (node, sender, target) = (&record.node, party(&record.source), record.destination.address);
    let name = record.drop_reason.as_deref();
    let Some(reason) = DropReason::ALL.iter().find(|reason| Some(reason.name()) == name) else {
        return "nothing that this command knows: `malla monitor --type drop` shows its like".to_owned();
    };
    match reason {
        // The end that was judged is the receiver of this packet, or its sender.
        DropReason::PolicyDenied if record.ingress != record.reply => {
            format!("an ingress rule for {to} that allows {port} from {from}")
        }
        DropReason::PolicyDenied => format!("an egress rule for {from} that allows {port} to {to}"),
        DropReason::PolicyDeny => {
            format!("policies without {}, which denies {port} from {from} to {to}", named(record))
        }
        DropReason::NoBackend => {
            format!("a ready endpoint of {}: a Pod that its selector finds and that is Ready", service(record))
        }
        DropReason::NoLocalBackend => {
            format!("a ready endpoint of {} on node {node}, or traffic policy Cluster", service(record))
        }
        DropReason::SourceRange => {
            format!("{} in the loadBalancerSourceRanges of {}", client.address, service(record))
        }
        DropReason::ServiceAddress => format!("a port that {} has: {port} is none", service(record)),
        DropReason::TtlExceeded => format!("a packet with a larger TTL: it was used up on node {node}"),
        DropReason::PacketTooBig => "smaller packets: the sender was told the size that passes".to_owned(),
        DropReason::InvalidSourceIp if record.point == "from-endpoint" => {
            "packets from the address that the Pod's interface was given".to_owned()
        }
        DropReason::InvalidSourceIp => format!(
            "{sender} at the node that it came from: `malla bpf ipcache --node {node}` says where {node} takes it to be"
        ),
        DropReason::InvalidSourceMac => "frames from the MAC address that the Pod's interface was given".to_owned(),
        DropReason::NoLocalEndpoint => format!("a Pod with address {target} on node {node}, which has none"),
        DropReason::UnknownTarget | DropReason::NoNextHop => {
            format!("a route of node {node} to {target}, and a next hop there that answers")
        }
        DropReason::StaleOrUnroutable => format!(
            "a flow that node {node} knows, or a destination that is there: {target} has gone, or is multicast, or this \
             answers nobody's question"
        ),
        DropReason::NoTunnelEndpoint => {
            format!("an InternalIP of the node that has {target}: its Node object names none that tunnels can lead to")
        }
        DropReason::NoNatMapping => format!(
            "an address of that family on node {node}, and a free port of its --nat-port-range towards {target}: \
             `malla status -v --node {node}`"
        ),
        DropReason::NatProtocol => {
            format!(
                "TCP, UDP, or an ICMP question: {} has no port under which its answer could be known",
                record.protocol
            )
        }
        DropReason::ConntrackInsert => {
            format!("room in the connection table of node {node}: `malla status -v --node {node}`")
        }
        DropReason::FragmentWithoutFirst => {
            "the first fragment of that datagram, on the same way and before".to_owned()
        }
        DropReason::UnknownL4Protocol => "TCP, UDP, SCTP or ICMP, which policy can name".to_owned(),
        DropReason::UnsupportedL3Protocol => "IPv4 or IPv6".to_owned(),
        DropReason::InvalidExtensionHeader => "eight IPv6 extension headers at most, and none for routing".to_owned(),
        DropReason::InvalidPacket | DropReason::Truncated => {
            format!("whole headers that don't contradict each other: {sender} sent others")
        }
        DropReason::ForbiddenIcmpv6 => "nothing: no Pod has routers or neighbours to tell of".to_owned(),
        DropReason::TunnelFromPod => {
            "another port: what a Pod says to nodes by VXLAN could bear any identity".to_owned()
        }
        DropReason::NoTunnelKey | DropReason::InvalidVni => {
            format!("tunnel packets of Malla's nodes alone: node {node} got one of another network")
        }
        DropReason::InvalidIdentity | DropReason::UnknownSender => format!(
            "a tunnel packet of a node of the cluster, with an identity that it may speak for: `malla bpf ipcache --node {node}`"
        ),
        DropReason::WriteError | DropReason::L3Checksum | DropReason::L4Checksum => {
            format!(
                "nothing in the cluster: the kernel of node {node} could not change the packet, which is worth a report"
            )
        }
    }
}

fn named(record: &Record) -> String {
    record.decided_by.as_ref().map_or_else(|| "the rule".to_owned(), ToString::to_string)
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
