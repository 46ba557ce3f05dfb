//! Addresses of load balancers, from the pool to a client on the nodes' segment: given, announced by one node, moved when
//! that node dies, and nobody answers for what is not ours.
//!
//! Needs root, curl, `malla-cni` beside `malla`, and kubectl.
#![forbid(unsafe_code)]

#[path = "../traffic/cluster.rs"]
#[allow(dead_code, reason = "the tests of traffic use the rest")]
mod cluster;
mod neighbour;

use cluster::{Cluster, From, at, wait_until};
use neighbour::Neighbour;
use std::{
    process::Command,
    time::{Duration, Instant},
};

const ADDRESSES: [&str; 2] = ["172.18.255.200", "fc00:f853:ccd:e793::ff:200"];
/// In the pool, and given to nobody; and in no pool.
const NOBODYS: [&str; 4] =
    ["172.18.255.209", "fc00:f853:ccd:e793::ff:20f", "172.18.255.250", "fc00:f853:ccd:e793::ff:300"];
const LEASE: &str = "cilium-l2announce-default-web";
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn one_node_answers_and_another_when_it_dies() {
    let cluster = Cluster::up(&[]);
    cluster.apply(include_str!("manifests.yaml"));
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    let given = || cluster.kubectl(&["get", "service", "web", "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"]);
    wait_until("addresses of the Service", PATIENCE, || given() == ADDRESSES.join(" "));
    let neighbour = Neighbour::beside(&cluster.name);

    // A client on the segment reaches both, and the Pod sees the client's own address.
    for (address, own) in ADDRESSES.iter().zip(neighbour::OWN) {
        wait_until("an answer", PATIENCE, || neighbour.curl(address).is_some());
        let said = neighbour.curl(&format!("{}/whoami", at(address, 80))).or_else(|| neighbour.curl(address));
        assert!(said.as_ref().is_some_and(|said| said.contains(own)), "the client is {own}: {said:?}");
    }

    // At rest one node answers, the one that holds the Lease, and for nothing else.
    let holder = holder(&cluster);
    assert!(holder.starts_with("worker"), "the policy leaves the control plane out, not {holder}");
    for address in ADDRESSES {
        for _ in 0..3 {
            let answers = neighbour.who_has(address);
            assert_eq!(answers.len(), 1, "{address} is at {answers:?}");
        }
    }
    for address in NOBODYS {
        assert_eq!(neighbour.who_has(address).len(), 0, "{address} is nobody's");
    }

    a_silent_agent_loses_them(&cluster, &neighbour);
    a_dead_nodes_addresses_are_reached_elsewhere(&cluster, &neighbour);
    with_policy_local_the_endpoints_node_answers(&cluster, &neighbour);
    a_policy_without_meaning_says_so_in_its_status(&cluster);
    what_is_no_load_balancer_has_no_address(&cluster, &neighbour);
}

/// An agent that stands still is not started again by anybody: its addresses have to move.
fn a_silent_agent_loses_them(cluster: &Cluster, neighbour: &Neighbour) {
    let before = holder(cluster);
    let old = neighbour.who_has(ADDRESSES[0]);
    let pid = agent(cluster, &before);
    signal("-STOP", pid);
    let stopped = Instant::now();
    for address in ADDRESSES {
        wait_until("an answer of another node", PATIENCE, || {
            let answers = neighbour.who_has_within(address, Duration::from_millis(50));
            answers.len() == 1 && answers != old
        });
        println!("{address} answers from another node {:?} after the agent's last breath", stopped.elapsed());
        assert!(neighbour.curl(address).is_some(), "{address} is announced and does not work");
    }
    let next = holder(cluster);
    assert_ne!(next, before);
    // It goes on, believing that it has the Lease: not one answer.
    signal("-CONT", pid);
    for address in ADDRESSES.into_iter().chain(ADDRESSES) {
        let answers = neighbour.who_has(address);
        assert!(answers.len() == 1 && answers != old, "{address} is at {answers:?}");
    }
    assert_eq!(holder(cluster), next, "a node that is back takes nothing away");
}

/// The whole node is gone from the segment, and the client has heard nothing but the announcement.
fn a_dead_nodes_addresses_are_reached_elsewhere(cluster: &Cluster, neighbour: &Neighbour) {
    let before = holder(cluster);
    let place = cluster.status()["nodes"].as_array().unwrap().iter().position(|node| node["name"] == before.as_str());
    let port = format!("node{}", place.expect("the node"));
    let fabric = |state: &str| {
        let namespace = format!("{}-fabric", cluster.name);
        neighbour::must(Command::new("ip").args(["-n", &namespace, "link", "set", &port, state]));
    };
    ADDRESSES.iter().for_each(|address| assert!(neighbour.curl(address).is_some()));
    let old = ADDRESSES.map(|address| neighbour.known(address));
    fabric("down");
    let died = Instant::now();
    // Nothing is asked meanwhile: the announcement alone tells the client. (Requests would be flooded by the switch, whose
    // port is down, and then other nodes would take them.)
    for (address, old) in ADDRESSES.iter().zip(old) {
        wait_until("an announcement by another node", PATIENCE, || neighbour.known(address) != old);
        println!("{address} was announced elsewhere {:?} after its node left the segment", died.elapsed());
    }
    ADDRESSES.iter().for_each(|address| assert!(neighbour.curl(address).is_some(), "{address} is not served"));
    assert_ne!(holder(cluster), before);
    // When the node is back, it yields without being told by the API.
    fabric("up");
    std::thread::sleep(Duration::from_secs(2));
    for address in ADDRESSES {
        let answers = neighbour.who_has(address);
        assert_eq!(answers.len(), 1, "{address} is at {answers:?} after the node came back");
    }
}

/// The endpoint moves from node to node, and the address after it; without any it is nobody's.
fn with_policy_local_the_endpoints_node_answers(cluster: &Cluster, neighbour: &Neighbour) {
    cluster.kubectl(&["patch", "service", "web", "-p", r#"{"spec":{"externalTrafficPolicy":"Local"}}"#]);
    // Its one endpoint is on the control plane, which the policy leaves out.
    wait_until("silence", PATIENCE, || ADDRESSES.iter().all(|address| neighbour.who_has(address).is_empty()));
    for node in ["worker-1", "worker-2"] {
        let pod = include_str!("manifests.yaml").split("---").find(|part| part.contains("kind: Pod")).unwrap();
        cluster.apply(
            &pod.replace("nodeName: control-plane", &format!("nodeName: {node}")).replace("name: web", "name: moved"),
        );
        cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "moved", "--timeout=60s"]);
        wait_until(&format!("{node} has the Lease"), PATIENCE, || {
            let lease = ["-n", "kube-system", "get", "lease", LEASE, "--ignore-not-found", "-o"];
            cluster.kubectl(&[&lease[..], &["jsonpath={.spec.holderIdentity}"]].concat()) == node
        });
        for address in ADDRESSES {
            wait_until("an answer", PATIENCE, || neighbour.who_has(address).len() == 1);
            wait_until("a served request", PATIENCE, || neighbour.curl(address).is_some());
        }
        cluster.kubectl(&["delete", "pod", "moved", "--wait"]);
    }
    wait_until("silence", PATIENCE, || ADDRESSES.iter().all(|address| neighbour.who_has(address).is_empty()));
    cluster.kubectl(&["patch", "service", "web", "-p", r#"{"spec":{"externalTrafficPolicy":"Cluster"}}"#]);
    wait_until("an answer", PATIENCE, || ADDRESSES.iter().all(|address| neighbour.who_has(address).len() == 1));
}

fn a_policy_without_meaning_says_so_in_its_status(cluster: &Cluster) {
    let policy = |interface: &str| {
        format!(
            "apiVersion: cilium.io/v2alpha1\nkind: CiliumL2AnnouncementPolicy\nmetadata: {{name: odd}}\nspec: {{interfaces: [{interface:?}]}}\n"
        )
    };
    let told = || {
        let path = "jsonpath={.status.conditions[*].type}";
        cluster.kubectl(&["get", "ciliuml2announcementpolicy", "odd", "-o", path])
    };
    cluster.apply(&policy("("));
    wait_until("its condition", PATIENCE, || told() == "io.cilium/bad-interface-regex");
    cluster.apply(&policy("eth9"));
    wait_until("its condition's end", PATIENCE, || told().is_empty());
    cluster.kubectl(&["delete", "ciliuml2announcementpolicy", "odd"]);
}

fn what_is_no_load_balancer_has_no_address(cluster: &Cluster, neighbour: &Neighbour) {
    cluster.kubectl(&[
        "patch",
        "service",
        "web",
        "-p",
        r#"{"spec":{"type":"ClusterIP","ports":[{"port":80,"nodePort":null}]}}"#,
    ]);
    for address in ADDRESSES {
        wait_until("silence", PATIENCE, || neighbour.who_has(address).is_empty());
    }
    let left = cluster.kubectl(&[
        "get",
        "service",
        "web",
        "-o",
        "jsonpath={.status.loadBalancer.ingress}{.status.conditions}",
    ]);
    assert!(!left.contains("172.18") && !left.contains("IPAM"), "{left}");
    let leases = cluster.kubectl(&["-n", "kube-system", "get", "lease", "-o", "name"]);
    assert!(!leases.contains(LEASE), "{leases}");
    // A node can still ask for the Service by its own address.
    let [v4, _] = cluster.cluster_ips("web");
    assert!(cluster.ask(From::Node("worker-1"), &["http", &format!("http://{v4}/"), "--count", "1"]).is_ok());
}

fn holder(cluster: &Cluster) -> String {
    cluster.kubectl(&["-n", "kube-system", "get", "lease", LEASE, "-o", "jsonpath={.spec.holderIdentity}"])
}

fn agent(cluster: &Cluster, node: &str) -> i64 {
    let status = cluster.status();
    let found = status["nodes"].as_array().unwrap().iter().find(|one| one["name"] == node).expect("the node").clone();
    found["agent"]["pid"].as_i64().expect("a running agent")
}

fn signal(signal: &str, pid: i64) {
    neighbour::must(Command::new("kill").args([signal, &pid.to_string()]));
}
