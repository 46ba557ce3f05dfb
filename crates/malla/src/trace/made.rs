//! Events made by hand, for tests.

use agent::events::{Kind, Record};
use std::net::SocketAddr;

pub const CLIENT: &str = "172.18.0.1:40000";
pub const NODE_PORT: &str = "172.18.0.2:30080";
pub const BACKEND: &str = "10.244.1.2:8080";

/// Of the addresses here, one is a node's.
fn node_of(address: &SocketAddr) -> Option<&'static str> {
    (address.ip().to_string() == "172.18.0.2").then_some("control-plane")
}

/// A trace event; the time in microseconds after a whole second.
pub fn event(node: &str, point: &str, time: u64, from: &str, to: &str, flags: &[&str]) -> Record {
    let party = |text: &str| {
        let address: SocketAddr = text.parse().unwrap();
        let pod = address.ip().to_string().starts_with("10.244.");
        let pod = pod.then(|| serde_json::json!({"namespace": "default", "name": format!("pod-{}", address.ip())}));
        serde_json::json!({"address": address.ip(), "port": address.port(), "identity": 2, "pod": pod, "node": node_of(&address)})
    };
    serde_json::from_value(serde_json::json!({
        "time_us": 2_000_000 + time, "node": node, "kind": "trace", "verdict": "TRACED", "point": point,
        "ingress": point == "to-endpoint", "reply": false, "related": false, "fragment": false,
        "source": party(from), "destination": party(to), "protocol": "TCP", "tcp_flags": flags, "length": 60,
        "interface": {"index": 2}, "rule": 0, "cpu": 0, "followed": 1
    }))
    .unwrap()
}

/// The same event as the opening of a flow.
pub fn opening(record: &Record) -> Record {
    Record { kind: Kind::Flow, ..record.clone() }
}

/// A SYN to a NodePort on control-plane, whose backend is on worker-1: what each node told.
pub fn syn_over_vxlan() -> [Vec<Record>; 2] {
    let service =
        serde_json::json!({"address": "172.18.0.2", "port": 30080, "name": {"namespace": "default", "name": "spink"}});
    let came = event("control-plane", "from-network", 10, CLIENT, NODE_PORT, &["SYN"]);
    let mut left = event("control-plane", "to-overlay", 20, CLIENT, BACKEND, &["SYN"]);
    left.service = serde_json::from_value(service).unwrap();
    left.tunnel = Some([172, 18, 0, 3].into());
    let there = event("worker-1", "from-overlay", 30, CLIENT, BACKEND, &["SYN"]);
    let mut delivered = event("worker-1", "to-endpoint", 40, CLIENT, BACKEND, &["SYN"]);
    delivered.tunnel = Some([172, 18, 0, 2].into());
    [vec![came, opening(&left), left], vec![there, opening(&delivered), delivered]]
}

/// The SYN ACK's way back.
pub fn answer_over_vxlan() -> [Vec<Record>; 2] {
    let reply = |mut record: Record| {
        record.reply = true;
        record
    };
    let flags = &["SYN", "ACK"];
    let out = event("worker-1", "from-endpoint", 50, BACKEND, CLIENT, flags);
    let left = reply(event("worker-1", "to-overlay", 60, BACKEND, CLIENT, flags));
    let came = event("control-plane", "from-overlay", 70, BACKEND, CLIENT, flags);
    let back = reply(event("control-plane", "to-network", 80, NODE_PORT, CLIENT, flags));
    [vec![came, back], vec![out, left]]
}
