use super::*;
use serde_json::{Value, json};

fn service(spec: Value) -> Service {
    let mut whole = json!({
        "selector": {"app": "web"}, "clusterIP": "10.96.1.1", "ipFamilies": ["IPv4"],
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "metrics", "port": 90, "targetPort": "metrics"}],
    });
    if let (Value::Object(whole), Value::Object(spec)) = (&mut whole, spec) {
        whole.extend(spec);
    }
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"}, "spec": whole,
    }))
    .expect("a Service")
}

fn pod(number: u32, ready: bool, metrics: u32) -> Arc<Pod> {
    let address = format!("10.244.{}.{}", number / 250, number % 250 + 1);
    Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("web-{number}"), "namespace": "default", "uid": format!("{number}")},
            "spec": {"nodeName": "worker-1", "containers": [{"name": "c", "ports": [
                {"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": metrics}]}]},
            "status": {"podIP": address, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        }))
        .expect("a Pod"),
    )
}

/// `ready/unready@ports` of each subset.
fn told(change: &Option<Change>) -> Vec<String> {
    let endpoints = match change {
        Some(Change::Create(endpoints) | Change::Update(endpoints)) => endpoints,
        other => panic!("{other:?}"),
    };
    let list = |addresses: &Option<Vec<EndpointAddress>>| {
        addresses.iter().flatten().map(|address| address.ip.clone()).collect::<Vec<_>>().join(",")
    };
    let subsets = endpoints.subsets.iter().flatten();
    subsets
        .map(|subset| {
            let ports: Vec<String> = subset.ports.iter().flatten().map(|port| port.port.to_string()).collect();
            format!("{}/{}@{}", list(&subset.addresses), list(&subset.not_ready_addresses), ports.join(","))
        })
        .collect()
}

#[test]
fn ports_with_the_same_servers_share_a_subset() {
    let pods = [pod(1, true, 9090), pod(2, false, 9090)];
    let change = plan(Some(&service(json!({}))), &pods, None);
    assert_eq!(told(&change), ["10.244.0.2/10.244.0.3@8080,9090"]);
}

#[test]
fn ports_with_other_servers_do_not() {
    let pods = [pod(1, true, 9090), pod(2, true, 9091)];
    let change = plan(Some(&service(json!({}))), &pods, None);
    assert_eq!(told(&change), ["10.244.0.2,10.244.0.3/@8080", "10.244.0.2/@9090", "10.244.0.3/@9091"]);
}

#[test]
fn ending_pods_are_left_out_unless_all_are_published() {
    let mut ending = pod(1, true, 9090).as_ref().clone();
    ending.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    let pods = [Arc::new(ending)];
    assert_eq!(told(&plan(Some(&service(json!({}))), &pods, None)), Vec::<String>::new());
    let all = service(json!({"publishNotReadyAddresses": true}));
    assert_eq!(told(&plan(Some(&all), &pods, None)), ["10.244.0.2/@8080,9090"]);
}

#[test]
fn at_rest_nothing_is_written() {
    let service = service(json!({}));
    let pods = [pod(1, true, 9090)];
    let Some(Change::Create(first)) = plan(Some(&service), &pods, None) else { panic!("not created") };
    let held = Arc::new(*first);
    assert_eq!(plan(Some(&service), &pods, Some(&held)), None);
    assert_eq!(told(&plan(Some(&service), &[], Some(&held))), Vec::<String>::new());
}

#[test]
fn the_object_goes_with_its_service_but_only_if_we_made_it() {
    let Some(Change::Create(own)) = plan(Some(&service(json!({}))), &[], None) else { panic!("not created") };
    let own = Arc::new(*own);
    assert_eq!(plan(None, &[], Some(&own)), Some(Change::Delete(Arc::clone(&own))));
    let mut foreign = own.as_ref().clone();
    foreign.metadata.labels = None;
    assert_eq!(plan(None, &[], Some(&Arc::new(foreign))), None);
    assert_eq!(plan(Some(&service(json!({"selector": null}))), &[pod(1, true, 1)], Some(&own)), None);
}

#[test]
fn a_headless_service_without_ports_still_names_its_pods() {
    let headless = service(json!({"clusterIP": "None", "ports": null}));
    assert_eq!(told(&plan(Some(&headless), &[pod(1, true, 1)], None)), ["10.244.0.2/@"]);
}

#[test]
fn more_than_a_thousand_are_cut_and_the_cut_is_told() {
    let mut pods: Vec<_> = (0..1001).map(|number| pod(number, true, 9090)).collect();
    pods[3] = pod(3, false, 9090);
    let change = plan(Some(&service(json!({}))), &pods, None);
    assert!(told(&change)[0].ends_with("/@8080,9090"), "the one that is not ready stays out");
    let Some(Change::Create(endpoints)) = change else { panic!("not created") };
    assert_eq!(endpoints.metadata.annotations.as_ref().map(|notes| notes[OVER_CAPACITY].as_str()), Some("truncated"));
}
