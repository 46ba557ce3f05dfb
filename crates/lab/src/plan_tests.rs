//! Properties that hold for the topology of every lab.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::spec::Requested;

fn lab(nodes: u16, name: &str, second: u8) -> LabSpec {
    Requested {
        name: Some(name.to_owned()),
        nodes: Some(nodes),
        node_subnet: Some(format!("172.{second}.0.0/16")),
        ..Requested::default()
    }
    .resolve()
    .unwrap()
    .0
}

fn ends(link: &LinkPlan) -> Vec<&End> {
    match link {
        LinkPlan::Bridge { end } => vec![end],
        LinkPlan::Veth { ends, .. } => vec![&ends.0, &ends.1],
    }
}

fn unique<T: Ord>(items: impl IntoIterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    items.into_iter().all(|item| seen.insert(item))
}

proptest! {
    #[test]
    fn every_topology_is_sound(nodes in 1u16..=100, name in "[a-z][a-z0-9-]{0,20}[a-z]", second in 16u8..32) {
        let lab = lab(nodes, &name, second);
        let plan = topology(&lab);
        prop_assert_eq!(&plan, &topology(&lab), "deterministic");
        prop_assert_eq!(plan.namespaces.len(), usize::from(nodes) + 2);
        prop_assert!(unique(plan.namespaces.iter().map(|ns| &ns.name)));
        for ns in &plan.namespaces {
            prop_assert!(lab.name.member_of(&ns.name).is_some(), "found again by name: {}", ns.name);
        }

        let all_ends: Vec<_> = plan.links.iter().flat_map(ends).collect();
        prop_assert!(unique(all_ends.iter().map(|end| (&end.namespace, &end.name))));
        prop_assert!(unique(all_ends.iter().map(|end| end.mac)));
        for end in &all_ends {
            prop_assert!(end.name.len() <= 15);
            prop_assert_eq!(end.mac[0] & 3, 2, "local, unicast");
            prop_assert!(plan.namespaces.iter().any(|ns| ns.name == end.namespace));
        }

        prop_assert!(unique(plan.namespaces.iter().flat_map(|ns| &ns.addresses).map(|a| a.address.addr())));
        let mut links_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for end in &all_ends {
            links_of.entry(&end.namespace).or_default().insert(&end.name);
        }
        for ns in &plan.namespaces {
            for address in &ns.addresses {
                prop_assert!(links_of[ns.name.as_str()].contains(address.link));
                prop_assert_ne!(address.address.addr(), address.address.network(), "a host, not the network");
            }
            for route in &ns.routes {
                prop_assert!(ns.addresses.iter().any(|a| a.address.contains(&route.gateway)), "gateway is on link");
            }
        }
    }

    #[test]
    fn pod_ranges_never_overlap_and_stay_inside(nodes in 1u16..=100) {
        let lab = lab(nodes, "x", 18);
        let ranges: Vec<_> = (0..lab.nodes.len()).flat_map(|index| lab.subnets.pod_ranges(index).both()).collect();
        for (index, a) in ranges.iter().enumerate() {
            prop_assert!(lab.subnets.pods.both().iter().any(|all| all.contains(a)));
            for b in &ranges[index + 1..] {
                prop_assert!(!a.contains(&b.network()) && !b.contains(&a.network()), "{} {}", a, b);
            }
        }
    }
}

#[test]
fn the_fabric_knows_neither_pods_nor_services() {
    let plan = topology(&lab(3, "malla", 18));
    let fabric = plan.namespaces.iter().find(|ns| ns.name == "malla-fabric").unwrap();
    assert!(fabric.routes.is_empty());
    assert!(fabric.addresses.iter().all(|a| !a.address.to_string().starts_with("10.")));
}

#[test]
fn sysctls_reach_only_the_network_of_the_namespace() {
    // Everything under net/ that is per namespace; nothing that would be the machine's.
    for ns in topology(&lab(2, "malla", 18)).namespaces {
        for sysctl in ns.sysctls {
            let inside = ["net/ipv4/", "net/ipv6/", "net/bridge/"].iter().any(|p| sysctl.path.starts_with(p));
            assert!(inside && !sysctl.path.contains(".."), "{}", sysctl.path);
        }
    }
}
