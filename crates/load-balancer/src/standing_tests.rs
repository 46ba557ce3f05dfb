use super::*;
use EndpointState::{Ready, ServingTerminating, Unavailable};
use model::{Family, Hints, Protocol, SlicePort};

fn node(zone: Option<&str>) -> Node {
    Node {
        name: "worker-1".into(),
        addresses: vec!["172.18.0.3".parse().unwrap()],
        pod_ranges: vec!["10.244.1.0/24".parse().unwrap()],
        zone: zone.map(Into::into),
        labels: std::collections::BTreeMap::new(),
    }
}

/// Last byte, state, node, hinted zones, hinted nodes.
type Given<'a> = (u8, EndpointState, &'a str, &'a [&'a str], &'a [&'a str]);

fn slice(given: &[Given<'_>]) -> EndpointSlice {
    EndpointSlice {
        name: ObjectName::new("default", "s-1"),
        service: ObjectName::new("default", "s"),
        family: Family::V4,
        ports: vec![SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: given
            .iter()
            .map(|(last, state, node, zones, nodes)| Endpoint {
                address: std::net::Ipv4Addr::new(10, 244, 0, *last).into(),
                state: *state,
                node: Some((*node).into()),
                zone: None,
                pod: None,
                hints: Hints {
                    zones: zones.iter().map(|z| (*z).into()).collect(),
                    nodes: nodes.iter().map(|n| (*n).into()).collect(),
                },
            })
            .collect(),
    }
}

/// Last bytes of those that serve everybody, and of those that serve the node.
fn serving(zone: Option<&str>, given: &[Given<'_>]) -> (Vec<u8>, Vec<u8>) {
    let (node, slice) = (node(zone), slice(given));
    let port = ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: None };
    let all = members(&port, [&slice].into_iter(), &Weights::default(), Locality { node: &node });
    let pick =
        |of: fn(&Member) -> Standing| all.iter().filter(|m| of(m).serves()).map(|m| m.address.v4_octets()[3]).collect();
    (pick(|m| m.cluster), pick(|m| m.here))
}

#[test]
fn weight_0_gets_nothing_and_counts_for_nobody() {
    let (node, slice) = (
        node(None),
        slice(&[
            (1, Ready, "worker-1", &[], &[]),
            (2, ServingTerminating, "worker-1", &[], &[]),
            (3, ServingTerminating, "worker-2", &[], &[]),
        ]),
    );
    let port = ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: None };
    let standing = |weights: &str| -> Vec<(Standing, Standing)> {
        let weights = crate::weights::parse(weights).unwrap();
        let all = members(&port, [&slice].into_iter(), &weights, Locality { node: &node });
        all.iter().map(|m| (m.cluster, m.here)).collect()
    };
    use Standing::{Elsewhere, LastResort, Serves, Terminating, WithoutWeight};
    assert_eq!(standing(""), [(Serves, Serves), (Terminating, Terminating), (Terminating, Elsewhere)]);
    let without = (WithoutWeight, WithoutWeight);
    assert_eq!(standing("address/10.244.0.1=0"), [without, (LastResort, LastResort), (LastResort, Elsewhere)]);
    assert_eq!(standing("*=0"), [without; 3]);
}

#[test]
fn local_traffic_has_local_endpoints_only_ready_ones_first() {
    let given = [
        (1, Ready, "worker-1", &[][..], &[][..]),
        (2, ServingTerminating, "worker-1", &[], &[]),
        (3, Ready, "worker-2", &[], &[]),
        (4, Unavailable, "worker-1", &[], &[]),
    ];
    assert_eq!(serving(None, &given), (vec![1, 3], vec![1]));
    // Its own terminating ones serve a node that has no ready ones, though others have.
    assert_eq!(serving(None, &given[1..]), (vec![3], vec![2]));
    assert_eq!(serving(None, &given[2..]), (vec![3], vec![]));
}

#[test]
fn terminating_endpoints_serve_when_none_is_ready_anywhere() {
    let given = [(2, ServingTerminating, "worker-1", &[][..], &[][..]), (3, ServingTerminating, "worker-2", &[], &[])];
    assert_eq!(serving(None, &given), (vec![2, 3], vec![2]));
}

#[test]
fn a_zone_with_endpoints_of_its_own_uses_those() {
    let given = [(1, Ready, "worker-1", &["a"][..], &[][..]), (2, Ready, "worker-2", &["b"], &[])];
    assert_eq!(serving(Some("a"), &given).0, [1]);
    assert_eq!(serving(Some("b"), &given).0, [2]);
    assert_eq!(serving(Some("c"), &given).0, [1, 2], "none is meant for this zone");
    assert_eq!(serving(None, &given).0, [1, 2], "the node is in no zone");
}

#[test]
fn hints_that_one_endpoint_lacks_count_for_nothing() {
    let given = [(1, Ready, "worker-1", &["a"][..], &["worker-1"][..]), (2, Ready, "worker-2", &[], &[])];
    assert_eq!(serving(Some("a"), &given).0, [1, 2]);
    // One that is not ready does not count.
    let given = [given[0], (2, Unavailable, "worker-2", &[], &[])];
    assert_eq!(serving(Some("a"), &given).0, [1]);
}

#[test]
fn a_hint_for_the_node_wins_over_one_for_its_zone() {
    let given = [(1, Ready, "worker-1", &["a"][..], &["worker-1"][..]), (2, Ready, "worker-2", &["a"], &["worker-2"])];
    assert_eq!(serving(Some("a"), &given).0, [1]);
    // None is meant for this node: the zone decides.
    let given = [(2, Ready, "worker-2", &["a"][..], &["worker-2"][..]), (3, Ready, "worker-3", &["b"], &["worker-3"])];
    assert_eq!(serving(Some("a"), &given).0, [2]);
    assert_eq!(serving(Some("c"), &given).0, [2, 3]);
}

#[test]
fn hints_do_not_matter_for_the_last_resort() {
    let given =
        [(1, ServingTerminating, "worker-1", &["b"][..], &[][..]), (2, ServingTerminating, "worker-2", &["a"], &[])];
    assert_eq!(serving(Some("a"), &given).0, [1, 2]);
}

#[test]
fn an_endpoint_that_is_moved_between_slices_counts_with_its_better_state() {
    let (node, one, other) =
        (node(None), slice(&[(1, Unavailable, "worker-1", &[], &[])]), slice(&[(1, Ready, "worker-1", &[], &[])]));
    let port = ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: None };
    for pair in [[&one, &other], [&other, &one]] {
        let all = members(&port, pair.into_iter(), &Weights::default(), Locality { node: &node });
        assert_eq!((all.len(), all[0].cluster), (1, Standing::Serves));
    }
}
