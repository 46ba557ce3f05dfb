//! The datapath needs no agent: agents are killed under traffic, and nothing notices.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
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
    let [server, _] = cluster.pod_addresses("server-1");
    let [service, _] = cluster.cluster_ips("server");

    // 1,000 requests/s through the Service, half of them with a connection each, and one transfer that never pauses.
    let whole = "25s";
    let load = |arguments: &[&str]| {
        let arguments = [&["http"], arguments, &["--duration", whole, "--timeout", "5s"]].concat();
        let mut client = cluster.client(From::Pod("client-2"), &arguments);
        Running(client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    };
    let url = format!("http://{service}/");
    let large = format!("http://{}/bytes/200000000", at(&server, 8080));
    let clients = [
        ("a connection per request", load(&[&url, "--close", "--rate", "500", "--concurrency", "20"])),
        ("kept connections", load(&[&url, "--rate", "500", "--concurrency", "20"])),
        ("a large transfer", load(&[&large])),
    ];
    for kill in 0..KILLS {
        let node = 1 + kill % 2; // worker-1 has the server, worker-2 the client
        kill_agent(&cluster, node);
        std::thread::sleep(PAUSE);
    }
    for (name, running) in clients {
        let report = report(&finish(running)).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(report.requests > 0, "{name}: nothing was asked");
        assert_eq!(
            report.errors, 0,
            "{name}: of {} requests: {:?} at {:?} s",
            report.requests, report.error_kinds, report.error_times
        );
    }
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
