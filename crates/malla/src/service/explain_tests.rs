use super::*;
use datapath_layouts::service::{FRONTEND_LOCAL_EXTERNAL, FRONTEND_MAGLEV_EXTERNAL, FRONTEND_NODE_PORT};
use datapath_layouts::{Affinity, Backend, Endpoint, MaglevTable, Route};
use datapath_logic::service::node_port_key;
use std::collections::HashMap;

#[derive(Default)]
struct Maps {
    frontends: HashMap<FrontendKey, Frontend>,
    backends: HashMap<(u32, u32), Backend>,
    maglev: HashMap<u32, MaglevTable>,
    affinity: HashMap<(Address, u32), Affinity>,
    members: Vec<(u32, u32)>,
    allowed: Vec<(u32, Address)>,
    here: Vec<(Address, u8)>,
    routes: Vec<(Address, RouteKind)>,
}

impl Lookup for Maps {
    fn frontend(&self, key: &FrontendKey) -> anyhow::Result<Option<Frontend>> {
        Ok(self.frontends.get(key).copied())
    }

    fn backend(&self, key: &BackendKey) -> anyhow::Result<Option<Backend>> {
        Ok(self.backends.get(&(key.service_id, key.slot)).copied())
    }

    fn maglev(&self, row: u32) -> anyhow::Result<Option<MaglevTable>> {
        Ok(self.maglev.get(&row).copied())
    }

    fn affinity(&self, key: &AffinityKey) -> anyhow::Result<Option<Affinity>> {
        Ok(self.affinity.get(&(key.client, key.service_id)).copied())
    }

    fn is_member(&self, key: &AffinityMemberKey) -> anyhow::Result<bool> {
        Ok(self.members.contains(&(key.service_id, key.backend_id)))
    }

    fn is_in_range(&self, row: u32, client: Address) -> anyhow::Result<bool> {
        Ok(self.allowed.contains(&(row, client)))
    }

    fn endpoint(&self, address: Address) -> anyhow::Result<Option<Endpoint>> {
        let found = self.here.iter().find(|(known, _)| *known == address);
        Ok(found.map(|(_, flags)| Endpoint { flags: (*flags).into(), ..Endpoint::ZERO }))
    }

    fn route(&self, address: Address) -> anyhow::Result<Option<Route>> {
        let found = self.routes.iter().find(|(known, _)| *known == address);
        Ok(found.map(|(_, kind)| Route { kind: *kind as u8, ..Route::ZERO }))
    }

    fn now_ns(&self) -> u64 {
        100_000_000_000
    }
}

const CLIENT: &str = "203.0.113.2:40000";
const SERVICE: &str = "10.96.0.7:80";

fn address(text: &str) -> Address {
    Address::from_ip(text.parse().unwrap())
}

/// A Service at 10.96.0.7:80 with two backends in row 1, and none in row 2.
fn maps(flags: u32) -> Maps {
    let mut maps = Maps::default();
    let frontend = Frontend { flags, ..Frontend::with_row(1, 2) };
    maps.frontends.insert(exact_key(address("10.96.0.7"), 80, 6), frontend);
    maps.frontends.insert(
        FrontendKey::whole_address(address("10.96.0.7")),
        Frontend { flags: FRONTEND_ADDRESS, ..Frontend::ZERO },
    );
    for slot in 0..2 {
        let address = Address::from_v4([10, 244, 1, slot + 2]);
        let backend = Backend { address, id: u32::from(slot) + 1, port: 8080, cluster: 0, flags: 0 };
        maps.backends.insert((1, u32::from(slot)), backend);
    }
    maps
}

fn ask(maps: &Maps, client: &str, target: &str) -> Verdict {
    let flow = Flow { client: client.parse().unwrap(), target: target.parse().unwrap(), protocol: Protocol::Tcp };
    explain(&flow, maps).unwrap()
}

fn backend(last: u8) -> Outcome {
    Outcome::Backend { address: IpAddr::from([10, 244, 1, last]), port: 8080 }
}

#[test]
fn at_random_it_is_one_of_them() {
    let backends = vec!["10.244.1.2:8080".parse().unwrap(), "10.244.1.3:8080".parse().unwrap()];
    assert_eq!(ask(&maps(0), CLIENT, SERVICE).outcome, Outcome::OneOf { backends });
}

#[test]
fn a_maglev_table_needs_the_clients_port_and_knows_then() {
    let mut maps = maps(FRONTEND_MAGLEV_EXTERNAL);
    maps.maglev.insert(1, MaglevTable { slots: [1; 1021], ..MaglevTable::ZERO });
    assert_eq!(ask(&maps, CLIENT, SERVICE).outcome, backend(3));
    assert!(matches!(ask(&maps, "203.0.113.2", SERVICE).outcome, Outcome::OneOf { .. }));
    // From inside the table is not asked, and one that names what is not there is not believed.
    maps.here.push((address("203.0.113.2"), 0));
    assert!(matches!(ask(&maps, CLIENT, SERVICE).outcome, Outcome::OneOf { .. }));
    maps.here.clear();
    maps.maglev.insert(1, MaglevTable { slots: [9; 1021], ..MaglevTable::ZERO });
    assert!(matches!(ask(&maps, CLIENT, SERVICE).outcome, Outcome::OneOf { .. }));
}

#[test]
fn affinity_holds_while_the_backend_is_a_member_and_the_time_runs() {
    let mut maps = maps(0);
    maps.frontends.values_mut().for_each(|f| f.affinity_seconds = 10);
    let last =
        |ns| Affinity { last_used_ns: ns, address: address("10.244.1.3"), backend_id: 2, port: 8080, ..Affinity::ZERO };
    maps.affinity.insert((address("203.0.113.2"), 1), last(95_000_000_000));
    assert!(matches!(ask(&maps, CLIENT, SERVICE).outcome, Outcome::OneOf { .. }), "it has left the Service");
    maps.members.push((1, 2));
    assert_eq!(ask(&maps, CLIENT, SERVICE).outcome, backend(3));
    maps.affinity.insert((address("203.0.113.2"), 1), last(80_000_000_000));
    assert!(matches!(ask(&maps, CLIENT, SERVICE).outcome, Outcome::OneOf { .. }), "too long ago");
}

#[test]
fn policy_local_drops_outside_and_serves_inside() {
    let mut maps = maps(FRONTEND_LOCAL_EXTERNAL);
    for frontend in maps.frontends.values_mut().filter(|f| f.service_id != 0) {
        (frontend.external_id, frontend.external_backends) = (2, 0);
    }
    let reason = DropReason::NoLocalBackend.name();
    assert_eq!(ask(&maps, CLIENT, SERVICE).outcome, Outcome::Dropped { reason });
    maps.routes.push((address("203.0.113.2"), RouteKind::RemotePods));
    assert!(matches!(ask(&maps, CLIENT, SERVICE).outcome, Outcome::OneOf { .. }));
}

#[test]
fn direct_server_return_is_told_to_clients_outside() {
    let mut maps = maps(FRONTEND_DSR);
    let told = |maps: &Maps| ask(maps, CLIENT, SERVICE).why.iter().any(|line| line.contains("direct server return"));
    assert!(told(&maps));
    maps.routes.push((address("203.0.113.2"), RouteKind::RemotePods));
    assert!(!told(&maps));
}

#[test]
fn source_ranges_and_empty_services_say_so() {
    let mut maps = maps(FRONTEND_SOURCE_RANGES);
    assert_eq!(ask(&maps, CLIENT, SERVICE).outcome, Outcome::Dropped { reason: DropReason::SourceRange.name() });
    maps.allowed.push((1, address("203.0.113.2")));
    assert!(matches!(ask(&maps, CLIENT, SERVICE).outcome, Outcome::OneOf { .. }));
    maps.frontends.values_mut().for_each(|f| (f.backends, f.external_backends) = (0, 0));
    assert_eq!(ask(&maps, CLIENT, SERVICE).outcome, Outcome::Refused { reason: DropReason::NoBackend.name() });
}

#[test]
fn unused_ports_are_refused_where_the_address_is_a_services_alone() {
    let mut maps = maps(0);
    let reason = DropReason::ServiceAddress.name();
    assert_eq!(ask(&maps, CLIENT, "10.96.0.7:81").outcome, Outcome::Refused { reason });
    assert_eq!(ask(&maps, CLIENT, "192.0.2.1:81").outcome, Outcome::NoService);
    maps.here.push((address("10.96.0.7"), 0));
    assert_eq!(ask(&maps, CLIENT, "10.96.0.7:81").outcome, Outcome::NoService);
}

#[test]
fn a_node_port_needs_a_node() {
    let mut maps = maps(0);
    let key = node_port_key(&Address::V4_ANY, 30080, 6);
    maps.frontends.insert(key, Frontend { flags: FRONTEND_NODE_PORT, ..Frontend::with_row(1, 1) });
    assert_eq!(ask(&maps, CLIENT, "172.18.0.3:30080").outcome, Outcome::NoService);
    maps.routes.push((address("172.18.0.3"), RouteKind::RemoteNode));
    assert_eq!(ask(&maps, CLIENT, "172.18.0.3:30080").outcome, backend(2));
}

#[test]
fn a_node_port_by_a_table_goes_to_one_backend_at_whatever_node() {
    let mut maps = maps(0);
    let flags = FRONTEND_NODE_PORT | FRONTEND_MAGLEV_EXTERNAL;
    let key = node_port_key(&Address::V4_ANY, 30080, 6);
    maps.frontends.insert(key, Frontend { flags, ..Frontend::with_row(1, 2) });
    let mut slots = [0; 1021];
    (0..1021).for_each(|place: usize| slots[place] = (place % 2) as u16);
    maps.maglev.insert(1, MaglevTable { slots, ..MaglevTable::ZERO });
    let nodes = ["172.18.0.3", "172.18.0.4", "172.18.0.5"];
    maps.routes.extend(nodes.map(|node| (address(node), RouteKind::RemoteNode)));
    for port in 40000..40050 {
        let client = format!("203.0.113.2:{port}");
        let outcomes = nodes.map(|node| ask(&maps, &client, &format!("{node}:30080")).outcome);
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{client}: {outcomes:?}");
    }
}

#[test]
fn a_client_is_an_address_with_or_without_port() {
    assert_eq!("fd00::1".parse(), Ok(Client { address: "fd00::1".parse().unwrap(), port: None }));
    assert_eq!("[fd00::1]:9".parse(), Ok(Client { address: "fd00::1".parse().unwrap(), port: Some(9) }));
    assert!("somebody".parse::<Client>().is_err());
}
