use super::*;
use serde_json::{Value, json};

fn service(selector: Value) -> Service {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "default"},
        "spec": {"selector": selector, "ports": [{"port": 5432}]},
    }))
    .expect("a Service")
}

fn endpoints(labels: Value, subsets: Value) -> Endpoints {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "db", "namespace": "default", "uid": "e", "labels": labels}, "subsets": subsets,
    }))
    .expect("Endpoints")
}

fn two_families() -> Value {
    json!([{
        "addresses": [{"ip": "203.0.113.2"}, {"ip": "2001:db8:113::2"}],
        "notReadyAddresses": [{"ip": "203.0.113.3", "hostname": "b"}],
        "ports": [{"name": "sql", "port": 5432}],
    }])
}

/// Carries the changes out on what exists.
fn carry_out(slices: &mut Vec<Arc<EndpointSlice>>, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Create(slice) => slices.push(Arc::new(*slice)),
            Change::Update(new) => {
                slices.retain(|slice| slice.metadata.name != new.metadata.name);
                slices.push(Arc::new(*new));
            }
            Change::Delete(old) => slices.retain(|slice| slice.metadata.name != old.metadata.name),
        }
    }
}

#[test]
fn a_hand_written_object_is_mirrored_once_per_family() {
    let (service, endpoints) = (service(json!(null)), endpoints(json!({"team": "x"}), two_families()));
    let mut slices = Vec::new();
    carry_out(&mut slices, plan(Some(&service), &endpoints, &[]));
    let told: Vec<String> = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().map(|endpoint| (slice.address_type.as_str(), endpoint)))
        .map(|(family, endpoint)| {
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
            format!("{family} {} {ready:?}", endpoint.addresses[0])
        })
        .collect();
    assert_eq!(
        told,
        ["IPv4 203.0.113.2 Some(true)", "IPv4 203.0.113.3 Some(false)", "IPv6 2001:db8:113::2 Some(true)"]
    );
    let labels = slices[0].metadata.labels.as_ref().expect("labels");
    assert_eq!(labels[MANAGED_BY], "endpointslicemirroring-controller.k8s.io");
    assert_eq!((labels[SERVICE_NAME].as_str(), labels["team"].as_str()), ("db", "x"));
    assert_eq!(owner::controller_of(&slices[0].metadata).map(|owner| owner.kind.as_str()), Some("Endpoints"));
    assert_eq!(plan(Some(&service), &endpoints, &slices), [], "at rest");
}

#[test]
fn slices_go_when_they_are_not_wanted_any_more() {
    let no_selector = service(json!(null));
    let full = endpoints(json!({}), two_families());
    let mut slices = Vec::new();
    carry_out(&mut slices, plan(Some(&no_selector), &full, &[]));
    for (service, endpoints) in [
        (None, full.clone()),
        (Some(service(json!({"app": "db"}))), full.clone()),
        (
            Some(no_selector.clone()),
            endpoints(json!({"endpointslice.kubernetes.io/skip-mirror": "true"}), two_families()),
        ),
        (Some(no_selector), endpoints(json!({}), json!(null))),
    ] {
        let mut left = slices.clone();
        carry_out(&mut left, plan(service.as_ref(), &endpoints, &slices));
        assert!(left.is_empty(), "{service:?}");
    }
}

#[test]
fn the_api_servers_own_endpoints_are_left_alone() {
    let mut own = endpoints(json!({}), two_families());
    own.metadata.name = Some("kubernetes".into());
    assert_eq!(plan(Some(&service(json!(null))), &own, &[]), []);
}
