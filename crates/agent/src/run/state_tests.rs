use super::*;
use crate::collector::memory::MemorySockets;
use crate::collector::{Collector, Tables as Collected};
use crate::facts::Device;
use crate::node_config::PortRange;
use crate::pods::{LocalPod, Programs};
use crate::status::{MapUsage, State as Word};
use crate::table::memory::MemoryTable;
use datapath_layouts::{Backend, BackendKey, Frontend, FrontendKey, Policy, PolicyKey, identity as identity_numbers};
use datapath_layouts::{NodeConfig, Observation, Routing, StatsValue};
use model::HostPort;
use model::{Endpoint as Member, EndpointSlice, EndpointState, Family, Hints, ObjectName, Protocol, Service};
use policy::dialect::references::ServiceFacts;
use std::sync::Mutex;

#[path = "deeds_tests.rs"]
mod deeds;
#[path = "node_policy_tests.rs"]
mod node_policy;
#[path = "workload_tests.rs"]
mod workload;

struct Fake {
    config: Mutex<NodeConfig>,
    swaps: Mutex<u32>,
}

impl Loaded for Fake {
    fn config(&self) -> NodeConfig {
        *self.config.lock().unwrap()
    }

    fn reconfigure(&self, config: NodeConfig) -> Result<(), Error> {
        *self.config.lock().unwrap() = config;
        *self.swaps.lock().unwrap() += 1;
        Ok(())
    }

    fn usages(&self) -> Result<Vec<MapUsage>, Error> {
        Ok(vec![MapUsage { name: "nat".into(), kind: "lru_hash".into(), max_entries: 1, memory_bytes: 4096 }])
    }

    fn stats(&self) -> Result<Vec<(u32, StatsValue)>, Error> {
        Ok(vec![(133, StatsValue { packets: 2, bytes: 120 }), (256 + 101, StatsValue { packets: 9, bytes: 900 })])
    }

    fn attach_mode(&self) -> Option<String> {
        Some("tcx".to_owned())
    }
}

impl Programs for Fake {
    fn attach(&self, _: &str, _: u32) -> Result<(), Error> {
        Ok(())
    }

    fn detach(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    fn is_attached(&self, _: &str) -> bool {
        true
    }

    fn attached(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

type Twin<K, V> = Arc<MemoryTable<K, V>>;

struct Fixture {
    state: State,
    ipcache: Twin<PrefixKey, Route>,
    frontends: Twin<FrontendKey, Frontend>,
    backends: Twin<BackendKey, Backend>,
    policies: Twin<PolicyKey, Policy>,
    fake: Arc<Fake>,
    hub: Arc<Hub>,
    names: Arc<RwLock<Arc<Names>>>,
    reports: mpsc::UnboundedReceiver<(ObjectName, Report)>,
}

fn empty<K: std::hash::Hash + Eq + Clone + Send + 'static, V: Clone + Send + 'static>() -> Box<dyn Table<K, V>> {
    Box::new(MemoryTable::with_capacity(10))
}

/// Room for the reserved identities and a few policies.
fn room<K: std::hash::Hash + Eq + Clone + Send + 'static, V: Clone + Send + 'static>() -> Box<dyn Table<K, V>> {
    Box::new(MemoryTable::with_capacity(1000))
}

fn node(n: u8) -> Node {
    Node {
        name: format!("worker-{n}").as_str().into(),
        addresses: vec![format!("172.18.0.{}", n + 2).parse().unwrap()],
        pod_ranges: vec![format!("10.244.{n}.0/24").parse().unwrap()],
        zone: None,
        labels: Default::default(),
    }
}

fn fixture(backends: usize) -> Fixture {
    fixture_of(backends, 1000, Hub::new("worker-1".into()))
}

/// With room for so many backends and directions of policies.
fn fixture_of(backends: usize, policies: usize, hub: Hub) -> Fixture {
    let (ipcache, frontends) = (Arc::new(MemoryTable::with_capacity(99)), Arc::new(MemoryTable::with_capacity(99)));
    let backends: Twin<BackendKey, Backend> = Arc::new(MemoryTable::with_capacity(backends));
    let policies: Twin<PolicyKey, Policy> = Arc::new(MemoryTable::with_capacity(policies));
    let fake = Arc::new(Fake { config: Mutex::new(NodeConfig::ZERO), swaps: Mutex::new(0) });
    let (_, collector, collected) = Collector::new(Collected {
        conntrack: empty(),
        half_open: empty(),
        service_flows: empty(),
        affinity: empty(),
        nat: empty(),
        fragments: empty(),
        socket_reverse: empty(),
        backends: empty(),
        routes: empty(),
        sockets: Box::<MemorySockets>::default(),
    });
    let device = |name: &str, index| Device { name: name.into(), index, mac: [2; 6], mtu: 1500 };
    let hub = Arc::new(hub);
    let names = Arc::default();
    let (reports, told) = mpsc::unbounded_channel();
    let ports = PortRange { first: 30000, last: 32767 };
    let parts = Parts {
        own: node(1),
        facts: Facts {
            network: device("eth0", 2),
            overlay: device("malla.vxlan", 3),
            addresses: vec!["172.18.0.3/16".parse().unwrap()],
            gateways: vec![],
        },
        choices: Choices { routing: Routing::Overlay, node_ports: ports, nat_ports: ports, netns_cookie: 1 },
        service_ranges: vec![],
        maps: Maps {
            ipcache: Box::new(ipcache.clone()),
            endpoints: empty(),
            neighbours: empty(),
            services: services::Maps {
                frontends: Box::new(frontends.clone()),
                backends: Box::new(backends.clone()),
                maglev: empty(),
                members: empty(),
                ranges: empty(),
            },
            policy: crate::policies::Maps {
                policies: Box::new(policies.clone()),
                identities: room(),
                peers: room(),
                cidrs: room(),
                rows: room(),
                ranges: room(),
                clock: room(),
            },
        },
        capacity: Capacity::each(99),
        policy_room: policy::plan::Capacity { policies: 6, ..policy::plan::Capacity::each(1000) },
        failsafe: Failsafe::default(),
        ipcache_room: 99,
        netlink: None,
        verify_node_mac: true,
        loaded: fake.clone(),
        pods: Arc::new(Pods::new(empty(), fake.clone(), collector.clone())),
        sockets: Arc::new(PodSockets::new(empty())),
        local_identities: Arc::default(),
        collector,
        collected,
        hub: hub.clone(),
        names: Arc::clone(&names),
        keeping: keeping::told(
            &keeping::args::tests::parsed(&[]).unwrap(),
            None,
            Probes::default(),
            NodeMetrics::default(),
        ),
        node_metrics: NodeMetrics::default(),
        complaints: mpsc::channel(8).0,
        reports,
        policy_room_told: watch::Sender::default(),
        probes: Default::default(),
        health: watch::Sender::default(),
        troubles: Troubles::default(),
        hubble_port: None,
        watches: Watches::default(),
        adoption: Adoption::default(),
        datapath: Datapath::default(),
    };
    Fixture {
        state: State::new(parts).unwrap(),
        ipcache,
        frontends,
        backends,
        policies,
        fake,
        hub,
        names,
        reports: told,
    }
}

fn spink() -> Service {
    Service {
        cluster_addresses: vec!["10.96.0.7".parse().unwrap()],
        families: vec![Family::V4],
        ports: vec![model::ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080) }],
        ..Service::new(ObjectName::new("default", "spink"))
    }
}

fn slice(pods: &[&str]) -> EndpointSlice {
    EndpointSlice {
        name: ObjectName::new("default", "spink-1"),
        service: spink().name,
        family: Family::V4,
        ports: vec![model::SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: pods
            .iter()
            .map(|address| Member {
                address: address.parse().unwrap(),
                state: EndpointState::Ready,
                node: None,
                zone: None,
                pod: Some(ObjectName::new("default", &format!("pod-{address}"))),
                hints: Hints::default(),
            })
            .collect(),
    }
}

/// A Service of which policies see no more than that it is there.
fn seen(service: Service) -> Told<ObjectName, (Option<Service>, ServiceFacts)> {
    Told::Set(service.name.clone(), Some((Some(service), ServiceFacts::default())))
}

fn tell(state: &mut State, nodes: &[Node], pods: &[&str]) {
    for told in [Told::Begin].into_iter().chain(nodes.iter().map(|n| Told::Set(n.name.clone(), Some(n.clone())))) {
        state.take(Input::Node(told));
    }
    state.take(Input::Node(Told::End));
    for told in [Told::Begin, seen(spink()), Told::End] {
        state.take(Input::Service(told));
    }
    for told in [Told::Begin, Told::Set(slice(pods).name, Some(slice(pods))), Told::End] {
        state.take(Input::Slice(told));
    }
    for told in [Told::Begin, Told::End] {
        state.take(Input::Identity(told));
    }
    for told in [Told::Begin, Told::End] {
        state.take(Input::Published(told));
    }
    tell_policies(state);
    state.settle();
}

/// That there is none, of any kind.
fn tell_policies(state: &mut State) {
    use crate::policies::Input as P;
    for input in [P::Network(Told::Begin), P::Network(Told::End), P::Cluster(Told::Begin), P::Cluster(Told::End)] {
        state.take(Input::Policy(input));
    }
    for input in [P::Cilium(Told::Begin), P::Cilium(Told::End), P::Clusterwide(Told::Begin), P::Clusterwide(Told::End)]
    {
        state.take(Input::Policy(input));
    }
    for input in [P::Group(Told::Begin), P::Group(Told::End)] {
        state.take(Input::Policy(input));
    }
}

fn network_policy(ingress: serde_json::Value) -> crate::policies::Input {
    let object = serde_json::from_value(serde_json::json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": ingress},
    }));
    let read = crate::policies::objects::network(&object.unwrap());
    crate::policies::Input::Network(Told::Set(ObjectName::new("default", "web"), read))
}

fn web_labels() -> model::Labels {
    let map = [("k8s:app", "web"), ("k8s:io.kubernetes.pod.namespace", "default")];
    model::Labels::from_map(&map.map(|(key, value)| (key.to_owned(), value.to_owned())).into()).unwrap()
}

#[test]
fn a_pods_policy_is_there_before_it_is_its_pods() {
    use datapath_layouts::policy::{Direction, policy_flags};
    let mut fixture = fixture(99);
    let pods = fixture.state.parts.pods.clone();
    pods.attach(ported(7, 8088)).unwrap();
    let of = |fixture: &Fixture, direction| fixture.policies.get(&PolicyKey::new(300, direction)).unwrap();
    let ours = identity::Published {
        pod: ObjectName::new("default", "web-7"),
        identity: 300,
        addresses: vec!["10.244.1.7".parse().unwrap()],
        node: Some(node(1).addresses[0]),
        workload: None,
    };
    fixture.state.take(Input::Published(Told::Set("ces-0".into(), Some(vec![ours]))));
    fixture.state.take(Input::Identity(Told::Set(300, Some(web_labels()))));
    fixture.state.take(Input::Policy(network_policy(serde_json::json!([]))));
    fixture.state.settle();
    assert!(of(&fixture, Direction::Ingress).is_none(), "nothing is planned before everything was told");
    assert_eq!(pods.list()[0].identity, identity_numbers::INIT, "and nobody has a policy that is not there");
    let again = |fixture: &mut Fixture| {
        tell(&mut fixture.state, &[node(1), node(2)], &[]);
        fixture.state.take(Input::Published(Told::Set(
            "ces-0".into(),
            Some(vec![identity::Published {
                pod: ObjectName::new("default", "web-7"),
                identity: 300,
                addresses: vec!["10.244.1.7".parse().unwrap()],
                node: Some(node(1).addresses[0]),
                workload: None,
            }]),
        )));
        fixture.state.take(Input::Identity(Told::Set(300, Some(web_labels()))));
        fixture.state.take(Input::Policy(network_policy(serde_json::json!([]))));
        fixture.state.settle();
    };
    again(&mut fixture);
    assert_eq!(pods.list()[0].identity, 300);
    let (ingress, egress) = (of(&fixture, Direction::Ingress).unwrap(), of(&fixture, Direction::Egress).unwrap());
    assert_ne!(ingress.flags & policy_flags::DEFAULT_DENY, 0);
    assert_eq!(egress.flags & policy_flags::DEFAULT_DENY, 0);
    // What can't be read leaves the last good version in force, and is told.
    fixture.state.take(Input::Policy(network_policy(serde_json::json!([{"ports": [{"port": 99999}]}]))));
    fixture.state.settle();
    assert_eq!(of(&fixture, Direction::Ingress).unwrap().flags, ingress.flags);
    let problems = fixture.state.status().problems;
    assert!(
        problems.iter().any(|text| text.contains("NetworkPolicy default/web: spec.ingress[0].ports[0].port")),
        "{problems:?}"
    );
    // Without the Pod there is no subject.
    pods.detach("lx7", &[]).unwrap();
    fixture.state.pods_changed();
    assert!(of(&fixture, Direction::Ingress).is_none());
}

/// New and not readable: shut. Readable: as it says. Not readable any more: as it said. Whom it selects not readable: told.
#[test]
fn a_new_object_with_a_mistake_shuts_whom_it_selects() {
    use datapath_layouts::policy::{Direction, policy_flags};
    let mut fixture = fixture(99);
    let pods = fixture.state.parts.pods.clone();
    pods.attach(ported(7, 8088)).unwrap();
    tell(&mut fixture.state, &[node(1), node(2)], &[]);
    let one = identity::Published {
        pod: ObjectName::new("default", "web-7"),
        identity: 300,
        addresses: vec!["10.244.1.7".parse().unwrap()],
        node: Some(node(1).addresses[0]),
        workload: None,
    };
    fixture.state.take(Input::Published(Told::Set("ces-0".into(), Some(vec![one]))));
    fixture.state.take(Input::Identity(Told::Set(300, Some(web_labels()))));
    let denies = |fixture: &mut Fixture, input| {
        fixture.state.take(Input::Policy(input));
        fixture.state.settle();
        let entry = fixture.policies.get(&PolicyKey::new(300, Direction::Ingress)).unwrap().unwrap();
        (entry.flags & policy_flags::DEFAULT_DENY != 0, entry.base_class)
    };
    let told = |fixture: &Fixture| fixture.state.status().problems.join("\n");
    let bad = || network_policy(serde_json::json!([{"ports": [{"port": 99999}]}]));
    assert_eq!(denies(&mut fixture, bad()), (true, 0), "new: nothing is allowed");
    assert!(told(&fixture).contains("ports[0].port: 99999: must be 1 to 65535 (whom it selects is allowed nothing"));
    let worse = network_policy(serde_json::json!([{"from": [{}], "ports": [{"port": 99999}]}]));
    assert_eq!(denies(&mut fixture, worse), (true, 0), "what a mistake closed is no good version");
    let (_, open) = denies(&mut fixture, network_policy(serde_json::json!([{}])));
    assert_ne!(open, 0, "readable: everybody is allowed");
    assert_eq!(told(&fixture), "");
    assert_eq!(denies(&mut fixture, bad()), (true, open), "the last good version");
    assert!(told(&fixture).contains("(the last good version is in force)"));
    let gone = crate::policies::Input::Network(Told::Gone(ObjectName::new("default", "web")));
    assert_eq!(denies(&mut fixture, gone), (false, 0));
    let object = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Like"}]}},
    }));
    let read = crate::policies::objects::network(&object.unwrap());
    let nobody = crate::policies::Input::Network(Told::Set(ObjectName::new("default", "web"), read));
    assert_eq!(denies(&mut fixture, nobody), (false, 0));
    assert!(told(&fixture).contains("(nothing of it is in force: whom it selects can't be read)"));
}

/// Of the fourth identity the map has no entries: it is shut, and everybody hears of it until one goes.
#[test]
fn what_does_not_fit_is_told_by_the_node_and_counted() {
    let mut fixture = fixture(99);
    let pods = fixture.state.parts.pods.clone();
    tell(&mut fixture.state, &[node(1), node(2)], &[]);
    assert_eq!(*fixture.state.parts.policy_room_told.borrow(), Room::Enough);
    let before = fixture.state.status().policies;
    assert_eq!((before.enforced, before.subjects, before.overflowing), (true, 0, 0));
    let told: Vec<(String, u32, String)> =
        (6..10).map(|n| (format!("web-{n}"), 300 + n, format!("10.244.1.{n}"))).collect();
    for n in 6..10u8 {
        pods.attach(ported(n, 8000 + u16::from(n))).unwrap();
        fixture.state.take(Input::Identity(Told::Set(300 + u32::from(n), Some(web_labels()))));
    }
    let own = node(1).addresses[0].to_string();
    let slices: Vec<_> =
        told.iter().map(|(pod, number, at)| (pod.as_str(), *number, at.as_str(), own.as_str())).collect();
    publish(&mut fixture.state, &slices);
    fixture.state.take(Input::Policy(network_policy(serde_json::json!([]))));
    fixture.state.settle();
    let status = fixture.state.status();
    let policies = &status.policies;
    assert_eq!((policies.subjects, policies.overflowing, policies.policies), (4, 2, 1), "{policies:?}");
    assert_ne!(policies.epoch, before.epoch);
    let table = policies.tables.iter().find(|table| table.name == "policies").unwrap();
    assert_eq!((table.used, table.room), (6, 6));
    // Two of the six are kept for the node.
    let Room::Full(text) = fixture.state.parts.policy_room_told.borrow().clone() else { panic!("{policies:?}") };
    assert!(text.contains("map policies has room for 4 entries and would need"), "{text}");
    assert!(status.problems.iter().any(|problem| problem.contains("map policies has room for 4")));
    pods.detach("lx6", &[]).unwrap();
    fixture.state.pods_changed();
    fixture.state.settle();
    assert_eq!(*fixture.state.parts.policy_room_told.borrow(), Room::Enough);
    assert_eq!(fixture.state.status().policies.overflowing, 0);
}

#[test]
fn before_the_api_speaks_own_routes_are_there_and_nothing_is_removed() {
    let mut fixture = fixture(99);
    let stale = PrefixKey::from_ip("10.244.9.0".parse().unwrap(), 24);
    fixture.ipcache.insert(&stale, &Route::ZERO).unwrap();
    fixture.state.settle();
    assert!(fixture.ipcache.get(&PrefixKey::from_ip("10.244.1.0".parse().unwrap(), 24)).unwrap().is_some());
    assert!(fixture.ipcache.get(&stale).unwrap().is_some());
    assert_eq!(fixture.state.status().state, Word::Starting);
    tell(&mut fixture.state, &[node(1), node(2)], &["10.244.2.2"]);
    assert!(fixture.ipcache.get(&stale).unwrap().is_none(), "stale once all nodes are known");
    assert_eq!((fixture.frontends.entries().unwrap().len(), fixture.backends.entries().unwrap().len()), (3, 1));
    let status = fixture.state.status();
    assert_eq!((status.state, status.problems), (Word::Ok, vec![]));
    assert_eq!((status.counts.nodes, status.counts.services, status.counts.backends), (2, 1, 1));
    assert_eq!((status.drops["POLICY_DENIED"].packets, status.forwarded["to-endpoint"].bytes), (2, 900));
    assert_eq!(status.memory.maps_total, 4096);
}

#[test]
fn a_full_map_is_told_and_healed_when_there_is_room() {
    let mut fixture = fixture(1);
    tell(&mut fixture.state, &[node(1)], &["10.244.2.2", "10.244.2.3"]);
    let status = fixture.state.status();
    assert_eq!(status.state, Word::Degraded);
    assert!(status.problems[0].starts_with("services: insert in map"), "{:?}", status.problems);
    fixture.state.take(Input::Slice(Told::Set(slice(&[]).name, Some(slice(&["10.244.2.3"])))));
    for _ in 0..3 {
        fixture.state.tick();
    }
    assert_eq!(fixture.state.status().problems, Vec::<String>::new());
    assert_eq!(fixture.backends.entries().unwrap().len(), 1);
}

#[test]
fn the_programs_tell_what_somebody_wants_to_know() {
    let mut fixture = fixture(99);
    fixture.state.tick();
    let told = |f: &Fixture| Observation::name(f.fake.config().observation);
    assert_eq!(told(&fixture), "drops");
    let mut listeners = vec![fixture.hub.listen(true), fixture.hub.listen(false)];
    fixture.state.answer(Question::Listening);
    assert_eq!(told(&fixture), "packets");
    listeners.remove(0);
    fixture.state.answer(Question::Listening);
    assert_eq!(told(&fixture), "flows");
    drop(listeners);
    fixture.state.answer(Question::Listening);
    assert_eq!(told(&fixture), "drops");
    let swaps = *fixture.fake.swaps.lock().unwrap();
    fixture.state.tick();
    assert_eq!(*fixture.fake.swaps.lock().unwrap(), swaps, "nothing to change, nothing swapped");
}

/// However long nothing else has changed; but not who went long before somebody wanted names.
#[test]
fn who_has_just_gone_is_named_for_those_who_listen() {
    let gone = Address::from_v4([10, 244, 2, 2]);
    for (unwanted_since, is_named) in
        [(None, true), (Instant::now().checked_sub(super::super::names::REMEMBERED * 2), false)]
    {
        let mut fixture = fixture(99);
        let listener = fixture.hub.listen(false);
        tell(&mut fixture.state, &[node(1)], &["10.244.2.2"]);
        fixture.state.answer(Question::Listening);
        assert!(fixture.names.read().unwrap().who[&gone].pod.is_some());
        drop(listener);
        fixture.state.take(Input::Slice(Told::Set(slice(&[]).name, Some(slice(&["10.244.2.3"])))));
        fixture.state.settle();
        assert!(fixture.state.unwanted_since.is_some(), "nobody listens");
        fixture.state.unwanted_since = unwanted_since;
        let _listener = fixture.hub.listen(false);
        fixture.state.answer(Question::Listening);
        assert_eq!(fixture.names.read().unwrap().who.contains_key(&gone), is_named, "{unwanted_since:?}");
        assert_eq!(fixture.state.unwanted_since, None);
    }
}

#[test]
fn names_are_made_for_a_listener() {
    let mut fixture = fixture(99);
    tell(&mut fixture.state, &[node(1)], &["10.244.2.2"]);
    assert!(fixture.names.read().unwrap().who.is_empty(), "nobody reads them");
    let _listener = fixture.hub.listen(false);
    fixture.state.answer(Question::Listening);
    let names = fixture.names.read().unwrap();
    assert_eq!(
        names.who[&Address::from_v4([10, 244, 2, 2])].pod.as_ref().unwrap().to_string(),
        "default/pod-10.244.2.2"
    );
    assert_eq!(names.service(Address::from_v4([10, 96, 0, 7]), 80, 6).unwrap().to_string(), "default/spink");
    assert_eq!(names.service(Address::from_v4([172, 18, 0, 3]), 30080, 6).unwrap().to_string(), "default/spink");
    assert_eq!(names.service(Address::from_v4([172, 18, 0, 9]), 30080, 6), None, "no node");
}

#[test]
fn references_are_counted_per_slot() {
    let mut fixture = fixture(99);
    tell(&mut fixture.state, &[node(1)], &["10.244.2.2"]);
    let ask = |state: &mut State, address: &str| {
        let (sender, mut answer) = tokio::sync::oneshot::channel();
        state.answer(Question::References(address.parse().unwrap(), sender));
        answer.try_recv().unwrap().references
    };
    assert_eq!((ask(&mut fixture.state, "10.244.2.2"), ask(&mut fixture.state, "10.244.2.3")), (1, 0));
}

#[test]
fn what_can_not_be_done_goes_into_the_status_and_out_of_it() {
    let mut fixture = fixture(99);
    tell(&mut fixture.state, &[node(1), node(2)], &["10.244.2.2"]);
    assert!(fixture.reports.try_recv().is_err(), "nothing to say");
    let mut service = Service { misunderstood: vec!["weights: nonsense".to_owned()], ..spink() };
    let mut told = |state: &mut State, service: &Service| {
        state.take(Input::Service(seen(service.clone())));
        state.settle();
        fixture.reports.try_recv().ok().map(|(_, report)| report)
    };
    let problem = |text: &str| Report { problem: Some(text.into()), ..Report::default() };
    assert_eq!(told(&mut fixture.state, &service), Some(problem("weights: nonsense")));
    // The status says so now: nothing to add. Another node's word is not ours to take away.
    service.reported.insert("worker-1".into(), "weights: nonsense".into());
    service.reported.insert("worker-2".into(), "weights: nonsense".into());
    assert_eq!(told(&mut fixture.state, &service), None);
    service.misunderstood.clear();
    assert_eq!(told(&mut fixture.state, &service), Some(Report::default()));
    service.reported.remove(&"worker-1".into());
    assert_eq!(told(&mut fixture.state, &service), None);
    // The other node is deleted: the first one by name crosses it out.
    fixture.state.take(Input::Node(Told::Gone("worker-2".into())));
    fixture.state.settle();
    let (_, report) = fixture.reports.try_recv().unwrap();
    assert_eq!(report, Report { problem: None, gone: ["worker-2".into()].into() });
}

#[test]
fn only_the_first_node_speaks_for_those_that_are_gone() {
    let mut fixture = fixture(99);
    tell(&mut fixture.state, &[node(0), node(1)], &["10.244.2.2"]);
    let mut service = spink();
    service.reported.insert("worker-9".into(), "map full".into());
    fixture.state.take(Input::Service(seen(service)));
    fixture.state.settle();
    assert!(fixture.reports.try_recv().is_err(), "worker-0 is the first");
}

fn ported(n: u8, port: u16) -> LocalPod {
    LocalPod {
        id: 0,
        identity: identity_numbers::INIT,
        name: Some(ObjectName::new("default", &format!("web-{n}"))),
        addresses: vec![format!("10.244.1.{n}").parse().unwrap()],
        host_ports: vec![HostPort { port, target: 80, protocol: Protocol::Tcp, address: None }],
        interface: format!("lx{n}"),
        index: 100 + u32::from(n),
        mac: [2, 0, 0, 0, 0, n],
        host_mac: [2, 0, 0, 0, 1, n],
        mtu: 1450,
    }
}

#[test]
fn host_ports_come_and_go_with_their_pods_and_survive_a_new_agent() {
    let mut fixture = fixture(99);
    let at = |port| FrontendKey { address: Address::from_v4([172, 18, 0, 3]), port, protocol: 6, cluster: 0 };
    let has = |fixture: &Fixture, port| fixture.frontends.get(&at(port)).unwrap().is_some();
    fixture.state.parts.pods.attach(ported(7, 8088)).unwrap();
    // What the maps hold from before stays until the API has told everything, and then what is known stays.
    let stale = Frontend::with_row(77, 1);
    fixture.frontends.insert(&at(9999), &stale).unwrap();
    fixture.state.services.recover(fixture.state.parts.maps.services.balancer(Capacity::each(99)).unwrap());
    fixture.state.settle();
    assert!(has(&fixture, 9999));
    tell(&mut fixture.state, &[node(1), node(2)], &["10.244.2.2"]);
    assert!(has(&fixture, 8088) && !has(&fixture, 9999));
    // Nobody who goes away waits for a host port.
    assert_eq!(fixture.state.services.references("10.244.1.7".parse().unwrap()), (0, 0));
    // The second one waits, is told so, and takes over.
    fixture.state.parts.pods.attach(ported(8, 8088)).unwrap();
    fixture.state.pods_changed();
    let problems = fixture.state.status().problems;
    assert_eq!(problems, ["Pod default/web-8: 172.18.0.3:8088/TCP belongs to Pod default/web-7"]);
    let pods = fixture.state.parts.pods.clone();
    pods.detach("lx7", &[]).unwrap();
    fixture.state.pods_changed();
    assert_eq!(fixture.state.status().problems, Vec::<String>::new());
    let backends = |fixture: &Fixture| -> Vec<Address> {
        let row = fixture.frontends.get(&at(8088)).unwrap().unwrap().service_id;
        let all = fixture.backends.entries().unwrap();
        all.iter().filter(|(key, _)| key.service_id == row).map(|(_, backend)| backend.address).collect()
    };
    assert_eq!(backends(&fixture), [Address::from_v4([10, 244, 1, 8])]);
    pods.detach("lx8", &[]).unwrap();
    fixture.state.pods_changed();
    assert!(!has(&fixture, 8088));
    assert!(fixture.reports.try_recv().is_err(), "a Pod is no Service");
}

#[test]
fn the_status_tells_what_can_not_be_served() {
    let fixture = fixture(9);
    let before = fixture.state.status().problems;
    let matters = ["health check at port 1: taken", "flows are not served", "no metrics"];
    let told = matters.map(|words| {
        let trouble = fixture.state.parts.troubles.matter();
        trouble.tell(Some(words.to_owned()));
        trouble
    });
    let problems = fixture.state.status().problems;
    for matter in matters {
        assert!(problems.iter().any(|told| told == matter), "{problems:?}");
    }
    told.iter().for_each(|trouble| trouble.tell(None));
    assert_eq!(fixture.state.status().problems, before);
}

fn publish(state: &mut State, pods: &[(&str, u32, &str, &str)]) {
    let read = |(name, identity, address, node): &(&str, u32, &str, &str)| identity::Published {
        pod: ObjectName::new("default", name),
        identity: *identity,
        addresses: vec![address.parse().unwrap()],
        node: Some(node.parse().unwrap()),
        workload: None,
    };
    state.take(Input::Published(Told::Set("ces-default-0".into(), Some(pods.iter().map(read).collect()))));
    state.settle();
}

#[test]
fn who_is_who_reaches_both_maps_and_those_who_start_pods() {
    let mut fixture = fixture(99);
    tell(&mut fixture.state, &[node(1), node(2)], &[]);
    let pods = fixture.state.parts.pods.clone();
    let local = crate::pods::LocalPod {
        id: 0,
        identity: 5,
        name: Some(ObjectName::new("default", "here")),
        addresses: vec!["10.244.1.2".parse().unwrap()],
        host_ports: vec![],
        interface: "lx1".into(),
        index: 9,
        mac: [2; 6],
        host_mac: [2; 6],
        mtu: 1450,
    };
    pods.attach(local).unwrap();
    let there = PrefixKey::from_ip("10.244.2.9".parse().unwrap(), 32);
    let who = |fixture: &Fixture| {
        let remote = fixture.ipcache.get(&there).unwrap().map(|route| route.identity);
        (remote, fixture.state.parts.pods.list()[0].identity)
    };
    publish(
        &mut fixture.state,
        &[("here", 300, "10.244.1.2", "172.18.0.3"), ("there", 301, "10.244.2.9", "172.18.0.4")],
    );
    assert_eq!(who(&fixture), (Some(301), 300));
    let known = fixture.state.parts.local_identities.clone();
    assert_eq!(known.get(&ObjectName::new("default", "here")), Some(300));
    assert_eq!(known.get(&ObjectName::new("default", "there")), None, "of no interest here");
    publish(
        &mut fixture.state,
        &[("here", 302, "10.244.1.2", "172.18.0.3"), ("there", 303, "10.244.2.9", "172.18.0.4")],
    );
    assert_eq!(who(&fixture), (Some(303), 302));
    // The ranges' entries are compared with the kernel again; single Pods' are not swept with them.
    fixture.state.tick();
    assert_eq!(who(&fixture), (Some(303), 302));
    let counts = fixture.state.status().counts;
    assert_eq!((counts.remote_pods, counts.identities), (1, 0));
    publish(&mut fixture.state, &[]);
    assert_eq!(who(&fixture), (None, 302), "a Pod that is about to end stays who it was");
    publish(&mut fixture.state, &[("liar", 304, "10.244.2.9", "172.18.0.3")]);
    assert_eq!(who(&fixture).0, None);
    let status = fixture.state.status();
    assert_eq!(status.state, Word::Degraded);
    assert!(status.problems[0].contains("default/liar is refused"), "{:?}", status.problems);
}
