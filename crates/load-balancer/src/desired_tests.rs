use super::*;

fn node() -> Node {
    Node {
        name: "worker-1".into(),
        addresses: vec!["172.18.0.3".parse().unwrap()],
        pod_ranges: vec!["10.244.1.0/24".parse().unwrap()],
    }
}

fn service() -> Service {
    Service {
        name: ObjectName::new("default", "spink"),
        cluster_addresses: vec!["10.96.244.84".parse().unwrap(), "fd00:10:96::84".parse().unwrap()],
        external_addresses: vec!["192.0.2.1".parse().unwrap()],
        families: vec![Family::V4, Family::V6],
        ports: vec![ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080) }],
        affinity: Affinity::ClientAddress { seconds: 60 },
    }
}

fn slice(endpoints: &[(&str, EndpointState, Option<&str>)]) -> EndpointSlice {
    EndpointSlice {
        name: ObjectName::new("default", "spink-1"),
        service: ObjectName::new("default", "spink"),
        family: Family::V4,
        ports: vec![model::SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: endpoints
            .iter()
            .map(|(address, state, node)| model::Endpoint {
                address: address.parse().unwrap(),
                state: *state,
                node: node.map(Into::into),
                pod: None,
            })
            .collect(),
    }
}

fn backends(slices: &[EndpointSlice]) -> Vec<(String, u8)> {
    let node = node();
    let all = desired(&service(), slices.iter(), Locality { node: &node });
    all[0].backends.iter().map(|t| (format!("{}:{}", t.address, t.port), t.flags)).collect()
}

#[test]
fn every_address_and_the_node_port_share_a_row_per_family() {
    let node = node();
    let all = desired(&service(), [].iter(), Locality { node: &node });
    let shown: Vec<Vec<String>> = all
        .iter()
        .map(|d| d.frontends.iter().map(|f| format!("{}:{}/{}", f.key.address, f.key.port, f.flags)).collect())
        .collect();
    assert_eq!(
        shown,
        [vec!["10.96.244.84:80/0", "192.0.2.1:80/0", "0.0.0.0:30080/1"], vec!["fd00:10:96::84:80/0", ":::30080/1"]]
    );
    assert!(all.iter().all(|d| d.affinity_seconds == 60 && d.backends.is_empty()));
}

#[test]
fn ready_endpoints_only_and_none_twice() {
    use EndpointState::{Ready, ServingTerminating, Unavailable};
    let one = slice(&[
        ("10.244.1.2", Ready, Some("worker-1")),
        ("10.244.2.2", Ready, Some("worker-2")),
        ("10.244.2.3", ServingTerminating, Some("worker-2")),
        ("10.244.2.4", Unavailable, Some("worker-2")),
    ]);
    let expect = [("10.244.1.2:8080".to_owned(), BACKEND_LOCAL), ("10.244.2.2:8080".to_owned(), 0)];
    assert_eq!(backends(&[one.clone(), one]), expect);
}

#[test]
fn those_that_go_away_serve_while_nobody_else_does() {
    use EndpointState::{ServingTerminating, Unavailable};
    let one = slice(&[("10.244.1.2", ServingTerminating, None), ("10.244.2.4", Unavailable, None)]);
    assert_eq!(backends(&[one]), [("10.244.1.2:8080".to_owned(), BACKEND_TERMINATING | BACKEND_LOCAL)]);
}

#[test]
fn a_port_of_another_name_or_protocol_is_not_a_backend() {
    let mut other = slice(&[("10.244.1.2", EndpointState::Ready, None)]);
    other.ports[0].protocol = Protocol::Udp;
    assert!(backends(&[other.clone()]).is_empty());
    other.ports[0] = model::SlicePort { name: "metrics".into(), protocol: Protocol::Tcp, port: 9 };
    assert!(backends(&[other]).is_empty());
}

#[test]
fn sctp_has_no_frontend() {
    let mut service = service();
    service.ports[0].protocol = Protocol::Sctp;
    assert!(desired(&service, [].iter(), Locality { node: &node() }).is_empty());
}
