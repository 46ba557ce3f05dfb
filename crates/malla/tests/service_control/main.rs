//! What people say about Services besides their addresses, with real clients in a whole lab: weights, host ports of Pods,
//! the condition of a Service that is not served whole, and that a NodePort leads to one backend by every node.
//!
//! Needs root, `malla-cni` beside `malla`, curl, and what `make setup` puts under `target/debian` (kubectl).
#![forbid(unsafe_code)]

#[path = "../traffic/cluster.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod cluster;

use std::{collections::BTreeSet, process::Command, time::Duration};

use crate::cluster::{Cluster, From, Report, at, text, wait_until};

const OUTSIDE: From = From::Node("outside");
const PATIENCE: Duration = Duration::from_secs(20);
/// control-plane, worker-1, worker-2.
const NODES: [[&str; 2]; 3] = [
    ["172.18.0.2", "fc00:f853:ccd:e793::2"],
    ["172.18.0.3", "fc00:f853:ccd:e793::3"],
    ["172.18.0.4", "fc00:f853:ccd:e793::4"],
];
const LOOPBACK: [&str; 2] = ["127.0.0.1", "::1"];
const HOST_PORT: u16 = 8088;

#[test]
fn over_vxlan() {
    what_people_say_about_services_holds("vxlan");
}

#[test]
fn routed_natively() {
    what_people_say_about_services_holds("native");
}

fn what_people_say_about_services_holds(routing: &str) {
    let cluster = Cluster::up(&["--routing", routing]);
    cluster.apply(include_str!("manifests.yaml"));
    cluster.apply(include_str!("ported.yaml"));
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    let both = || shares(&cluster, OUTSIDE, NODES[0][0], 30192).len() == 2;
    wait_until("both servers serve", PATIENCE, both);
    for family in 0..2 {
        flows_are_shared_by_weight(&cluster, family);
        a_node_port_leads_to_one_backend_by_every_node(&cluster, family);
        a_host_port_leads_to_its_pod(&cluster, family);
    }
    weight_zero_gets_no_new_flows(&cluster);
    wrong_weights_are_told_in_the_status_until_they_are_right(&cluster);
    a_host_port_outlives_its_agent_and_goes_with_its_pod(&cluster);
}

fn http(cluster: &Cluster, from: From, address: &str, port: u16, count: &str) -> Result<Report, String> {
    let url = format!("http://{}/", at(address, port));
    cluster.ask(from, &["http", &url, "--close", "--count", count, "--timeout", "1500ms"])
}

/// How often each server answered, if nothing failed.
fn shares(cluster: &Cluster, from: From, address: &str, port: u16) -> Vec<(String, u64)> {
    let report = http(cluster, from, address, port, "100").unwrap();
    assert_eq!(report.errors, 0, "{from:?} to {address}: {report:?}");
    report.answered_by.into_iter().collect()
}

/// By socket, by packet, from inside and from outside. 90 of 100, with three standard deviations of room for one choice per flow.
fn flows_are_shared_by_weight(cluster: &Cluster, family: usize) {
    let cluster_ip = &cluster.cluster_ips("weighted")[family];
    for (from, address, port) in [
        (From::Pod("client-1"), cluster_ip.as_str(), 80),
        (From::Node("worker-2"), cluster_ip.as_str(), 80),
        (OUTSIDE, NODES[0][family], 30191),
    ] {
        let all = shares(cluster, from, address, port);
        let first = all.iter().find(|(server, _)| server.contains("server-1")).map_or(0, |(_, count)| *count);
        assert!((78..=99).contains(&first), "{from:?} to {address}: {all:?}");
    }
}

/// One client port at three nodes: the table's entry is the same, though each has an address of its own. What two of them say
/// is foretold from their maps, since the client's kernel gives its port only once in a minute.
fn a_node_port_leads_to_one_backend_by_every_node(cluster: &Cluster, family: usize) {
    const NAMES: [&str; 3] = ["control-plane", "worker-1", "worker-2"];
    let servers = ["server-1", "server-2"].map(|server| (server, cluster.pod_addresses(server)[family].clone()));
    let mut met = BTreeSet::new();
    // Of no other connection: neither the kernel's choice, nor those of the other family, which may still be waiting.
    let first = if family == 0 { 20_000 } else { 21_000 };
    for port in first..first + 12_u16 {
        let (asked, local) = (usize::from(port % 3), port.to_string());
        let url = format!("http://{}/hostname", at(NODES[asked][family], 30192));
        let arguments = ["-s", "-g", "-m", "3", "--noproxy", "*", "--local-port", &local, &url];
        let answer = text(&cluster.command(OUTSIDE, "/usr/bin/curl".as_ref(), &arguments).output().unwrap());
        let (server, address) = servers.iter().find(|(server, _)| answer.contains(server)).expect("a server's answer");
        met.insert(*server);
        let client = at(["203.0.113.2", "2001:db8:113::2"][family], port);
        for (name, node) in NAMES.iter().zip(NODES) {
            let target = at(node[family], 30192);
            let said = malla(cluster, &["service", "explain", &client, &target, "--node", name, "-o", "json"]);
            assert!(said.contains(&format!("\"{address}\"")), "{client} by {name}, not {server}: {said}");
        }
    }
    assert_eq!(met.len(), 2, "and not always the same one");
}

/// Clients outside, on both nodes, and Pods of both; the Pod sees who asks, and the port beside it is nobody's.
fn a_host_port_leads_to_its_pod(cluster: &Cluster, family: usize) {
    let node = NODES[1][family];
    for (from, address) in [
        (OUTSIDE, node),
        (From::Node("worker-2"), node),
        (From::Node("control-plane"), node),
        (From::Node("worker-1"), node),
        (From::Node("worker-1"), LOOPBACK[family]),
        (From::Pod("client-1"), node),
        (From::Pod("client-2"), node),
    ] {
        let report = http(cluster, from, address, HOST_PORT, "3").unwrap();
        let by: Vec<&String> = report.answered_by.keys().collect();
        assert!(report.errors == 0 && by.len() == 1 && by[0].contains("ported"), "{from:?} to {address}: {report:?}");
        let datagrams = ["udp", &at(address, HOST_PORT), "--whoami", "--count", "2", "--timeout", "1500ms"];
        let report = cluster.ask(from, &datagrams).unwrap();
        assert_eq!((report.errors, report.requests), (0, 2), "{from:?} to {address}: {report:?}");
        let beside = http(cluster, from, address, HOST_PORT + 1, "1").unwrap();
        assert_eq!(beside.errors, 1, "{from:?} to the port beside: {beside:?}");
    }
    let outside = ["203.0.113.2", "2001:db8:113::2"][family];
    let report = http(cluster, OUTSIDE, node, HOST_PORT, "1").unwrap();
    assert!(report.seen_as.contains_key(outside), "{report:?}");
    for (from, address) in [(From::Pod("client-2"), LOOPBACK[family]), (OUTSIDE, NODES[2][family])] {
        let elsewhere = http(cluster, from, address, HOST_PORT, "1").unwrap();
        assert_eq!(elsewhere.errors, 1, "{from:?} to {address}: {elsewhere:?}");
    }
}

fn weight_zero_gets_no_new_flows(cluster: &Cluster) {
    cluster.kubectl(&["annotate", "service", "weighted", "--overwrite", "service.malla.dev/weights=pod/server-1=0"]);
    let address = &cluster.cluster_ips("weighted")[0];
    wait_until("server-1 gets nothing", PATIENCE, || {
        let all = shares(cluster, From::Pod("client-1"), address, 80);
        all.len() == 1 && all[0].0.contains("server-2")
    });
    let said = malla(cluster, &["service", "get", "weighted", "--node", "worker-1"]);
    assert!(said.contains("pod/server-1=0") && said.contains("weight 0: keeps its connections"), "{said}");
}

fn wrong_weights_are_told_in_the_status_until_they_are_right(cluster: &Cluster) {
    let condition = || {
        let path = r#"jsonpath={.status.conditions[?(@.type=="malla.dev/ServedWhole")]}"#;
        cluster.kubectl(&["get", "service", "weighted", "-o", path])
    };
    assert_eq!(condition(), "", "nothing is wrong yet");
    cluster.kubectl(&["annotate", "service", "weighted", "--overwrite", "service.malla.dev/weights=*=900"]);
    let nodes = "On control-plane, worker-1, worker-2: ";
    wait_until("the condition with all nodes", PATIENCE, || condition().contains(nodes));
    let told = condition();
    assert!(told.contains("0 to 100") && told.contains(r#""status":"False""#), "{told}");
    // It works as without weights.
    assert_eq!(shares(cluster, From::Pod("client-1"), &cluster.cluster_ips("weighted")[0], 80).len(), 2);
    cluster.kubectl(&["annotate", "service", "weighted", "service.malla.dev/weights-"]);
    wait_until("the condition's end", PATIENCE, || condition().is_empty());
}

/// The agent of its node is killed; then a second Pod wants the port, is told that it is taken, and has it when the first goes.
fn a_host_port_outlives_its_agent_and_goes_with_its_pod(cluster: &Cluster) {
    let by = || {
        let report = http(cluster, OUTSIDE, NODES[1][0], HOST_PORT, "1").unwrap();
        report.answered_by.into_keys().next()
    };
    let agent = || {
        let status = cluster.status();
        let nodes = status["nodes"].as_array().unwrap().clone();
        nodes.iter().find(|node| node["name"] == "worker-1").and_then(|node| node["agent"]["pid"].as_i64())
    };
    let before = agent().expect("an agent");
    assert!(Command::new("kill").args(["-KILL", &before.to_string()]).status().unwrap().success());
    assert!(by().is_some_and(|server| server.contains("ported")), "while its agent is dead");
    wait_until("a new agent", PATIENCE, || agent().is_some_and(|pid| pid != before));
    wait_until("the new agent is in sync", PATIENCE, || {
        malla(cluster, &["status", "--node", "worker-1", "-o", "json"]).contains(r#""state": "ok""#)
    });
    assert!(by().is_some_and(|server| server.contains("ported")), "with a new agent");

    cluster.apply(&include_str!("ported.yaml").replace("name: ported", "name: second"));
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "second", "--timeout=60s"]);
    wait_until("an Event of the Pod that has to wait", PATIENCE, || {
        let events = cluster.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"]);
        events.contains(&format!("{HOST_PORT}/UDP belongs to Pod default/ported"))
    });
    assert!(by().is_some_and(|server| server.contains("ported")), "the first one keeps it");
    cluster.kubectl(&["delete", "pod", "ported", "--wait"]);
    wait_until("the second one has the port", PATIENCE, || by().is_some_and(|server| server.contains("second")));
    cluster.kubectl(&["delete", "pod", "second", "--wait"]);
    wait_until("nobody has the port", PATIENCE, || by().is_none());
}

fn malla(cluster: &Cluster, arguments: &[&str]) -> String {
    text(&Command::new(cluster::malla_path()).args(arguments).env("MALLA_LAB", &cluster.name).output().unwrap())
}
