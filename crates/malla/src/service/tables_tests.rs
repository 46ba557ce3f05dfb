use super::*;
use serde_json::json;

fn view(external_policy: &str) -> View {
    serde_json::from_value(json!({
        "service": {"namespace": "default", "name": "spink"}, "kind": "NodePort", "cluster_addresses": ["10.96.0.7"],
        "external_addresses": [], "balancer_addresses": [], "internal_policy": "Cluster",
        "external_policy": external_policy, "algorithm": "default", "weights": "node/worker-2=0", "forwarding": "entry",
        "affinity_seconds": 60,
        "source_ranges": ["203.0.113.0/24"],
        "ports": [{"name": "", "protocol": "Tcp", "port": 80, "node_port": 30080, "family": "V4", "cluster_row": 1,
            "endpoints": [
                {"address": "10.244.1.2", "port": 8080, "node": "worker-1", "pod": {"namespace": "default", "name": "a"},
                    "local": true, "cluster": "serves", "here": "serves"},
                {"address": "10.244.2.2", "port": 8080, "node": "worker-2", "local": false, "weight": 0, "cluster": "without-weight",
                    "here": "elsewhere"},
            ]}]
    }))
    .unwrap()
}

#[test]
fn a_list_counts_those_that_serve() {
    let text = list(&[view("Cluster")]);
    assert!(text.contains("default/spink") && text.contains("80:30080/TCP") && text.contains("1 of 2"), "{text}");
}

#[test]
fn endpoints_say_why_they_serve_or_not() {
    let nodes = |policy: &str| vec![NodeServices { node: "worker-1".into(), services: vec![view(policy)] }];
    let text = get(&nodes("Cluster"));
    assert!(text.contains("Source ranges     203.0.113.0/24") && text.contains("ClientIP, 60 s"), "{text}");
    assert!(
        text.contains("Weights           node/worker-2=0")
            && text.contains("0       weight 0: keeps its connections, gets no new ones")
            && !text.contains("(from outside"),
        "{text}"
    );
    let text = backends(&nodes("Local"));
    assert!(text.contains("(from outside: left out: on another node, and the traffic policy is Local)"), "{text}");
}
