use super::*;

fn allocator() -> Allocator {
    let ranges: Vec<IpNet> = vec!["10.96.0.0/12".parse().unwrap(), "fd00:10:96::/112".parse().unwrap()];
    Allocator::new(&ranges, 30000..=30002)
}

fn service(spec: Value) -> Value {
    json!({ "spec": spec })
}

fn assign(allocator: &mut Allocator, key: &str, spec: Value) -> Result<Value, String> {
    let mut made = service(spec);
    allocator.assign(key, None, &mut made).map_err(|causes| format!("{}: {}", causes[0].field, causes[0].message))?;
    allocator.record(key, &made);
    Ok(made["spec"].clone())
}

#[test]
fn families_follow_the_policy() {
    let mut allocator = allocator();
    let single = assign(&mut allocator, "a", json!({ "ports": [{ "port": 1 }] })).unwrap();
    assert_eq!((&single["ipFamilies"], &single["ipFamilyPolicy"]), (&json!(["IPv4"]), &json!("SingleStack")));
    assert_eq!(single["clusterIPs"].as_array().unwrap().len(), 1);
    let dual = assign(&mut allocator, "b", json!({ "ipFamilyPolicy": "PreferDualStack" })).unwrap();
    assert_eq!(dual["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert!(dual["clusterIPs"][1].as_str().unwrap().starts_with("fd00:10:96::"));
    let six_first =
        assign(&mut allocator, "c", json!({ "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"] }))
            .unwrap();
    assert!(six_first["clusterIP"].as_str().unwrap().starts_with("fd00"));
    let headless = assign(&mut allocator, "d", json!({ "clusterIP": "None", "selector": { "a": "b" } })).unwrap();
    assert_eq!((&headless["clusterIPs"], &headless["ipFamilies"]), (&json!(["None"]), &json!(["IPv4"])));
}

#[test]
fn an_address_is_given_once() {
    let mut allocator = allocator();
    assign(&mut allocator, "a", json!({ "clusterIP": "10.96.0.10" })).unwrap();
    let refused = assign(&mut allocator, "b", json!({ "clusterIP": "10.96.0.10" })).unwrap_err();
    assert!(refused.contains("provided IP is already allocated"), "{refused}");
    assert!(
        assign(&mut allocator, "b", json!({ "clusterIP": "10.0.0.10" }))
            .unwrap_err()
            .contains("not in the valid range")
    );
    allocator.release("a");
    assign(&mut allocator, "b", json!({ "clusterIP": "10.96.0.10" })).unwrap();
    let mut seen = std::collections::HashSet::new();
    for index in 0..2000 {
        let spec = assign(&mut allocator, &format!("n{index}"), json!({})).unwrap();
        assert!(seen.insert(spec["clusterIP"].as_str().unwrap().to_owned()), "given twice");
    }
}

#[test]
fn node_ports_are_given_once_and_run_out() {
    let mut allocator = allocator();
    let port = |number: i64| json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": number }] });
    assign(&mut allocator, "a", port(30001)).unwrap();
    assert_eq!(
        assign(&mut allocator, "b", port(30001)).unwrap_err(),
        "spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"
    );
    assert!(assign(&mut allocator, "b", port(80)).unwrap_err().contains("The range of valid ports is 30000-30002"));
    assign(&mut allocator, "b", port(0)).unwrap();
    assign(&mut allocator, "c", port(0)).unwrap();
    assert!(assign(&mut allocator, "d", port(0)).unwrap_err().contains("full"));
    let both = json!({ "type": "NodePort", "ports": [
        { "port": 53, "protocol": "UDP", "nodePort": 30002 }, { "port": 53, "protocol": "TCP", "nodePort": 30002 }] });
    allocator.release("b");
    allocator.release("c");
    assign(&mut allocator, "e", both).unwrap();
}

#[test]
fn an_update_keeps_what_it_leaves_out() {
    let mut allocator = allocator();
    let old = service(
        assign(&mut allocator, "a", json!({ "type": "NodePort", "ports": [{ "port": 80, "protocol": "TCP" }] }))
            .unwrap(),
    );
    let mut new = service(json!({ "type": "NodePort", "ports": [{ "port": 80, "protocol": "TCP" }] }));
    allocator.assign("a", Some(&old), &mut new).unwrap();
    assert_eq!(old, new);
    let mut plain = service(json!({ "type": "ClusterIP", "ports": [{ "port": 80, "protocol": "TCP" }] }));
    allocator.assign("a", Some(&old), &mut plain).unwrap();
    assert_eq!(plain["spec"]["ports"][0].get("nodePort"), None);
    assert_eq!(plain["spec"]["clusterIP"], old["spec"]["clusterIP"]);
}
