//! The datapath needs no agent: agents are killed under traffic, and nothing notices.

use std::{
    net::Ipv4Addr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    api::{Api, SERVICES as SERVICES_PATH, SLICES},
    cluster::{Cluster, From, Running, at, report, wait_until},
    scaling::finish,
};

const KILLS: usize = 10;
/// Between two kills: the supervisor restarts an agent after a back-off, and it has to be there to be killed again.
const PAUSE: Duration = Duration::from_secs(2);

#[test]
fn ten_times_under_traffic() {
    let cluster = Cluster::up(&[]);
    cluster.apply(include_str!("matrix.yaml"));
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    let clients = load(&cluster, "25s");
    for kill in 0..KILLS {
        let node = 1 + kill % 2; // worker-1 has the server, worker-2 the client
        kill_agent(&cluster, node);
        std::thread::sleep(PAUSE);
    }
    hears_nothing(clients);
    for node in [1, 2] {
        wait_until("an agent that tells what it adopted", Duration::from_secs(15), || {
            let adoption = &cluster.status()["nodes"][node]["agentStatus"]["adoption"];
            let count = |field: &str| adoption[field].as_array().map(Vec::len);
            count("maps_adopted").is_some_and(|maps| maps > 0)
                && count("links_adopted").is_some_and(|links| links > 0)
                && count("maps_created") == Some(0)
                && count("not_adopted") == Some(0)
                && adoption["pods_adopted"].as_u64() == Some([0, 2, 1][node])
        });
    }
}

/// With so many Services that the lists alone take the API seconds.
#[test]
#[ignore = "minutes: a hundred thousand objects; part of `make test-all`"]
fn with_fifty_thousand_services() {
    // The maps of a machine of its own.
    let cluster = Cluster::up_with(&[("MALLA_PROFILE", "node")], &[]);
    cluster.apply(include_str!("matrix.yaml"));
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    let begun = Instant::now();
    make(&Api::of(&cluster));
    println!("made in {:.0} s", begun.elapsed().as_secs_f64());
    let frontends = |node: usize| frontends(&cluster, node);
    wait_until("them on all nodes", Duration::from_secs(300), || [0, 1, 2].iter().all(|n| frontends(*n) >= SERVICES));
    println!("on all nodes after {:.0} s", begun.elapsed().as_secs_f64());

    let clients = load(&cluster, "90s");
    for node in [1, 2] {
        std::thread::sleep(PAUSE);
        kill_agent(&cluster, node);
        let killed = Instant::now();
        // The new one: whoever was killed answers no more.
        wait_until("an agent in sync", Duration::from_secs(120), || frontends(node) >= SERVICES);
        println!("node {node} in sync {:.1} s after its agent was killed", killed.elapsed().as_secs_f64());
    }
    hears_nothing(clients);
    let problems = |node: usize| cluster.status()["nodes"][node]["agentStatus"]["problems"].clone();
    assert!([1, 2].iter().all(|node| problems(*node).as_array().is_some_and(Vec::is_empty)), "{:#}", cluster.status());
}

const SERVICES: u64 = 50_000;
/// Who makes them at a time.
const HANDS: u64 = 8;

/// Each of its own name, with three endpoints that somebody has written by hand.
fn make(api: &Api) {
    let service = json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80, "targetPort": 8080}]}});
    std::thread::scope(|scope| {
        for hand in 0..HANDS {
            let service = &service;
            scope.spawn(move || {
                for number in (hand..SERVICES).step_by(HANDS as usize) {
                    let name = format!("one-{number}");
                    let mut service = service.clone();
                    service["metadata"] = json!({"name": name});
                    api.create(SERVICES_PATH, &service);
                    let address = |n: u64| {
                        Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + (number * 3 + n) as u32 % 100_000)
                    };
                    let endpoints: Vec<_> = (0..3).map(|n| json!({"addresses": [address(n)]})).collect();
                    api.create(
                        SLICES,
                        &json!({
                            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
                            "ports": [{"port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
                        }),
                    );
                }
            });
        }
    });
}

/// That the node's maps have, as its agent says; 0 while it says nothing, or not yet everything.
fn frontends(cluster: &Cluster, node: usize) -> u64 {
    let status = &cluster.status()["nodes"][node]["agentStatus"];
    let in_sync =
        status["watches"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(|w| w["synced"] == true));
    status["counts"]["frontends"].as_u64().filter(|_| in_sync).unwrap_or(0)
}

/// 1,000 requests/s through the Service, half of them with a connection each, and one transfer that never pauses.
fn load(cluster: &Cluster, whole: &str) -> [(&'static str, Running); 3] {
    let [server, _] = cluster.pod_addresses("server-1");
    let [service, _] = cluster.cluster_ips("server");
    let load = |arguments: &[&str]| {
        let arguments = [&["http"], arguments, &["--duration", whole, "--timeout", "5s"]].concat();
        let mut client = cluster.client(From::Pod("client-2"), &arguments);
        Running(client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    };
    let url = format!("http://{service}/");
    let large = format!("http://{}/bytes/200000000", at(&server, 8080));
    [
        ("a connection per request", load(&[&url, "--close", "--rate", "500", "--concurrency", "20"])),
        ("kept connections", load(&[&url, "--rate", "500", "--concurrency", "20"])),
        ("a large transfer", load(&[&large])),
    ]
}

/// To the end of it.
fn hears_nothing(clients: [(&'static str, Running); 3]) {
    for (name, running) in clients {
        let report = report(&finish(running)).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(report.requests > 0, "{name}: nothing was asked");
        assert_eq!(
            report.errors, 0,
            "{name}: of {} requests: {:?} at {:?} s",
            report.requests, report.error_kinds, report.error_times
        );
    }
}

/// kill -9, and not before there is one.
fn kill_agent(cluster: &Cluster, node: usize) {
    let mut pid = None;
    wait_until("a running agent", Duration::from_secs(15), || {
        let agent = &cluster.status()["nodes"][node]["agent"];
        pid = agent["pid"].as_i64().filter(|_| agent["running"] == true);
        pid.is_some()
    });
    let killed = Command::new("kill").args(["-9", &pid.unwrap().to_string()]).status().unwrap();
    assert!(killed.success());
}
