use super::*;

fn node(n: u8) -> Node {
    Node {
        name: format!("worker-{n}").as_str().into(),
        addresses: vec![format!("172.18.0.{}", n + 2).parse().unwrap(), format!("fc00::{}", n + 2).parse().unwrap()],
        pod_ranges: vec![format!("10.244.{n}.0/24").parse().unwrap(), format!("fd00:10:244:{n}::/64").parse().unwrap()],
        zone: None,
        labels: Default::default(),
    }
}

fn facts() -> Facts {
    Facts {
        network: Device { name: "eth0".into(), index: 2, mac: [2, 0, 0, 0, 0, 1], mtu: 1500 },
        overlay: Device { name: "malla.vxlan".into(), index: 3, mac: [0; 6], mtu: 1450 },
        addresses: vec!["172.18.0.3/16".parse().unwrap(), "fc00::3/64".parse().unwrap()],
        gateways: vec!["172.18.0.1".parse().unwrap(), "fc00::1".parse().unwrap()],
    }
}

fn plan(routing: Routing) -> Desired {
    let (own, other) = (node(1), node(2));
    let service_ranges = ["10.96.0.0/12".parse().unwrap()];
    let facts = facts();
    desired(Input {
        own: &own,
        nodes: &[&own, &other],
        facts: &facts,
        service_ranges: &service_ranges,
        routing,
        api_servers: &BTreeSet::new(),
        all_nodes: true,
        policy: 0,
    })
}

/// With API servers at these addresses, on worker-1.
fn plan_with(api_servers: &[&str], policy: u32) -> Desired {
    let (own, other) = (node(1), node(2));
    let (facts, ranges) = (facts(), ["10.96.0.0/12".parse().unwrap()]);
    let api_servers = &api_servers.iter().map(|address| address.parse().unwrap()).collect();
    let (routing, service_ranges) = (Routing::Overlay, &ranges);
    desired(Input {
        own: &own,
        nodes: &[&own, &other],
        facts: &facts,
        service_ranges,
        routing,
        api_servers,
        all_nodes: true,
        policy,
    })
}

#[test]
fn a_node_that_runs_the_api_server_is_known_by_all_of_its_addresses() {
    let plan = plan_with(&["172.18.0.4", "172.18.0.3"], 0);
    for prefix in ["172.18.0.4/32", "fc00::4/128"] {
        let node = route(&plan, prefix);
        assert_eq!((node.identity, node.kind), (identity::NODE_OF_API_SERVER, RouteKind::RemoteNode as u8));
    }
    assert!(!plan.ipcache.contains_key(&key(&"172.18.0.3/32".parse().unwrap())), "the own address stays an endpoint");
    assert!(plan.host_endpoints.values().all(|e| e.identity == identity::HOST));
}

#[test]
fn an_api_server_outside_is_itself_on_the_way_to_everybody_there() {
    let plan = plan_with(&["198.51.100.7", "172.18.9.9", "2001:db8::7", "10.244.2.9", "10.96.0.1"], 0);
    let world = route(&plan, "0.0.0.0/0");
    assert_eq!(route(&plan, "198.51.100.7/32"), Route { identity: identity::KUBE_APISERVER, ..world });
    assert_eq!(route(&plan, "2001:db8::7/128").next_hop.to_string(), "fc00::1");
    assert!(route(&plan, "172.18.9.9/32").next_hop.is_zero(), "on the link, as its prefix is");
    for other in ["10.244.2.9/32", "10.96.0.1/32"] {
        assert!(!plan.ipcache.contains_key(&key(&other.parse().unwrap())), "{other} is a Pod's or a Service's");
    }
}

#[test]
fn the_nodes_policy_is_at_all_of_its_addresses() {
    let plan = plan_with(&[], identity::HOST);
    assert!(plan.host_endpoints.len() == 2 && plan.host_endpoints.values().all(|e| e.policy_id == identity::HOST));
}

fn route(plan: &Desired, prefix: &str) -> Route {
    let prefix: IpNet = prefix.parse().unwrap();
    *plan.ipcache.get(&key(&prefix)).unwrap_or_else(|| panic!("no entry for {prefix}"))
}

#[test]
fn overlay_sends_pods_and_nodes_through_the_tunnel() {
    let plan = plan(Routing::Overlay);
    let tunnel = Address::from_v4([172, 18, 0, 4]);
    for prefix in ["10.244.2.0/24", "fd00:10:244:2::/64"] {
        let route = route(&plan, prefix);
        assert_eq!(
            (route.kind, route.tunnel, route.flags, route.mtu),
            (RouteKind::RemotePods as u8, tunnel, FLAG_TUNNEL, 1450)
        );
        let host = plan.host_routes[&prefix.parse::<IpNet>().unwrap()];
        assert_eq!((host.interface, host.gateway), (3, None));
    }
    let node = route(&plan, "172.18.0.4/32");
    assert_eq!(
        (node.kind, node.identity, node.flags),
        (RouteKind::RemoteNode as u8, identity::REMOTE_NODE, FLAG_TUNNEL)
    );
}

#[test]
fn native_sends_them_to_the_node_itself() {
    let plan = plan(Routing::Native);
    let six = route(&plan, "fd00:10:244:2::/64");
    assert_eq!((six.next_hop.to_string().as_str(), six.ifindex, six.flags, six.mtu), ("fc00::4", 2, 0, 1500));
    assert_eq!(six.tunnel, Address::from_v4([172, 18, 0, 4]), "known for NodePort forwarding");
    let host = plan.host_routes[&"10.244.2.0/24".parse::<IpNet>().unwrap()];
    assert_eq!((host.interface, host.gateway), (2, Some("172.18.0.4".parse().unwrap())));
    assert!(route(&plan, "172.18.0.4/32").next_hop.is_zero(), "a node is on the link");
}

#[test]
fn own_ranges_services_link_and_world() {
    let plan = plan(Routing::Overlay);
    assert_eq!(route(&plan, "10.244.1.0/24").kind, RouteKind::LocalPods as u8);
    assert_eq!(route(&plan, "10.96.0.0/12").kind, RouteKind::Services as u8);
    let link = route(&plan, "172.18.0.0/16");
    assert_eq!((link.kind, link.next_hop, link.ifindex), (RouteKind::World as u8, Address::ZERO, 2));
    assert_eq!(route(&plan, "0.0.0.0/0").next_hop, Address::from_v4([172, 18, 0, 1]));
    assert_eq!(route(&plan, "::/0").next_hop.to_string(), "fc00::1");
    assert!(!plan.ipcache.contains_key(&key(&"172.18.0.3/32".parse().unwrap())), "the own address is an endpoint");
    assert_eq!(plan.host_endpoints.len(), 2);
    assert!(plan.host_endpoints.values().all(|e| e.flags == FLAG_HOST && e.identity == identity::HOST));
    assert!(!plan.host_routes.contains_key(&"10.244.1.0/24".parse::<IpNet>().unwrap()));
}

#[test]
fn a_range_claimed_twice_goes_to_the_first_by_name_and_never_away_from_its_own_node() {
    let (own, two, mut three) = (node(1), node(2), node(3));
    three.pod_ranges = vec!["10.244.2.0/24".parse().unwrap(), "10.244.1.0/24".parse().unwrap()];
    let facts = facts();
    let nodes = [&three, &two, &own];
    let plan = desired(Input {
        own: &own,
        nodes: &nodes,
        facts: &facts,
        service_ranges: &[],
        routing: Routing::Overlay,
        api_servers: &BTreeSet::new(),
        all_nodes: true,
        policy: 0,
    });
    assert_eq!(route(&plan, "10.244.2.0/24").tunnel, Address::from_v4([172, 18, 0, 4]));
    assert_eq!(route(&plan, "10.244.1.0/24").kind, RouteKind::LocalPods as u8);
    assert!(!plan.host_routes.contains_key(&"10.244.1.0/24".parse::<IpNet>().unwrap()));
}

#[test]
fn differences_are_written_and_the_rest_removed() {
    let desired = HashMap::from([(1, "a"), (2, "b"), (3, "c")]);
    let observed = HashMap::from([(1, "a"), (2, "x"), (4, "d")]);
    let (mut write, remove) = difference(&desired, &observed);
    write.sort_unstable();
    assert_eq!((write, remove), (vec![(2, "b"), (3, "c")], vec![4]));
}
