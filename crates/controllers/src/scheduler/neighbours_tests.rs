use super::*;
use serde_json::{Value, json};

fn node(name: &str, zone: Option<&str>) -> Node {
    let mut labels = json!({"kubernetes.io/hostname": name});
    if let Some(zone) = zone {
        labels["zone"] = json!(zone);
    }
    serde_json::from_value(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}))
        .expect("a Node")
}

fn pod(app: &str, namespace: &str, extra: Value) -> Arc<Pod> {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": app, "namespace": namespace, "labels": {"app": app}}, "spec": {"containers": []},
    });
    if let (Value::Object(spec), Value::Object(extra)) = (&mut pod["spec"], extra) {
        spec.extend(extra);
    }
    Arc::new(serde_json::from_value(pod).expect("a Pod"))
}

fn rule(kind: &str, key: &str, app: &str, extra: Value) -> Value {
    let mut term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}});
    if let (Value::Object(term), Value::Object(extra)) = (&mut term, extra) {
        term.extend(extra);
    }
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

/// The reasons of every Node, where Node `n` of zone `z` holds the given Pods.
fn reasons(pod: &Pod, places: &[(Node, Vec<Arc<Pod>>)]) -> Vec<&'static str> {
    let all: Vec<Place<'_>> = places.iter().map(|(node, residents)| Place { node, residents }).collect();
    all.iter().map(|place| refusal(pod, *place, &all).unwrap_or("fits")).collect()
}

#[test]
fn anti_affinity_keeps_pods_apart_in_their_domain() {
    let alone = |key: &str| pod("web", "default", rule("podAntiAffinity", key, "web", json!({})));
    let places = [
        (node("a1", Some("a")), vec![pod("web", "default", json!({}))]),
        (node("a2", Some("a")), vec![pod("web", "other", json!({}))]),
        (node("b1", Some("b")), vec![pod("db", "default", json!({}))]),
        (node("none", None), vec![]),
    ];
    let apart = "node(s) didn't match pod anti-affinity rules";
    assert_eq!(reasons(&alone("kubernetes.io/hostname"), &places), [apart, "fits", "fits", "fits"]);
    assert_eq!(reasons(&alone("zone"), &places), [apart, apart, "fits", "fits"]);
    let everywhere = json!({"namespaceSelector": {}});
    let wide = pod("web", "default", rule("podAntiAffinity", "kubernetes.io/hostname", "web", everywhere));
    assert_eq!(reasons(&wide, &places), [apart, apart, "fits", "fits"]);
    let named = json!({"namespaces": ["other"]});
    let named = pod("web", "default", rule("podAntiAffinity", "kubernetes.io/hostname", "web", named));
    assert_eq!(reasons(&named, &places), ["fits", apart, "fits", "fits"]);
}

#[test]
fn those_who_are_there_may_object_too() {
    let hermit = pod("hermit", "default", rule("podAntiAffinity", "zone", "web", json!({})));
    let places = [(node("a1", Some("a")), vec![hermit]), (node("b1", Some("b")), vec![])];
    let objected = "node(s) didn't satisfy existing pods anti-affinity rules";
    assert_eq!(reasons(&pod("web", "default", json!({})), &places), [objected, "fits"]);
    assert_eq!(reasons(&pod("db", "default", json!({})), &places), ["fits", "fits"]);
}

#[test]
fn affinity_brings_pods_together_and_the_first_may_choose() {
    let near_db = pod("web", "default", rule("podAffinity", "zone", "db", json!({})));
    let places = [
        (node("a1", Some("a")), vec![pod("db", "default", json!({}))]),
        (node("a2", Some("a")), vec![]),
        (node("b1", Some("b")), vec![]),
        (node("none", None), vec![]),
    ];
    let lonely = "node(s) didn't match pod affinity rules";
    assert_eq!(reasons(&near_db, &places), ["fits", "fits", lonely, lonely]);
    let together = pod("web", "default", rule("podAffinity", "zone", "web", json!({})));
    assert_eq!(reasons(&together, &places), ["fits", "fits", "fits", lonely], "the first of its kind");
}

#[test]
fn spread_constraints_limit_the_skew() {
    let spread = |extra: Value| {
        let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        if let (Value::Object(constraint), Value::Object(extra)) = (&mut constraint, extra) {
            constraint.extend(extra);
        }
        pod("web", "default", json!({"topologySpreadConstraints": [constraint]}))
    };
    let web = || pod("web", "default", json!({}));
    let places = [(node("a1", Some("a")), vec![web()]), (node("b1", Some("b")), vec![]), (node("none", None), vec![])];
    let uneven = "node(s) didn't match pod topology spread constraints";
    let unlabelled = "node(s) didn't match pod topology spread constraints (missing required label)";
    assert_eq!(reasons(&spread(json!({})), &places), [uneven, "fits", unlabelled]);
    assert_eq!(reasons(&spread(json!({"maxSkew": 2})), &places), ["fits", "fits", unlabelled]);
    assert_eq!(reasons(&spread(json!({"whenUnsatisfiable": "ScheduleAnyway"})), &places), ["fits", "fits", "fits"]);
    let full = [(node("a1", Some("a")), vec![web()]), (node("b1", Some("b")), vec![web()])];
    assert_eq!(reasons(&spread(json!({})), &full), ["fits", "fits"]);
    assert_eq!(reasons(&spread(json!({"minDomains": 3})), &full), [uneven, uneven], "a third domain is missing");
}
