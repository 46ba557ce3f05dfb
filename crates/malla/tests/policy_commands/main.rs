//! `malla policy explain, simulate, matrix, prove` of a cluster that runs, and the names of rules in `malla monitor`.
//!
//! Needs root, `malla-cni` beside `malla`, and kubectl.
#![forbid(unsafe_code)]

#[path = "../traffic/cluster.rs"]
#[allow(dead_code, reason = "the tests of traffic use the rest")]
mod cluster;

use cluster::{Cluster, From, Running, at, malla_path, text, wait_until};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn malla(cluster: &Cluster, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(malla_path());
    command.args(["policy"]).args(arguments).args(["--lab", &cluster.name]).env_remove("MALLA_LAB");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("malla starts");
    // Who needs none may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Exit status and answer.
fn explain(cluster: &Cluster, from: &str, to: &str, port: &str) -> (i32, Value) {
    let output = malla(cluster, &["explain", "--from", from, "--to", to, "--port", port, "-o", "json"], "");
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    (output.status.code().unwrap(), answer)
}

/// The end of the only flow that judges in this direction.
fn end<'a>(answer: &'a Value, direction: &str) -> &'a Value {
    let ends = answer["flows"][0]["ends"].as_array().unwrap();
    ends.iter().find(|end| end["direction"] == direction).unwrap_or_else(|| panic!("{direction} in {answer:#}"))
}

/// All maps were read and say the same.
fn agreed(answer: &Value) {
    assert_eq!(answer["drift"], false, "{answer:#}");
    assert_eq!(answer["warnings"].as_array().unwrap().len(), 0, "{answer:#}");
    let ends = answer["flows"].as_array().unwrap().iter().flat_map(|flow| flow["ends"].as_array().unwrap());
    ends.for_each(|end| assert_eq!(end["agree"], true, "{answer:#}"));
}

/// `kubectl` is done before agents are: until rules say so and maps agree.
fn until(cluster: &Cluster, from: &str, to: &str, port: &str, status: i32) -> Value {
    let mut last = Value::Null;
    wait_until(&format!("status {status} from {from} to {to}"), PATIENCE, || {
        let (code, answer) = explain(cluster, from, to, port);
        last = answer;
        code == status
    });
    agreed(&last);
    last
}

const SERVER: &str = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: server, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {place: far}}}], ports: [{port: http}]}]
";

const DENY: &str = "---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: not-near, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: server}}
  enableDefaultDeny: {ingress: false, egress: false}
  ingressDeny: [{fromEndpoints: [{matchLabels: {place: near}}]}]
";

#[test]
fn a_running_cluster_is_asked() {
    let cluster = Cluster::up(&[]);
    cluster.apply(include_str!("../enforcement/pods.yaml"));
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    let open = until(&cluster, "near", "server", "8080", 0);
    assert_eq!(end(&open, "ingress")["rules"]["cause"], "no-policy");

    cluster.apply(SERVER);
    explained(&cluster);
    told_by_monitor(&cluster, "default_deny", "server", Value::Null);
    simulated(&cluster);
    nodes(&cluster);
    proved(&cluster);
    cluster.apply(DENY);
    let denied = until(&cluster, "near", "server", "8080", 1);
    let deny_rule = &end(&denied, "ingress")["rules"]["decided_by"];
    if deny_rule.is_null() {
        wait_until("the deny", PATIENCE, || {
            let (_, answer) = explain(&cluster, "near", "server", "8080");
            end(&answer, "ingress")["rules"]["decided_by"][0]["name"] == "not-near"
        });
    }
    told_by_monitor(&cluster, "decided_by", "not-near", "spec.ingressDeny[0]".into());
    drift_is_loud(&cluster);
}

fn explained(cluster: &Cluster) {
    let denied = until(cluster, "near", "server", "8080/tcp", 1);
    let ingress = end(&denied, "ingress");
    assert_eq!(ingress["rules"]["cause"], "default-deny", "{denied:#}");
    assert_eq!(ingress["rules"]["default_deny"][0]["name"], "server");
    assert_eq!((&ingress["node"], &ingress["maps"]["why"]), (&"worker-1".into(), &"default deny".into()));
    let (_, far) = explain(cluster, "far", "server", "http/tcp");
    agreed(&far);
    assert_eq!(far["allowed"], true);
    assert_eq!(end(&far, "egress")["node"], "worker-2");
    assert_eq!(end(&far, "ingress")["rules"]["decided_by"][0]["field"], "spec.ingress[0]");
    assert_eq!(end(&far, "ingress")["maps"]["why"], "NetworkPolicy default/server spec.ingress[0]");
    for (from, to, port, status) in [
        ("far", "server", "8081", 1),
        ("far", "service:default/server", "80", 0),
        ("near", "service:server", "80", 1),
        ("place=far", "app=server", "8080", 0),
        ("203.0.113.2", "server", "8080", 1),
        ("server", "203.0.113.2", "443/tcp", 0),
        ("node:worker-1", "server", "8080", 0),
        ("node:worker-2", "server", "8080", 1),
        // The API server runs there.
        ("node:control-plane", "server", "8080", 1),
    ] {
        let (code, answer) = explain(cluster, from, to, port);
        assert_eq!(code, status, "{from} to {to} on {port}: {answer:#}");
        agreed(&answer);
    }
    // Who is not there is judged by the rules alone, and that is said.
    let (code, nobody) = explain(cluster, "place=far,app=new", "server", "8080");
    assert_eq!((code, &end(&nobody, "ingress")["agree"]), (0, &Value::Null), "{nobody:#}");
    for (from, to, port) in [("nobody", "server", "80"), ("near", "service:nothing", "80"), ("near", "server", "x/tcp")]
    {
        let output = malla(cluster, &["explain", "--from", from, "--to", to, "--port", port], "");
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    }
    let output = malla(cluster, &["explain", "--from", "near", "--to", "server", "--port", "8080"], "");
    let said = text(&output);
    assert!(said.starts_with("default/near -> default/server tcp/8080: DENIED\n"), "{said}");
    assert!(said.contains("decided:  default deny of NetworkPolicy default/server"), "{said}");
    assert!(said.contains("no match: NetworkPolicy default/server spec.ingress[0]"), "{said}");
}

/// What a drop is told with while near asks the server.
fn told_by_monitor(cluster: &Cluster, field: &str, name: &str, rule: Value) {
    let mut monitor = Command::new(malla_path());
    monitor.args(["monitor", "--lab", &cluster.name, "--type", "drop", "--from", "default/near", "-o", "json"]);
    let child = monitor.env_remove("MALLA_LAB").stdout(Stdio::piped()).spawn().unwrap();
    let mut running = Running(child);
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let [address, _] = cluster.pod_addresses("server");
    let url = format!("http://{}/", at(&address, 8080));
    let asking = ["http", &url, "--duration", "60s", "--rate", "5", "--timeout", "500ms"];
    let client =
        cluster.client(From::Pod("near"), &asking).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _client = Running(client);
    // Names are made when somebody listens: the first event may come before them.
    let told =
        lines.by_ref().take(50).map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()).find(|line| {
            let named = &line["flow"][field];
            let named = if named.is_array() { &named[0] } else { named };
            named["name"] == name
        });
    let told = told.unwrap_or_else(|| panic!("no drop of 50 names {name}"));
    let flow = &told["flow"];
    assert_eq!(flow["verdict"], "DROPPED");
    if rule.is_null() {
        assert_eq!((&flow["drop_reason"], &flow["decided_by"]), (&"POLICY_DENIED".into(), &Value::Null), "{flow:#}");
    } else {
        assert_eq!((&flow["drop_reason"], &flow["decided_by"]["field"]), (&"POLICY_DENY".into(), &rule), "{flow:#}");
        assert!(flow["default_deny"].is_null(), "{flow:#}");
    }
}

fn simulated(cluster: &Cluster) {
    let output = malla(cluster, &["simulate", "--delete", "netpol/server", "-o", "json"], "");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let simulation: Value = serde_json::from_slice(&output.stdout).unwrap();
    let changes = simulation["changes"].as_array().unwrap();
    let pods = |change: &Value, side: &str| change[side].as_array().unwrap().iter().any(|pod| pod == "default/near");
    let near: Vec<_> = changes.iter().filter(|change| pods(change, "from_pods")).collect();
    assert_eq!(near.len(), 1, "{simulation:#}");
    assert_eq!((&near[0]["then"], &near[0]["ports"]), (&true.into(), &"everything".into()), "{near:#?}");
    assert_eq!(near[0]["families"], serde_json::json!(["IPv4", "IPv6"]));
    assert!(changes.iter().any(|change| change["from"] == "world IPv4"), "{simulation:#}");
    assert!(cluster.kubectl(&["get", "networkpolicy"]).contains("server"), "nothing was written");
    let same = malla(cluster, &["simulate", "-f", "-"], SERVER);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same));
    let matrix = malla(cluster, &["matrix", "-n", "default", "-l", "app=server", "-o", "json"], "");
    let cells: Value = serde_json::from_slice(&matrix.stdout).unwrap();
    let cell = |pod: &str| {
        let mine = |one: &&Value| {
            let has = |side: &str, pod: &str| one[side].as_array().unwrap().iter().any(|name| name == pod);
            has("from_pods", pod) && has("to_pods", "default/server")
        };
        cells.as_array().unwrap().iter().find(mine).unwrap_or_else(|| panic!("{pod} in {cells:#}")).clone()
    };
    assert_eq!(cell("default/far")["allowed"], "tcp/8080");
    assert_eq!(cell("default/near")["allowed"], "nothing");
}

const NODES: &str = "---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: nodes}
spec:
  nodeSelector: {matchLabels: {kubernetes.io/hostname: worker-1}}
  ingress: [{fromEntities: [kube-apiserver]}, {fromEndpoints: [{matchLabels: {place: far}}]}]
";

/// What a policy about a node would do is told, and once it is in force all say the same: matrix, explain, the real maps.
fn nodes(cluster: &Cluster) {
    let open = until(cluster, "far", "node:worker-1", "22", 0);
    assert!(
        !open["flows"][0]["ends"].as_array().unwrap().iter().any(|end| end["subject"] == "node worker-1"),
        "{open:#}"
    );
    let output = malla(cluster, &["simulate", "-f", "-", "-o", "json"], NODES);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let simulation: Value = serde_json::from_slice(&output.stdout).unwrap();
    let changes = simulation["changes"].as_array().unwrap();
    let closes_worker_1 = |one: &Value| one["then"] == false && one["to_nodes"] == serde_json::json!(["worker-1"]);
    assert!(!changes.is_empty() && changes.iter().all(closes_worker_1), "{simulation:#}");
    let from_worker_2 = |one: &&Value| one["from_nodes"].to_string().contains("worker-2");
    let worker_2: Vec<&Value> = changes.iter().filter(from_worker_2).collect();
    assert!(
        !worker_2.is_empty() && worker_2.iter().all(|one| one["from"].as_str().unwrap().contains("(remote-node)")),
        "{changes:#?}"
    );
    let not_those = |one: &Value| {
        !one["from_nodes"].to_string().contains("control-plane")
            && !one["from_pods"].to_string().contains("default/far")
    };
    assert!(changes.iter().all(not_those), "{changes:#?}");

    cluster.apply(NODES);
    until(cluster, "near", "node:worker-1", "8080", 1);
    // Another agent than that of the node may be the one that is asked.
    wait_until("nothing more to change", PATIENCE, || {
        malla(cluster, &["simulate", "-f", "-"], NODES).status.code() == Some(0)
    });
    let matrix = malla(cluster, &["matrix", "-l", "kubernetes.io/hostname=worker-1", "-o", "json"], "");
    let cells: Value =
        serde_json::from_slice(&matrix.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&matrix)));
    let allowed = |from: &str, own: bool| {
        let mine = |one: &&Value| {
            let is_from = [&one["from_pods"], &one["from_nodes"]]
                .iter()
                .any(|all| all.as_array().unwrap().iter().any(|name| name == from));
            let is_own = one["to"].as_str().unwrap().starts_with("its own node");
            is_from && is_own == own && one["to_nodes"] == serde_json::json!(["worker-1"])
        };
        let found: Vec<&Value> = cells.as_array().unwrap().iter().filter(mine).collect();
        assert_eq!(found.len(), 1, "{from} in {cells:#}");
        found[0]["allowed"].as_str().unwrap().to_owned()
    };
    // Pod near is on that node.
    for (pod, own, from, port, status) in [
        ("default/near", true, "near", "8080", 1),
        ("default/near", true, "near", "22", 0),
        ("default/far", false, "far", "8080", 0),
        ("worker-2", false, "node:worker-2", "8080", 1),
        ("worker-2", false, "node:worker-2", "10250", 0),
        ("control-plane", false, "node:control-plane", "8080", 0),
    ] {
        let (code, answer) = explain(cluster, from, "node:worker-1", port);
        assert_eq!(code, status, "{from} on {port}: {answer:#}");
        agreed(&answer);
        assert_eq!(end(&answer, "ingress")["subject"], "node worker-1");
        let said = allowed(pod, own);
        let passes = said == "everything" || said.split(' ').any(|one| one == format!("tcp/{port}"));
        assert_eq!(passes, status == 0, "{from} on {port}: {said}");
    }
    let (code, itself) = explain(cluster, "node:worker-1", "node:worker-1", "8080");
    assert_eq!((code, itself["flows"][0]["ends"].as_array().unwrap().len()), (0, 0), "{itself:#}");
    cluster.kubectl(&["delete", "ciliumclusterwidenetworkpolicies.cilium.io", "nodes"]);
    until(cluster, "near", "node:worker-1", "8080", 0);
}

fn proved(cluster: &Cluster) {
    let question = |who: &str| {
        format!(
            "apiVersion: malla.dev/v1alpha1\nkind: PolicyQuestion\nmetadata: {{name: only}}\nspec:\n  claim: Only\n  \
             from: [{{namespace: default, pods: {{matchLabels: {{{who}}}}}}}, {{entity: host}}]\n  \
             to: [{{namespace: default, pods: {{matchLabels: {{app: server}}}}}}]\n"
        )
    };
    let yes = malla(cluster, &["prove", "-f", "-"], &question("place: far"));
    assert_eq!(yes.status.code(), Some(0), "{}", text(&yes));
    let no = malla(cluster, &["prove", "-f", "-"], &question("place: far, app: client"));
    assert_eq!(no.status.code(), Some(1), "{}", text(&no));
    let said = text(&no);
    assert!(said.contains("only: NO") && said.contains("place=far in namespace default"), "{said}");
    assert!(said.contains("NetworkPolicy default/server spec.ingress[0]"), "{said}");
}

/// The agent of the server's node stands still: others tell the rules, its maps are read all the same, and what they still
/// say is told.
fn drift_is_loud(cluster: &Cluster) {
    let nodes = cluster.status()["nodes"].clone();
    let node = nodes.as_array().unwrap().iter().find(|node| node["name"] == "worker-1").expect("the node");
    let agent = node["agent"]["pid"].as_i64().expect("its agent runs").to_string();
    assert!(Command::new("kill").args(["-STOP", &agent]).status().unwrap().success());
    let (code, answer) = explain(cluster, "near", "server", "8080");
    assert_eq!(code, 1, "nothing has changed: {answer:#}");
    let warnings = answer["warnings"].to_string();
    assert!(
        warnings.contains("worker-1 can't be asked") && warnings.contains("its own agent says nothing"),
        "{warnings}"
    );
    assert_eq!(end(&answer, "ingress")["agree"], true, "{answer:#}");
    cluster.kubectl(&["delete", "networkpolicy", "server"]);
    cluster.kubectl(&["delete", "ciliumnetworkpolicies.cilium.io", "not-near"]);
    let mut last = Value::Null;
    wait_until("the others to know", PATIENCE, || {
        let (code, answer) = explain(cluster, "near", "server", "8080");
        last = answer;
        code == 2
    });
    assert_eq!((&last["drift"], &last["allowed"]), (&true.into(), &true.into()), "{last:#}");
    assert_eq!(end(&last, "ingress")["maps"]["allowed"], false, "{last:#}");
    let output = malla(cluster, &["explain", "--from", "near", "--to", "server", "--port", "8080"], "");
    let said = text(&output);
    assert!(
        said.contains("WARNING: the rules and the real maps DISAGREE") && said.contains("maps:     DISAGREE: denied"),
        "{said}"
    );
    assert!(Command::new("kill").args(["-CONT", &agent]).status().unwrap().success());
    until(cluster, "near", "server", "8080", 0);
}
