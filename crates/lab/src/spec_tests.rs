//! From wishes to a lab.

use super::*;
use crate::kind_file;

fn file(rest: &str) -> Requested {
    let text = format!("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n{rest}");
    Requested { kind: Some(kind_file::parse("f.yaml", &text).unwrap()), ..Requested::default() }
}

#[test]
fn the_default_is_the_three_node_lab() {
    let (lab, notes) = Requested::default().resolve().unwrap();
    assert_eq!(lab.name.as_str(), "malla");
    let names: Vec<_> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["control-plane", "worker-1", "worker-2"]);
    assert_eq!(lab.routing, Routing::Vxlan);
    assert!(notes.is_empty());
}

#[test]
fn the_control_plane_comes_first_and_workers_keep_their_order() {
    let (lab, _) =
        file("nodes:\n- {role: worker, labels: {n: a}}\n- {role: control-plane}\n- {role: worker, labels: {n: b}}\n")
            .resolve()
            .unwrap();
    assert_eq!(lab.nodes[0].name, "control-plane");
    assert_eq!(lab.nodes[1].labels["n"], "a");
    assert_eq!(lab.nodes[2].labels["n"], "b");
}

#[test]
fn options_win_over_the_file() {
    let mut wish = file("name: fromfile\nnetworking: {podSubnet: 10.1.0.0/16, apiServerPort: 7000}\n");
    wish.name = Some("mine".to_owned());
    wish.pod_subnet = Some("10.9.0.0/16".to_owned());
    wish.api_port = Some(7001);
    let (lab, _) = wish.resolve().unwrap();
    assert_eq!(lab.name.as_str(), "mine");
    assert_eq!(lab.subnets.pods.v4.to_string(), "10.9.0.0/16");
    assert_eq!(lab.api_port, Some(7001));
}

#[test]
fn a_mapping_said_twice_is_one_and_two_targets_are_a_mistake() {
    let twice = "extraPortMappings: [{containerPort: 80, hostPort: 80}]\nnodes:\n- role: control-plane\n  extraPortMappings: [{containerPort: 80, hostPort: 80}]\n";
    assert_eq!(file(twice).resolve().unwrap().0.ports.len(), 1);
    let conflict = "nodes:\n- role: control-plane\n  extraPortMappings: [{containerPort: 80, hostPort: 80}]\n- role: worker\n  extraPortMappings: [{containerPort: 80, hostPort: 80}]\n";
    assert!(matches!(file(conflict).resolve(), Err(SpecError::MappedTwice { port: 80, .. })));
    let other_protocol = "nodes:\n- role: control-plane\n  extraPortMappings: [{containerPort: 80, hostPort: 80}, {containerPort: 80, hostPort: 80, protocol: UDP}]\n";
    assert_eq!(file(other_protocol).resolve().unwrap().0.ports.len(), 2);
    let any_port = "nodes:\n- role: control-plane\n  extraPortMappings: [{containerPort: 80}, {containerPort: 81}]\n";
    assert_eq!(file(any_port).resolve().unwrap().0.ports.len(), 2);
}

#[test]
fn nothing_listens_beyond_loopback() {
    let (lab, notes) = file("nodes:\n- role: control-plane\n  extraPortMappings: [{containerPort: 80, hostPort: 80, listenAddress: 0.0.0.0}, {containerPort: 81, hostPort: 81, listenAddress: 127.0.0.9}]\n")
        .resolve()
        .unwrap();
    assert!(lab.ports.iter().flat_map(|port| &port.listen).all(IpAddr::is_loopback));
    assert_eq!(lab.ports[1].listen.len(), 1);
    assert_eq!(notes.iter().filter(|note| note.contains("narrowed")).count(), 1);
}

#[test]
fn impossible_labs_are_refused() {
    assert!(matches!(file("nodes: [{role: worker}]\n").resolve(), Err(SpecError::ControlPlanes(0))));
    assert!(matches!(
        file("nodes: [{role: control-plane}, {role: control-plane}]\n").resolve(),
        Err(SpecError::ControlPlanes(2))
    ));
    let patterns = |patterns: &[&str]| {
        let identity_labels = patterns.iter().map(|text| (*text).to_owned()).collect();
        Requested { identity_labels, ..Default::default() }.resolve()
    };
    assert!(matches!(patterns(&["!build", "k8s:("]), Err(SpecError::IdentityLabels(_))));
    assert_eq!(patterns(&["!build"]).unwrap().0.identity_labels, ["!build"]);
    assert!(matches!(Requested { nodes: Some(0), ..Default::default() }.resolve(), Err(SpecError::NodeCount(0))));
    assert!(matches!(Requested { nodes: Some(101), ..Default::default() }.resolve(), Err(SpecError::NodeCount(101))));
    assert!(matches!(Requested { name: Some("A".into()), ..Default::default() }.resolve(), Err(SpecError::Name(_))));
    let mut clash = file("nodes:\n- role: control-plane\n  extraPortMappings: [{containerPort: 80, hostPort: 7000}]\n");
    clash.api_port = Some(7000);
    assert!(matches!(clash.resolve(), Err(SpecError::ApiPortMapped(7000))));
}

#[test]
fn the_same_wish_finds_its_lab_again_and_another_does_not() {
    let wish =
        || file("nodes:\n- role: control-plane\n  extraPortMappings: [{containerPort: 80}]\n").resolve().unwrap().0;
    let mut have = wish();
    have.api_port = Some(6443);
    have.ports[0].host_port = Some(40000);
    assert!(have.satisfies(&wish()));
    let mut other = wish();
    other.routing = Routing::Native;
    assert!(!have.satisfies(&other));
    other = wish();
    other.ports[0].host_port = Some(40001);
    assert!(!have.satisfies(&other));
}
