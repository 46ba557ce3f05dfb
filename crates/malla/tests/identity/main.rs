//! Who is who, in the maps of every node and in the events: from labels alone, and following them.
//!
//! Needs root, `malla-cni` beside `malla`, and kubectl.
#![forbid(unsafe_code)]

#[path = "../traffic/cluster.rs"]
#[allow(dead_code, reason = "the tests of traffic use the rest")]
mod cluster;

use cluster::{Cluster, From, at, malla_path, text, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NODES: [&str; 3] = ["control-plane", "worker-1", "worker-2"];
const PODS: [&str; 3] = ["client", "web-1", "web-2"];
const PATIENCE: Duration = Duration::from_secs(10);
const INIT: u64 = 5;

/// `malla <arguments> --lab … -o json`.
fn ask(cluster: &Cluster, arguments: &[&str]) -> Value {
    let all = [arguments, &["--lab", &cluster.name, "-o", "json"]].concat();
    let output = Command::new(malla_path()).args(all).env_remove("MALLA_LAB").output().unwrap();
    assert!(output.status.success(), "malla {arguments:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The number of each Pod, as its own node's map has it.
fn numbers(cluster: &Cluster) -> BTreeMap<String, u64> {
    let endpoints = ask(cluster, &["endpoint", "list"]);
    let number = |one: &Value| (one["pod"]["name"].as_str().unwrap().to_owned(), one["identity"].as_u64().unwrap());
    endpoints.as_array().unwrap().iter().map(number).collect()
}

/// Who an address is, for a node: by `endpoints` or by the exact entry in `ipcache`.
fn on_node(cluster: &Cluster, node: &str) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    for one in ask(cluster, &["bpf", "endpoints", "--node", node]).as_array().unwrap() {
        out.insert(one["address"].as_str().unwrap().to_owned(), one["identity"].as_u64().unwrap());
    }
    for one in ask(cluster, &["bpf", "ipcache", "--node", node]).as_array().unwrap() {
        let prefix = one["prefix"].as_str().unwrap();
        if let Some(address) = prefix.strip_suffix("/32").or_else(|| prefix.strip_suffix("/128")) {
            out.insert(address.to_owned(), one["identity"].as_u64().unwrap());
        }
    }
    out
}

/// Waits until every node's maps say the same of both addresses of every Pod; answers with the numbers.
fn agreed(cluster: &Cluster, pods: &[&str], fits: impl Fn(&BTreeMap<String, u64>) -> bool) -> BTreeMap<String, u64> {
    let addresses: Vec<(&str, [String; 2])> = pods.iter().map(|pod| (*pod, cluster.pod_addresses(pod))).collect();
    let mut seen = BTreeMap::new();
    wait_until("agreement of all nodes on who is who", PATIENCE, || {
        seen = numbers(cluster);
        let maps = NODES.map(|node| on_node(cluster, node));
        fits(&seen)
            && addresses
                .iter()
                .all(|(pod, both)| both.iter().all(|address| maps.iter().all(|map| map.get(address) == seen.get(*pod))))
    });
    seen
}

/// Source and destination identity of the first flow from the client to a server, as a node's monitor tells it.
fn flow(cluster: &Cluster, node: &str, server: &str, v4: &str) -> (u64, u64) {
    let mut monitor: Child = Command::new(malla_path())
        .args(["monitor", "--lab", &cluster.name, "--node", node, "--number", "1", "-o", "json", "--type", "flow"])
        .args(["--to", &format!("default/{server}")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("a flow", PATIENCE, || {
        let asked = cluster.ask(From::Pod("client"), &["http", &format!("http://{}/", at(v4, 8080)), "--count", "1"]);
        assert!(asked.is_ok(), "{asked:?}");
        std::thread::sleep(Duration::from_millis(100));
        monitor.try_wait().unwrap().is_some()
    });
    let output = monitor.wait_with_output().unwrap();
    let event: Value = serde_json::from_slice(&output.stdout).unwrap();
    let identity = |end: &str| event["flow"][end]["identity"].as_u64().unwrap();
    (identity("source"), identity("destination"))
}

#[test]
fn everybody_knows_who_is_who_and_hears_of_changes() {
    let cluster = Cluster::up(&["--identity-label", "!build"]);
    cluster.apply(include_str!("pods.yaml"));
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    let first = agreed(&cluster, &PODS, |all| all.values().all(|number| (256..65_536).contains(number)));
    assert_eq!(first["web-1"], first["web-2"], "the same labels are the same number");
    assert_ne!(first["web-1"], first["client"]);

    // What a number stands for, and who has it.
    let web = ask(&cluster, &["identity", "get", &first["web-1"].to_string()]);
    let labels: Vec<&str> = web["labels"].as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect();
    for label in ["k8s:app=web", "k8s:io.kubernetes.pod.namespace=default", "malla:named-port.tcp.http=8080"] {
        assert!(labels.contains(&label), "{label} is not among {labels:?}");
    }
    assert_eq!(web["pods"].as_array().unwrap().len(), 2, "{web}");
    let listed = ask(&cluster, &["identity", "list"]);
    assert!(listed.as_array().unwrap().iter().any(|one| one["id"] == 1 && one["labels"][0] == "reserved:host"));
    assert_eq!(ask(&cluster, &["endpoint", "get", "web-2"])[0]["node"], "worker-2");
    let column = cluster.kubectl(&["get", "ciliumidentities.cilium.io", &first["client"].to_string()]);
    assert!(column.contains("default"), "{column}");

    let [server, _] = cluster.pod_addresses("web-2");
    // Both nodes' events carry both numbers; the sender's comes in the VNI.
    for node in ["worker-1", "worker-2"] {
        assert_eq!(flow(&cluster, node, "web-2", &server), (first["client"], first["web-2"]), "on {node}");
    }

    // A label that makes no identity, by the defaults or by this lab's choice, makes nobody somebody else.
    cluster.kubectl(&["label", "pod", "client", "build=7", "pod-template-hash=abc"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(numbers(&cluster), first);

    // A label makes it somebody else everywhere, and nobody besides.
    let relabelled = Instant::now();
    cluster.kubectl(&["label", "pod", "client", "app=auditor", "--overwrite"]);
    let second = agreed(&cluster, &PODS, |all| all["client"] != first["client"]);
    println!("a new identity was in every map of every node {:?} after the label", relabelled.elapsed());
    assert_eq!((second["web-1"], second["web-2"]), (first["web-1"], first["web-2"]));
    for node in ["worker-1", "worker-2"] {
        assert_eq!(flow(&cluster, node, "web-2", &server).0, second["client"], "on {node}");
    }
    // Within its grace time a number that nobody has waits for its labels.
    cluster.kubectl(&["label", "pod", "client", "app=client", "--overwrite"]);
    agreed(&cluster, &PODS, |all| all["client"] == first["client"]);

    without_the_operator(&cluster, &first);

    // Who goes leaves nothing but the range.
    let gone = cluster.pod_addresses("web-1");
    cluster.kubectl(&["delete", "pod", "web-1", "--wait=true"]);
    wait_until("nobody at the old addresses", PATIENCE, || {
        NODES.iter().all(|node| {
            let map = on_node(&cluster, node);
            gone.iter().all(|address| !map.contains_key(address))
        })
    });
    agreed(&cluster, &["client", "web-2"], |all| all["client"] == first["client"]);
}

/// While the operator stands still, and while an agent dies: everybody stays who they are, and traffic goes on.
fn without_the_operator(cluster: &Cluster, first: &BTreeMap<String, u64>) {
    let status = cluster.status();
    let pid = |value: &Value| value.as_i64().expect("a running process").to_string();
    let signal = |name: &str, pid: &str| assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
    let supervisor = pid(&status["supervisor"]["pid"]);
    let agent = pid(&status["nodes"][1]["agent"]["pid"]);
    let addresses = PODS.map(|pod| cluster.pod_addresses(pod));
    signal("-STOP", &supervisor);
    // The machine's way to the API is a part of the supervisor; nodes have their own.
    let labelled = Command::new("ip")
        .args(["netns", "exec", &format!("{}-worker-2", cluster.name)])
        .arg(cluster::unpacked("usr/bin/kubectl"))
        .arg("--kubeconfig")
        .arg(cluster.folder().join("kubeconfig.node"))
        .args(["label", "pod", "client", "app=late", "--overwrite"])
        .output()
        .unwrap();
    assert!(labelled.status.success(), "{}", text(&labelled));
    assert_eq!(flow(cluster, "worker-2", "web-2", &addresses[2][0]), (first["client"], first["web-2"]));
    // Its successor is started when the supervisor goes on; until then the maps are all there is.
    signal("-9", &agent);
    for node in NODES {
        let map = on_node(cluster, node);
        for (pod, both) in PODS.iter().zip(&addresses) {
            let known = both.each_ref().map(|address| map.get(address).copied());
            assert_eq!(known, [Some(first[*pod]); 2], "{pod} on {node}");
        }
    }
    signal("-CONT", &supervisor);
    wait_until("the agent's successor", PATIENCE, || {
        let mut list = Command::new(malla_path());
        list.args(["endpoint", "list", "--lab", &cluster.name]).env_remove("MALLA_LAB");
        list.output().unwrap().status.success()
    });
    let after = agreed(cluster, &PODS, |all| all["client"] != first["client"]);
    assert!(after.values().all(|number| *number != INIT), "{after:?}");
    cluster.kubectl(&["label", "pod", "client", "app=client", "--overwrite"]);
    agreed(cluster, &PODS, |all| all["client"] == first["client"]);
}
