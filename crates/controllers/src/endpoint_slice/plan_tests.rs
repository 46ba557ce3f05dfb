use super::*;
use crate::endpoint_slice::cut::CAPACITY;
use proptest::prelude::*;
use serde_json::{Value, json};

fn merge(target: &mut Value, change: Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, value) in change {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, change) => *target = change,
    }
}

fn service(change: Value) -> Service {
    let mut value = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "spink", "namespace": "default", "uid": "svc", "labels": {"team": "x"}},
        "spec": {
            "selector": {"app": "spink"}, "clusterIP": "10.96.1.1", "ipFamilies": ["IPv4"],
            "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    });
    merge(&mut value, change);
    serde_json::from_value(value).expect("a Service")
}

fn pod(number: u32, change: Value) -> Arc<Pod> {
    let mut value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("spink-{number:03}"), "namespace": "default", "uid": format!("pod-{number}")},
        "spec": {"nodeName": "worker-1", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {
            "phase": "Running", "podIP": format!("10.244.1.{number}"),
            "podIPs": [{"ip": format!("10.244.1.{number}")}, {"ip": format!("fd00:10:244:1::{number:x}")}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    merge(&mut value, change);
    Arc::new(serde_json::from_value(value).expect("a Pod"))
}

/// A namespace in which plans are carried out.
struct World {
    service: Service,
    pods: Vec<Arc<Pod>>,
    zones: HashMap<String, String>,
    slices: Vec<Arc<EndpointSlice>>,
}

impl World {
    fn new(service: Service, pods: Vec<Arc<Pod>>) -> Self {
        Self { service, pods, zones: [("worker-1".to_owned(), "zone-a".to_owned())].into(), slices: Vec::new() }
    }

    /// Plans, carries out, and returns how many slices were created, updated and deleted.
    fn step(&mut self) -> (usize, usize, usize) {
        let changes =
            plan(&Input { service: &self.service, pods: &self.pods, zones: &self.zones, slices: &self.slices });
        let mut counts = (0, 0, 0);
        for change in changes {
            match change {
                Change::Create(slice) => {
                    assert_eq!(counts.2, 0, "nothing is removed before all is added");
                    counts.0 += 1;
                    self.slices.push(Arc::new(*slice));
                }
                Change::Update(new) => {
                    assert_eq!(counts.2, 0, "nothing is removed before all is added");
                    counts.1 += 1;
                    let held = self.slices.iter_mut().find(|slice| slice.metadata.name == new.metadata.name);
                    *held.expect("exists") = Arc::new(*new);
                }
                Change::Delete(old) => {
                    counts.2 += 1;
                    self.slices.retain(|slice| slice.metadata.name != old.metadata.name);
                }
            }
        }
        counts
    }

    fn addresses(&self, family: &str) -> Vec<&str> {
        let slices = self.slices.iter().filter(|slice| slice.address_type == family);
        let mut all: Vec<&str> = slices.flat_map(|slice| &slice.endpoints).map(|e| e.addresses[0].as_str()).collect();
        all.sort_unstable();
        all
    }

    fn conditions(&self) -> (bool, bool, bool) {
        let conditions = self.slices[0].endpoints[0].conditions.clone().expect("conditions");
        let is = |value: Option<bool>| value.expect("written");
        (is(conditions.ready), is(conditions.serving), is(conditions.terminating))
    }
}

#[test]
fn the_seeds_service() {
    let mut world = World::new(service(json!({})), vec![pod(2, json!({})), pod(3, json!({}))]);
    assert_eq!(world.step(), (1, 0, 0));
    let slice = &world.slices[0];
    let labels = slice.metadata.labels.as_ref().expect("labels");
    assert_eq!(labels["kubernetes.io/service-name"], "spink");
    assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "endpointslice-controller.k8s.io");
    assert_eq!(labels["team"], "x");
    assert!(slice.metadata.name.as_deref().is_some_and(|name| name.starts_with("spink-") && name.len() == 11));
    assert_eq!(owner::controller_of(&slice.metadata).map(|owner| owner.uid.as_str()), Some("svc"));
    assert_eq!(slice.address_type, "IPv4");
    let port = &slice.ports.as_ref().expect("ports")[0];
    assert_eq!((port.name.as_deref(), port.port, port.protocol.as_deref()), (Some(""), Some(8080), Some("TCP")));
    let endpoint = &slice.endpoints[0];
    assert_eq!(endpoint.node_name.as_deref(), Some("worker-1"));
    assert_eq!(endpoint.zone.as_deref(), Some("zone-a"));
    let target = endpoint.target_ref.as_ref().expect("a target");
    assert_eq!(
        (target.kind.as_deref(), target.name.as_deref(), target.uid.as_deref()),
        (Some("Pod"), Some("spink-002"), Some("pod-2"))
    );
    assert_eq!(world.addresses("IPv4"), ["10.244.1.2", "10.244.1.3"]);
    assert_eq!(world.step(), (0, 0, 0), "at rest");
}

#[test]
fn conditions_follow_kep_1672() {
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let mut deleted_unready = deleted.clone();
    merge(&mut deleted_unready, unready.clone());
    let publish = json!({"spec": {"publishNotReadyAddresses": true}});
    for (service_change, pod_change, expected) in [
        (json!({}), json!({}), (true, true, false)),
        (json!({}), unready.clone(), (false, false, false)),
        (json!({}), deleted.clone(), (false, true, true)),
        (json!({}), deleted_unready.clone(), (false, false, true)),
        (publish.clone(), unready, (true, false, false)),
        (publish.clone(), deleted, (true, true, true)),
        (publish, deleted_unready, (true, false, true)),
    ] {
        let mut world = World::new(service(service_change.clone()), vec![pod(2, pod_change.clone())]);
        world.step();
        assert_eq!(world.conditions(), expected, "{service_change} {pod_change}");
    }
}

#[test]
fn traffic_distribution_becomes_hints_of_ready_endpoints() {
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let check = |wish: Option<&str>, pod_change: Value, expected: Value| {
        let mut world = World::new(service(json!({"spec": {"trafficDistribution": wish}})), vec![pod(2, pod_change)]);
        world.step();
        let hints = serde_json::to_value(&world.slices[0].endpoints[0].hints).expect("hints");
        assert_eq!(hints, expected, "{wish:?}");
    };
    let (zone, node) = (json!([{"name": "zone-a"}]), json!([{"name": "worker-1"}]));
    check(None, json!({}), Value::Null);
    check(Some("PreferClose"), json!({}), json!({"forZones": zone}));
    check(Some("PreferSameZone"), json!({}), json!({"forZones": zone}));
    check(Some("PreferSameNode"), json!({}), json!({"forZones": zone, "forNodes": node}));
    check(Some("PreferSameNode"), unready, Value::Null);
}

#[test]
fn pods_without_address_or_life_are_left_out_and_host_network_pods_are_in() {
    let mut world = World::new(
        service(json!({})),
        vec![
            pod(2, json!({"status": {"podIP": null, "podIPs": null}})),
            pod(3, json!({"status": {"phase": "Succeeded"}})),
            pod(4, json!({"status": {"phase": "Failed"}})),
            pod(
                5,
                json!({"spec": {"hostNetwork": true}, "status": {"podIP": "172.18.0.3", "podIPs": [{"ip": "172.18.0.3"}]}}),
            ),
            pod(6, json!({"status": {"podIPs": null}})),
        ],
    );
    world.step();
    assert_eq!(world.addresses("IPv4"), ["10.244.1.6", "172.18.0.3"]);
}

#[test]
fn one_family_per_slice() {
    let mut world = World::new(service(json!({"spec": {"ipFamilies": ["IPv6", "IPv4"]}})), vec![pod(2, json!({}))]);
    assert_eq!(world.step(), (2, 0, 0));
    assert_eq!(world.addresses("IPv4"), ["10.244.1.2"]);
    assert_eq!(world.addresses("IPv6"), ["fd00:10:244:1::2"]);
    world.service = service(json!({"spec": {"ipFamilies": ["IPv6"]}}));
    assert_eq!(world.step(), (0, 0, 1));
    assert_eq!(world.addresses("IPv4"), Vec::<&str>::new());
}

#[test]
fn named_ports_may_differ_between_pods() {
    let named = service(json!({"spec": {"ports": [{"name": "web", "port": 80, "targetPort": "http"}]}}));
    let on = |port: i32| json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]}});
    let without = json!({"spec": {"containers": [{"name": "c", "ports": []}]}});
    let udp = json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 1, "protocol": "UDP"}]}]}});
    let mut world =
        World::new(named, vec![pod(2, on(8080)), pod(3, on(9090)), pod(4, on(8080)), pod(5, without), pod(6, udp)]);
    world.step();
    let mut ports: Vec<(Option<i32>, usize)> = world
        .slices
        .iter()
        .map(|slice| (slice.ports.as_ref().and_then(|ports| ports.first()?.port), slice.endpoints.len()))
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [(None, 2), (Some(8080), 2), (Some(9090), 1)]);
}

#[test]
fn a_change_of_one_endpoint_writes_one_slice() {
    let mut world = World::new(service(json!({})), (1..=250).map(|number| pod(number, json!({}))).collect());
    assert_eq!(world.step(), (3, 0, 0));
    let mut sizes: Vec<usize> = world.slices.iter().map(|slice| slice.endpoints.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [50, 100, 100]);
    world.pods[7] = pod(8, json!({"status": {"conditions": []}}));
    assert_eq!(world.step(), (0, 1, 0));
    world.pods.remove(7);
    assert_eq!(world.step(), (0, 1, 0));
    world.pods.push(pod(251, json!({})));
    assert_eq!(world.step(), (0, 1, 0));
    assert_eq!(world.addresses("IPv4").len(), 250);
}

#[test]
fn an_empty_service_keeps_one_empty_slice_under_its_name() {
    let mut world = World::new(service(json!({})), vec![]);
    assert_eq!(world.step(), (1, 0, 0));
    let name = world.slices[0].metadata.name.clone();
    world.pods = vec![pod(2, json!({}))];
    assert_eq!(world.step(), (0, 1, 0), "the empty slice is used");
    world.pods.clear();
    assert_eq!(world.step(), (0, 1, 0));
    assert_eq!(world.slices.len(), 1);
    assert_eq!(world.slices[0].metadata.name, name);
    assert!(world.slices[0].endpoints.is_empty());
    assert_eq!(world.step(), (0, 0, 0));
}

#[test]
fn a_new_target_port_reaches_all_endpoints() {
    let mut world = World::new(service(json!({})), vec![pod(2, json!({}))]);
    world.step();
    world.service = service(json!({"spec": {"ports": [{"port": 80, "targetPort": 9999}]}}));
    world.step();
    assert_eq!(world.slices.len(), 1);
    assert_eq!(world.slices[0].ports.as_ref().and_then(|ports| ports[0].port), Some(9999));
    assert_eq!(world.addresses("IPv4"), ["10.244.1.2"]);
}

#[test]
fn services_that_are_not_ours_stay_untouched() {
    for change in [
        json!({"spec": {"selector": null}}),
        json!({"spec": {"type": "ExternalName"}}),
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    ] {
        let mut world = World::new(service(change.clone()), vec![pod(2, json!({}))]);
        assert_eq!(world.step(), (0, 0, 0), "{change}");
    }
}

#[test]
fn slices_of_others_and_of_a_former_service_are_left_alone() {
    let mut world = World::new(service(json!({})), vec![pod(2, json!({}))]);
    world.step();
    let own = world.slices[0].as_ref().clone();
    let mut custom = own.clone();
    custom.metadata.name = Some("custom".into());
    custom.metadata.labels.get_or_insert_default().insert(MANAGED_BY.into(), "someone".into());
    let mut former = own.clone();
    former.metadata.name = Some("former".into());
    if let Some(owners) = &mut former.metadata.owner_references {
        owners[0].uid = "older".into();
    }
    world.slices = vec![Arc::new(custom), Arc::new(former)];
    assert_eq!(world.step(), (1, 0, 0));
    assert_eq!(world.slices.len(), 3);
}

#[test]
fn headless_services_and_hostnames() {
    let headless = service(json!({"spec": {"clusterIP": "None", "ports": null}}));
    let named = json!({"spec": {"hostname": "db-0", "subdomain": "spink"}});
    let elsewhere = json!({"spec": {"hostname": "db-0", "subdomain": "other"}});
    let mut world = World::new(headless, vec![pod(2, named), pod(3, elsewhere)]);
    world.step();
    let slice = &world.slices[0];
    assert!(slice.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key("service.kubernetes.io/headless")));
    assert_eq!(slice.endpoints[0].hostname.as_deref(), Some("db-0"));
    assert_eq!(slice.endpoints[1].hostname, None);
    assert_eq!(slice.ports.as_deref(), Some(&[][..]));
}

#[test]
fn relabelled_services_relabel_their_slices() {
    let mut world = World::new(service(json!({})), vec![pod(2, json!({}))]);
    world.step();
    world.service = service(json!({"metadata": {"labels": {"team": "y"}}}));
    assert_eq!(world.step(), (0, 1, 0));
    assert_eq!(world.slices[0].metadata.labels.as_ref().map(|labels| labels["team"].as_str()), Some("y"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..Default::default() })]

    /// After any history the slices hold exactly the Pods, each once, at most a hundred per slice, and then rest.
    #[test]
    fn slices_hold_exactly_the_pods(history in prop::collection::vec(prop::collection::btree_set(1u32..255, 0..254), 1..5)) {
        let mut world = World::new(service(json!({})), vec![]);
        for numbers in history {
            world.pods = numbers.iter().map(|number| pod(*number, json!({}))).collect();
            world.step();
            let mut expected: Vec<String> = numbers.iter().map(|number| format!("10.244.1.{number}")).collect();
            expected.sort_unstable();
            prop_assert_eq!(world.addresses("IPv4"), expected);
            prop_assert!(world.slices.iter().all(|slice| slice.endpoints.len() <= CAPACITY));
            prop_assert_eq!(world.step(), (0, 0, 0));
        }
    }
}
