//! The node itself as a subject, and the API server as a peer.

use super::*;
use crate::table::TableError;
use datapath_layouts::identity::HOST;
use datapath_layouts::policy::{Direction, policy_flags};

const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// Both tables between which the order counts: whoever is judged has its tables.
struct InOrder {
    endpoints: Twin<AddressKey, Endpoint>,
    policies: Twin<PolicyKey, Policy>,
}

impl InOrder {
    fn check(&self, what: &str) {
        let judged = self.endpoints.entries().unwrap().iter().any(|(_, endpoint)| endpoint.policy_id == HOST);
        let there = DIRECTIONS.iter().all(|d| self.policies.get(&PolicyKey::new(HOST, *d)).unwrap().is_some());
        assert!(!judged || there, "{what}: the node is judged by tables that are not there");
    }
}

impl Table<AddressKey, Endpoint> for InOrder {
    fn get(&self, key: &AddressKey) -> Result<Option<Endpoint>, TableError> {
        self.endpoints.get(key)
    }

    fn insert(&self, key: &AddressKey, value: &Endpoint) -> Result<(), TableError> {
        self.endpoints.insert(key, value)?;
        self.check("an endpoint is written");
        Ok(())
    }

    fn remove(&self, key: &AddressKey) -> Result<bool, TableError> {
        self.endpoints.remove(key)
    }

    fn entries(&self) -> Result<Vec<(AddressKey, Endpoint)>, TableError> {
        self.endpoints.entries()
    }
}

impl Table<PolicyKey, Policy> for InOrder {
    fn get(&self, key: &PolicyKey) -> Result<Option<Policy>, TableError> {
        self.policies.get(key)
    }

    fn insert(&self, key: &PolicyKey, value: &Policy) -> Result<(), TableError> {
        self.policies.insert(key, value)
    }

    fn remove(&self, key: &PolicyKey) -> Result<bool, TableError> {
        let removed = self.policies.remove(key)?;
        self.check("a policy is removed");
        Ok(removed)
    }

    fn entries(&self) -> Result<Vec<(PolicyKey, Policy)>, TableError> {
        self.policies.entries()
    }
}

/// A fixture whose order is checked, with the endpoints' table.
fn in_order(found: Option<u32>) -> (Fixture, Twin<AddressKey, Endpoint>) {
    let mut fixture = fixture(99);
    let endpoints: Twin<AddressKey, Endpoint> = Arc::new(MemoryTable::with_capacity(10));
    if let Some(policy_id) = found {
        let endpoint = Endpoint { identity: HOST, policy_id, flags: FLAG_HOST, ..Endpoint::ZERO };
        endpoints.insert(&own_address(), &endpoint).unwrap();
    }
    let table = || InOrder { endpoints: endpoints.clone(), policies: fixture.policies.clone() };
    let (of_endpoints, of_policies) = (table(), table());
    fixture.state.parts.maps.endpoints = Box::new(of_endpoints);
    fixture.state.parts.maps.policy.policies = Box::new(of_policies);
    (fixture, endpoints)
}

fn own_address() -> AddressKey {
    AddressKey::local(Address::from_v4([172, 18, 0, 3]))
}

fn judged_by(endpoints: &Twin<AddressKey, Endpoint>) -> u32 {
    endpoints.get(&own_address()).unwrap().expect("the node").policy_id
}

fn node_policy(zone: &str, audit: bool) -> crate::policies::Input {
    let object: custom_resources::CiliumClusterwideNetworkPolicy = serde_json::from_value(serde_json::json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy",
        "metadata": {"name": "nodes", "annotations": {"malla.dev/audit": audit.to_string()}},
        "spec": {"nodeSelector": {"matchLabels": {"rack": zone}}, "ingress": [{"fromEntities": ["kube-apiserver"]}]},
    }))
    .unwrap();
    crate::policies::Input::Clusterwide(Told::Set(ObjectName::new("", "nodes"), Some(Arc::new(object))))
}

fn labelled(n: u8, rack: &str) -> Node {
    Node { labels: [("rack".into(), rack.into())].into(), ..node(n) }
}

fn gone() -> Input {
    Input::Policy(crate::policies::Input::Clusterwide(Told::Gone(ObjectName::new("", "nodes"))))
}

fn kubernetes(addresses: &[&str]) -> EndpointSlice {
    EndpointSlice {
        name: ObjectName::new("default", "kubernetes"),
        service: ObjectName::new("default", "kubernetes"),
        ..slice(addresses)
    }
}

#[test]
fn the_node_is_judged_when_its_tables_are_there_and_no_more_before_they_go() {
    let (mut fixture, endpoints) = in_order(None);
    let policies = fixture.policies.clone();
    let has = |direction| policies.get(&PolicyKey::new(HOST, direction)).unwrap();
    tell(&mut fixture.state, &[labelled(1, "7"), labelled(2, "8")], &[]);
    assert_eq!((judged_by(&endpoints), has(Direction::Ingress)), (0, None), "no policy, nothing to ask");
    let mut told = |input| {
        fixture.state.take(input);
        fixture.state.settle();
    };
    told(Input::Policy(node_policy("8", false)));
    assert_eq!((judged_by(&endpoints), has(Direction::Ingress)), (0, None), "it is about another node");
    told(Input::Policy(node_policy("7", false)));
    assert_eq!(judged_by(&endpoints), HOST);
    assert_ne!(has(Direction::Ingress).unwrap().flags & policy_flags::DEFAULT_DENY, 0);
    assert_eq!(has(Direction::Egress).unwrap().flags & policy_flags::DEFAULT_DENY, 0);
    told(gone());
    assert_eq!((judged_by(&endpoints), has(Direction::Ingress)), (0, None));
    // In audit it is asked, to be reported, and denies nothing.
    told(Input::Policy(node_policy("7", true)));
    assert_eq!(judged_by(&endpoints), HOST);
    assert_eq!(has(Direction::Ingress).unwrap().flags & policy_flags::DEFAULT_DENY, 0);
    // The node itself becomes another one.
    told(Input::Policy(node_policy("7", false)));
    told(Input::Node(Told::Set(node(1).name, Some(labelled(1, "9")))));
    assert_eq!((judged_by(&endpoints), has(Direction::Ingress)), (0, None));
    told(Input::Node(Told::Set(node(1).name, Some(labelled(1, "7")))));
    assert_eq!(judged_by(&endpoints), HOST);
    assert_eq!(fixture.state.status().problems, Vec::<String>::new(), "it is in force, and nothing is to be told");
}

#[test]
fn a_new_agent_leaves_the_node_judged_until_it_knows_better() {
    let (mut fixture, endpoints) = in_order(None);
    tell(&mut fixture.state, &[labelled(1, "7")], &[]);
    fixture.state.take(Input::Policy(node_policy("7", false)));
    fixture.state.settle();
    let Fixture { state, policies, .. } = fixture;
    let mut parts = state.parts;
    parts.own = node(1);
    let mut next = State::new(parts).unwrap();
    next.settle();
    assert_eq!(judged_by(&endpoints), HOST, "before the API has told anything");
    let before = policies.get(&PolicyKey::new(HOST, Direction::Ingress)).unwrap();
    tell(&mut next, &[labelled(1, "7")], &[]);
    // In one go with the rest, as watches tell it; until then the policy seemed gone, and the node was open.
    assert_eq!(judged_by(&endpoints), 0);
    next.take(Input::Policy(node_policy("7", false)));
    next.settle();
    assert_eq!(judged_by(&endpoints), HOST);
    assert!(before.is_some());
}

#[test]
fn who_runs_the_api_server_is_known_from_the_service_kubernetes() {
    let (mut fixture, _) = in_order(None);
    let ipcache = fixture.ipcache.clone();
    let identity_of = |fixture: &Fixture, address: &str| {
        let key = PrefixKey::from_ip(address.parse().unwrap(), 32);
        fixture.ipcache.get(&key).unwrap().map(|route| route.identity)
    };
    tell(&mut fixture.state, &[node(1), node(2)], &[]);
    assert_eq!(identity_of(&fixture, "172.18.0.4"), Some(identity_numbers::REMOTE_NODE));
    let told = |fixture: &mut Fixture, addresses: &[&str]| {
        fixture.state.take(Input::Slice(Told::Set(kubernetes(&[]).name, Some(kubernetes(addresses)))));
        fixture.state.settle();
    };
    told(&mut fixture, &["172.18.0.4"]);
    assert_eq!(identity_of(&fixture, "172.18.0.4"), Some(NODE_OF_API_SERVER));
    // A new agent that has not heard of the node yet takes nothing from it.
    let Fixture { state, .. } = fixture;
    let mut fixture = Fixture { state: State::new(state.parts).unwrap(), ..super::fixture(99) };
    fixture.ipcache = ipcache.clone();
    let before = fixture.ipcache.entries().unwrap().len();
    fixture.state.settle();
    assert_eq!(identity_of(&fixture, "172.18.0.4"), Some(NODE_OF_API_SERVER));
    assert_eq!(fixture.ipcache.entries().unwrap().len(), before);
    tell(&mut fixture.state, &[node(1), node(2)], &[]);
    told(&mut fixture, &["172.18.7.7"]);
    assert_eq!(identity_of(&fixture, "172.18.0.4"), Some(identity_numbers::REMOTE_NODE));
    assert_eq!(identity_of(&fixture, "172.18.7.7"), Some(KUBE_APISERVER));
    // A new agent knows it from the map before anybody tells.
    let Fixture { state, .. } = fixture;
    let mut next = State::new(state.parts).unwrap();
    next.settle();
    let key = PrefixKey::from_ip("172.18.7.7".parse().unwrap(), 32);
    assert_eq!(ipcache.get(&key).unwrap().map(|route| route.identity), Some(KUBE_APISERVER));
    tell(&mut next, &[node(1), node(2)], &[]);
    assert_eq!(ipcache.get(&key).unwrap(), None, "once everything is told it is no API server any more");
}

#[test]
fn a_judged_node_without_its_tables_is_freed_at_once() {
    // What an update that put the map of policies aside would leave.
    let (fixture, endpoints) = in_order(Some(HOST));
    let mut next = State::new(fixture.state.parts).unwrap();
    next.settle();
    assert_eq!(judged_by(&endpoints), 0);
}
