use super::*;
use serde_json::{Value, json};

fn read(spec: Value, status: Value) -> Option<Service> {
    let object = json!({"metadata": {"name": "s", "namespace": "default"}, "spec": spec, "status": status});
    service(&serde_json::from_value(object).unwrap())
}

#[test]
fn no_addresses_without_a_cluster_ip() {
    assert_eq!(read(json!({"type": "ExternalName", "externalName": "example.org"}), json!({})), None);
    assert_eq!(read(json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80}]}), json!({})), None);
}

#[test]
fn everything_a_frontend_is_made_of() {
    let spec = json!({
        "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00:10:96::7"], "ipFamilies": ["IPv4", "IPv6"],
        "externalIPs": ["192.0.2.9", "nonsense"], "sessionAffinity": "ClientIP",
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "bad", "port": 70000}]
    });
    let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}, {"ip": "192.0.2.11", "ipMode": "Proxy"}, {"hostname": "x"}]}});
    let service = read(spec, status).unwrap();
    assert_eq!(service.cluster_addresses.len(), 2);
    assert_eq!(service.external_addresses, ["192.0.2.9", "192.0.2.10"].map(|a| a.parse::<IpAddr>().unwrap()));
    assert_eq!(service.families, [Family::V4, Family::V6]);
    assert_eq!(service.affinity, Affinity::ClientAddress { seconds: 10_800 });
    assert_eq!(service.ports.len(), 1);
    assert_eq!((service.ports[0].port, service.ports[0].node_port), (80, Some(30080)));
}

#[test]
fn a_family_that_is_not_named_comes_from_the_cluster_ip() {
    assert_eq!(read(json!({"clusterIP": "fd00:10:96::7"}), json!({})).unwrap().families, [Family::V6]);
}

#[test]
fn missing_conditions_mean_ready() {
    let check = |conditions: Value, expect: EndpointState| {
        let object = json!({
            "metadata": {"name": "s-1", "namespace": "default", "labels": {SERVICE_NAME_LABEL: "s"}},
            "addressType": "IPv4", "ports": [{"port": 8080}],
            "endpoints": [{"addresses": ["10.244.1.2"], "conditions": conditions,
                "targetRef": {"kind": "Pod", "namespace": "default", "name": "p"}}]
        });
        let slice = endpoint_slice(&serde_json::from_value(object).unwrap()).unwrap();
        assert_eq!(slice.endpoints[0].state, expect);
        assert_eq!(slice.endpoints[0].pod, Some(ObjectName::new("default", "p")));
    };
    check(json!({}), EndpointState::Ready);
    check(json!({"ready": false}), EndpointState::Unavailable);
    check(json!({"ready": false, "serving": true, "terminating": true}), EndpointState::ServingTerminating);
    check(json!({"ready": false, "serving": true}), EndpointState::Unavailable);
    check(json!({"ready": false, "serving": false, "terminating": true}), EndpointState::Unavailable);
}

#[test]
fn slices_of_nobody_and_of_names_are_left_out() {
    let object = |labels: Value, family: &str| {
        serde_json::from_value(json!({
            "metadata": {"name": "s-1", "namespace": "default", "labels": labels}, "addressType": family, "endpoints": []
        }))
        .unwrap()
    };
    assert_eq!(endpoint_slice(&object(json!({}), "IPv4")), None);
    assert_eq!(endpoint_slice(&object(json!({SERVICE_NAME_LABEL: "s"}), "FQDN")), None);
}
