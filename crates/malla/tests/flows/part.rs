//! Nodes that keep a part of the flows, or observe none, and say so.

use crate::cluster::{Cluster, From, malla_path, wait_until};
use crate::relay::{agent, kill};
use crate::{PATIENCE, flows, observe};
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// One of so many that none of a test's is among them.
pub const SAMPLE: (&str, &str) = ("MALLA_FLOW_SAMPLING", "1000000");
pub const UNOBSERVED: (&str, &str) = ("MALLA_ENABLE_HUBBLE", "false");

const NODES: [&str; 2] = ["worker-1", "worker-2"];

fn malla(cluster: &Cluster, words: &[&str], more: &[&str]) -> Output {
    let mut command = Command::new(malla_path());
    command.args(words).args(["--lab", &cluster.name]).args(more).env_remove("MALLA_LAB").output().unwrap()
}

/// What the node's agent says.
fn status(cluster: &Cluster, node: &str) -> Value {
    let told = malla(cluster, &["status"], &["--node", node, "-o", "json"]);
    serde_json::from_slice::<Value>(&told.stdout).unwrap()["nodes"][0]["status"].clone()
}

/// The monolith is answered, and `near` is refused by policy.
fn calls(cluster: &Cluster) {
    let url = format!("http://{}/", cluster.cluster_ips("user-service")[0]);
    let call = |pod| cluster.ask(From::Pod(pod), &["http", &url, "--count", "1", "--timeout", "700ms"]);
    assert!(call("monolith").is_ok_and(|report| report.errors == 0), "the monolith is not answered");
    assert!(call("near").is_ok_and(|report| report.errors == 1), "near is answered");
}

pub fn of_a_sample(cluster: &Cluster) {
    let asked = ["--since", "1h", "--to-label", "app=user-service"];
    let is = |verdict: &'static str| move |flow: &Value| flow["verdict"] == verdict;
    wait_until("all of them, while the ring has them", PATIENCE, || {
        calls(cluster);
        let told = flows(cluster, &asked);
        told.iter().any(is("FORWARDED")) && told.iter().any(is("DROPPED"))
    });
    // Nothing is missing yet, so that nobody is told that something were.
    assert!(!observe(cluster, &[&["--all"], &asked[..]].concat()).contains("EVENTS LOST"));
    for node in NODES {
        let flows = &status(cluster, node)["flows"];
        assert!(flows["sampling"] == 1_000_000 && flows["left_out"].as_u64() > Some(0), "{node}: {flows}");
    }
    let said = String::from_utf8(malla(cluster, &["status"], &["--node", "worker-1", "--verbose"]).stdout).unwrap();
    assert!(said.contains("of forwarded connections one of 1000000"), "{said}");

    // That something is left out is told a second after it was for the first time.
    std::thread::sleep(Duration::from_secs(2));
    let killed = NODES.map(|node| (node, agent(cluster, node)));
    killed.iter().for_each(|(_, pid)| kill("-KILL", pid));
    let mut told = String::new();
    wait_until("the sample alone, from agents that have seen nothing else", PATIENCE, || {
        let is_next = |(node, pid): &(&str, String)| {
            status(cluster, node)["pid"].as_u64().is_some_and(|next| pid.parse() != Ok(next))
        };
        told = observe(cluster, &[&["--all"], &asked[..]].concat());
        killed.iter().all(is_next) && told.contains("EVENTS LOST: MALLA_SAMPLING") && told.contains("DROPPED")
    });
    assert!(!told.contains("to-endpoint FORWARDED"), "{told}");
    for words in [&["policy", "learn", "--namespace", "default"][..], &["service", "map"]] {
        let output = malla(cluster, words, &["--since", "1h"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("flows were left out by sampling"), "{words:?}: {said}");
    }
}

pub fn of_nobody(cluster: &Cluster) {
    let told = |node| {
        let status = status(cluster, node);
        assert!(status["flows"]["log"].is_null(), "{status:#}");
        (status["flows"]["observed"].as_str().unwrap().to_owned(), status["events"]["written"].as_u64().unwrap())
    };
    let url = format!("http://{}/", cluster.cluster_ips("user-service")[0]);
    let monolith = || cluster.ask(From::Pod("monolith"), &["http", &url, "--count", "5", "--timeout", "5s"]);
    // Whatever the lab's beginning has told.
    wait_until("an answer", PATIENCE, || monolith().is_ok_and(|report| report.errors == 0));
    let before = NODES.map(told);
    assert!(monolith().is_ok_and(|report| report.errors == 0));
    assert_eq!(NODES.map(told), before, "flows were told of");
    assert!(before.iter().all(|(observed, _)| observed == "drops"), "{before:?}");
    calls(cluster);
    assert!(NODES.map(told).iter().zip(&before).any(|(now, before)| now.1 > before.1), "the drop was not told");
    assert!(!malla(cluster, &["observe"], &["--all"]).status.success(), "flows are served that nobody observes");

    // Somebody wants to know, and while he does he is told.
    let mut monitor = Command::new(malla_path());
    monitor.args(["monitor", "--lab", &cluster.name, "--node", "worker-1", "--number", "1", "--type", "flow"]);
    let mut monitor = monitor.env_remove("MALLA_LAB").stdout(Stdio::piped()).spawn().unwrap();
    wait_until("a flow", PATIENCE, || {
        let _ = monolith();
        monitor.try_wait().unwrap().is_some()
    });
    let said = String::from_utf8(monitor.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("default/user-service-"), "{said}");
    wait_until("nobody who listens", PATIENCE, || told("worker-1").0 == "drops");
}
