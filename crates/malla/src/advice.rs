//! Why a packet was dropped, in words, and what would let it pass. Pure: whoever has seen the drop says what is known of it.

use datapath_layouts::DropReason;

/// A dropped packet, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// `None`: none that this datapath gives.
    pub reason: Option<DropReason>,
    /// Where it was dropped.
    pub node: String,
    pub origin: Origin,
    pub sender: End,
    pub receiver: End,
    /// From responder to initiator.
    pub is_reply: bool,
    /// The receiver's end was judged, not the sender's.
    pub is_ingress: bool,
    /// As people write it.
    pub protocol: String,
    /// The responder's; `None`: the protocol has none, or it is not known.
    pub port: Option<u16>,
    /// The Service that the initiator asked for, by its name.
    pub service: Option<String>,
    /// What denied it, by its name.
    pub rule: Option<String>,
}

/// One end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its best name, with its address.
    pub name: String,
    pub address: String,
}

/// Where the packet had come from when it was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Pod of this node.
    Pod,
    /// Another machine.
    Network,
    /// That was not told.
    Unknown,
}

impl Dropped {
    /// `TCP 8080`.
    fn asked(&self) -> String {
        self.port.map_or_else(|| self.protocol.clone(), |port| format!("{} {port}", self.protocol))
    }

    fn service(&self) -> String {
        self.service.as_ref().map_or_else(|| "the Service".to_owned(), |name| format!("Service {name}"))
    }
}

/// Why, in words, as the end of "it was dropped, because …".
pub const fn cause(reason: DropReason) -> &'static str {
    match reason {
        DropReason::InvalidSourceMac => "the frame came from a MAC address that is not its sender's",
        DropReason::InvalidSourceIp => "the sender does not have the address that it gives",
        DropReason::PolicyDenied => "no policy allows it",
        DropReason::PolicyDeny => "a policy denies it",
        DropReason::InvalidPacket => "a header contradicts itself",
        DropReason::Truncated => "it ends before its headers do",
        DropReason::UnknownL4Protocol => "its protocol is none that can be followed, or that policy can name",
        DropReason::UnsupportedL3Protocol => "it is neither IPv4 nor IPv6",
        DropReason::WriteError => "the kernel could not write into it",
        DropReason::NoTunnelKey => "it came by the tunnel without what tunnels tell",
        DropReason::UnknownTarget => "no route leads to its destination",
        DropReason::StaleOrUnroutable => "its destination is gone, or is none that anything can be sent to",
        DropReason::NoLocalEndpoint => "the node has no Pod with the address of its destination",
        DropReason::L3Checksum => "the checksum of its IP header could not be corrected",
        DropReason::L4Checksum => "the checksum of its transport could not be corrected",
        DropReason::ConntrackInsert => "the connection table took no entry for it",
        DropReason::InvalidExtensionHeader => "it has an IPv6 extension header that is malformed or forbidden",
        DropReason::NoBackend => "the Service has no backend",
        DropReason::NoTunnelEndpoint => "no tunnel leads to the node of its destination",
        DropReason::NoNatMapping => "masquerade found no free port for it",
        DropReason::NatProtocol => "masquerade can't translate its protocol",
        DropReason::NoNextHop => "no next hop to its destination is known",
        DropReason::TunnelFromPod => "a Pod sent a tunnel's packet itself",
        DropReason::InvalidIdentity => "the identity that it came with can't be its sender's",
        DropReason::UnknownSender => "it came by the tunnel from an address that is no node's",
        DropReason::ServiceAddress => "nothing serves this port of the Service's address",
        DropReason::FragmentWithoutFirst => "a later fragment came without the first",
        DropReason::ForbiddenIcmpv6 => "no Pod may send such a neighbour or router message",
        DropReason::SourceRange => "the client's address is in none of the Service's source ranges",
        DropReason::InvalidVni => "it came by the tunnel of another kind of network",
        DropReason::TtlExceeded => "its time to live ran out",
        DropReason::PacketTooBig => "it is larger than the way allows",
        DropReason::NoLocalBackend => "traffic policy is Local, and the Service's endpoints are all on other nodes",
    }
}

/// What would let it pass. Every reason that the programs know has an answer.
pub fn remedy(dropped: &Dropped) -> String {
    // Rules are about the initiator and the responder, whichever of them sent this packet.
    let (client, server) = match dropped.is_reply {
        false => (&dropped.sender, &dropped.receiver),
        true => (&dropped.receiver, &dropped.sender),
    };
    let (from, to, asked, service) = (&client.name, &server.name, dropped.asked(), dropped.service());
    let (node, sender, target) = (&dropped.node, &dropped.sender.name, &dropped.receiver.address);
    let Some(reason) = dropped.reason else {
        return "nothing that this command knows: `malla monitor --type drop` shows its like".to_owned();
    };
    match reason {
        // The end that was judged is the receiver of this packet, or its sender.
        DropReason::PolicyDenied if dropped.is_ingress != dropped.is_reply => {
            format!("an ingress rule for {to} that allows {asked} from {from}")
        }
        DropReason::PolicyDenied => format!("an egress rule for {from} that allows {asked} to {to}"),
        DropReason::PolicyDeny => {
            let rule = dropped.rule.as_deref().unwrap_or("the rule");
            format!("policies without {rule}, which denies {asked} from {from} to {to}")
        }
        DropReason::NoBackend => {
            format!("a ready endpoint of {service}: a Pod that its selector finds and that is Ready")
        }
        DropReason::NoLocalBackend => {
            format!("a ready endpoint of {service} on node {node}, or traffic policy Cluster")
        }
        DropReason::SourceRange => format!("{} in the loadBalancerSourceRanges of {service}", client.address),
        DropReason::ServiceAddress => format!("a port that {service} has: {asked} is none"),
        DropReason::TtlExceeded => format!("a packet with a larger TTL: it was used up on node {node}"),
        DropReason::PacketTooBig => "smaller packets: the sender was told the size that passes".to_owned(),
        DropReason::InvalidSourceIp => source_address(dropped),
        DropReason::InvalidSourceMac => match dropped.origin {
            Origin::Pod => "frames from the MAC address that the Pod's interface was given".to_owned(),
            Origin::Network => format!("frames from the device of the node that {sender} is at"),
            Origin::Unknown => {
                "frames from the MAC address of the Pod's interface, or of the device of the node that it is at"
                    .to_owned()
            }
        },
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
        DropReason::NatProtocol => format!(
            "TCP, UDP, or an ICMP question: {} has no port under which its answer could be known",
            dropped.protocol
        ),
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

fn source_address(dropped: &Dropped) -> String {
    let (node, sender) = (&dropped.node, &dropped.sender.name);
    match dropped.origin {
        Origin::Pod => "packets from the address that the Pod's interface was given".to_owned(),
        Origin::Network => format!(
            "{sender} at the node that it came from: `malla bpf ipcache --node {node}` says where {node} takes it to be"
        ),
        Origin::Unknown => format!(
            "packets from the address that the Pod's interface was given, or {sender} at the node that it came from: \
             `malla bpf ipcache --node {node}` says where {node} takes it to be"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn dropped(reason: Option<DropReason>, origin: Origin) -> Dropped {
        let end = |address: &str| End { name: format!("Pod a/{address}"), address: address.to_owned() };
        Dropped {
            reason,
            node: "worker-1".to_owned(),
            origin,
            sender: end("10.0.0.1"),
            receiver: end("10.0.0.2"),
            is_reply: false,
            is_ingress: false,
            protocol: "TCP".to_owned(),
            port: Some(80),
            service: None,
            rule: None,
        }
    }

    #[test]
    fn every_reason_has_words_of_its_own_and_advice_wherever_the_packet_came_from() {
        let origins = [Origin::Pod, Origin::Network, Origin::Unknown];
        let unknown = remedy(&dropped(None, Origin::Pod));
        assert!(unknown.starts_with("nothing that this command knows"), "{unknown}");
        for reason in DropReason::ALL.iter().copied() {
            for origin in origins {
                let told = remedy(&dropped(Some(reason), origin));
                assert!(!told.is_empty() && told != unknown, "{reason:?} {origin:?}");
            }
        }
        let causes: BTreeSet<&str> = DropReason::ALL.iter().map(|reason| cause(*reason)).collect();
        assert_eq!(causes.len(), DropReason::ALL.len());
        let sources = origins.map(|origin| remedy(&dropped(Some(DropReason::InvalidSourceIp), origin)));
        assert!(sources[2].contains("Pod's interface") && sources[2].contains("at the node"), "{sources:?}");
        assert_eq!(BTreeSet::from(sources).len(), 3);
    }

    #[test]
    fn what_has_no_port_is_asked_for_by_its_protocol_and_services_and_rules_by_their_names() {
        let ping = Dropped {
            protocol: "ICMPv4".to_owned(),
            port: None,
            ..dropped(Some(DropReason::PolicyDenied), Origin::Pod)
        };
        assert_eq!(remedy(&ping), "an egress rule for Pod a/10.0.0.1 that allows ICMPv4 to Pod a/10.0.0.2");
        let service = Some("shop/cart".to_owned());
        let unserved = Dropped { service, ..dropped(Some(DropReason::ServiceAddress), Origin::Pod) };
        assert_eq!(remedy(&unserved), "a port that Service shop/cart has: TCP 80 is none");
        let rule = Some("CiliumNetworkPolicy shop/no".to_owned());
        let denied = remedy(&Dropped { rule, ..dropped(Some(DropReason::PolicyDeny), Origin::Pod) });
        assert!(denied.starts_with("policies without CiliumNetworkPolicy shop/no, which denies TCP 80"), "{denied}");
    }
}
