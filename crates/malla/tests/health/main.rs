//! Nodes that probe each other, in a real lab: what `malla status --all`, the Node's condition and the metrics say while an agent
//! hangs, a cable is out, a policy shuts the port, and a node leaves; and what a second condition says of the agent itself.
//!
//! Needs root, `malla-cni` beside `malla`, and kubectl.
#![forbid(unsafe_code)]

#[path = "../traffic/cluster.rs"]
#[allow(dead_code, reason = "the tests of traffic use the rest")]
mod cluster;

use cluster::{Cluster, From, malla_path, text, wait_until};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Three probes in a row, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);
const NODES: [&str; 3] = ["control-plane", "worker-1", "worker-2"];

/// An agent looks every ten seconds, waits until it has settled, up to thirty, and lets twenty pass between two turns.
const SETTLED: Duration = Duration::from_secs(120);

/// One probe of each path per second.
fn up(arguments: &[&str]) -> Cluster {
    Cluster::up_with(&[("MALLA_HEALTH_CHECK_INTERVAL", "1")], arguments)
}

/// Exit status and what was said.
fn status(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(malla_path());
    command.args(["status", "--lab", &cluster.name]).args(arguments).env_remove("MALLA_LAB");
    let output = command.output().unwrap();
    (output.status.code().unwrap(), text(&output))
}

/// Until `status --all` says so, in all that it says and in its last line.
fn until_not_well(cluster: &Cluster, what: &[&str]) -> String {
    let (mut code, mut said) = (0, String::new());
    wait_until(&format!("{what:?}"), PATIENCE, || {
        (code, said) = status(cluster, &["--all"]);
        code == 1 && what.iter().all(|part| said.contains(part))
    });
    assert!(said.lines().last().unwrap().starts_with("not well: "), "{said}");
    said
}

fn until_well(cluster: &Cluster) -> String {
    let mut last = (0, String::new());
    wait_until("a network that is well", PATIENCE, || {
        last = status(cluster, &["--all"]);
        last.0 == 0
    });
    last.1
}

/// A condition of a node.
fn kept(cluster: &Cluster, node: &str, kind: &str) -> Value {
    let object: Value = serde_json::from_str(&cluster.kubectl(&["get", "node", node, "-o", "json"])).unwrap();
    let conditions = object["status"]["conditions"].as_array().unwrap().clone();
    let find = |kind: &str| conditions.iter().find(|one| one["type"] == kind).cloned().unwrap_or_default();
    assert_eq!(find("NetworkUnavailable")["status"], "False", "that is another matter: {conditions:#?}");
    find(kind)
}

/// The condition `malla.dev/Connectivity` of a node: status and message.
fn condition(cluster: &Cluster, node: &str) -> (String, String) {
    let ours = kept(cluster, node, "malla.dev/Connectivity");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&ours["status"]), text(&ours["message"]))
}

/// Until `malla.dev/AgentReady` of a node has this status and reason.
fn until_agent(cluster: &Cluster, node: &str, status: &str, reason: &str) -> Value {
    let mut last = Value::Null;
    wait_until(&format!("the agent of {node}: {status}, {reason}"), SETTLED, || {
        last = kept(cluster, node, "malla.dev/AgentReady");
        last["status"] == status && last["reason"] == reason
    });
    last
}

fn until_condition(cluster: &Cluster, node: &str, status: &str, message: &str) {
    let mut last = (String::new(), String::new());
    let mut tries = 0;
    wait_until(&format!("{node}: {status}, {message}"), PATIENCE, || {
        last = condition(cluster, node);
        tries += 1;
        if tries % 100 == 0 {
            eprintln!("{node} says {last:?}");
        }
        last.0 == status && last.1.contains(message)
    });
}

fn metrics(cluster: &Cluster, address: &str) -> String {
    let url = format!("http://{address}:9965/metrics");
    let curl = cluster.command(From::Node("control-plane"), Path::new("curl"), &["--silent", "--fail", &url]).output();
    text(&curl.unwrap())
}

fn number(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn nodes_look_after_each_other() {
    let cluster = up(&[]);
    all_is_well(&cluster);
    an_agent_is_degraded(&cluster);
    an_agent_is_not_heard_any_more(&cluster);
    an_agent_hangs_and_is_killed(&cluster);
    a_cable_is_out(&cluster);
    a_policy_shuts_the_port(&cluster);
    a_node_leaves(&cluster);
}

#[test]
fn it_is_the_same_with_native_routing_and_answered_by_name() {
    let cluster = up(&["--routing", "native"]);
    let said = until_well(&cluster);
    assert!(said.contains("all is well: 3 nodes, 24 paths"), "{said}");
    let hello = |path: &str| {
        let url = format!("http://172.18.0.3:4240{path}");
        let curl = ["--silent", "--write-out", "%{http_code}", &url];
        text(&cluster.command(From::Node("worker-2"), Path::new("curl"), &curl).output().unwrap())
    };
    assert_eq!((hello("/hello").as_str(), hello("/v1/status").as_str()), ("worker-1\n200", "404"));
}

fn all_is_well(cluster: &Cluster) {
    let said = until_well(cluster);
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("all is well: 3 nodes, 24 paths, the slowest "), "{said}");
    assert!(said.contains("FROM \\ TO") && said.matches("2 of 2").count() == 3, "{said}");
    let (code, json) = status(cluster, &["--all", "-o", "json"]);
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &told["well"]), (0, &Value::Bool(true)), "{json}");
    for (node, name) in told["nodes"].as_array().unwrap().iter().zip(NODES) {
        assert!(node["node"] == name && node["agent"] == "ok" && node["in_sync"] == true, "{json}");
    }
    let mut ways = std::collections::BTreeSet::new();
    for path in told["paths"].as_array().unwrap() {
        let latency = path["latency_seconds"].as_f64().unwrap_or_else(|| panic!("{path}"));
        assert!(path["state"] == "reachable" && latency > 0.0 && path["last_answer"].is_string(), "{path}");
        let field = |name: &str| path[name].as_str().unwrap().to_owned();
        assert_ne!(path["from"], path["to"], "nobody probes oneself");
        ways.insert((field("from"), field("to"), field("protocol"), field("address").contains(':')));
    }
    assert_eq!(ways.len(), 24, "each to each other, by two protocols and two families: {json}");
    let (code, yaml) = status(cluster, &["--all", "-o", "yaml"]);
    assert!(code == 0 && yaml.contains("well: true") && yaml.contains("latency_seconds:"), "{yaml}");

    // As GitOps tools would wait for it.
    cluster.kubectl(&["wait", "--for=condition=malla.dev/Connectivity", "node", "--all", "--timeout=60s"]);
    cluster.kubectl(&["wait", "--for=condition=malla.dev/AgentReady", "node", "--all", "--timeout=120s"]);
    let statuses = r#"jsonpath={.items[*].status.conditions[?(@.type=="malla.dev/AgentReady")].status}"#;
    assert_eq!(cluster.kubectl(&["get", "node", "-o", statuses]).trim(), "True True True");
    of_no_lab(cluster);
    // Without --all it is what it was.
    let (code, plain) = status(cluster, &[]);
    assert!(code == 0 && !plain.contains("FROM \\ TO") && plain.contains("POD MTU"), "{plain}");
    for (arguments, what) in [(&["--all", "--node", "worker-9"][..], "no node"), (&["--all", "--nonsense"], "nonsense")]
    {
        let (code, said) = status(cluster, arguments);
        assert!(code == 2 && said.contains(what), "{code} {said}");
    }
    let (code, one) = status(cluster, &["--all", "--node", "worker-1"]);
    assert!(code == 0 && one.contains("not asked"), "{one}");

    let told = metrics(cluster, "172.18.0.3");
    for (protocol, family) in [("icmp", "ipv4"), ("icmp", "ipv6"), ("tcp", "ipv4"), ("tcp", "ipv6")] {
        let labels = format!(r#"protocol="{protocol}",family="{family}""#);
        let paths = format!(r#"malla_node_connectivity_paths{{{labels},state="reachable"}} "#);
        assert_eq!(number(&told, &paths), Some(2.0), "{told}");
        let answers = format!("malla_node_connectivity_latency_seconds_count{{{labels}}} ");
        assert!(number(&told, &answers).is_some_and(|count| count >= 2.0), "{told}");
    }
    assert!(!told.contains("malla_node_connectivity_unreachable{"), "{told}");
}

/// Of a cluster that is no lab one agent is at hand, and the API tells of the others.
fn of_no_lab(cluster: &Cluster) {
    let socket = format!("/run/malla/{}/nodes/worker-1/agent.sock", cluster.name);
    let (code, said) = by_the_api(cluster, &["--socket", &socket]);
    assert!(code == 0 && said.matches("all, it says").count() == 2 && said.contains("3 nodes (1 asked)"), "{said}");
    assert_eq!(said.matches("in sync, it says").count(), 2, "{said}");
    let (code, said) = by_the_api(cluster, &[]);
    assert!(code == 0 && said.matches("all, it says").count() == 3 && said.contains("3 nodes (0 asked)"), "{said}");
    let (code, said) = by_the_api(cluster, &["--node", "worker-9"]);
    assert!(code == 2 && said.contains("no node \"worker-9\""), "{code} {said}");
    let (code, said) = status(cluster, &["--all", "--kubeconfig", "/nowhere"]);
    assert!(code == 2 && said.contains("/nowhere"), "{code} {said}");
}

/// `status --all` with the lab's kubeconfig in the place of its folder.
fn by_the_api(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    let kubeconfig = format!("/run/malla/{}/kubeconfig", cluster.name);
    status(cluster, &[&["--all", "--kubeconfig", &kubeconfig], arguments].concat())
}

/// Its node does not forward any more: the agent says so itself, and the others know nothing of it.
fn an_agent_is_degraded(cluster: &Cluster) {
    let forward = |value: &str| {
        let line = format!("echo {value} > /proc/sys/net/ipv4/ip_forward");
        let output = cluster.command(From::Node("worker-1"), Path::new("sh"), &["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    };
    let well = until_agent(cluster, "worker-1", "True", "AgentInSync");
    forward("0");
    let trouble = "net.ipv4.ip_forward is 0: the host does not forward packets";
    until_not_well(cluster, &[&format!("worker-1: {trouble}")]);
    let told = until_agent(cluster, "worker-1", "False", "AgentDegraded");
    assert_eq!(told["message"], trouble);
    assert_ne!(told["lastTransitionTime"], well["lastTransitionTime"]);
    let (code, said) = by_the_api(cluster, &[]);
    let is_told = said.contains(&format!("! the agent of worker-1 is not well: {trouble} (since 20"));
    let others = said.matches("in sync, it says").count();
    assert!(code == 1 && is_told && others == 2 && said.contains("not well, it says"), "{code} {said}");
    let (code, json) = by_the_api(cluster, &["-o", "json", "--node", "worker-1"]);
    let node = serde_json::from_str::<Value>(&json).unwrap()["nodes"][0].clone();
    assert!(code == 1 && node["agent"] == "not-asked" && node["of_itself"]["readiness"] == "not-ready", "{json}");
    // Who is asked has said more, and of the others nobody complains.
    let (code, said) = by_the_api(cluster, &["--node", "worker-2", "--node", "control-plane"]);
    assert!(code == 0, "{code} {said}");
    let events = || cluster.kubectl(&["get", "events", "-A", "-o", "jsonpath={.items[*].reason}"]);
    wait_until("an Event", PATIENCE, || events().contains("AgentDegraded"));
    forward("1");
    let told = until_agent(cluster, "worker-1", "True", "AgentInSync");
    assert_eq!(told["message"], well["message"]);
    until_well(cluster);
    let (code, said) = by_the_api(cluster, &[]);
    assert!(code == 0, "{code} {said}");
}

/// As if it had ended a while ago, and nobody were left to tell.
fn an_agent_is_not_heard_any_more(cluster: &Cluster) {
    // As a whole: `kubectl patch --subresource` is younger than the kubectl that tests have.
    let beat = |time: &str| {
        wait_until("a status that nobody else writes meanwhile", PATIENCE, || {
            let mut node: Value =
                serde_json::from_str(&cluster.kubectl(&["get", "--raw", "/api/v1/nodes/worker-2"])).unwrap();
            let conditions = node["status"]["conditions"].as_array_mut().unwrap();
            let ready = conditions.iter_mut().find(|one| one["type"] == "malla.dev/AgentReady").unwrap();
            ready["lastHeartbeatTime"] = time.into();
            let file = cluster.folder().join("worker-2.json");
            fs::write(&file, node.to_string()).unwrap();
            let replace = ["replace", "--raw", "/api/v1/nodes/worker-2/status", "-f", file.to_str().unwrap()];
            cluster.kubectl_command(&replace).output().unwrap().status.success()
        });
    };
    let now = until_agent(cluster, "worker-2", "True", "AgentInSync")["lastHeartbeatTime"].clone();
    beat("2020-01-01T00:00:00Z");
    let (code, said) = by_the_api(cluster, &[]);
    assert!(code == 1 && said.contains("! the agent of worker-2 was heard last "), "{code} {said}");
    beat(now.as_str().unwrap());
    let (code, said) = by_the_api(cluster, &[]);
    assert!(code == 0, "{code} {said}");
}

/// Its kernel goes on, and says so; then it is killed and comes back.
fn an_agent_hangs_and_is_killed(cluster: &Cluster) {
    let agent = |field: &str| cluster.status()["nodes"][2]["agent"][field].clone();
    let pid = agent("pid").to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    signal("-STOP");
    let hangs = "by TCP from control-plane, worker-1: the connection is accepted, but the agent does not answer";
    let said = until_not_well(cluster, &["the agent of worker-2 does not answer", hangs]);
    assert!(!said.contains("ICMP and TCP from") && !said.contains("reaches nobody"), "{said}");
    for node in ["control-plane", "worker-1"] {
        until_condition(cluster, node, "False", "can't reach worker-2 by TCP (IPv4, IPv6)");
    }
    let (code, said) = by_the_api(cluster, &[]);
    let says =
        |node: &str| said.contains(&format!("! {node} says: can't reach worker-2 by TCP (IPv4, IPv6) (since 20"));
    assert!(code == 1 && says("control-plane") && says("worker-1") && !said.contains("worker-2 says"), "{code} {said}");
    let told = metrics(cluster, "172.18.0.3");
    for family in ["ipv4", "ipv6"] {
        let peer =
            format!(r#"malla_node_connectivity_unreachable{{peer="worker-2",protocol="tcp",family="{family}"}} "#);
        assert_eq!(number(&told, &peer), Some(1.0), "{told}");
    }
    signal("-KILL");
    until_well(cluster);
    NODES.iter().for_each(|node| until_condition(cluster, node, "True", "every other node answers"));
    let events = cluster.kubectl(&["get", "events", "-A", "-o", "jsonpath={.items[*].reason}"]);
    assert!(events.contains("NodesUnreachable"), "{events}");
}

/// The fabric's end of worker-1's cable.
fn a_cable_is_out(cluster: &Cluster) {
    let fabric = format!("{}-fabric", cluster.name);
    let set = |state: &str| {
        let output = Command::new("ip").args(["-n", &fabric, "link", "set", "node1", state]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    };
    set("down");
    let said = until_not_well(
        cluster,
        &["worker-1 reaches nobody by ICMP and TCP", "can't be reached by ICMP and TCP from control-plane, worker-2"],
    );
    assert!(said.contains("FAILS / FAILS"), "{said}");
    for node in ["control-plane", "worker-2"] {
        until_condition(cluster, node, "False", "can't reach worker-1 by ICMP (IPv4, IPv6) and TCP (IPv4, IPv6)");
    }
    set("up");
    until_well(cluster);
    NODES.iter().for_each(|node| until_condition(cluster, node, "True", "every other node answers"));
}

/// Probes are let pass by nobody: they tell what a connection would find.
fn a_policy_shuts_the_port(cluster: &Cluster) {
    cluster.apply(
        "---\n{apiVersion: cilium.io/v2, kind: CiliumClusterwideNetworkPolicy, metadata: {name: shut}, spec: {\
         nodeSelector: {matchLabels: {kubernetes.io/hostname: worker-1}}, ingress: [{fromEntities: [all]}], \
         ingressDeny: [{fromEntities: [all], toPorts: [{ports: [{port: '4240', protocol: TCP}]}]}]}}",
    );
    let said = until_not_well(cluster, &["can't be reached by TCP from control-plane, worker-2"]);
    assert!(!said.contains("reaches nobody") && !said.contains("ICMP and TCP from"), "{said}");
    until_condition(cluster, "worker-2", "False", "can't reach worker-1 by TCP (IPv4, IPv6)");
    cluster.kubectl(&["delete", "ciliumclusterwidenetworkpolicy", "shut"]);
    until_well(cluster);
}

/// Whoever has left is not probed: its kernel sees no request any more.
fn a_node_leaves(cluster: &Cluster) {
    let requests = || {
        let files = ["/proc/net/snmp", "/proc/net/snmp6"];
        let output = cluster.command(From::Node("worker-2"), Path::new("cat"), &files).output().unwrap();
        echo_requests(&text(&output))
    };
    let before = requests();
    std::thread::sleep(Duration::from_secs(3));
    let probed = requests();
    assert!(before.iter().zip(&probed).all(|(before, after)| before < after), "{before:?} {probed:?}");
    let knows = |node: &str| {
        let (_, json) = status(cluster, &["-o", "json", "--node", node]);
        let told: Value = serde_json::from_str(&json).unwrap();
        let peers = told["nodes"][0]["status"]["connectivity"]["nodes"].as_array().unwrap().clone();
        peers.iter().any(|peer| peer["node"] == "worker-2")
    };
    let is_known = || knows("control-plane") || knows("worker-1");
    // Its Pod runner, which still lives, registers it again once in a minute; right after that there is time enough.
    for _ in 0..4 {
        cluster.kubectl(&["delete", "node", "worker-2"]);
        wait_until("nobody to know worker-2", PATIENCE, || !is_known());
        // What was under way ends.
        std::thread::sleep(Duration::from_secs(3));
        let left = requests();
        std::thread::sleep(Duration::from_secs(4));
        let (later, (code, said)) = (requests(), status(cluster, &["--all"]));
        if is_known() {
            continue;
        }
        assert_eq!(later, left, "probed after it has left");
        assert!(code == 1 && said.contains("worker-2 is not probed by control-plane, worker-1"), "{said}");
        assert!(said.contains("1 of 1"), "{said}");
        return;
    }
    panic!("worker-2 came back each time");
}

/// Echo requests that came in, over IPv4 and IPv6.
fn echo_requests(snmp: &str) -> [u64; 2] {
    let mut icmp = snmp.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let (names, values) = (icmp.next().unwrap(), icmp.next().unwrap());
    let at = names.split_whitespace().position(|name| name == "InEchos").unwrap();
    let v4 = values.split_whitespace().nth(at).unwrap().parse().unwrap();
    let v6 = snmp.lines().find_map(|line| line.strip_prefix("Icmp6InEchos")).unwrap().trim().parse().unwrap();
    [v4, v6]
}
