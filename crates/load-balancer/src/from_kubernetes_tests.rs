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
    assert_eq!(service.external_addresses, ["192.0.2.9".parse::<IpAddr>().unwrap()]);
    assert_eq!(service.balancer_addresses, ["192.0.2.10".parse::<IpAddr>().unwrap()]);
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
fn policies_and_the_health_check_port() {
    let spec = json!({
        "type": "LoadBalancer", "clusterIP": "10.96.0.7", "internalTrafficPolicy": "Local",
        "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000, "ports": [{"port": 80}]
    });
    let service = read(spec.clone(), json!({})).unwrap();
    assert_eq!((service.internal_policy, service.external_policy), (TrafficPolicy::Local, TrafficPolicy::Local));
    assert_eq!(service.health_check_port, Some(31000));
    let without = |field: &str, value: &str| {
        let mut spec = spec.clone();
        spec[field] = json!(value);
        read(spec, json!({})).unwrap().health_check_port
    };
    assert_eq!(without("type", "NodePort"), None, "nobody asks");
    assert_eq!(without("externalTrafficPolicy", "Cluster"), None, "every node would say the same");
}

#[test]
fn source_ranges_guard_load_balancers_and_a_mistake_opens_nothing() {
    let ranges = |kind: &str, ranges: Value| {
        let spec = json!({"type": kind, "clusterIP": "10.96.0.7", "loadBalancerSourceRanges": ranges});
        let service = read(spec, json!({})).unwrap();
        (service.source_ranges.iter().map(ToString::to_string).collect::<Vec<_>>(), service.misunderstood.len())
    };
    let both = json!(["203.0.113.0/24", "2001:db8::/32", "203.0.113.0/24"]);
    assert_eq!(ranges("LoadBalancer", both.clone()), (vec!["203.0.113.0/24".into(), "2001:db8::/32".into()], 0));
    assert_eq!(ranges("NodePort", both), (vec![], 0));
    assert_eq!(ranges("LoadBalancer", json!(["203.0.113.0/24", "all"])), (vec!["203.0.113.0/24".into()], 1));
    assert_eq!(ranges("LoadBalancer", json!(["all"])), (vec!["::/128".into()], 1), "nobody, not everybody");
}

#[test]
fn the_algorithm_is_ours_before_ciliums() {
    let algorithm = |annotations: Value| {
        let object = json!({"metadata": {"name": "s", "namespace": "default", "annotations": annotations},
            "spec": {"clusterIP": "10.96.0.7"}});
        let service = service(&serde_json::from_value(object).unwrap()).unwrap();
        (service.algorithm, service.misunderstood.len())
    };
    assert_eq!(algorithm(json!({})), (Algorithm::Default, 0));
    assert_eq!(algorithm(json!({"service.malla.dev/algorithm": "maglev"})), (Algorithm::Maglev, 0));
    assert_eq!(algorithm(json!({"service.cilium.io/lb-algorithm": "random"})), (Algorithm::Random, 0));
    let both = json!({"service.cilium.io/lb-algorithm": "random", "service.malla.dev/algorithm": "maglev"});
    assert_eq!(algorithm(both), (Algorithm::Maglev, 0));
    assert_eq!(algorithm(json!({"service.malla.dev/algorithm": "least"})), (Algorithm::Default, 1));
}

#[test]
fn the_answers_way_is_ours_before_ciliums() {
    let forwarding = |annotations: Value| {
        let object = json!({"metadata": {"name": "s", "namespace": "default", "annotations": annotations},
            "spec": {"clusterIP": "10.96.0.7"}});
        let service = service(&serde_json::from_value(object).unwrap()).unwrap();
        (service.forwarding, service.misunderstood.join("; "))
    };
    let (entry, dsr) = ((Forwarding::Entry, String::new()), (Forwarding::Dsr, String::new()));
    assert_eq!(forwarding(json!({})), entry);
    assert_eq!(forwarding(json!({"service.malla.dev/forwarding-mode": "dsr"})), dsr);
    assert_eq!(forwarding(json!({"service.cilium.io/forwarding-mode": "dsr"})), dsr);
    assert_eq!(forwarding(json!({"service.cilium.io/forwarding-mode": "snat"})), entry);
    let both = json!({"service.cilium.io/forwarding-mode": "snat", "service.malla.dev/forwarding-mode": "dsr"});
    assert_eq!(forwarding(both), dsr);
    let (way, problem) = forwarding(json!({"service.malla.dev/forwarding-mode": "DSR"}));
    assert_eq!(way, Forwarding::Entry);
    assert_eq!(problem, "annotation service.malla.dev/forwarding-mode: \"DSR\" is neither dsr nor snat");
}

#[test]
fn hints_are_read() {
    let object = json!({
        "metadata": {"name": "s-1", "namespace": "default", "labels": {SERVICE_NAME_LABEL: "s"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.1.2"],
            "hints": {"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "worker-1"}]}}]
    });
    let slice = endpoint_slice(&serde_json::from_value(object).unwrap()).unwrap();
    let hints = &slice.endpoints[0].hints;
    assert_eq!((hints.zones.len(), hints.nodes.as_slice()), (2, &["worker-1".into()][..]));
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

#[test]
fn weights_hold_whole_or_not_at_all() {
    let read = |text: &str| {
        let object = json!({
            "metadata": {"name": "s", "namespace": "default", "annotations": {"service.malla.dev/weights": text}},
            "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}
        });
        service(&serde_json::from_value(object).unwrap()).unwrap()
    };
    let right = read("zone/eu-1a=2,*=1");
    assert_eq!((right.weights.to_string().as_str(), right.misunderstood.len()), ("zone/eu-1a=2, *=1", 0));
    let wrong = read("zone/eu-1a=2,*=200");
    assert!(wrong.weights.is_empty() && wrong.misunderstood[0].contains("\"*=200\""), "{:?}", wrong.misunderstood);
}
