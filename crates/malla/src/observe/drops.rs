//! A dropped flow, as advice on it needs it. What a mask left out is not known.

use crate::advice::{Dropped, End, Origin};
use datapath_layouts::{DropReason, identity};
use flow_api::flow::{Endpoint, Flow, Policy, TrafficDirection, Verdict};
use flow_api::transport::Transport;
use model::ObjectName;

/// `None`: it was not dropped.
pub fn dropped(flow: &Flow) -> Option<Dropped> {
    match flow.verdict() {
        Verdict::Dropped => {}
        // The verdict may have been left out.
        Verdict::Unknown if flow.drop_reason_desc != 0 => {}
        _ => return None,
    }
    let is_reply = flow.is_reply == Some(true);
    let transport = Transport::of(flow);
    let port = |one: Transport| (!one.is_icmp()).then(|| one.port(is_reply)).filter(|port| *port != 0);
    let of_server = if is_reply { &flow.source_service } else { &flow.destination_service };
    let service = of_server.as_ref().map(|one| ObjectName::new(&one.namespace, &one.name).to_string());
    let ip = flow.ip.as_ref();
    Some(Dropped {
        reason: u8::try_from(flow.drop_reason_desc).ok().and_then(DropReason::from_number),
        node: flow.node_name.clone(),
        // At which point a packet was dropped is not told. What came by the tunnel has one; what was to go into one, too, but has passed
        // the checks by then whose advice asks for this.
        origin: if flow.tunnel.is_some() { Origin::Network } else { Origin::Unknown },
        sender: end(flow.source.as_ref(), ip.map(|ip| ip.source.as_str()), &flow.source_names),
        receiver: end(flow.destination.as_ref(), ip.map(|ip| ip.destination.as_str()), &flow.destination_names),
        is_reply,
        is_ingress: flow.traffic_direction() == TrafficDirection::Ingress,
        protocol: transport.map_or_else(|| "this protocol".to_owned(), |one| one.name().to_uppercase()),
        port: transport.and_then(port),
        service: service.filter(|name| !name.is_empty()),
        rule: flow.egress_denied_by.iter().chain(&flow.ingress_denied_by).map(policy).next(),
    })
}

/// Without its port, which is another one at the client's next attempt.
fn end(endpoint: Option<&Endpoint>, address: Option<&str>, names: &[String]) -> End {
    let address = address.filter(|address| !address.is_empty()).unwrap_or(UNTOLD).to_owned();
    let reserved = endpoint.map(|one| one.identity).filter(|number| *number != identity::UNKNOWN);
    let reserved = reserved.and_then(identity::reserved_name);
    let name = match endpoint {
        Some(pod) if !pod.pod_name.is_empty() => {
            format!("Pod {} ({address})", ObjectName::new(&pod.namespace, &pod.pod_name))
        }
        _ => match names.first().map(String::as_str).or(reserved) {
            Some(name) => format!("{name} ({address})"),
            None => address.clone(),
        },
    };
    End { name, address }
}

fn policy(policy: &Policy) -> String {
    format!("{} {}", policy.kind, ObjectName::new(&policy.namespace, &policy.name)).trim_start().to_owned()
}

/// In place of an address.
const UNTOLD: &str = "(not told)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::remedy;
    use flow_api::flow::layer4::Protocol;
    use flow_api::flow::{IcmPv4, Ip, Layer4, Service, Tcp, Tunnel};

    fn flow(reason: DropReason) -> Flow {
        let pod = Endpoint { namespace: "shop".to_owned(), pod_name: "web".to_owned(), ..Endpoint::default() };
        let tcp = Tcp { source_port: 40000, destination_port: 80, flags: None };
        Flow {
            verdict: Verdict::Dropped as i32,
            drop_reason_desc: reason as i32,
            node_name: "worker-1".to_owned(),
            ip: Some(Ip { source: "10.0.0.1".to_owned(), destination: "192.0.2.7".to_owned(), ..Ip::default() }),
            source: Some(pod),
            destination: Some(Endpoint { identity: identity::WORLD, ..Endpoint::default() }),
            l4: Some(Layer4 { protocol: Some(Protocol::Tcp(tcp)) }),
            ..Flow::default()
        }
    }

    fn advised(flow: &Flow) -> String {
        remedy(&dropped(flow).unwrap())
    }

    #[test]
    fn what_a_flow_tells_is_in_the_advice() {
        let service = Some(Service { name: "cart".to_owned(), namespace: "shop".to_owned() });
        let unserved = Flow { destination_service: service.clone(), ..flow(DropReason::ServiceAddress) };
        assert_eq!(advised(&unserved), "a port that Service shop/cart has: TCP 80 is none");
        let from = |reason| dropped(&flow(reason)).unwrap();
        let known = from(DropReason::NoBackend);
        assert_eq!(
            (known.sender.name.as_str(), known.sender.address.as_str()),
            ("Pod shop/web (10.0.0.1)", "10.0.0.1")
        );
        assert_eq!((known.receiver.name.as_str(), known.node.as_str()), ("world (192.0.2.7)", "worker-1"));
        let ping = Protocol::IcmPv4(IcmPv4 { r#type: 8, code: 0 });
        let ping = Flow { l4: Some(Layer4 { protocol: Some(ping) }), ..flow(DropReason::PolicyDenied) };
        let into = Flow { traffic_direction: TrafficDirection::Ingress as i32, ..ping.clone() };
        assert_eq!(advised(&ping), "an egress rule for Pod shop/web (10.0.0.1) that allows ICMP to world (192.0.2.7)");
        assert!(advised(&into).starts_with("an ingress rule for world (192.0.2.7) that allows ICMP from Pod"));
        // A reply's Service and port are those of its sender.
        let back = Flow { is_reply: Some(true), source_service: service, ..flow(DropReason::SourceRange) };
        assert_eq!(advised(&back), "192.0.2.7 in the loadBalancerSourceRanges of Service shop/cart");
        assert_eq!(dropped(&back).unwrap().port, Some(40000));
        let denied = Policy {
            kind: "CiliumNetworkPolicy".into(),
            namespace: "shop".into(),
            name: "no".into(),
            ..Policy::default()
        };
        let denied = Flow { l4: None, ingress_denied_by: vec![denied], ..flow(DropReason::PolicyDeny) };
        assert!(
            advised(&denied).starts_with("policies without CiliumNetworkPolicy shop/no, which denies this protocol")
        );
        let node = Flow { destination_names: vec!["worker-2".to_owned()], ..flow(DropReason::NoNextHop) };
        assert_eq!(dropped(&node).unwrap().receiver.name, "worker-2 (192.0.2.7)");
        let tunnelled = Flow { tunnel: Some(Tunnel::default()), ..flow(DropReason::InvalidSourceIp) };
        assert_eq!(dropped(&tunnelled).unwrap().origin, Origin::Network);
    }

    #[test]
    fn only_what_was_dropped_is_and_masks_leave_little_to_tell() {
        for verdict in [Verdict::Forwarded, Verdict::Audit, Verdict::Redirected, Verdict::Unknown] {
            let passed = Flow { verdict: verdict as i32, drop_reason_desc: 0, ..flow(DropReason::NoBackend) };
            assert_eq!(dropped(&passed), None, "{verdict:?}");
        }
        let masked = Flow { drop_reason_desc: DropReason::NoLocalEndpoint as i32, ..Flow::default() };
        assert!(advised(&masked).starts_with("a Pod with address (not told)"));
        let elsewhere = Flow { drop_reason_desc: 136, ..flow(DropReason::NoBackend) };
        assert_eq!(dropped(&elsewhere).unwrap().reason, None, "another datapath's reason");
    }
}
