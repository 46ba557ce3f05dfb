use super::*;
use serde_json::{Value, json};

fn policy(spec: Value) -> Result<Policy, Vec<(Part, String)>> {
    let object = json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumL2AnnouncementPolicy",
        "metadata": {"name": "p"}, "spec": spec});
    Policy::of(&serde_json::from_value(object).unwrap())
}

fn service(name: &str, spec: Value, ingress: &[&str]) -> Option<ServiceView> {
    let ingress: Vec<Value> = ingress.iter().map(|ip| json!({"ip": ip})).collect();
    let object = json!({"metadata": {"name": name, "namespace": "default", "labels": {"name": name}}, "spec": spec,
        "status": {"loadBalancer": {"ingress": ingress}}});
    ServiceView::of(&serde_json::from_value(object).unwrap())
}

fn balancer(name: &str, ingress: &[&str]) -> ServiceView {
    service(name, json!({"type": "LoadBalancer"}), ingress).unwrap()
}

fn device(name: &str, index: u32) -> Device {
    Device { name: name.to_owned(), index, mac: [2, 0, 0, 0, 0, index as u8] }
}

/// `name: address@device …` of each Service.
fn told(policies: &[Policy], services: &[ServiceView], labels: &[(&str, &str)]) -> Vec<String> {
    told_where(policies, services, labels, |_| true)
}

/// The same on a node that serves these Services.
fn told_where(
    policies: &[Policy],
    services: &[ServiceView],
    labels: &[(&str, &str)],
    serves: impl Fn(&ServiceView) -> bool,
) -> Vec<String> {
    let labels: Labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let devices = [device("eth0", 2), device("wlan0", 3)];
    let all = wanted(policies, services.iter(), Some(&labels), &devices, serves);
    all.iter()
        .map(|(service, places)| {
            let places: Vec<String> =
                places.iter().map(|(address, device)| format!("{address}@{}", device.name)).collect();
            format!("{}: {}", service.name, places.join(" "))
        })
        .collect()
}

#[test]
fn policies_choose_services_addresses_nodes_and_devices() {
    let external = service("ext", json!({"type": "ClusterIP", "externalIPs": ["192.0.2.9"]}), &[]).unwrap();
    let services = [balancer("web", &["192.0.2.1", "2001:db8::1"]), external];
    let both = json!({"externalIPs": true, "loadBalancerIPs": true, "interfaces": ["^eth[0-9]+"]});
    let merge = |more: Value| {
        let mut all = both.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        [policy(all).unwrap()]
    };
    let web = "web: 192.0.2.1@eth0 2001:db8::1@eth0";
    let ext = "ext: 192.0.2.9@eth0";
    assert_eq!(told(&merge(json!({})), &services, &[]), [ext, web]);
    assert_eq!(told(&merge(json!({"externalIPs": false})), &services, &[]), [web]);
    assert_eq!(told(&merge(json!({"loadBalancerIPs": false})), &services, &[]), [ext]);
    assert_eq!(told(&merge(json!({"serviceSelector": {"matchLabels": {"name": "ext"}}})), &services, &[]), [ext]);
    assert_eq!(told(&merge(json!({"interfaces": ["^lo$", "wlan"]})), &services[1..], &[]), ["ext: 192.0.2.9@wlan0"]);
    assert_eq!(told(&merge(json!({"interfaces": []})), &services[1..], &[]), ["ext: 192.0.2.9@eth0 192.0.2.9@wlan0"]);
    assert!(told(&merge(json!({"interfaces": ["eth1"]})), &services, &[]).is_empty());
    let workers = json!({"nodeSelector": {"matchExpressions": [
        {"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"}]}});
    assert_eq!(told(&merge(workers.clone()), &services, &[("zone", "a")]), [ext, web]);
    assert!(told(&merge(workers), &services, &[("node-role.kubernetes.io/control-plane", "")]).is_empty());
    assert!(told(&[], &services, &[]).is_empty());
    assert!(told(&[policy(json!({})).unwrap()], &services, &[]).is_empty(), "both kinds of address are off by default");
}

#[test]
fn a_shared_address_has_one_election() {
    let services =
        [balancer("b", &["192.0.2.1"]), balancer("a", &["192.0.2.1"]), balancer("c", &["192.0.2.1", "192.0.2.2"])];
    let policies = [policy(json!({"loadBalancerIPs": true, "interfaces": ["eth0"]})).unwrap()];
    assert_eq!(told(&policies, &services, &[]), ["a: 192.0.2.1@eth0", "c: 192.0.2.2@eth0"]);
}

#[test]
fn what_is_not_ours_is_not_announced() {
    assert_eq!(
        service("theirs", json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/x"}), &["192.0.2.1"]),
        None
    );
    assert!(service("ours", json!({"type": "LoadBalancer", "loadBalancerClass": CLASS}), &["192.0.2.1"]).is_some());
    assert_eq!(service("was", json!({"type": "ClusterIP"}), &["192.0.2.1"]), None, "a status that nobody has cleared");
    assert_eq!(service("none", json!({"type": "LoadBalancer"}), &[]), None);
}

#[test]
fn a_policy_without_meaning_says_why() {
    assert!(policy(json!({"interfaces": ["("]})).is_err());
    assert!(policy(json!({"serviceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}})).is_err());
    assert!(
        policy(json!({"nodeSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}))
            .is_err()
    );
}

#[test]
fn a_node_that_serves_nobody_there_does_not_stand_for_the_address() {
    let services = [balancer("b", &["192.0.2.1"]), balancer("a", &["192.0.2.1"]), balancer("c", &["192.0.2.2"])];
    let policies = [policy(json!({"loadBalancerIPs": true, "interfaces": ["eth0"]})).unwrap()];
    let on = |served: &[&str]| told_where(&policies, &services, &[], |service| served.contains(&&*service.name().name));
    assert_eq!(on(&["a", "b", "c"]), ["a: 192.0.2.1@eth0", "c: 192.0.2.2@eth0"]);
    assert_eq!(on(&["a"]), ["a: 192.0.2.1@eth0"]);
    assert_eq!(on(&["b"]), ["a: 192.0.2.1@eth0"], "still one election for one address, and the same on every node");
    assert!(on(&[]).is_empty());
}

#[test]
fn only_policy_local_asks_for_endpoints() {
    let of = |policy: Value| {
        let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": policy});
        service("web", spec, &["192.0.2.1"]).unwrap().is_local()
    };
    assert!(of(json!("Local")) && !of(json!("Cluster")) && !of(Value::Null));
}
