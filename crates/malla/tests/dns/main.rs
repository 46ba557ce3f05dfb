//! Names in a whole lab: what Pods of every dnsPolicy look up, from where, in both families, over UDP and TCP; and that
//! the machine's own resolver notices nothing.
//!
//! Needs root, `malla-cni` beside `malla`, `dig` and `curl` on the PATH, and kubectl as `make setup` unpacks it.

#[path = "../traffic/cluster.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod cluster;

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Command, time::Duration};

use serde_json::Value;

use crate::cluster::{Cluster, From, Running, malla_path, text, wait_until};

const PODS: &str = include_str!("pods.yaml");
const SPINK: [&str; 2] = [
    include_str!("../../../../examples/spink/deployment.yaml"),
    include_str!("../../../../examples/spink/service-nodeport.yaml"),
];
/// Addresses of Service kube-dns.
const SERVERS: [&str; 2] = ["10.96.0.10", "fd00:10:96::a"];
const OUTSIDE_PORT: &str = "18080";
/// The server's own node is one of them: there the Service leads to the node itself.
const CLIENTS: [From; 4] =
    [From::Pod("client-1"), From::Pod("client-2"), From::Node("worker-1"), From::Node("control-plane")];

#[test]
fn names_lead_everywhere_and_the_machine_notices_nothing() {
    let machine = own_resolver();
    let cluster = Cluster::up(&[]);
    for manifest in SPINK.iter().chain([&PODS]) {
        cluster.apply(manifest);
    }
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    the_seeds_command_works(&cluster);
    both_families_over_udp_and_tcp_say_the_same(&cluster);
    names_of_others_come_from_the_outside_host(&cluster);
    every_policy_has_its_file(&cluster);
    a_killed_server_is_back(&cluster);
    assert_eq!(own_resolver(), machine, "the machine's own resolv.conf is as it was");
}

#[test]
fn routed_natively_they_lead_there_too() {
    let cluster = Cluster::up(&["--routing", "native"]);
    for manifest in SPINK.iter().chain([&PODS]) {
        cluster.apply(manifest);
    }
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    the_seeds_command_works(&cluster);
    both_families_over_udp_and_tcp_say_the_same(&cluster);
    names_of_others_come_from_the_outside_host(&cluster);
}

fn the_seeds_command_works(cluster: &Cluster) {
    for pod in ["client-1", "client-2"] {
        for url in ["http://spink.default:80", "http://spink:80", "http://spink.default.svc.cluster.local:80"] {
            let said = run(cluster, From::Pod(pod), "curl", &["--silent", "--fail", "--max-time", "10", url]);
            assert!(said.as_ref().is_ok_and(|body| body.contains("spink")), "{pod} {url}: {said:?}");
        }
        let nobody =
            run(cluster, From::Pod(pod), "curl", &["--silent", "--max-time", "10", "http://nobody.default:80"]);
        assert!(nobody.is_err_and(|why| why.contains("exit status: 6")), "there is no such host");
    }
}

/// `dig` from Pods and a node, at both addresses of the Service and at the server itself.
fn both_families_over_udp_and_tcp_say_the_same(cluster: &Cluster) {
    let [v4, v6] = cluster.cluster_ips("server");
    let pods = [cluster.pod_addresses("server-1"), cluster.pod_addresses("server-2")];
    let both = |family: usize| {
        let mut all: Vec<String> = pods.iter().map(|pod| pod[family].clone()).collect();
        all.sort();
        all.join("\n")
    };
    let dashed = pods[0][0].replace('.', "-");
    let questions: Vec<(Vec<String>, String)> = [
        ("server.default.svc.cluster.local", "A", v4.clone()),
        ("server.default.svc.cluster.local", "AAAA", v6.clone()),
        ("_http._tcp.server.default.svc.cluster.local", "SRV", "0 100 80 server.default.svc.cluster.local.".into()),
        ("pets.default.svc.cluster.local", "A", both(0)),
        ("pets.default.svc.cluster.local", "AAAA", both(1)),
        ("pet-1.pets.default.svc.cluster.local", "A", pods[0][0].clone()),
        ("pet-1.pets.default.svc.cluster.local", "AAAA", pods[0][1].clone()),
        (&format!("{dashed}.default.pod.cluster.local"), "A", pods[0][0].clone()),
        ("kube-dns.kube-system.svc.cluster.local", "AAAA", SERVERS[1].into()),
        ("dns-version.cluster.local", "TXT", "\"1.1.0\"".into()),
        ("nobody.default.svc.cluster.local", "A", String::new()),
    ]
    .into_iter()
    .map(|(name, kind, said)| (vec![name.to_owned(), kind.to_owned()], said))
    .chain([
        (vec!["-x".to_owned(), v4], "server.default.svc.cluster.local.".to_owned()),
        (vec!["-x".to_owned(), v6], "server.default.svc.cluster.local.".to_owned()),
        (vec!["-x".to_owned(), pods[0][1].clone()], "pet-1.pets.default.svc.cluster.local.".to_owned()),
    ])
    .collect();
    for from in CLIENTS {
        for server in SERVERS.iter().chain(&["172.18.0.2", "fc00:f853:ccd:e793::2"]) {
            for transport in ["+notcp", "+tcp"] {
                let mut script = String::from("status=0\n");
                for (question, expected) in &questions {
                    let asked = question.join(" ");
                    script.push_str(&format!(
                        "said=$(dig -r +short +tries=2 +time=3 {transport} @{server} {asked} | sort)\n\
                         [ \"$said\" = '{expected}' ] || {{ echo \"{asked}: $said\"; status=1; }}\n"
                    ));
                }
                // One process asks everything: entering a Pod costs more than a question.
                script.push_str("exit $status\n");
                let said = run(cluster, from, "sh", &["-c", &script]);
                assert!(said.is_ok(), "{from:?} {transport} @{server}: {said:?}");
            }
        }
    }
}

fn names_of_others_come_from_the_outside_host(cluster: &Cluster) {
    let ports = format!("{OUTSIDE_PORT}/HTTP");
    let listen = ["workload", "echo", "--ports", &ports];
    let mut server = cluster.command(From::Node("outside"), &malla_path(), &listen);
    let _server = Running(server.spawn().unwrap());
    for pod in ["client-1", "client-2", "by-default"] {
        for (family, seen) in [("-4", "203.0.113.2"), ("-6", "2001:db8:113::2")] {
            let url = format!("http://www.outside.example:{OUTSIDE_PORT}");
            let arguments =
                ["--silent", "--fail", "--max-time", "5", "-w", "%{remote_ip}", "-o", "/dev/null", family, &url];
            let mut said = Err("not asked".to_owned());
            wait_until("the outside server", Duration::from_secs(10), || {
                said = run(cluster, From::Pod(pod), "curl", &arguments);
                said.is_ok()
            });
            assert_eq!(said.unwrap(), seen, "{pod} {family}");
        }
        let through = ["-r", "+short", "out.default.svc.cluster.local", "A"];
        if pod != "by-default" {
            // ExternalName: the cluster's alias first, then what the outside host says.
            let said = run(cluster, From::Pod(pod), "dig", &through).unwrap();
            assert_eq!(said, "www.outside.example.\noutside.example.\n203.0.113.2");
        }
        let denied = run(cluster, From::Pod(pod), "dig", &["-r", "nothing.example.", "A"]).unwrap();
        assert!(denied.contains("NXDOMAIN"), "{denied}");
    }
    // The outside host knows no cluster: who asks there is told so.
    let there = run(cluster, From::Pod("by-default"), "dig", &["-r", "server.default.svc.cluster.local.", "A"]);
    assert!(there.unwrap().contains("NXDOMAIN"));
}

fn every_policy_has_its_file(cluster: &Cluster) {
    let cluster_first =
        "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5";
    let node = "nameserver 203.0.113.2\nnameserver 2001:db8:113::2";
    for (pod, expected) in [
        ("client-1", cluster_first),
        ("on-host", node),
        ("on-host-cluster-first", cluster_first),
        ("by-default", node),
        ("by-itself", "search example\nnameserver 10.96.0.10\noptions ndots:1"),
        (
            "with-more",
            "search default.svc.cluster.local svc.cluster.local cluster.local outside.example\nnameserver 10.96.0.10\noptions ndots:2 timeout:1",
        ),
    ] {
        // What runs in the Pod saw the same as who is executed there later.
        let logs = Command::new(malla_path()).args(["lab", "logs", "--name", &cluster.name, pod]).output().unwrap();
        assert_eq!(text(&logs).trim(), expected, "{pod}");
        assert_eq!(run(cluster, From::Pod(pod), "cat", &["/etc/resolv.conf"]).unwrap(), expected, "{pod}");
    }
    for pod in ["by-itself", "on-host-cluster-first", "with-more"] {
        let said = run(cluster, From::Pod(pod), "getent", &["ahostsv4", "server.default.svc.cluster.local"]);
        assert!(said.as_ref().is_ok_and(|said| said.contains(&cluster.cluster_ips("server")[0])), "{pod}: {said:?}");
    }
}

fn a_killed_server_is_back(cluster: &Cluster) {
    let pid = |status: &Value| status["dns"]["cluster"]["pid"].as_i64();
    let before = pid(&cluster.status()).expect("it runs");
    let killed = Command::new("kill").args(["-KILL", &before.to_string()]).status().unwrap();
    assert!(killed.success());
    wait_until("another server", Duration::from_secs(10), || {
        pid(&cluster.status()).is_some_and(|now| now != before)
            && run(cluster, From::Pod("client-1"), "getent", &["hosts", "server"]).is_ok()
    });
    assert_eq!(cluster.status()["dns"]["cluster"]["restarts"], 1);
}

/// What a command in the lab says, or how it failed.
fn run(cluster: &Cluster, from: From, program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = cluster.command(from, Path::new(program), arguments).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{}: {}", output.status, text(&output)))
    }
}

/// The machine's own file: its content, and that nobody replaced or touched it.
fn own_resolver() -> (String, u64, i64, i64) {
    let file = Path::new("/etc/resolv.conf");
    let metadata = fs::metadata(file).unwrap();
    (fs::read_to_string(file).unwrap(), metadata.ino(), metadata.mtime(), metadata.ctime_nsec())
}
