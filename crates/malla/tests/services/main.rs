//! What Services promise, with real clients in a whole lab and in both families: traffic policies, affinity, source
//! ranges, what is refused and what is dropped, health checks, and what `malla service` says about it.
//!
//! Needs root, `malla-cni` beside `malla`, curl, and what `make setup` puts under `target/debian` (kubectl).
#![forbid(unsafe_code)]

#[path = "../traffic/cluster.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod cluster;
mod direct;
mod sockets;

use std::{fmt::Write as _, process::Command, time::Duration};

use crate::cluster::{Cluster, From, at, text, wait_until};

const SERVICES: &str = include_str!("services.yaml");
const OUTSIDE: From = From::Node("outside");
/// By node number: control-plane, worker-1 (where `server-1` is), worker-2.
const NODES: [[&str; 2]; 3] = [
    ["172.18.0.2", "fc00:f853:ccd:e793::2"],
    ["172.18.0.3", "fc00:f853:ccd:e793::3"],
    ["172.18.0.4", "fc00:f853:ccd:e793::4"],
];
/// The load balancers' addresses that the tests give: nobody announces them, so the fabric gets a route.
const GUARDED: [&str; 2] = ["192.0.2.10", "2001:db8:2::10"];
const LOCAL: [&str; 2] = ["192.0.2.11", "2001:db8:2::11"];
const DIRECT: [&str; 2] = ["192.0.2.12", "2001:db8:2::12"];
/// Long enough for two retransmissions of a SYN, so that what times out is dropped and not slow.
const PATIENCE: &str = "1500ms";

/// What became of requests.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// All answered, by so many servers, and all seen as the one client.
    Answered { servers: usize, seen_as: Vec<String> },
    /// All refused at once.
    Refused,
    /// None answered, none refused.
    Dropped,
    /// Something else.
    Other(String),
}

fn fate(cluster: &Cluster, from: From, arguments: &[&str]) -> Fate {
    let report = match cluster.ask(from, &[arguments, &["--timeout", PATIENCE]].concat()) {
        Ok(report) => report,
        Err(why) => return Fate::Other(why),
    };
    let kinds = report.error_kinds.to_string();
    match (report.errors, report.requests) {
        (0, 1..) => Fate::Answered { servers: report.answered_by.len(), seen_as: report.seen_as.into_keys().collect() },
        (errors, requests) if errors == requests && kinds.to_lowercase().contains("refused") => Fate::Refused,
        (errors, requests) if errors == requests && kinds.contains("timed out") => Fate::Dropped,
        _ => Fate::Other(format!("{} of {} failed: {kinds}", report.errors, report.requests)),
    }
}

fn http(cluster: &Cluster, from: From, address: &str, port: u16, count: &str) -> Fate {
    let url = format!("http://{}/", at(address, port));
    fate(cluster, from, &["http", &url, "--close", "--count", count])
}

fn udp(cluster: &Cluster, from: From, address: &str, port: u16) -> Fate {
    fate(cluster, from, &["udp", &at(address, port), "--whoami", "--count", "2"])
}

/// Collects what is not as it should be, so that one run tells everything.
#[derive(Default)]
struct Findings {
    cells: usize,
    wrong: String,
}

impl Findings {
    fn expect(&mut self, what: &str, found: Fate, expected: &Fate) {
        self.check(what, found == *expected, &format!("{found:?} instead of {expected:?}"));
    }

    fn answered(&mut self, what: &str, found: Fate, servers: usize) {
        let right = matches!(&found, Fate::Answered { servers: by, .. } if *by == servers);
        self.check(what, right, &format!("{found:?} instead of an answer by {servers}"));
    }

    fn check(&mut self, what: &str, right: bool, why: &str) {
        self.cells += 1;
        if !right {
            let _ = writeln!(self.wrong, "{what}: {why}");
        }
    }
}

#[test]
fn over_vxlan() {
    services_keep_their_promises("vxlan");
}

#[test]
fn routed_natively() {
    services_keep_their_promises("native");
}

fn services_keep_their_promises(routing: &str) {
    let cluster = Cluster::up(&["--routing", routing]);
    cluster.apply(SERVICES);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    give_addresses(&cluster);
    let mut findings = Findings::default();
    for family in 0..2 {
        external_policy(&cluster, family, &mut findings);
        in_the_hosts_network(&cluster, family, &mut findings);
        internal_policy(&cluster, family, &mut findings);
        affinity(&cluster, family, &mut findings);
        distribution(&cluster, family, &mut findings);
        source_ranges(&cluster, family, &mut findings);
        refused(&cluster, family, &mut findings);
        health_checks(&cluster, family, &mut findings);
        direct::answers(&cluster, family, &mut findings);
    }
    sockets::left_alone(&cluster, &mut findings);
    sockets::ended_with_their_backend(&cluster, &mut findings);
    commands(&cluster, &mut findings);
    // Last, since it changes the Service.
    another_range(&cluster, &mut findings);
    assert!(findings.wrong.is_empty(), "{routing}: of {} cells these are wrong:\n{}", findings.cells, findings.wrong);
    println!("{routing}: {} cells", findings.cells);
}

/// The addresses in the Services' status, and the fabric's routes to a node that is no backend's.
fn give_addresses(cluster: &Cluster) {
    for (service, addresses) in [("guarded", GUARDED), ("local-outside", LOCAL), ("direct", DIRECT)] {
        let [v4, v6] = addresses;
        let patch = format!(r#"{{"status":{{"loadBalancer":{{"ingress":[{{"ip":"{v4}"}},{{"ip":"{v6}"}}]}}}}}}"#);
        write_status(cluster, service, &patch);
        // `local-outside` enters where its endpoint is, the others at the control plane.
        let via = NODES[usize::from(service == "local-outside")];
        for (address, via) in addresses.iter().zip(via) {
            let prefix = format!("{address}/{}", if address.contains(':') { 128 } else { 32 });
            let output = cluster
                .command(From::Node("fabric"), "/usr/sbin/ip".as_ref(), &["route", "add", &prefix, "via", via])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", text(&output));
        }
    }
    // Every node's agent has taken the last of it.
    for node in ["control-plane", "worker-1", "worker-2"] {
        wait_until(&format!("{node} knows the addresses"), Duration::from_secs(20), || {
            let output = cluster_malla(cluster, &["bpf", "services", "-o", "json", "--node", node]);
            GUARDED.iter().chain(&LOCAL).chain(&DIRECT).all(|address| text(&output).contains(&format!("\"{address}\"")))
        });
    }
    wait_until("both servers serve", Duration::from_secs(20), || {
        matches!(http(cluster, OUTSIDE, NODES[0][0], 30181, "30"), Fate::Answered { servers: 2, .. })
    });
}

/// As a load balancer's controller does it. (The kubectl of Debian can't write a status.)
fn write_status(cluster: &Cluster, service: &str, patch: &str) {
    let file = |name: &str| cluster.folder().join("pki").join(name).to_str().unwrap().to_owned();
    let url = format!("https://172.18.0.2:6443/api/v1/namespaces/default/services/{service}/status");
    let (ca, certificate, key) = (file("ca.crt"), file("admin.crt"), file("admin.key"));
    let arguments =
        ["-sS", "--fail-with-body", "--noproxy", "*", "--cacert", &ca, "--cert", &certificate, "--key", &key];
    let request = ["-X", "PATCH", "-H", "content-type: application/merge-patch+json", "-d", patch, &url];
    let arguments = [&arguments[..], &request[..]].concat();
    let output = cluster.command(From::Node("worker-2"), "/usr/bin/curl".as_ref(), &arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

fn cluster_malla(cluster: &Cluster, arguments: &[&str]) -> std::process::Output {
    Command::new(cluster::malla_path()).args(arguments).env("MALLA_LAB", &cluster.name).output().unwrap()
}

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const OUTSIDE_ADDRESS: [&str; 2] = ["203.0.113.2", "2001:db8:113::2"];

/// Cluster reaches every endpoint by every node; Local only those of the node, and drops where there are none. Both keep
/// the client's address. Clients of the cluster reach all endpoints either way.
fn external_policy(cluster: &Cluster, family: usize, findings: &mut Findings) {
    let name = FAMILIES[family];
    let outside = vec![OUTSIDE_ADDRESS[family].to_owned()];
    let by = |servers| Fate::Answered { servers, seen_as: outside.clone() };
    for (number, node) in NODES.iter().enumerate() {
        let node = node[family];
        let what = |of: &str| format!("{name} {of} by NodePort of {node}");
        findings.expect(&what("policy Cluster"), http(cluster, OUTSIDE, node, 30181, "30"), &by(2));
        let local = if number == 1 { by(1) } else { Fate::Dropped };
        findings.expect(&what("policy Local"), http(cluster, OUTSIDE, node, 30182, "2"), &local);
        findings.expect(&what("policy Local, UDP"), udp(cluster, OUTSIDE, node, 30182), &local);
        let pod = http(cluster, From::Pod("client-2"), node, 30182, "2");
        findings.answered(&what("policy Local from a Pod"), pod, 1);
    }
    let balancer = http(cluster, OUTSIDE, LOCAL[family], 80, "2");
    findings.expect(&format!("{name} policy Local by its load balancer's address"), balancer, &by(1));
    let pod = http(cluster, From::Pod("client-2"), LOCAL[family], 80, "2");
    findings.answered(&format!("{name} the same from a Pod of another node"), pod, 1);
}

/// An endpoint that has its node's address is reached by every node, with the client's address kept, and answers by the one at which
/// the client entered.
fn in_the_hosts_network(cluster: &Cluster, family: usize, findings: &mut Findings) {
    let name = FAMILIES[family];
    let by_one = Fate::Answered { servers: 1, seen_as: vec![OUTSIDE_ADDRESS[family].to_owned()] };
    for node in NODES {
        let what =
            |protocol: &str| format!("{name} a backend in the host's network by NodePort of {node:?}, {protocol}");
        findings.expect(&what("TCP"), http(cluster, OUTSIDE, node[family], 30197, "3"), &by_one);
        findings.expect(&what("UDP"), udp(cluster, OUTSIDE, node[family], 30197), &by_one);
    }
    let pod = http(cluster, From::Pod("client-2"), &cluster.cluster_ips("of-host")[family], 80, "2");
    findings.answered(&format!("{name} the same from a Pod of another node"), pod, 1);
}

/// Local: clients of the endpoint's node are served, all others are dropped.
fn internal_policy(cluster: &Cluster, family: usize, findings: &mut Findings) {
    let name = FAMILIES[family];
    let address = &cluster.cluster_ips("local-inside")[family];
    for (who, from, served) in [
        ("a Pod of the endpoint's node", From::Pod("client-1"), true),
        ("the endpoint's node", From::Node("worker-1"), true),
        ("a Pod of another node", From::Pod("client-2"), false),
        ("another node", From::Node("control-plane"), false),
    ] {
        let what = |protocol: &str| format!("{name} internal policy Local, {who}, {protocol}");
        let (tcp, datagram) = (http(cluster, from, address, 80, "2"), udp(cluster, from, address, 80));
        if served {
            findings.answered(&what("TCP"), tcp, 1);
            findings.answered(&what("UDP"), datagram, 1);
        } else {
            findings.expect(&what("TCP"), tcp, &Fate::Dropped);
            findings.expect(&what("UDP"), datagram, &Fate::Dropped);
        }
    }
}

/// A client comes back to its backend; without affinity it does not.
fn affinity(cluster: &Cluster, family: usize, findings: &mut Findings) {
    let name = FAMILIES[family];
    let address = |service: &str| cluster.cluster_ips(service)[family].clone();
    let (node, pod) = (NODES[0][family], From::Pod("client-2"));
    findings.answered(&format!("{name} affinity from outside"), http(cluster, OUTSIDE, node, 30183, "20"), 1);
    findings.answered(&format!("{name} affinity of a Pod"), http(cluster, pod, &address("sticky"), 80, "20"), 1);
    let plain = http(cluster, pod, &address("everywhere"), 80, "40");
    findings.answered(&format!("{name} no affinity"), plain, 2);
}

/// PreferSameNode: a node with an endpoint uses its own; one without uses all.
fn distribution(cluster: &Cluster, family: usize, findings: &mut Findings) {
    let address = &cluster.cluster_ips("near")[family];
    for (from, servers) in [(From::Pod("client-1"), 1), (From::Pod("client-2"), 1), (From::Node("control-plane"), 2)] {
        let what = format!("{} trafficDistribution PreferSameNode, {from:?}", FAMILIES[family]);
        findings.answered(&what, http(cluster, from, address, 80, "30"), servers);
    }
}

/// Those in a range are served by the load balancer's address; others are dropped, also inside. The ClusterIP is open.
fn source_ranges(cluster: &Cluster, family: usize, findings: &mut Findings) {
    let name = FAMILIES[family];
    let inside = http(cluster, OUTSIDE, GUARDED[family], 80, "30");
    findings.answered(&format!("{name} client in a source range"), inside, 2);
    let pod = http(cluster, From::Pod("client-1"), GUARDED[family], 80, "2");
    findings.expect(&format!("{name} client in no source range"), pod, &Fate::Dropped);
    let open = http(cluster, From::Pod("client-1"), &cluster.cluster_ips("guarded")[family], 80, "30");
    findings.answered(&format!("{name} the ClusterIP is not guarded"), open, 2);
}

/// The ranges change: who was let in is not any more.
fn another_range(cluster: &Cluster, findings: &mut Findings) {
    let patch = r#"{"spec":{"loadBalancerSourceRanges":["198.51.100.0/24"]}}"#;
    cluster.kubectl(&["patch", "service", "guarded", "--type", "merge", "-p", patch]);
    for (family, name) in FAMILIES.iter().enumerate() {
        let mut last = Fate::Refused;
        // The change has its way to the node.
        for _ in 0..10 {
            last = http(cluster, OUTSIDE, GUARDED[family], 80, "1");
            if last == Fate::Dropped {
                break;
            }
        }
        findings.expect(&format!("{name} client that is in no range any more"), last, &Fate::Dropped);
    }
}

/// A Service without endpoints, and a port that no Service has, refuse at once: TCP and UDP, from everywhere.
fn refused(cluster: &Cluster, family: usize, findings: &mut Findings) {
    let name = FAMILIES[family];
    let address = |service: &str| cluster.cluster_ips(service)[family].clone();
    for from in [From::Pod("client-1"), From::Node("control-plane")] {
        for (what, address, port) in
            [("no endpoints", address("nobody"), 80), ("an unused port", address("everywhere"), 81)]
        {
            let what = |protocol: &str| format!("{name} {what}, {from:?}, {protocol}");
            findings.expect(&what("TCP"), http(cluster, from, &address, port, "2"), &Fate::Refused);
            findings.expect(&what("UDP"), udp(cluster, from, &address, port), &Fate::Refused);
        }
    }
    let what = |protocol: &str| format!("{name} an unused port of a load balancer's address, {protocol}");
    findings.expect(&what("TCP"), http(cluster, OUTSIDE, LOCAL[family], 81, "2"), &Fate::Refused);
    findings.expect(&what("UDP"), udp(cluster, OUTSIDE, LOCAL[family], 81), &Fate::Refused);
}

/// A load balancer asks every node whether it has endpoints of its own.
fn health_checks(cluster: &Cluster, family: usize, findings: &mut Findings) {
    let port = cluster.kubectl(&["get", "service", "local-outside", "-o", "jsonpath={.spec.healthCheckNodePort}"]);
    for (number, node) in NODES.iter().enumerate() {
        let url = format!("http://{}/healthz", at(node[family], port.parse().unwrap()));
        let arguments = ["-s", "-g", "-m", "3", "--noproxy", "*", "-w", "\n%{http_code} %{content_type}", &url];
        let output = cluster.command(OUTSIDE, "/usr/bin/curl".as_ref(), &arguments).output().unwrap();
        let (count, code) = if number == 1 { (1, 200) } else { (0, 503) };
        let expected = format!(
            "{{\n\t\"service\": {{\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"local-outside\"\n\t}},\n\t\"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": true\n}}\n{code} application/json"
        );
        let said = text(&output);
        findings.check(&format!("health of {node:?}"), said == expected, &format!("{said:?} instead of {expected:?}"));
    }
}

/// `malla service`: what it lists is what there is, and what it explains is what happens.
fn commands(cluster: &Cluster, findings: &mut Findings) {
    let say = |arguments: &[&str]| text(&cluster_malla(cluster, &[&["service"], arguments].concat()));
    let mut says = |arguments: &[&str], parts: &[&str]| {
        let said = say(arguments);
        let missing: Vec<_> = parts.iter().filter(|part| !said.contains(**part)).collect();
        findings.check(
            &format!("malla service {arguments:?}"),
            missing.is_empty(),
            &format!("{missing:?} not in:\n{said}"),
        );
    };
    says(&["list"], &["default/everywhere", "default/sticky", "NodePort"]);
    says(
        &["get", "local-outside", "--node", "worker-2"],
        &["default/local-outside", "on another node, and the traffic policy is Local"],
    );
    says(&["backends", "--node", "worker-1"], &["default/server-1", "serves"]);
    says(&["maglev", "everywhere"], &["every node agrees"]);
    let entry = at(NODES[0][0], 30182);
    says(&["explain", "203.0.113.2", &entry, "--node", "control-plane"], &["dropped", "NO_LOCAL_BACKEND"]);
    let entry = at(GUARDED[0], 80);
    says(&["explain", "10.244.1.9", &entry, "--node", "worker-1"], &["dropped", "DENIED_BY_LB_SRC_RANGE_CHECK"]);
    let unused = at(&cluster.cluster_ips("everywhere")[0], 81);
    says(&["explain", "10.244.1.9", &unused, "--node", "worker-1"], &["refused"]);
    let problem = "SCTP port 80";
    says(&["get", "direct", "--node", "worker-2"], &["Forwarding", "dsr"]);
    says(
        &["get", "by-entry", "--node", "worker-2"],
        &["Forwarding", "entry", "Problem", "\"no such way\" is neither dsr nor snat"],
    );
    says(&["get", "half", "--node", "worker-1"], &["default/half", "Problem", problem]);
    let mut events = String::new();
    for _ in 0..50 {
        events = cluster.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"]);
        if events.contains(problem) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    findings.check("the Event of a Service that is not served whole", events.contains(problem), &events);
    // What is foretold comes true: the same client port means the same backend, on whichever node it enters.
    let server = cluster.pod_addresses("server-1");
    let other = cluster.pod_addresses("server-2");
    // Ports that no client before can have had: curl takes none that a closed connection still waits in.
    for port in [20_000_u16, 20_001, 20_002] {
        let client = format!("203.0.113.2:{port}");
        let node_port = at(NODES[2][0], 30181);
        let said = say(&["explain", &client, &node_port, "--node", "worker-2", "-o", "json"]);
        let url = format!("http://{node_port}/hostname");
        let local = port.to_string();
        let arguments = ["-sS", "-m", "3", "--noproxy", "*", "--local-port", &local, &url];
        let answer = text(&cluster.command(OUTSIDE, "/usr/bin/curl".as_ref(), &arguments).output().unwrap());
        let expected = if answer.contains("server-1") { &server[0] } else { &other[0] };
        findings.check(
            &format!("explained backend of {client}"),
            answer.contains("server-") && said.contains(&format!("\"{expected}\"")),
            &format!("{answer:?} answered, foretold was {said}"),
        );
    }
}
