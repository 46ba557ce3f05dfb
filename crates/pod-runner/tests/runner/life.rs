//! Pods that go well: birth, own world, takeover, goodbye.

use std::{
    fs,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use pod_runner::{LogOptions, logs};
use serde_json::json;

use crate::support::testbed::{Testbed, container};

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_pod_lives_and_drains() {
    let mut bed = Testbed::new();
    bed.start_runner();
    let begin = Instant::now();
    let uid = bed.create("web", json!({}));
    let pod = bed.ready("web").await;
    eprintln!("ready after {:?}", begin.elapsed());
    let ip = pod["status"]["podIP"].as_str().unwrap().to_owned();
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["hostIP"], "10.99.255.1");
    let about = bed.get(&ip, "/").unwrap();
    assert!(about.contains("\"pod\":\"web\"") && about.contains("\"node\":\"node-1\""), "{about}");
    assert!(about.contains("\"peer\":\"10.99.255.1\""), "the node is seen as itself: {about}");
    assert!(bed.get(&ip, "/hostname").unwrap().ends_with("web\n"));
    assert!(bed.diary().contains(&format!("K8S_POD_UID={uid}")));

    // Deleted, but still somebody's backend: it goes on serving.
    bed.references.store(3, Ordering::Relaxed);
    bed.api.delete_pod("web", 20);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let answer = bed.get(&ip, "/").unwrap();
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    assert!(!bed.pod("web").is_null());
    bed.references.store(0, Ordering::Relaxed);
    let forgotten = Instant::now();
    bed.until("web", "deletion", serde_json::Value::is_null).await;
    assert!(forgotten.elapsed() < Duration::from_secs(3), "it left when the last agent had forgotten it");
    bed.eventually("removal of the Pod's folder", || bed.pod_folders() == 0).await;
    assert!(bed.diary().contains("DEL "));
    assert!(bed.get(&ip, "/").is_err());
    let events = bed.api.events().join("\n");
    for expected in [
        "Pulled Container image \"malla.dev/echo\"",
        "Created Created container: c",
        "Started Started container c",
        "Killing Stopping container c",
    ] {
        assert!(events.contains(expected), "{expected} in\n{events}");
    }
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_have_their_own_world() {
    let mut bed = Testbed::new();
    bed.start_runner();
    let script = "hostname; cat /etc/hosts; cat /etc/resolv.conf; echo \"env $WHO $NODE $IP $KUBERNETES_SERVICE_HOST\"; \
                  echo pids $(ls /proc | grep -c '^[0-9]'); ls /sys/class/net; grep -c nsfs /proc/self/mountinfo; grep :: /proc/self/cgroup; pwd; exit 3";
    bed.create(
        "once",
        json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "malla.dev/host", "command": ["sh", "-c", script],
            "workingDir": "/usr",
            "env": [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}]}),
    );
    let pod = bed.until("once", "the end", |pod| pod["status"]["phase"] == "Failed").await;
    let ended = &container(&pod)["state"]["terminated"];
    assert_eq!((ended["exitCode"].as_i64(), ended["reason"].as_str()), (Some(3), Some("Error")));
    let ip = pod["status"]["podIP"].as_str().unwrap();
    let mut text = Vec::new();
    logs(&bed.options.pods_dir, "default", "once", &LogOptions::default(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("once\n"), "{text}");
    for expected in [
        &format!("{ip}\tonce\n"),
        "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10",
        &format!("env once node-1 {ip} 10.96.0.1\n"),
        "eth0\nlo\n0\n",
        "/c\n/usr\n",
    ] {
        assert!(text.contains(expected), "{expected:?} in\n{text}");
    }
    let pids: u32 = text.lines().find_map(|line| line.strip_prefix("pids ")).unwrap().parse().unwrap();
    assert!(pids < 6, "only its own processes are seen, not {pids}");
    bed.eventually("release of a finished Pod's address", || bed.diary().contains("DEL ")).await;
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "once", "the machine keeps its name");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_the_host_network_is_the_nodes_and_outlives_its_runner() {
    let mut bed = Testbed::new();
    bed.start_runner();
    bed.create("host", json!({ "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet" }));
    bed.create(
        "hosts-names",
        json!({ "hostNetwork": true, "restartPolicy": "Never", "dnsPolicy": "ClusterFirst",
        "containers": [{"name": "c", "image": "malla.dev/host", "command": ["cat", "/etc/resolv.conf"]}]}),
    );
    let before = bed.ready("host").await;
    assert_eq!(before["status"]["podIP"], before["status"]["hostIP"]);
    assert!(!bed.diary().contains("ADD "), "it needs no address of its own");
    bed.until("hosts-names", "the end", |pod| pod["status"]["phase"] == "Succeeded").await;
    let mut text = Vec::new();
    logs(&bed.options.pods_dir, "default", "hosts-names", &LogOptions::default(), &mut text).unwrap();
    assert!(
        !String::from_utf8(text).unwrap().contains("10.96.0.10"),
        "on the host network the node's servers are asked"
    );

    bed.stop_runner().await;
    bed.start_runner();
    let after = bed.ready("host").await;
    assert_eq!(container(&after)["containerID"], container(&before)["containerID"]);
    bed.api.delete_pod("host", 5);
    bed.until("host", "deletion", serde_json::Value::is_null).await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_runner_takes_over_what_runs() {
    let mut bed = Testbed::new();
    bed.start_runner();
    bed.create("stays", json!({}));
    bed.create("ends", json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "malla.dev/host", "command": ["sh", "-c", "sleep 1; exit 5"]}]}));
    bed.create("goes", json!({}));
    let before = bed.ready("stays").await;
    bed.ready("goes").await;
    bed.until("ends", "start", |pod| pod["status"]["phase"] == "Running").await;
    let ip = before["status"]["podIP"].as_str().unwrap().to_owned();
    bed.stop_runner().await;

    assert!(bed.get(&ip, "/hostname").is_ok(), "it goes on without a runner");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // Deleted by somebody's `--force` while nobody was there.
    bed.api.remove(&crate::support::fake_api::pod_path("goes"));

    bed.start_runner();
    let ended = bed.until("ends", "its end", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(container(&ended)["state"]["terminated"]["exitCode"], 5, "what happened without a runner is known");
    bed.eventually("removal of the orphan", || bed.pod_folders() == 2).await;
    let after = bed.ready("stays").await;
    assert_eq!(container(&after)["containerID"], container(&before)["containerID"]);
    assert_eq!(container(&after)["restartCount"], 0);
    assert_eq!(container(&after)["state"], container(&before)["state"], "not restarted");
    assert_eq!(after["status"]["podIP"], before["status"]["podIP"]);
    assert!(bed.get(&ip, "/hostname").is_ok());
    bed.api.delete_pod("stays", 10);
    bed.until("stays", "deletion", serde_json::Value::is_null).await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_run_first_and_one_after_the_other() {
    let mut bed = Testbed::new();
    bed.start_runner();
    let file = bed.root.join("order");
    let write = |text: &str| json!(["sh", "-c", format!("echo {text} >> {}", file.display())]);
    bed.create(
        "staged",
        json!({"initContainers": [{"name": "first", "image": "malla.dev/host", "command": write("one")},
                                  {"name": "second", "image": "malla.dev/host", "command": write("two")}],
               "containers": [{"name": "c", "image": "malla.dev/echo"}]}),
    );
    let pod = bed.ready("staged").await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo\n");
    assert_eq!(pod["status"]["initContainerStatuses"][1]["state"]["terminated"]["reason"], "Completed");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_deleted_while_nobody_was_there_still_drains() {
    let mut bed = Testbed::new();
    bed.start_runner();
    bed.create("web", json!({}));
    let pod = bed.ready("web").await;
    let ip = pod["status"]["podIP"].as_str().unwrap().to_owned();
    bed.references.store(1, Ordering::Relaxed);
    bed.stop_runner().await;
    bed.api.delete_pod("web", 20);
    bed.start_runner();
    bed.eventually("draining", || bed.get(&ip, "/").is_ok_and(|answer| answer.contains("connection: close"))).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(bed.get(&ip, "/").is_ok(), "it is still somebody's backend");
    bed.references.store(0, Ordering::Relaxed);
    bed.until("web", "deletion", serde_json::Value::is_null).await;
    bed.finish().await;
}
