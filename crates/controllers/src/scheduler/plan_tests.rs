use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn node(name: &str, tainted: bool) -> Arc<Node> {
    let taints = if tainted {
        json!([{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}])
    } else {
        json!([])
    };
    Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .expect("a Node"),
    )
}

fn lab() -> Vec<Arc<Node>> {
    vec![node("control-plane", true), node("worker-1", false), node("worker-2", false)]
}

fn pod(name: &str, owner: &str, node: Option<&str>, extra: Value) -> Arc<Pod> {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true}]},
        "spec": {"containers": [], "nodeName": node},
    });
    if let (Value::Object(spec), Value::Object(extra)) = (&mut pod["spec"], extra) {
        spec.extend(extra);
    }
    Arc::new(serde_json::from_value(pod).expect("a Pod"))
}

fn chosen(decisions: &[Decision]) -> Vec<String> {
    decisions
        .iter()
        .map(|decision| match decision {
            Decision::Bind { pod, node } => format!("{} {node}", pod.metadata.name.as_deref().unwrap_or_default()),
            Decision::Unschedulable { pod, message } => {
                format!("{} {message}", pod.metadata.name.as_deref().unwrap_or_default())
            }
        })
        .collect()
}

#[test]
fn the_seeds_two_replicas_go_to_the_two_workers() {
    let pods = [pod("spink-a", "spink", None, json!({})), pod("spink-b", "spink", None, json!({}))];
    assert_eq!(chosen(&plan(&lab(), &pods)), ["spink-a worker-1", "spink-b worker-2"]);
}

#[test]
fn own_replicas_weigh_more_than_other_pods() {
    let pods = [
        pod("x1", "x", Some("worker-1"), json!({})),
        pod("x2", "x", Some("worker-1"), json!({})),
        pod("spink-a", "spink", Some("worker-2"), json!({})),
        pod("spink-b", "spink", None, json!({})),
        pod("spink-c", "spink", None, json!({})),
    ];
    assert_eq!(chosen(&plan(&lab(), &pods)), ["spink-b worker-1", "spink-c worker-2"]);
}

#[test]
fn ending_pods_do_not_count() {
    let mut ending = pod("old", "spink", Some("worker-1"), json!({})).as_ref().clone();
    ending.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    let pods = [Arc::new(ending), pod("new", "spink", None, json!({}))];
    assert_eq!(chosen(&plan(&lab(), &pods)), ["new worker-1"]);
}

#[test]
fn the_message_is_kubernetes_own() {
    let picky = pod("picky", "x", None, json!({"nodeSelector": {"gpu": "yes"}}));
    assert_eq!(
        chosen(&plan(&lab(), &[Arc::clone(&picky)])),
        ["picky 0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, \
          2 node(s) didn't match Pod's node affinity/selector."]
    );
    assert_eq!(chosen(&plan(&[], &[picky])), ["picky no nodes available to schedule pods"]);
}

#[test]
fn pods_that_are_not_ours_are_left_alone() {
    let pods = [
        pod("bound", "x", Some("worker-1"), json!({})),
        pod("foreign", "x", None, json!({"schedulerName": "other"})),
        pod("gated", "x", None, json!({"schedulingGates": [{"name": "wait"}]})),
    ];
    assert_eq!(plan(&lab(), &pods), []);
}

#[test]
fn the_important_one_chooses_first() {
    let one_place = vec![node("worker-1", false)];
    let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let mut urgent = port.clone();
    urgent["priority"] = json!(1000);
    let pods = [pod("a", "x", None, port), pod("b", "y", None, urgent)];
    let decisions = chosen(&plan(&one_place, &pods));
    assert_eq!(decisions[0], "b worker-1");
    assert!(decisions[1].starts_with("a 0/1 nodes are available: 1 node(s) didn't have free ports"), "{decisions:?}");
}

proptest! {
    #[test]
    fn replicas_are_spread_evenly(workers in 1usize..6, replicas in 1usize..30, others in prop::collection::vec(0usize..6, 0..20)) {
        let nodes: Vec<_> = (0..workers).map(|number| node(&format!("worker-{number}"), false)).collect();
        let mut pods: Vec<_> = others.iter().enumerate()
            .map(|(number, place)| pod(&format!("other-{number}"), "other", Some(&format!("worker-{}", place % workers)), json!({})))
            .collect();
        pods.extend((0..replicas).map(|number| pod(&format!("web-{number}"), "web", None, json!({}))));
        let mut counts = vec![0usize; workers];
        for decision in plan(&nodes, &pods) {
            let Decision::Bind { node, .. } = decision else { return Err(TestCaseError::fail("unschedulable")) };
            counts[node.trim_start_matches("worker-").parse::<usize>().map_err(|error| TestCaseError::fail(error.to_string()))?] += 1;
        }
        let (most, fewest) = (counts.iter().max().copied().unwrap_or(0), counts.iter().min().copied().unwrap_or(0));
        prop_assert!(most - fewest <= 1, "{counts:?}");
        prop_assert_eq!(counts.iter().sum::<usize>(), replicas);
    }
}
