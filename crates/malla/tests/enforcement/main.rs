//! Policies of every dialect, from `kubectl apply` to the packet: who reaches whom, over both families, and what becomes of
//! connections that exist.
//!
//! Needs root, `malla-cni` beside `malla`, and kubectl.
#![forbid(unsafe_code)]

#[path = "../traffic/cluster.rs"]
#[allow(dead_code, reason = "the tests of traffic use the rest")]
mod cluster;
mod nodes;

use cluster::{Cluster, From, at, malla_path, text, wait_until};
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
const CLIENTS: [From; 5] =
    [From::Pod("near"), From::Pod("far"), From::Pod("stranger"), From::Node("worker-1"), From::Node("worker-2")];

/// Whether an HTTP request is answered; what policy drops is silence, and asked twice.
fn answers(cluster: &Cluster, from: From, url: &str) -> bool {
    (0..2).any(|_| {
        let asked = cluster.ask(from, &["http", url, "--count", "1", "--timeout", "700ms"]);
        asked.is_ok_and(|report| report.errors == 0)
    })
}

/// Who reaches the server's port, in both families.
fn expect(cluster: &Cluster, what: &str, port: u16, allowed: &[From]) {
    expect_at(cluster, what, &cluster.pod_addresses("server"), port, &CLIENTS, allowed);
}

/// Which of the clients reach a port of these addresses, as soon as it is so and a moment later still.
fn expect_at(cluster: &Cluster, what: &str, at_: &[String; 2], port: u16, clients: &[From], allowed: &[From]) {
    let urls = at_.each_ref().map(|address| format!("http://{}/", at(address, port)));
    let wrong = || -> Vec<String> {
        let mut wrong = Vec::new();
        std::thread::scope(|scope| {
            let asked: Vec<_> = clients
                .iter()
                .flat_map(|from| urls.iter().map(move |url| (*from, url)))
                .map(|(from, url)| (from, url, scope.spawn(move || answers(cluster, from, url))))
                .collect();
            for (from, url, answered) in asked {
                let (answered, wanted) = (answered.join().unwrap(), allowed.contains(&from));
                if answered != wanted {
                    wrong.push(format!("{from:?} to {url}: {}", if answered { "answered" } else { "silence" }));
                }
            }
        });
        wrong
    };
    let mut last = Vec::new();
    for _ in 0..8 {
        last = wrong();
        if last.is_empty() {
            return;
        }
    }
    panic!("{what}: {}", last.join("; "));
}

/// In YAML's short form, which kubectl takes for JSON when nothing stands before it.
fn apply(cluster: &Cluster, object: &str) {
    cluster.apply(&format!("---\n{object}"));
}

fn status(cluster: &Cluster) -> String {
    let output = Command::new(malla_path())
        .args(["status", "--lab", &cluster.name, "-o", "json"])
        .env_remove("MALLA_LAB")
        .output()
        .unwrap();
    text(&output)
}

const NODE: From = From::Node("worker-1");
const ALL: [From; 5] = CLIENTS;

fn policies_hold(routing: &str) {
    let cluster = Cluster::up(&["--routing", routing]);
    cluster.apply(include_str!("pods.yaml"));
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    expect(&cluster, "without policies", 8080, &ALL);

    kubernetes(&cluster);
    live_connections(&cluster);
    a_relabelled_namespace(&cluster);
    accounts(&cluster);
    services(&cluster);
    cilium(&cluster);
    audit(&cluster);
    mistakes(&cluster);
    nodes::nodes(&cluster);
    tiers(&cluster);
    without_an_agent(&cluster);
}

#[test]
fn over_vxlan() {
    policies_hold("vxlan");
}

#[test]
fn routed_natively() {
    policies_hold("native");
}

/// Kinds that a cluster without them does not have.
const DEFINITIONS: [&str; 4] = [
    "clusternetworkpolicies.policy.networking.k8s.io",
    "ciliumnetworkpolicies.cilium.io",
    "ciliumclusterwidenetworkpolicies.cilium.io",
    "ciliumcidrgroups.cilium.io",
];

/// An agent that starts where they are not there does not wait for them, and new Pods are not shut; what there is, holds. When
/// they come, so do their policies.
#[test]
fn without_the_definitions_of_others() {
    let cluster = Cluster::up(&["--routing", "vxlan"]);
    let kept: Vec<String> = DEFINITIONS
        .iter()
        .map(|name| {
            let text = cluster.kubectl(&["get", "crd", name, "-o", "json"]);
            let mut object: serde_json::Value = serde_json::from_str(&text).unwrap();
            let annotations = object["metadata"]["annotations"].clone();
            object["metadata"] = serde_json::json!({"name": name, "annotations": annotations});
            object.as_object_mut().unwrap().remove("status");
            object.to_string()
        })
        .collect();
    cluster.kubectl(&[&["delete", "crd"], &DEFINITIONS[..]].concat());
    for node in cluster.status()["nodes"].as_array().unwrap() {
        let agent = node["agent"]["pid"].as_i64().expect("its agent runs");
        assert!(Command::new("kill").args(["-KILL", &agent.to_string()]).status().unwrap().success());
    }
    apply(
        &cluster,
        r#"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: server},
           spec: {podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {place: far}}}]}]}}"#,
    );
    cluster.apply(include_str!("pods.yaml"));
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    expect(&cluster, "Kubernetes' own kind is enforced", 8080, &[NODE, From::Pod("far")]);
    let told: serde_json::Value = serde_json::from_str(&status(&cluster)).unwrap();
    for node in told["nodes"].as_array().unwrap() {
        let watches = node["status"]["watches"].as_array().unwrap();
        let mut absent: Vec<&str> =
            watches.iter().filter(|one| one["not_served"] == true).map(|one| one["kind"].as_str().unwrap()).collect();
        absent.sort_unstable();
        let expected =
            ["CiliumCIDRGroup", "CiliumClusterwideNetworkPolicy", "CiliumNetworkPolicy", "ClusterNetworkPolicy"];
        assert_eq!(absent, expected, "{node}");
        assert_eq!(node["status"]["state"], "ok", "{node}");
    }
    kept.iter().for_each(|definition| cluster.apply(definition));
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", DEFINITIONS[1], "--timeout=20s"]);
    apply(
        &cluster,
        r#"{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: server},
           spec: {endpointSelector: {matchLabels: {app: server}}, ingress: [{fromEndpoints: [{matchLabels: {app: stranger}}]}]}}"#,
    );
    // They are looked for every 10 s.
    let [address, _] = cluster.pod_addresses("server");
    let url = format!("http://{}/", at(&address, 8080));
    wait_until("a kind that came later", 3 * PATIENCE, || answers(&cluster, From::Pod("stranger"), &url));
    expect(&cluster, "both kinds", 8080, &[NODE, From::Pod("far"), From::Pod("stranger")]);
}

fn kubernetes(cluster: &Cluster) {
    apply(
        cluster,
        r#"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: server},
           spec: {podSelector: {matchLabels: {app: server}}, ingress: []}}"#,
    );
    // The own node always reaches its Pods: probes.
    expect(cluster, "nothing may come in", 8080, &[NODE]);
    apply(
        cluster,
        r#"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: server},
           spec: {podSelector: {matchLabels: {app: server}},
             ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: http}]}]}}"#,
    );
    expect(cluster, "clients by a named port", 8080, &[NODE, From::Pod("near"), From::Pod("far")]);
    expect(cluster, "and by no other", 8081, &[NODE]);
    cluster.kubectl(&["label", "pod", "far", "app=somebody", "--overwrite"]);
    expect(cluster, "who is somebody else now", 8080, &[NODE, From::Pod("near")]);
    cluster.kubectl(&["label", "pod", "far", "app=client", "--overwrite"]);
    expect(cluster, "and is itself again", 8080, &[NODE, From::Pod("near"), From::Pod("far")]);
    // Egress is the sender's: the server's policy allows, the client's does not.
    apply(
        cluster,
        r#"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: near},
           spec: {podSelector: {matchLabels: {place: near}}, policyTypes: [Egress], egress: []}}"#,
    );
    expect(cluster, "nothing may go out", 8080, &[NODE, From::Pod("far")]);
    cluster.kubectl(&["delete", "networkpolicy", "near", "server"]);
    expect(cluster, "without policies again", 8080, &ALL);
}

/// A connection that exists is cut by the allow that is taken away, in the middle of what it does, and one beside it isn't.
fn live_connections(cluster: &Cluster) {
    let [address, _] = cluster.pod_addresses("server");
    let url = format!("http://{}/", at(&address, 8080));
    let allow = |who: &str| {
        let object = format!(
            r#"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: server}},
               spec: {{podSelector: {{matchLabels: {{app: server}}}},
                 ingress: [{{from: [{{podSelector: {{matchExpressions: [{{key: place, operator: In, values: {who}}}]}}}}]}}]}}}}"#
        );
        apply(cluster, &object);
    };
    allow("[near, far]");
    expect(cluster, "both", 8080, &[NODE, From::Pod("near"), From::Pod("far")]);
    let keeps_on = |pod: &'static str| {
        let arguments = ["http", &url, "--duration", "6s", "--rate", "20", "--timeout", "2s"];
        let mut client = cluster.client(From::Pod(pod), &arguments);
        client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (near, far) = (keeps_on("near"), keeps_on("far"));
    std::thread::sleep(Duration::from_millis(1500));
    allow("[far]");
    let report = |child: std::process::Child| cluster::report(&child.wait_with_output().unwrap()).unwrap();
    let (near, far) = (report(near), report(far));
    assert!(near.errors > 0, "the connection of near went on: {near:?}");
    assert_eq!(far.errors, 0, "far was disturbed: {far:?}");
    cluster.kubectl(&["delete", "networkpolicy", "server"]);
    expect(cluster, "without policies after that", 8080, &ALL);
}

/// What identity the Pods of this node have, by the agents.
fn identity_of(cluster: &Cluster, pod: &str) -> u64 {
    let told: serde_json::Value = serde_json::from_str(&status(cluster)).unwrap();
    let nodes = told["nodes"].as_array().unwrap();
    let endpoints = nodes.iter().flat_map(|node| node["status"]["endpoints"].as_array().into_iter().flatten());
    endpoints.filter(|one| one["pod"]["name"] == pod).find_map(|one| one["identity"].as_u64()).unwrap()
}

/// All its Pods are somebody else then, both ends of every connection too; what stays allowed goes on without a word, and what
/// hangs on the label follows it.
fn a_relabelled_namespace(cluster: &Cluster) {
    let [address, _] = cluster.pod_addresses("server");
    let url = format!("http://{}/", at(&address, 8080));
    let allow = |label: &str| {
        let object = format!(
            r#"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: server}},
               spec: {{podSelector: {{matchLabels: {{app: server}}}},
                 ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{{label}}}}}, podSelector: {{matchLabels: {{app: client}}}}}}]}}]}}}}"#
        );
        apply(cluster, &object);
    };
    let clients = [NODE, From::Pod("near"), From::Pod("far")];
    allow("kubernetes.io/metadata.name: default");
    expect(cluster, "the namespace by its name", 8080, &clients);
    let goes_on = |pod: &'static str| {
        let arguments = ["http", &url, "--duration", "8s", "--rate", "50", "--timeout", "2s"];
        let mut client = cluster.client(From::Pod(pod), &arguments);
        client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let connections = ["near", "far"].map(goes_on);
    let before = ["server", "near", "far"].map(|pod| identity_of(cluster, pod));
    std::thread::sleep(Duration::from_secs(1));
    for colour in ["blue", "green"] {
        cluster.kubectl(&["label", "namespace", "default", &format!("colour={colour}"), "--overwrite"]);
        std::thread::sleep(Duration::from_secs(2));
    }
    let after = ["server", "near", "far"].map(|pod| identity_of(cluster, pod));
    assert!(before.iter().all(|number| !after.contains(number)), "{before:?} and {after:?}");
    for connection in connections {
        let report = cluster::report(&connection.wait_with_output().unwrap()).unwrap();
        assert_eq!(report.errors, 0, "{report:?}");
    }
    allow("colour: green");
    expect(cluster, "the namespace by its label", 8080, &clients);
    cluster.kubectl(&["label", "namespace", "default", "colour=blue", "--overwrite"]);
    expect(cluster, "and it has another one", 8080, &[NODE]);
    cluster.kubectl(&["label", "namespace", "default", "colour-"]);
    cluster.kubectl(&["delete", "networkpolicy", "server"]);
    expect(cluster, "without policies after namespaces", 8080, &ALL);
}

/// By its account: nobody can give himself another one by a label.
fn accounts(cluster: &Cluster) {
    apply(
        cluster,
        r#"{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: server},
           spec: {endpointSelector: {matchLabels: {app: server}},
             ingress: [{fromEndpoints: [{matchLabels: {io.cilium.k8s.policy.serviceaccount: clerk}}]}]}}"#,
    );
    expect(cluster, "an account", 8080, &[NODE, From::Pod("stranger")]);
    cluster.kubectl(&["label", "pod", "near", "io.cilium.k8s.policy.serviceaccount=clerk"]);
    std::thread::sleep(Duration::from_secs(1));
    expect(cluster, "no label is an account", 8080, &[NODE, From::Pod("stranger")]);
    cluster.kubectl(&["label", "pod", "near", "io.cilium.k8s.policy.serviceaccount-"]);
    cluster.kubectl(&["delete", "ciliumnetworkpolicies.cilium.io", "server"]);
    expect(cluster, "without policies after accounts", 8080, &ALL);
}

/// Policy is about the backend, not about the Service's address; and about the real client of a NodePort.
fn services(cluster: &Cluster) {
    let [service, _] = cluster.cluster_ips("server");
    let url = format!("http://{}/", at(&service, 80));
    apply(
        cluster,
        r#"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: server},
           spec: {podSelector: {matchLabels: {app: server}},
             ingress: [{from: [{podSelector: {matchLabels: {place: far}}}, {ipBlock: {cidr: 203.0.113.0/24}}]}]}}"#,
    );
    expect(cluster, "far and outside", 8080, &[NODE, From::Pod("far")]);
    assert!(answers(cluster, From::Pod("far"), &url), "by the Service");
    assert!(!answers(cluster, From::Pod("near"), &url), "not by the Service either");
    let outside = "http://172.18.0.4:30280/";
    assert!(answers(cluster, From::Node("outside"), outside), "the client outside, by a NodePort of another node");
    apply(
        cluster,
        r#"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: server},
           spec: {podSelector: {matchLabels: {app: server}},
             ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.2/32]}}]}]}}"#,
    );
    wait_until("the exception", PATIENCE, || !answers(cluster, From::Node("outside"), outside));
    cluster.kubectl(&["delete", "networkpolicy", "server"]);
    expect(cluster, "without policies after services", 8080, &ALL);
}

fn cilium(cluster: &Cluster) {
    apply(
        cluster,
        r#"{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: server},
           spec: {endpointSelector: {matchLabels: {app: server}},
             ingress: [{fromEndpoints: [{matchLabels: {app: client}}]}, {fromEntities: [remote-node]}],
             ingressDeny: [{fromEndpoints: [{matchLabels: {place: near}}]}]}}"#,
    );
    expect(cluster, "Cilium's, a deny over an allow", 8080, &[NODE, From::Pod("far"), From::Node("worker-2")]);
    apply(
        cluster,
        r#"{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: server},
           spec: {endpointSelector: {matchLabels: {app: server}},
             ingress: [{fromEndpoints: [{}], toPorts: [{ports: [{port: "8080", protocol: TCP}], rules: {http: [{method: GET}]}}]}]}}"#,
    );
    expect(cluster, "what is not supported allows nothing", 8080, &[NODE]);
    assert!(status(cluster).contains("CiliumNetworkPolicy default/server"), "and is told: {}", status(cluster));
    cluster.kubectl(&["delete", "ciliumnetworkpolicies.cilium.io", "server"]);
    expect(cluster, "without policies after Cilium's", 8080, &ALL);
}

fn tiers(cluster: &Cluster) {
    apply(
        cluster,
        r#"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: server},
           spec: {podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {}}]}]}}"#,
    );
    apply(
        cluster,
        r#"{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: guard},
           spec: {tier: Admin, priority: 10, subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: server}}}},
             ingress: [
               {name: far-passes, action: Pass, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {place: far}}}}]},
               {name: clients-not, action: Deny, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: client}}}}]}]}}"#,
    );
    expect(cluster, "the cluster's before the namespace's", 8080, &[NODE, From::Pod("far"), From::Pod("stranger")]);
    cluster.kubectl(&["delete", "clusternetworkpolicies.policy.networking.k8s.io", "guard"]);
    expect(cluster, "the namespace's alone", 8080, &[NODE, From::Pod("near"), From::Pod("far"), From::Pod("stranger")]);
}

/// In audit mode everything passes and what would not is told, by both languages; the same without the annotation drops.
fn audit(cluster: &Cluster) {
    let [address, _] = cluster.pod_addresses("server");
    let url = format!("http://{}/", at(&address, 8080));
    let kubernetes = |audit: &str| {
        format!(
            r#"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy,
               metadata: {{name: server, annotations: {{malla.dev/audit: "{audit}"}}}},
               spec: {{podSelector: {{matchLabels: {{app: server}}}}, ingress: []}}}}"#
        )
    };
    let cilium = |audit: &str| {
        format!(
            r#"{{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy,
               metadata: {{name: server, annotations: {{malla.dev/audit: "{audit}"}}}},
               spec: {{endpointSelector: {{matchLabels: {{app: server}}}}, enableDefaultDeny: {{ingress: false}},
                 ingressDeny: [{{fromEndpoints: [{{matchLabels: {{app: client}}}}]}}]}}}}"#
        )
    };
    let near_and_far = [NODE, From::Node("worker-2"), From::Pod("stranger")];
    for (object, by_a_rule, kind, enforced) in [
        (&kubernetes as &dyn Fn(&str) -> String, false, "networkpolicies.networking.k8s.io", &[NODE][..]),
        (&cilium, true, "ciliumnetworkpolicies.cilium.io", &near_and_far[..]),
    ] {
        apply(cluster, &object("true"));
        let mut monitor = Command::new(malla_path())
            .args(["monitor", "--lab", &cluster.name, "--type", "audit", "--to", "default/server"])
            .args(["--number", "1", "-o", "json"])
            .env_remove("MALLA_LAB")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until("an audit is told", PATIENCE, || {
            assert!(answers(cluster, From::Pod("near"), &url), "audit mode drops nothing");
            monitor.try_wait().unwrap().is_some()
        });
        let told: serde_json::Value = serde_json::from_slice(&monitor.wait_with_output().unwrap().stdout).unwrap();
        let flow = &told["flow"];
        assert_eq!((&flow["verdict"], &flow["ingress"]), (&"AUDIT".into(), &true.into()), "{told}");
        assert_eq!(flow["source"]["pod"]["name"], "near", "{told}");
        assert_eq!(flow["rule"] != 0, by_a_rule, "{told}");
        expect(cluster, "audit mode, all of them", 8080, &ALL);
        apply(cluster, &object("false"));
        expect(cluster, "the same, enforced", 8080, enforced);
        apply(cluster, &object("true"));
        expect(cluster, "and in audit mode again", 8080, &ALL);
        cluster.kubectl(&["delete", kind, "server"]);
    }
}

/// A new object with a mistake, which the API takes, denies whom it selects.
fn mistakes(cluster: &Cluster) {
    apply(
        cluster,
        r#"{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: server},
           spec: {endpointSelector: {matchLabels: {app: server}},
             ingress: [{fromEndpoints: [{}]}, {fromEndpoints: [{}], fromEntities: [world]}]}}"#,
    );
    expect(cluster, "a mistake shuts", 8080, &[NODE]);
    let told = status(cluster);
    assert!(
        told.contains("spec.ingress[1].fromEntities") && told.contains("is allowed nothing where it governs"),
        "{told}"
    );
    apply(
        cluster,
        r#"{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: server},
           spec: {endpointSelector: {matchLabels: {app: server}}, ingress: [{fromEndpoints: [{}]}]}}"#,
    );
    let pods = [NODE, From::Pod("near"), From::Pod("far"), From::Pod("stranger")];
    expect(cluster, "and mended it says what it says", 8080, &pods);
    cluster.kubectl(&["delete", "ciliumnetworkpolicies.cilium.io", "server"]);
    expect(cluster, "without policies after mistakes", 8080, &ALL);
}

/// With the agent dead everything stays as it is; its successor goes on with what has changed meanwhile.
fn without_an_agent(cluster: &Cluster) {
    let nodes = cluster.status()["nodes"].clone();
    let node = nodes.as_array().unwrap().iter().find(|node| node["name"] == "worker-1").expect("the node");
    let agent = node["agent"]["pid"].as_i64().expect("its agent runs");
    let stopped = Command::new("kill").args(["-STOP", &agent.to_string()]).status().unwrap();
    assert!(stopped.success());
    expect(
        cluster,
        "the agent stands still",
        8080,
        &[NODE, From::Pod("near"), From::Pod("far"), From::Pod("stranger")],
    );
    apply(
        cluster,
        r#"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: server},
           spec: {podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {place: near}}}]}]}}"#,
    );
    let killed = Command::new("kill").args(["-KILL", &agent.to_string()]).status().unwrap();
    assert!(killed.success());
    expect(cluster, "a new agent has read what changed", 8080, &[NODE, From::Pod("near")]);
}
