//! A deletion under load, and many Pods at once.

use std::{
    process::{Command, Output, Stdio},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use network_namespace::NetNs;
use serde_json::{Value, json};

use crate::support::testbed::Testbed;

/// Starts the built-in client in the node's namespace.
fn client(bed: &Testbed, arguments: &[&str]) -> std::process::Child {
    let netns = NetNs::open(&bed.options.node_netns).unwrap();
    let all = [&["workload", "client"], arguments, &["--json"]].concat();
    netns
        .run(|| {
            let mut command = Command::new(&bed.options.malla);
            command.args(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_costs_no_client_an_error() {
    let mut bed = Testbed::new();
    bed.start_runner();
    bed.create("web", json!({"containers": [{"name": "c", "image": "malla.dev/echo"}]}));
    let pod = bed.ready("web").await;
    let ip = pod["status"]["podIP"].as_str().unwrap();
    let (page, slow, large) = (
        format!("http://{ip}:8080/"),
        format!("http://{ip}:8080/delay/2500"),
        format!("http://{ip}:8080/bytes/300000000"),
    );
    bed.references.store(1, Ordering::Relaxed);
    let clients = [
        client(&bed, &["http", &page, "--duration", "2s", "--concurrency", "8"]),
        client(&bed, &["http", &page, "--duration", "2s", "--concurrency", "4", "--close"]),
        client(&bed, &["tcp", &format!("{ip}:8081"), "--duration", "2s", "--concurrency", "2", "--size", "100000"]),
        client(&bed, &["udp", &format!("{ip}:8080"), "--duration", "2s", "--size", "1000"]),
        // Requests that are still under way when the last node has forgotten the Pod.
        client(&bed, &["http", &slow]),
        client(&bed, &["http", &large, "--timeout", "20s"]),
    ];
    tokio::time::sleep(Duration::from_millis(500)).await;
    bed.api.delete_pod("web", 15);
    // The nodes forget it while the requests of half a second ago are still being answered.
    tokio::time::sleep(Duration::from_millis(1600)).await;
    bed.references.store(0, Ordering::Relaxed);
    for client in clients {
        let report = report(&client.wait_with_output().unwrap());
        assert_eq!(report["errors"], 0, "{report:#}");
        assert!(report["ok"].as_u64().unwrap() > 0, "{report:#}");
    }
    bed.until("web", "deletion", Value::is_null).await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_pods_come_and_go_and_leave_nothing() {
    let mut bed = Testbed::new();
    bed.start_runner();
    let names: Vec<String> = (0..50).map(|number| format!("pod-{number}")).collect();
    let begin = Instant::now();
    for name in &names {
        bed.create(name, json!({}));
    }
    let mut addresses = std::collections::HashSet::new();
    for name in &names {
        let pod = bed.ready(name).await;
        assert!(addresses.insert(pod["status"]["podIP"].as_str().unwrap().to_owned()), "an address twice");
    }
    eprintln!("50 Pods ready after {:?}", begin.elapsed());
    let begin = Instant::now();
    for name in &names {
        bed.api.delete_pod(name, 10);
    }
    for name in &names {
        bed.until(name, "deletion", Value::is_null).await;
    }
    eprintln!("50 Pods gone after {:?}", begin.elapsed());
    bed.eventually("removal of the folders", || bed.pod_folders() == 0).await;
    let diary = bed.diary();
    let count = |verb: &str| diary.lines().filter(|line| line.starts_with(verb)).count();
    assert_eq!(count("ADD "), 50);
    assert!(count("DEL ") >= 50);
    if let Some(cgroup) = &bed.options.cgroup {
        let left = std::fs::read_dir(cgroup).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
        assert_eq!(left, 0, "cgroups of Pods are left");
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&bed.options.pods_dir.display().to_string()), "mounts are left");
    bed.finish().await;
}
