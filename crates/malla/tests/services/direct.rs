//! Direct server return: the answer of an endpoint on another node does not come by the node at which its client entered.

use crate::cluster::Cluster;
use crate::{DIRECT, FAMILIES, Fate, Findings, NODES, OUTSIDE, OUTSIDE_ADDRESS, cluster_malla, http, text, udp};

/// Requests over one connection each, of which every answer is at least one packet.
const REQUESTS: &str = "100";

/// The endpoint is on worker-1, the client enters at the control plane. The counters there tell which packets passed.
pub fn answers(cluster: &Cluster, family: usize, findings: &mut Findings) {
    let (name, entry) = (FAMILIES[family], NODES[0][family]);
    let by_one = Fate::Answered { servers: 1, seen_as: vec![OUTSIDE_ADDRESS[family].to_owned()] };
    // The same Service without the annotation shows that the counters would tell.
    for (way, node_port, back_here) in [("back through the entry node", 30191, true), ("DSR", 30190, false)] {
        let before = Passed::at_entry(cluster);
        let found = http(cluster, OUTSIDE, entry, node_port, REQUESTS);
        findings.expect(&format!("{name} {way} by NodePort"), found, &by_one);
        let seen = Passed::at_entry(cluster).since(&before);
        findings.check(
            &format!("{name} {way}: requests at the entry node"),
            seen.requests >= 300,
            &format!("{seen:?}"),
        );
        let right = if back_here { seen.answers >= 300 } else { seen.answers < 50 };
        findings.check(&format!("{name} {way}: answers at the entry node"), right, &format!("{seen:?}"));
        findings.expect(&format!("{name} {way}, UDP"), udp(cluster, OUTSIDE, entry, node_port), &by_one);
    }
    let balancer = http(cluster, OUTSIDE, DIRECT[family], 80, "3");
    findings.expect(&format!("{name} DSR by the load balancer's address"), balancer, &by_one);
    let here = http(cluster, OUTSIDE, NODES[1][family], 30190, "3");
    findings.expect(&format!("{name} DSR, entering where the endpoint is"), here, &by_one);
}

/// What passed the control plane so far.
#[derive(Debug)]
struct Passed {
    /// Into the tunnel.
    requests: u64,
    /// Out by the node's device.
    answers: u64,
}

impl Passed {
    fn at_entry(cluster: &Cluster) -> Self {
        let output = cluster_malla(cluster, &["status", "-o", "json", "--node", "control-plane"]);
        let said: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output)));
        let passed = &said["nodes"][0]["status"]["forwarded"];
        let count = |point: &str| passed[point]["packets"].as_u64().unwrap_or(0);
        Self { requests: count("to-overlay"), answers: count("to-network") }
    }

    fn since(&self, before: &Self) -> Self {
        Self { requests: self.requests - before.requests, answers: self.answers - before.answers }
    }
}
