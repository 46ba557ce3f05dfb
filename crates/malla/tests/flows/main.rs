//! Flows as they are told afterwards: who, whom, by which rule, and how it ended. Real sockets in Pods of a real lab.
//!
//! Needs root, `malla-cni` beside `malla`, and kubectl.
#![forbid(unsafe_code)]

mod asking;
#[path = "../traffic/cluster.rs"]
#[allow(dead_code, reason = "the tests of traffic use the rest")]
mod cluster;
mod deeds;
mod endings;
mod kept;
mod part;
mod pods;
mod relay;

use cluster::{Cluster, From, malla_path, text, wait_until};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// What `malla observe` says.
fn observe(cluster: &Cluster, arguments: &[&str]) -> String {
    let mut command = Command::new(malla_path());
    command.args(["observe", "--lab", &cluster.name]).args(arguments).env_remove("MALLA_LAB");
    text(&command.output().unwrap())
}

/// The same as JSON: one answer per line.
fn flows(cluster: &Cluster, arguments: &[&str]) -> Vec<Value> {
    flows_with(cluster, arguments).iter().map(|answer| answer["flow"].clone()).collect()
}

/// With what stands beside the flow.
fn flows_with(cluster: &Cluster, arguments: &[&str]) -> Vec<Value> {
    let said = observe(cluster, &[&["--all", "-o", "json"], arguments].concat());
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    said.lines().map(read).filter(|answer: &Value| !answer["flow"].is_null()).collect()
}

fn up() -> Cluster {
    up_with(&[])
}

fn up_with(environment: &[(&str, &str)]) -> Cluster {
    let cluster = Cluster::up_with(environment, &[]);
    cluster.apply(include_str!("pods.yaml"));
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    cluster.kubectl(&["rollout", "status", "deployment/user-service", "--timeout=60s"]);
    cluster
}

#[test]
fn everything_that_is_known_of_a_flow_is_told() {
    let cluster = up();
    let [service, _] = cluster.cluster_ips("user-service");
    let url = format!("http://{service}/");
    // The question as people put it.
    let asked = ["--from-label", "app=monolith", "--to-label", "app=user-service", "--verdict", "forwarded"];
    let on_worker_1 = [&asked[..], &["--node-name", "worker-1", "--type", "trace"]].concat();
    let begins = |flow: &Value| flow["trace_reason"] == "NEW";
    let (mut found, mut begun) = (Value::Null, Value::Null);
    // Names follow what they name by up to half a second, rules and Pods of other nodes by what the API takes.
    wait_until("the flow with its rule and its names", PATIENCE, || {
        let _ = cluster.ask(From::Pod("monolith"), &["http", &url, "--count", "1", "--timeout", "700ms"]);
        let last = |asked: &[&str]| flows(&cluster, asked).into_iter().rfind(begins).unwrap_or_default();
        found = last(&on_worker_1);
        begun = last(&[&asked[..], &["--node-name", "worker-2"]].concat());
        let end_is_named = |end: &Value| end["pod_name"].is_string() && end["workloads"].is_array();
        let is_named = |flow: &Value| end_is_named(&flow["source"]) && end_is_named(&flow["destination"]);
        found["ingress_allowed_by"].is_array() && is_named(&found) && is_named(&begun)
    });
    assert!(observe(&cluster, &asked).contains("default/monolith"), "{}", observe(&cluster, &asked));
    let (source, destination) = (&found["source"], &found["destination"]);
    assert_eq!((&source["namespace"], &source["pod_name"]), (&json!("default"), &json!("monolith")), "{found:#}");
    for (end, label) in [(source, "k8s:app=monolith"), (destination, "k8s:app=user-service")] {
        assert!(end["labels"].as_array().unwrap().contains(&label.into()), "{found:#}");
        assert!(end["identity"].as_u64().unwrap() >= 256, "{found:#}");
        assert_eq!(end["cluster_name"], "default");
    }
    assert!(destination["pod_name"].as_str().unwrap().starts_with("user-service-"), "{found:#}");
    assert!(destination["ID"].as_u64().unwrap() > 0, "{found:#}");
    assert_eq!(source["ID"], Value::Null, "it is on another node");
    assert_eq!((&found["traffic_direction"], &found["is_reply"]), (&json!("INGRESS"), &json!(false)));
    assert_eq!((&found["trace_observation_point"], &found["node_name"]), (&json!("TO_ENDPOINT"), &json!("worker-1")));
    assert_eq!(found["l4"]["TCP"]["flags"], json!({"SYN": true}));
    assert_eq!((&found["tunnel"]["protocol"], &found["policy_match_type"]), (&json!("VXLAN"), &json!(2)));
    assert!(found["interface"]["name"].as_str().is_some_and(|name| !name.is_empty()), "{found:#}");
    let hostname = json!("kubernetes.io/hostname=worker-1");
    assert!(found["node_labels"].as_array().unwrap().contains(&hostname), "{found:#}");
    let rule = &found["ingress_allowed_by"][0];
    assert_eq!(
        (&rule["name"], &rule["namespace"], &rule["kind"]),
        (&json!("only-monolith"), &json!("default"), &json!("NetworkPolicy"))
    );
    let uid = cluster.kubectl(&["get", "networkpolicy", "only-monolith", "-o", "jsonpath={.metadata.uid}"]);
    let labels = json!([
        "k8s:io.cilium.k8s.policy.derived-from=NetworkPolicy",
        "k8s:io.cilium.k8s.policy.name=only-monolith",
        "k8s:io.cilium.k8s.policy.namespace=default",
        format!("k8s:io.cilium.k8s.policy.uid={uid}"),
        "malla:rule=spec.ingress[0]"
    ]);
    assert_eq!(rule["labels"], labels);
    // The same tunnel at both of its ends: as the server's node sees it, and as the client's does.
    for flow in [&found, &begun] {
        let (ip, vni) = (&flow["tunnel"]["IP"], &flow["tunnel"]["vni"]);
        assert_eq!((&ip["source"], &ip["destination"]), (&json!("172.18.0.4"), &json!("172.18.0.3")), "{flow:#}");
        assert_eq!(*vni, flow["source"]["identity"], "{flow:#}");
        assert_eq!(flow["tunnel"]["l4"]["UDP"]["destination_port"], json!(8472), "{flow:#}");
    }

    // Out of the cluster a Pod has the address of its node.
    let _ = cluster.ask(From::Pod("monolith"), &["udp", "203.0.113.2:9", "--count", "1", "--timeout", "100ms"]);
    let mut out = Value::Null;
    wait_until("the flow that leaves the cluster", PATIENCE, || {
        out = flows(&cluster, &["--to-ip", "203.0.113.2"]).into_iter().next().unwrap_or_default();
        !out.is_null()
    });
    let (own, out_address) = (&out["IP"], json!(cluster.pod_addresses("monolith")[0]));
    assert_eq!((&own["source"], &own["source_xlated"]), (&out_address, &json!("172.18.0.4")), "{out:#}");
    assert_eq!(found["IP"]["source_xlated"], Value::Null, "it stays in the cluster");

    // Both nodes tell what both ends belong to, though each has but one of them, and are asked by it.
    for flow in [&found, &begun] {
        let (source, destination) = (&flow["source"]["workloads"], &flow["destination"]["workloads"]);
        assert_eq!(*source, json!([{"name": "monolith", "kind": "Pod"}]), "{flow:#}");
        assert_eq!(*destination, json!([{"name": "user-service", "kind": "Deployment"}]), "{flow:#}");
        let node = flow["node_name"].as_str().unwrap();
        let by = ["--from-workload", "monolith", "--to-workload", "Deployment/user-service", "--node-name", node];
        assert!(flows(&cluster, &by).iter().any(|one| one["uuid"] == flow["uuid"]), "{node}: {by:?}");
    }
    let nobodys = ["--from-workload", "monolith", "--to-workload", "StatefulSet/user-service"];
    assert_eq!(observe(&cluster, &nobodys), "", "another kind of the same name");
    // What begins at the monolith is told where it is.
    assert_eq!((&begun["traffic_direction"], &begun["egress_allowed_by"]), (&json!("EGRESS"), &Value::Null));
    // Its socket was given a Pod for the Service: who asked knows that, and the other node does not.
    let asked_for = json!({"name": "user-service", "namespace": "default"});
    assert_eq!((&begun["destination_service"], &found["destination_service"]), (&asked_for, &Value::Null), "{begun:#}");
    let by_service = flows(&cluster, &["--from-pod", "default/monolith", "--to-service", "default/user-service"]);
    assert!(by_service.iter().any(|flow| flow["uuid"] == begun["uuid"]), "{by_service:#?}");
    assert!(by_service.iter().all(|flow| flow["node_name"] == "worker-2"), "{by_service:#?}");

    verdicts(&cluster);
    denied(&cluster);
    mapped(&cluster);
    learnt(&cluster);
    let others = ["--from-label", "app=monolith", "--to-label", "app=nobody"];
    assert_eq!(observe(&cluster, &others), "");
}

/// What policy said, as those who know Cilium ask for it.
fn verdicts(cluster: &Cluster) {
    let asked = ["--from-label", "app=monolith", "--to-label", "app=user-service"];
    let of = |kind: &str| observe(cluster, &[&asked[..], &["--type", kind, "--print-policy-names"]].concat());
    let (said, traced) = (of("policy-verdict"), of("trace"));
    let allowed = "policy-verdict:L3-L4 INGRESS ALLOWED BY only-monolith (NetworkPolicy) (TCP Flags: SYN)";
    // The first of them may have come before the rule had its name.
    let is_allowed = |line: &str| line.contains("policy-verdict:") && line.contains(" INGRESS ALLOWED");
    assert!(said.contains(allowed) && said.lines().all(is_allowed), "{said}");
    assert!(!traced.contains("policy-verdict") && traced.contains("to-endpoint FORWARDED"), "{traced}");
    let told = flows(cluster, &[&asked[..], &["--node-name", "worker-1"]].concat());
    let named = || told.iter().filter(|flow| flow["ingress_allowed_by"].is_array());
    let is_verdict = |flow: &&Value| flow["event_type"]["type"] == 5;
    let has_begun = |flow: &&Value| flow["trace_reason"] == "NEW";
    assert_eq!(named().filter(is_verdict).count(), named().filter(has_begun).count(), "one for each: {told:#?}");
    for flow in told.iter().filter(is_verdict) {
        assert_eq!((&flow["traffic_direction"], &flow["is_reply"]), (&json!("INGRESS"), &json!(false)), "{flow:#}");
        assert_eq!((&flow["extensions"], &flow["egress_allowed_by"]), (&Value::Null, &Value::Null), "{flow:#}");
    }
}

/// Nobody but the monolith may.
fn denied(cluster: &Cluster) {
    let [service, _] = cluster.cluster_ips("user-service");
    let url = format!("http://{service}/");
    let mut told = Vec::new();
    wait_until("the drop", PATIENCE, || {
        let answered = cluster.ask(From::Pod("near"), &["http", &url, "--count", "1", "--timeout", "500ms"]);
        assert!(answered.is_ok_and(|report| report.errors == 1));
        told = flows(cluster, &["--from-pod", "default/near", "--verdict", "dropped"]);
        told.last().is_some_and(|flow| flow["ingress_denied_by"].is_array())
    });
    let flow = told.last().unwrap();
    assert_eq!((&flow["drop_reason_desc"], &flow["traffic_direction"]), (&json!("POLICY_DENIED"), &json!("INGRESS")));
    assert_eq!(flow["ingress_denied_by"][0]["name"], "only-monolith", "{flow:#}");
    assert_eq!((&flow["egress_denied_by"], &flow["ingress_allowed_by"]), (&Value::Null, &Value::Null), "{flow:#}");
    // Each packet is dropped once, and what policy said of it is told once.
    let all = flows(cluster, &["--from-pod", "default/near", "--drop-reason-desc", "POLICY_DENIED"]);
    let kinds = [1, 5].map(|kind| all.iter().filter(|flow| flow["event_type"]["type"] == kind).count());
    assert!(kinds[0] > 0 && kinds[0] == kinds[1] && kinds[0] + kinds[1] == all.len(), "{kinds:?}: {all:#?}");
    let said = observe(cluster, &["--all", "--from-pod", "default/near", "--type", "policy-verdict"]);
    let is_denied = |line: &str| line.contains("policy-verdict:none INGRESS DENIED (TCP Flags: SYN)");
    assert!(said.lines().count() > 0 && said.lines().all(is_denied), "{said}");
    assert!(flows(cluster, &["--from-pod", "default/near", "--to-port", "8080", "--verdict", "forwarded"]).is_empty());

    // And why, by the rules and by the maps.
    let asked = ["--from-pod", "default/near", "--verdict", "dropped", "--why"];
    let said = observe(cluster, &[&["--all"], &asked[..]].concat());
    let pod = flow["destination"]["pod_name"].as_str().unwrap();
    for part in [&format!("why: default/near -> default/{pod} tcp/8080: DENIED"), "only-monolith", "(agree)"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.matches(": DENIED").count() <= 2, "the same is not told for every packet: {said}");
    let said = flows_with(cluster, &asked);
    let why = &said.last().unwrap()["why"];
    assert_eq!((&why["allowed"], &why["drift"]), (&json!(false), &json!(false)), "{why:#}");
    let forwarded = flows_with(cluster, &["--from-pod", "default/monolith", "--verdict", "forwarded", "--why"]);
    assert!(!forwarded.is_empty() && forwarded.iter().all(|answer| answer["why"].is_null()), "{forwarded:#?}");
}

/// Who has talked to whom by now.
fn mapped(cluster: &Cluster) {
    let map = |arguments: &[&str]| {
        let mut command = Command::new(malla_path());
        command.args(["service", "map", "--lab", &cluster.name]).args(arguments).env_remove("MALLA_LAB");
        text(&command.output().unwrap())
    };
    let graph: Value = serde_json::from_str(&map(&["-o", "json"])).unwrap();
    let edges = graph["edges"].as_array().unwrap();
    let between = |from: &str, to: &str| {
        let found = edges.iter().find(|edge| edge["from"]["name"] == from && edge["to"]["name"] == to);
        found.unwrap_or_else(|| panic!("{from} -> {to}: {graph:#}"))
    };
    let called = between("default/monolith", "default/user-service");
    assert_eq!((&called["port"], &called["to"]["kind"]), (&json!("tcp/8080"), &json!("Deployment")), "{called:#}");
    assert!(called["begun"].as_u64().unwrap() > 0 && called["dropped"] == 0, "{called:#}");
    let denied = between("default/near", "default/user-service");
    assert_eq!(denied["reasons"], json!(["POLICY_DENIED"]), "{denied:#}");
    assert!(
        edges.iter().all(|edge| edge["from"]["name"] != "default/user-service"),
        "answers begin nothing: {graph:#}"
    );
    // Filters narrow it.
    let narrowed: Value = serde_json::from_str(&map(&["-o", "json", "--verdict", "dropped"])).unwrap();
    assert!(narrowed["edges"].as_array().unwrap().iter().all(|edge| edge["begun"] == 0), "{narrowed:#}");
    assert!(map(&[]).contains("default/monolith") && map(&["-o", "svg"]).starts_with("<svg"));
}

/// Policies from what was seen let it pass, and nothing else; what a change would do to what was seen.
fn learnt(cluster: &Cluster) {
    let policy = |arguments: &[&str]| {
        let mut command = Command::new(malla_path());
        command.arg("policy").args(arguments).args(["--lab", &cluster.name]).env_remove("MALLA_LAB");
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), out.into_owned(), err.into_owned())
    };
    let (status, _, said) = policy(&["learn", "-n", "nowhere"]);
    assert!(status == 2 && said.contains("no flow"), "{said}");
    let (status, yaml, said) = policy(&["learn", "-n", "default", "--since", "1h"]);
    assert!(status == 0 && yaml.contains("learned-user-service") && said.contains("are not in them"), "{said}\n{yaml}");

    let folder = std::env::temp_dir().join(format!("malla-learnt-{}", cluster.name));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("learnt.yaml");
    std::fs::write(&file, &yaml).unwrap();
    let file = file.to_str().unwrap();
    let (status, told, said) = policy(&["simulate", "-f", file, "--flows", "1h"]);
    assert!(status == 0 && told.contains("none of"), "{told}{said}");
    // The policy that is there, taken away: what it dropped would pass.
    let delete = ["simulate", "--delete", "networkpolicy/default/only-monolith", "--flows", "1h", "-o", "json"];
    let (status, told, said) = policy(&delete);
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}{said}"));
    let flip = &told["flips"][0];
    assert_eq!((status, &flip["from"], &flip["then"]), (1, &json!("default/near"), &json!(true)), "{told:#}");
    assert!(flip["dropped"].as_u64().unwrap() > 0, "{told:#}");

    cluster.apply(&yaml);
    std::fs::remove_dir_all(&folder).unwrap();
    let explain = |from: &str, to: &str, port: &str| policy(&["explain", "--from", from, "--to", to, "--port", port]);
    // In the real maps, too: where they disagree, the status is 2.
    wait_until("what was not seen is denied", PATIENCE, || explain("near", "monolith", "8080").0 == 1);
    let (status, told, said) = explain("monolith", "service:user-service", "80");
    assert!(status == 0, "{told}{said}");
    let [service, _] = cluster.cluster_ips("user-service");
    let url = format!("http://{service}/");
    let asked = cluster.ask(From::Pod("monolith"), &["http", &url, "--count", "3", "--timeout", "2s"]);
    assert!(asked.is_ok_and(|report| report.errors == 0), "what was seen still passes: {yaml}");
}

#[test]
fn every_end_is_told_as_what_it_was() {
    let cluster = up();
    endings::sockets(&cluster);
    endings::all(&cluster);
}

#[test]
fn a_relay_merges_three_nodes_and_tells_which_is_missing() {
    relay::all(&up());
}

#[test]
fn a_sample_says_that_it_is_one() {
    part::of_a_sample(&up_with(&[part::SAMPLE]));
}

#[test]
fn who_observes_no_flows_pays_for_none() {
    part::of_nobody(&up_with(&[part::UNOBSERVED]));
}

#[test]
fn what_was_seen_outlives_the_pod_and_the_agent() {
    kept::all(&up_with(&[kept::EXPORT]));
}
