//! Pods that do not go well: crashes, probes, images, networks, stubbornness.

use std::{
    fs,
    time::{Duration, Instant},
};

use pod_runner::{LogOptions, logs};
use serde_json::json;

use crate::support::testbed::{Testbed, condition, container};

#[tokio::test(flavor = "multi_thread")]
async fn failing_containers_are_restarted_with_back_off() {
    let mut bed = Testbed::new();
    bed.start_runner();
    bed.create(
        "crash",
        json!({"containers": [{"name": "c", "image": "malla.dev/host", "command": ["sh", "-c", "echo run; exit 9"]}]}),
    );
    let pod = bed
        .until("crash", "CrashLoopBackOff", |pod| container(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff")
        .await;
    assert_eq!(container(&pod)["restartCount"], 1, "the first restart comes at once");
    assert_eq!(container(&pod)["lastState"]["terminated"]["exitCode"], 9);
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(condition(&pod, "Ready"), "False");
    let mut previous = Vec::new();
    let options = LogOptions { previous: true, ..LogOptions::default() };
    logs(&bed.options.pods_dir, "default", "crash", &options, &mut previous).unwrap();
    assert_eq!(previous, b"run\n");
    // A Pod in back-off goes at once.
    let begin = Instant::now();
    bed.api.delete_pod("crash", 20);
    bed.until("crash", "deletion", serde_json::Value::is_null).await;
    assert!(begin.elapsed() < Duration::from_secs(3));
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_decide_about_readiness_and_life() {
    let mut bed = Testbed::new();
    bed.start_runner();
    let file = bed.root.join("healthy");
    fs::write(&file, "").unwrap();
    let test = json!({"exec": {"command": ["test", "-e", file]}, "periodSeconds": 1, "failureThreshold": 1});
    bed.create(
        "probed",
        json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "malla.dev/echo", "ports": [{"name": "web", "containerPort": 8080}],
            "startupProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 1},
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
            "livenessProbe": test}]}),
    );
    let pod = bed.ready("probed").await;
    assert_eq!(container(&pod)["started"], true);
    fs::remove_file(&file).unwrap();
    bed.until("probed", "a restart", |pod| container(pod)["restartCount"] == 1).await;
    fs::write(&file, "").unwrap();
    let pod = bed
        .until("probed", "readiness again", |pod| {
            container(pod)["restartCount"] == 1 && condition(pod, "Ready") == "True"
        })
        .await;
    assert!(container(&pod)["lastState"]["terminated"].is_object());
    let events = bed.api.events().join("\n");
    assert!(events.contains("Unhealthy Liveness probe failed"), "{events}");
    assert!(events.contains("Killing Container c failed liveness probe, will be restarted"), "{events}");

    bed.create(
        "unready",
        json!({"containers": [{"name": "c", "image": "malla.dev/echo",
            "readinessProbe": {"httpGet": {"path": "/bytes/x", "port": 8080}, "periodSeconds": 1}}]}),
    );
    bed.until("unready", "start", |pod| pod["status"]["phase"] == "Running").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(condition(&bed.pod("unready"), "Ready"), "False");
    bed.eventually("an event", || bed.api.events().iter().any(|event| event.contains("statuscode: 400"))).await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_or_started_says_why() {
    let mut bed = Testbed::new();
    bed.start_runner();
    bed.create("nginx", json!({"containers": [{"name": "c", "image": "nginx:1.27"}]}));
    let pod =
        bed.until("nginx", "ErrImagePull", |pod| container(pod)["state"]["waiting"]["reason"] == "ErrImagePull").await;
    let message = container(&pod)["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.contains("nginx:1.27") && message.contains("malla.dev/echo"), "{message}");
    assert_eq!(pod["status"]["phase"], "Pending");
    bed.until("nginx", "ImagePullBackOff", |pod| container(pod)["state"]["waiting"]["reason"] == "ImagePullBackOff")
        .await;

    bed.create("typo", json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "malla.dev/host", "command": ["no-such-program"]}]}));
    let pod = bed.until("typo", "failure", |pod| pod["status"]["phase"] == "Failed").await;
    let ended = &container(&pod)["state"]["terminated"];
    assert_eq!((ended["reason"].as_str(), ended["exitCode"].as_i64()), (Some("StartError"), Some(128)));
    assert!(ended["message"].as_str().unwrap().contains("no-such-program"));
    for name in ["nginx", "typo"] {
        bed.api.delete_pod(name, 5);
        bed.until(name, "deletion", serde_json::Value::is_null).await;
    }
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_network_is_told_and_waited_for() {
    let mut bed = Testbed::new();
    let broken = bed.root.join("plugin/broken");
    fs::write(&broken, "").unwrap();
    bed.start_runner();
    let node = || bed.api.get("/api/v1/nodes/node-1").unwrap_or_default();
    let ready = || {
        node()["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|c| c["type"] == "Ready")
            .cloned()
            .unwrap_or_default()
    };
    bed.eventually("an unready node", || ready()["status"] == "False").await;
    assert!(ready()["message"].as_str().unwrap().contains("NetworkPluginNotReady message:"), "{}", ready());
    bed.create("patient", json!({}));
    bed.eventually("an event", || bed.api.events().iter().any(|event| event.starts_with("FailedCreatePodSandBox")))
        .await;
    assert_eq!(bed.pod("patient")["status"]["phase"], "Pending");
    fs::remove_file(&broken).unwrap();
    bed.ready("patient").await;
    bed.eventually("a ready node", || ready()["status"] == "True").await;
    assert_eq!(node()["spec"]["podCIDR"], "10.99.0.0/24");
    assert!(bed.api.get("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1").is_some());

    // A DEL that fails is repeated until it succeeds; the Pod is not forgotten before.
    let broken = bed.root.join("plugin/broken-del");
    fs::write(&broken, "").unwrap();
    bed.api.delete_pod("patient", 5);
    bed.eventually("a failed DEL", || bed.api.events().iter().any(|event| event.starts_with("FailedKillPod"))).await;
    assert_eq!(bed.pod_folders(), 1);
    fs::remove_file(&broken).unwrap();
    bed.until("patient", "deletion", serde_json::Value::is_null).await;
    bed.eventually("removal", || bed.pod_folders() == 0).await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stubborn_container_is_killed_when_its_grace_is_over() {
    let mut bed = Testbed::new();
    bed.start_runner();
    bed.create("stubborn", json!({"containers": [{"name": "c", "image": "malla.dev/host", "command": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]}]}));
    bed.ready("stubborn").await;
    let begin = Instant::now();
    bed.api.delete_pod("stubborn", 2);
    bed.until("stubborn", "deletion", serde_json::Value::is_null).await;
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(1900) && took < Duration::from_secs(6), "{took:?}");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_active_for_too_long_fails() {
    let mut bed = Testbed::new();
    bed.start_runner();
    bed.create("long", json!({"activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 1}));
    bed.ready("long").await;
    let pod = bed.until("long", "failure", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    bed.eventually("release of its address", || bed.diary().contains("DEL ")).await;
    assert!(!bed.pod("long").is_null(), "a failed Pod stays to be looked at");
    bed.api.delete_pod("long", 1);
    bed.until("long", "deletion", serde_json::Value::is_null).await;
    bed.finish().await;
}
