use super::*;
use serde_json::{Value, json};

/// A ready Node with these labels, and what `extra` adds to its spec.
fn node(labels: Value, spec: Value, ready: Value) -> Node {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "worker-1", "labels": labels},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": ready}], "allocatable": {"pods": "3"}},
    }))
    .expect("a Node")
}

fn pod(spec: Value) -> Pod {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([]);
    }
    serde_json::from_value(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec}))
        .expect("a Pod")
}

fn affinity(terms: Value) -> Value {
    json!({"affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
}

#[test]
fn selectors_and_affinity() {
    let labels = json!({"disk": "ssd", "cores": "8"});
    let node = node(labels, json!({}), json!("True"));
    let refused = Some("node(s) didn't match Pod's node affinity/selector");
    let expression = |key: &str, operator: &str, values: &[&str]| {
        affinity(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
    };
    for (spec, expected) in [
        (json!({}), None),
        (json!({"nodeSelector": {"disk": "ssd"}}), None),
        (json!({"nodeSelector": {"disk": "hdd"}}), refused),
        (json!({"nodeSelector": {"disk": "ssd", "gpu": "yes"}}), refused),
        (expression("disk", "In", &["hdd", "ssd"]), None),
        (expression("disk", "NotIn", &["ssd"]), refused),
        (expression("disk", "Exists", &[]), None),
        (expression("disk", "DoesNotExist", &[]), refused),
        (expression("cores", "Gt", &["4"]), None),
        (expression("cores", "Gt", &["8"]), refused),
        (expression("cores", "Lt", &["9"]), None),
        (expression("disk", "Lt", &["9"]), refused),
        (expression("disk", "Bogus", &["ssd"]), refused),
        (
            affinity(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["worker-1"]}]}])),
            None,
        ),
        (
            affinity(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["worker-2"]}]}])),
            refused,
        ),
        (affinity(json!([{}])), refused),
        // Terms are alternatives.
        (
            affinity(json!([
                {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["hdd"]}]},
                {"matchExpressions": [{"key": "cores", "operator": "Exists"}]},
            ])),
            None,
        ),
    ] {
        assert_eq!(refusal(&pod(spec.clone()), &node, &[]).as_deref(), expected, "{spec}");
    }
}

#[test]
fn taints_and_cordon() {
    let control_plane = json!({"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]});
    let tolerating = json!({"tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]});
    let everything = json!({"tolerations": [{"operator": "Exists"}]});
    for (spec, node_spec, ready, expected) in [
        (
            json!({}),
            &control_plane,
            "True",
            Some("node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }"),
        ),
        (tolerating, &control_plane, "True", None),
        (
            json!({}),
            &json!({"taints": [{"key": "gpu", "value": "a100", "effect": "NoExecute"}]}),
            "True",
            Some("node(s) had untolerated taint {gpu: a100}"),
        ),
        (json!({}), &json!({"taints": [{"key": "gpu", "effect": "PreferNoSchedule"}]}), "True", None),
        (json!({}), &json!({"unschedulable": true}), "True", Some("node(s) were unschedulable")),
        (everything.clone(), &json!({"unschedulable": true}), "True", None),
        (json!({}), &json!({}), "False", Some("node(s) had untolerated taint {node.kubernetes.io/not-ready: }")),
        (json!({}), &json!({}), "Unknown", Some("node(s) had untolerated taint {node.kubernetes.io/unreachable: }")),
        (everything, &json!({}), "Unknown", None),
    ] {
        let node = node(json!({}), node_spec.clone(), json!(ready));
        assert_eq!(refusal(&pod(spec.clone()), &node, &[]).as_deref(), expected, "{spec} {node_spec} {ready}");
    }
}

#[test]
fn host_ports_do_not_meet() {
    let node = node(json!({}), json!({}), json!("True"));
    let with = |ports: Value, host_network: bool| {
        pod(json!({"hostNetwork": host_network, "containers": [{"name": "c", "ports": ports}]}))
    };
    let resident = Arc::new(with(json!([{"containerPort": 80, "hostPort": 8080, "hostIP": "10.0.0.1"}]), false));
    let refused = Some("node(s) didn't have free ports for the requested pod ports");
    for (candidate, expected) in [
        (with(json!([{"containerPort": 8080}]), false), None),
        (with(json!([{"containerPort": 8080}]), true), refused),
        (with(json!([{"containerPort": 1, "hostPort": 8080}]), false), refused),
        (with(json!([{"containerPort": 1, "hostPort": 8080, "hostIP": "10.0.0.2"}]), false), None),
        (with(json!([{"containerPort": 1, "hostPort": 8080, "protocol": "UDP"}]), false), None),
    ] {
        assert_eq!(refusal(&candidate, &node, &[Arc::clone(&resident)]).as_deref(), expected, "{candidate:?}");
    }
}

#[test]
fn a_full_node_takes_no_more() {
    let node = node(json!({}), json!({}), json!("True"));
    let one = Arc::new(pod(json!({})));
    let two = [Arc::clone(&one), Arc::clone(&one)];
    assert_eq!(refusal(&one, &node, &two), None);
    let three = [two[0].clone(), two[1].clone(), one.clone()];
    assert_eq!(refusal(&one, &node, &three).as_deref(), Some("Too many pods"));
}
