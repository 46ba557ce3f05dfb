use super::*;
use crate::replica_set::status::{Failure, status};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

fn now() -> Timestamp {
    Timestamp::from_second(1_000).expect("in range")
}

fn set(replicas: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web-1", "namespace": "default", "uid": "set", "generation": 3},
        "spec": {
            "replicas": replicas, "minReadySeconds": 10,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web", "extra": "1"}, "annotations": {"note": "x"}},
                "spec": {"containers": [{"name": "c", "image": "malla.dev/echo"}]},
            },
        },
    }))
    .expect("a ReplicaSet")
}

/// A Pod described in a few words, with `change` merged over a running, ready one.
fn pod(name: &str, change: Value) -> Arc<Pod> {
    let mut value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default", "labels": {"app": "web"},
            "creationTimestamp": "1970-01-01T00:05:00Z",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "set", "controller": true}],
        },
        "spec": {"nodeName": "worker-1", "containers": []},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:10:00Z"}]},
    });
    json_merge(&mut value, change);
    Arc::new(serde_json::from_value(value).expect("a Pod"))
}

fn json_merge(target: &mut Value, change: Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, value) in change {
                json_merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, change) => *target = change,
    }
}

fn input<'a>(set: &'a ReplicaSet, pods: &'a [Arc<Pod>], siblings: &'a [String]) -> Input<'a> {
    Input { set, pods, siblings, now: now() }
}

fn deleted(changes: &[Change]) -> Vec<&str> {
    changes
        .iter()
        .map(|change| match change {
            Change::Delete(pod) => pod.metadata.name.as_deref().unwrap_or_default(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn missing_pods_are_created_from_the_template() {
    let set = set(3);
    let changes = plan(&input(&set, &[pod("a", json!({}))], &[]));
    let [Change::Create { pod, count: 2 }] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(pod.metadata.generate_name.as_deref(), Some("web-1-"));
    assert_eq!(pod.metadata.labels.as_ref().map(|labels| labels["extra"].as_str()), Some("1"));
    assert_eq!(pod.metadata.annotations.as_ref().map(|notes| notes["note"].as_str()), Some("x"));
    assert_eq!(owner::controller_of(&pod.metadata).map(|owner| owner.uid.as_str()), Some("set"));
    assert_eq!(pod.spec.as_ref().map(|spec| spec.containers[0].name.as_str()), Some("c"));
}

#[test]
fn ended_and_ending_pods_are_replaced() {
    let set = set(2);
    let pods = [
        pod("ended", json!({"status": {"phase": "Failed"}})),
        pod("ending", json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:00Z"}})),
        pod("fine", json!({})),
    ];
    assert!(matches!(plan(&input(&set, &pods, &[])).as_slice(), [Change::Create { count: 1, .. }]));
}

#[test]
fn the_most_expendable_go_first() {
    let set = set(1);
    let ready = |second: u32| {
        json!({"status": {"conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": format!("1970-01-01T00:10:{second:02}Z")}]}})
    };
    let pods = [
        pod("old", ready(1)),
        pod("costly", json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "5"}}})),
        pod("young", ready(9)),
        pod("unready", json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}})),
        pod("pending", json!({"status": {"phase": "Pending", "conditions": []}})),
        pod("homeless", json!({"spec": {"nodeName": null}, "status": {"phase": "Pending", "conditions": []}})),
    ];
    assert_eq!(deleted(&plan(&input(&set, &pods, &[]))), ["homeless", "pending", "unready", "young", "old"]);
}

#[test]
fn the_fullest_node_is_relieved_first() {
    let set = set(2);
    let siblings = ["set".to_owned(), "older-set".to_owned()];
    let on = |node: &str| json!({"spec": {"nodeName": node}});
    let older = json!({"spec": {"nodeName": "worker-2"}, "metadata": {"ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-0", "uid": "older-set", "controller": true}]}});
    let pods = [pod("a", on("worker-1")), pod("b", on("worker-2")), pod("c", on("worker-3")), pod("z", older)];
    assert_eq!(deleted(&plan(&input(&set, &pods, &siblings))), ["b"], "worker-2 holds one of the older set too");
}

#[test]
fn restarts_then_youth_then_name_decide_between_equals() {
    let set = set(1);
    let pods = [
        pod("a", json!({})),
        pod(
            "restless",
            json!({"status": {"containerStatuses": [
            {"name": "c", "restartCount": 2, "ready": true, "image": "", "imageID": ""}]}}),
        ),
        pod("young", json!({"metadata": {"creationTimestamp": "1970-01-01T00:06:00Z"}})),
        pod("b", json!({})),
    ];
    assert_eq!(deleted(&plan(&input(&set, &pods, &[]))), ["restless", "young", "b"]);
}

#[test]
fn pods_are_adopted_and_released_before_anything_else() {
    let set = set(0);
    let pods = [
        pod("orphan", json!({"metadata": {"ownerReferences": []}})),
        pod("relabelled", json!({"metadata": {"labels": {"app": "debug"}}})),
        pod("mine", json!({})),
        pod(
            "foreign",
            json!({"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "x", "controller": true}]}}),
        ),
        pod("ended-orphan", json!({"metadata": {"ownerReferences": []}, "status": {"phase": "Succeeded"}})),
    ];
    let changes = plan(&input(&set, &pods, &[]));
    assert!(
        matches!(changes.as_slice(), [Change::Adopt(a), Change::Release(b)]
            if a.metadata.name.as_deref() == Some("orphan") && b.metadata.name.as_deref() == Some("relabelled")),
        "{changes:?}"
    );
}

#[test]
fn a_dying_set_creates_and_deletes_nothing() {
    let mut dying = set(5);
    dying.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    assert_eq!(plan(&input(&dying, &[pod("a", json!({}))], &[])), []);
    let mut surplus = set(0);
    surplus.metadata.deletion_timestamp = dying.metadata.deletion_timestamp;
    assert_eq!(plan(&input(&surplus, &[pod("a", json!({}))], &[])), []);
}

#[test]
fn status_counts_and_waits_for_availability() {
    let set = set(3);
    let pods = [
        pod("long-ready", json!({"metadata": {"labels": {"extra": "1"}}})),
        pod(
            "just-ready",
            json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:16:36Z"}]}}),
        ),
        pod("unready", json!({"status": {"conditions": []}})),
    ];
    let (report, look_again) = status(&set, &pods, None, now());
    assert_eq!(
        (report.replicas, report.fully_labeled_replicas, report.ready_replicas, report.available_replicas),
        (3, Some(1), Some(2), Some(1))
    );
    assert_eq!(report.observed_generation, Some(3));
    assert_eq!(look_again, Some(Duration::from_secs(6)));
}

#[test]
fn a_failure_is_reported_once_and_withdrawn() {
    let failure = |message: &str| Failure { reason: "FailedCreate", message: message.into() };
    let mut set = set(1);
    let (report, _) = status(&set, &[], Some(&failure("quota")), now());
    set.status = Some(report.clone());
    let later = Timestamp::from_second(2_000).expect("in range");
    assert_eq!(status(&set, &[], Some(&failure("quota again")), later).0, report);
    assert_eq!(status(&set, &[], None, later).0.conditions, None);
}

proptest! {
    /// Carrying out plans always ends at the wanted number, and never deletes a ready Pod while an unready one is left.
    #[test]
    fn plans_converge(wanted in 0i32..20, readiness in prop::collection::vec(any::<bool>(), 0..20)) {
        let set = set(wanted);
        let pods: Vec<_> = readiness.iter().enumerate().map(|(number, ready)| {
            pod(&format!("p{number}"), json!({"status": {"conditions": [
                {"type": "Ready", "status": if *ready { "True" } else { "False" }}]}}))
        }).collect();
        let mut left = pods.len() as i32;
        let changes = plan(&input(&set, &pods, &[]));
        let mut deleted_ready = false;
        for change in &changes {
            match change {
                Change::Create { count, .. } => left += *count as i32,
                Change::Delete(pod) => { left -= 1; deleted_ready |= crate::pod::is_ready(pod); }
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            }
        }
        prop_assert_eq!(left, wanted);
        let unready = readiness.iter().filter(|ready| !**ready).count();
        prop_assert!(!deleted_ready || changes.len() > unready);
    }
}
