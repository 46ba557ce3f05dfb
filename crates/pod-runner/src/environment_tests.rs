//! Tests of [`super`].

use k8s_openapi::ByteString;
use serde_json::json;

use super::*;

fn container(value: serde_json::Value) -> Container {
    serde_json::from_value(value).unwrap()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn expansion_follows_kubernetes() {
    let environment = map(&[("A", "1"), ("B", "$(A)")]);
    for (text, expect) in [
        ("$(A)-$(B)", "1-$(A)"),
        ("$$(A)", "$(A)"),
        ("$(NONE) $A $", "$(NONE) $A $"),
        ("$(A", "$(A"),
        ("$$$(A)", "$1"),
        ("", ""),
    ] {
        assert_eq!(expand(text, &environment), expect, "{text}");
    }
}

#[test]
fn later_variables_see_earlier_ones() {
    let container = container(json!({"name": "c", "env": [
        {"name": "HOST", "value": "db"},
        {"name": "URL", "value": "http://$(HOST):$(PORT)/$(LATER)"},
        {"name": "LATER", "value": "x"},
        {"name": "EMPTY"},
    ]}));
    let environment = build(map(&[("PORT", "80")]), &container, &Sources::default()).unwrap();
    assert_eq!(environment["URL"], "http://db:80/$(LATER)");
    assert_eq!(environment["EMPTY"], "");
}

#[test]
fn the_pod_tells_its_containers_about_itself() {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"}},
        "spec": {"containers": []},
    }))
    .unwrap();
    let fields = [
        ("metadata.name", "web"),
        ("metadata.namespace", "shop"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['app']", "web"),
        ("metadata.annotations['none']", ""),
        ("spec.nodeName", "worker-1"),
        ("spec.serviceAccountName", "default"),
        ("status.podIP", "10.0.0.1"),
        ("status.podIPs", "10.0.0.1,fd00::1"),
        ("status.hostIP", "172.18.0.3"),
    ];
    let env: Vec<_> = fields
        .iter()
        .enumerate()
        .map(|(at, (path, _))| json!({"name": format!("V{at}"), "valueFrom": {"fieldRef": {"fieldPath": path}}}))
        .collect();
    let sources = Sources {
        pod: Some(&pod),
        node_name: "worker-1",
        pod_ips: vec!["10.0.0.1".into(), "fd00::1".into()],
        host_ips: vec!["172.18.0.3".into()],
        ..Sources::default()
    };
    let environment = build(BTreeMap::new(), &container(json!({"name": "c", "env": env})), &sources).unwrap();
    for (at, (path, expect)) in fields.iter().enumerate() {
        assert_eq!(environment[&format!("V{at}")], *expect, "{path}");
    }
    let wrong = container(json!({"name": "c", "env": [
        {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.containers"}}}]}));
    assert!(matches!(build(BTreeMap::new(), &wrong, &sources), Err(EnvironmentError::Field { .. })));
}

#[test]
fn config_maps_and_secrets() {
    let from = container(json!({"name": "c",
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}},
                    {"secretRef": {"name": "absent", "optional": true}}],
        "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "pw"}}},
                {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "no", "optional": true}}}]}));
    assert_eq!(referenced(&from).0, ["settings", "settings"]);
    let mut sources = Sources::default();
    assert!(build(BTreeMap::new(), &from, &sources).is_err(), "a missing ConfigMap must not be an empty one");
    let settings = ConfigMap { data: Some(map(&[("color", "red")])), ..ConfigMap::default() };
    sources.config_maps.insert("settings".into(), settings);
    let data = [("pw".to_owned(), ByteString(b"geheim".to_vec()))].into();
    sources.secrets.insert("keys".into(), Secret { data: Some(data), ..Secret::default() });
    let environment = build(BTreeMap::new(), &from, &sources).unwrap();
    assert_eq!(environment, map(&[("P_color", "red"), ("PASSWORD", "geheim")]));
}
