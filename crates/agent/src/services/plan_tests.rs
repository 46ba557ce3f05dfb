use super::super::apply::{self, apply};
use super::*;
use crate::table::memory::MemoryTable;
use datapath_layouts::{Address, FrontendKey};
use load_balancer::Capacity;
use model::{Endpoint, EndpointState, Family, Hints, Protocol, ServicePort, SlicePort, TrafficPolicy};

const ROOM: Capacity = Capacity::each(100);

fn own() -> Node {
    Node {
        name: "worker-1".into(),
        addresses: vec![],
        pod_ranges: vec!["10.244.1.0/24".parse().unwrap()],
        zone: None,
        labels: Default::default(),
    }
}

fn name() -> ObjectName {
    ObjectName::new("default", "spink")
}

fn service() -> Service {
    Service {
        cluster_addresses: vec!["10.96.0.7".parse().unwrap()],
        families: vec![Family::V4],
        ports: vec![ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: None }],
        ..Service::new(name())
    }
}

fn slice(endpoints: &[(&str, EndpointState)]) -> EndpointSlice {
    EndpointSlice {
        name: ObjectName::new("default", "spink-1"),
        service: name(),
        family: Family::V4,
        ports: vec![SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: endpoints
            .iter()
            .map(|(address, state)| Endpoint {
                address: address.parse().unwrap(),
                state: *state,
                node: None,
                zone: None,
                pod: None,
                hints: Hints::default(),
            })
            .collect(),
    }
}

struct Maps(apply::Maps);

impl std::ops::Deref for Maps {
    type Target = apply::Maps;

    fn deref(&self) -> &apply::Maps {
        &self.0
    }
}

impl Maps {
    fn new() -> Self {
        Self::with_room_for(100)
    }

    fn with_room_for(backends: usize) -> Self {
        Self(apply::Maps {
            frontends: Box::new(MemoryTable::with_capacity(100)),
            backends: Box::new(MemoryTable::with_capacity(backends)),
            maglev: Box::new(MemoryTable::with_capacity(100)),
            members: Box::new(MemoryTable::with_capacity(100)),
            ranges: Box::new(MemoryTable::with_capacity(100)),
        })
    }

    fn balancer(&self) -> Balancer {
        self.0.balancer(ROOM).unwrap()
    }

    /// Runs all plans; answers with the number of changes and the flows to forget.
    fn run(&self, services: &mut Services) -> (usize, Vec<Purge>) {
        let mut out = (0, Vec::new());
        while let Some((plan, purges)) = services.next(&own()) {
            apply(&self.0, &plan).unwrap();
            out.0 += plan.changes.len();
            out.1.extend(purges);
        }
        out
    }

    fn count(&self) -> Option<u32> {
        let key = FrontendKey { address: Address::from_v4([10, 96, 0, 7]), port: 80, protocol: 6, cluster: 0 };
        self.frontends.get(&key).unwrap().map(|f| f.backends)
    }
}

fn sync(services: &mut Services, objects: &[Service], slices: &[EndpointSlice]) {
    services.take_service(Told::Begin);
    for object in objects {
        services.take_service(Told::Set(object.name.clone(), Some(object.clone())));
    }
    services.take_service(Told::End);
    services.take_slice(Told::Begin);
    for object in slices {
        services.take_slice(Told::Set(object.name.clone(), Some(object.clone())));
    }
    services.take_slice(Told::End);
}

#[test]
fn news_name_each_frontend_and_no_more_backends_than_are_worth_it() {
    use super::super::news::{MOST_BACKENDS, News};
    let maps = Maps::with_room_for(1000);
    let balancer = || maps.0.balancer(Capacity { backends: 1000, ..ROOM }).unwrap();
    let mut services = Services::new(balancer());
    let many: Vec<String> = (0..300).map(|n| format!("10.244.{}.{}", 1 + n / 200, 1 + n % 200)).collect();
    let all: Vec<_> = many.iter().map(|address| (address.as_str(), EndpointState::Ready)).collect();
    let port = ServicePort { node_port: Some(30080), ..service().ports[0].clone() };
    let service = Service {
        external_addresses: vec!["192.0.2.1".parse().unwrap()],
        balancer_addresses: vec!["192.0.2.2".parse().unwrap()],
        ports: vec![port],
        internal_policy: TrafficPolicy::Local,
        ..service()
    };
    let host = |n: u8| {
        let ports = [model::HostPort { port: 8088, target: 80, protocol: Protocol::Tcp, address: None }];
        let (pod, at) = (ObjectName::new("default", "web"), format!("10.244.1.{n}").parse().unwrap());
        let wanted = host_ports::host_ports(&pod, &[at], &ports, &["172.18.0.3".parse().unwrap()]);
        BTreeMap::from([(host_ports::owner(&pod), wanted)])
    };
    sync(&mut services, &[service], &[slice(&all)]);
    services.take_host_ports(host(250));
    maps.run(&mut services);
    let told = |news: &News| match news {
        News::Serves { kind, frontend, of, backends, .. } => {
            let policies = format!("{} {}", of.external, of.internal);
            (*kind, frontend.address.to_ip().to_string(), of.name.name.to_string(), policies, backends.len())
        }
        News::Gone(number) => panic!("{number}"),
    };
    let mut now: Vec<_> = services.news().iter().map(told).collect();
    now.sort();
    let of_service =
        |kind, at: &str, backends| (kind, at.to_owned(), "spink".to_owned(), "Cluster Local".to_owned(), backends);
    let expected = [
        // From inside the row of this node's endpoints is asked.
        of_service("ClusterIP", "10.96.0.7", 200),
        of_service("ExternalIPs", "192.0.2.1", MOST_BACKENDS),
        ("HostPort", "172.18.0.3".to_owned(), "web".to_owned(), "Cluster Cluster".to_owned(), 1),
        of_service("LoadBalancer", "192.0.2.2", MOST_BACKENDS),
        of_service("NodePort", "0.0.0.0", MOST_BACKENDS),
    ];
    assert_eq!(now, expected);
    assert_eq!(services.news(), []);
    // A write has failed: who knows what was done.
    services.take_host_ports(BTreeMap::new());
    let (plan, _) = services.next(&own()).unwrap();
    assert!(!plan.changes.is_empty());
    services.recover(balancer());
    assert_eq!(services.news(), []);
}

#[test]
fn nothing_is_planned_before_services_and_slices_are_whole() {
    let maps = Maps::new();
    let mut services = Services::new(maps.balancer());
    let ready = slice(&[("10.244.1.2", EndpointState::Ready)]);
    sync(&mut services, &[service()], std::slice::from_ref(&ready));
    maps.run(&mut services);
    assert_eq!(maps.count(), Some(1));
    // A new process: the Service is known, its slices are still on their way.
    let mut again = Services::new(maps.balancer());
    again.take_service(Told::Begin);
    again.take_service(Told::Set(name(), Some(service())));
    again.take_service(Told::End);
    again.take_slice(Told::Begin);
    assert_eq!(maps.run(&mut again).0, 0);
    again.take_slice(Told::Set(ready.name.clone(), Some(ready)));
    again.take_slice(Told::End);
    assert_eq!(maps.run(&mut again).0, 0, "and what they say is there already");
    assert!(again.is_settled());
}

#[test]
fn a_pod_that_ends_its_connections_keeps_them_until_it_is_gone() {
    let maps = Maps::new();
    let mut services = Services::new(maps.balancer());
    sync(
        &mut services,
        &[service()],
        &[slice(&[("10.244.1.2", EndpointState::Ready), ("10.244.1.3", EndpointState::Ready)])],
    );
    maps.run(&mut services);
    let ending = slice(&[("10.244.1.2", EndpointState::Ready), ("10.244.1.3", EndpointState::ServingTerminating)]);
    services.take_slice(Told::Set(ending.name.clone(), Some(ending)));
    let (_, purges) = maps.run(&mut services);
    assert_eq!(
        purges.iter().map(|p| (p.gone.address.to_string(), p.draining)).collect::<Vec<_>>(),
        [("10.244.1.3".to_owned(), true)]
    );
    assert_eq!(services.references("10.244.1.3".parse().unwrap()), (0, 0));
    let gone = slice(&[("10.244.1.2", EndpointState::Ready)]);
    services.take_slice(Told::Set(gone.name.clone(), Some(gone)));
    let (changes, purges) = maps.run(&mut services);
    assert_eq!((changes, purges.len(), purges[0].draining), (0, 1, false));
}

/// What a killed agent did not see: a policy is not Local any more. The rows keep their numbers, by which flows remember them, and
/// the Pods in them their sockets and connections until they are gone.
#[test]
fn a_policy_that_changed_while_nobody_looked_leaves_flows_their_rows() {
    let maps = Maps::new();
    let mut there = slice(&[("10.244.1.2", EndpointState::Ready)]);
    there.endpoints[0].node = Some("worker-1".into());
    let mut cluster = service();
    cluster.ports[0].node_port = Some(30_080);
    let local = Service { internal_policy: TrafficPolicy::Local, ..cluster.clone() };
    let node_port = || {
        let key = FrontendKey { address: Address::V4_ANY, port: 30_080, protocol: 6, cluster: 0 };
        maps.frontends.get(&key).unwrap().unwrap()
    };
    let cluster_ip = || {
        let key = FrontendKey { address: Address::from_v4([10, 96, 0, 7]), port: 80, protocol: 6, cluster: 0 };
        maps.frontends.get(&key).unwrap().unwrap()
    };

    let mut services = Services::new(maps.balancer());
    sync(&mut services, &[cluster.clone()], std::slice::from_ref(&there));
    maps.run(&mut services);
    let row = cluster_ip().service_id;
    services.take_service(Told::Set(name(), Some(local)));
    maps.run(&mut services);
    let local_row = cluster_ip().service_id;
    assert_ne!(local_row, row);

    let mut again = Services::new(maps.balancer());
    sync(&mut again, &[cluster], std::slice::from_ref(&there));
    let (_, purges) = maps.run(&mut again);
    assert_eq!([cluster_ip().service_id, node_port().service_id, node_port().external_id], [row; 3]);
    let told: Vec<_> = purges.iter().map(|purge| (purge.gone.service_id, purge.draining)).collect();
    assert_eq!(told, [(local_row, true)]);
    again.take_slice(Told::Gone(there.name.clone()));
    let (_, ended) = maps.run(&mut again);
    assert!(ended.contains(&Purge { draining: false, ..purges[0] }), "{ended:?}");
}

/// Its row is swept, but the Pod behind it is still another Service's: connections go on until that one too has let it go.
#[test]
fn a_service_that_went_while_nobody_looked_ends_nothing_that_is_still_there() {
    let maps = Maps::new();
    let there = slice(&[("10.244.1.2", EndpointState::Ready)]);
    let mut services = Services::new(maps.balancer());
    sync(&mut services, &[service()], std::slice::from_ref(&there));
    maps.run(&mut services);
    let other = ObjectName::new("default", "other");
    let theirs =
        |n: &str| EndpointSlice { name: ObjectName::new("default", n), service: other.clone(), ..there.clone() };

    let mut again = Services::new(maps.balancer());
    sync(&mut again, &[], &[theirs("other-1"), there.clone()]);
    let (_, purges) = maps.run(&mut again);
    assert!(purges.len() == 1 && purges[0].draining, "{purges:?}");
    again.take_slice(Told::Gone(there.name.clone()));
    assert_eq!(maps.run(&mut again).1, [], "another one still names it");
    again.take_slice(Told::Gone(theirs("other-1").name));
    assert_eq!(maps.run(&mut again).1, [Purge { draining: false, ..purges[0] }]);
}

#[test]
fn the_last_pod_that_goes_away_is_no_reference_to_wait_for() {
    let maps = Maps::new();
    let mut services = Services::new(maps.balancer());
    sync(&mut services, &[service()], &[slice(&[("10.244.1.2", EndpointState::ServingTerminating)])]);
    maps.run(&mut services);
    assert_eq!(maps.count(), Some(1));
    assert_eq!(services.references("10.244.1.2".parse().unwrap()), (0, 1));
}

#[test]
fn a_deleted_service_and_one_deleted_while_nobody_looked_are_removed() {
    let maps = Maps::new();
    let mut services = Services::new(maps.balancer());
    let ready = slice(&[("10.244.1.2", EndpointState::Ready)]);
    sync(&mut services, &[service()], std::slice::from_ref(&ready));
    maps.run(&mut services);
    services.take_service(Told::Gone(name()));
    maps.run(&mut services);
    assert_eq!((maps.count(), maps.backends.entries().unwrap().len()), (None, 0));
    services.take_service(Told::Set(name(), Some(service())));
    maps.run(&mut services);
    let mut again = Services::new(maps.balancer());
    sync(&mut again, &[], &[ready]);
    maps.run(&mut again);
    assert_eq!((maps.count(), maps.backends.entries().unwrap().len()), (None, 0));
}

#[test]
fn a_failed_write_is_recovered_from_the_maps() {
    let maps = Maps::with_room_for(2);
    let mut services = Services::new(maps.balancer());
    let three = slice(&["10.244.1.2", "10.244.1.3", "10.244.1.4"].map(|a| (a, EndpointState::Ready)));
    sync(&mut services, &[service()], &[three]);
    assert_eq!(services.next(&own()).unwrap().0.changes, [], "nothing was written ahead");
    let (plan, _) = services.next(&own()).unwrap();
    assert!(apply(&maps.0, &plan).is_err());
    assert_eq!(maps.count(), None, "no frontend counts a slot that is not there");
    // What the failed plan left fills the map; the sweep makes room, and the Service is tried again.
    let one = slice(&[("10.244.1.3", EndpointState::Ready)]);
    services.take_slice(Told::Set(one.name.clone(), Some(one)));
    services.recover(maps.0.balancer(Capacity { backends: 2, ..ROOM }).unwrap());
    maps.run(&mut services);
    assert_eq!((maps.count(), maps.backends.entries().unwrap().len()), (Some(1), 1));
    assert!(services.problems().is_empty());
}

#[test]
fn what_does_not_fit_is_complained_about_once_and_others_are_served() {
    let maps = Maps::new();
    let mut services = Services::new(maps.0.balancer(Capacity { frontends: 2, ..ROOM }).unwrap());
    let other = Service { cluster_addresses: vec!["10.96.0.8".parse().unwrap()], ..service() };
    let other = Service { name: ObjectName::new("default", "zz"), ..other };
    sync(&mut services, &[service(), other.clone()], &[]);
    maps.run(&mut services);
    let complaints = services.complaints();
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].0 == other.name && complaints[0].1.contains("frontends"), "{complaints:?}");
    assert_eq!(maps.count(), Some(0), "the first one is there");
    services.plan_all_again();
    maps.run(&mut services);
    assert!(services.complaints().is_empty() && services.problems().len() == 1, "said once, true still");
    services.take_service(Told::Gone(name()));
    maps.run(&mut services);
    assert!(services.problems().is_empty(), "there is room now");
}
