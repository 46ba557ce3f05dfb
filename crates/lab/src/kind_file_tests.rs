//! What people write into a cluster file, and what they are told.

use super::*;

const HEAD: &str = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n";

fn good(rest: &str) -> KindCluster {
    parse("f.yaml", &format!("{HEAD}{rest}")).unwrap_or_else(|error| panic!("{error}\n{rest}"))
}

fn bad(text: &str, place: &str, says: &str) {
    let error = parse("f.yaml", text).expect_err(text).to_string();
    assert!(error.starts_with(&format!("f.yaml:{place}")), "{error}");
    assert!(error.contains(says), "{error}");
    assert!(!error.contains('\n'), "one line: {error}");
}

#[test]
fn the_seeds_cluster_with_its_slip_is_understood() {
    let cluster = good(
        "extraPortMappings:\n  - containerPort: 30080\n    hostPort: 30080\nnodes:\n  - role: control-plane\n    extraPortMappings:\n      - containerPort: 30080\n        hostPort: 30080\n  - role: worker\n  - role: worker\n",
    );
    assert_eq!(cluster.nodes.len(), 3);
    assert_eq!(cluster.nodes[0].ports.len(), 2, "the misplaced mapping is applied to the control plane");
    assert_eq!(cluster.notes.len(), 1);
    assert!(cluster.notes[0].starts_with("f.yaml:4: extraPortMappings belongs under a node"), "{:?}", cluster.notes);
}

#[test]
fn an_empty_cluster_is_one_control_plane() {
    let cluster = good("");
    assert_eq!(cluster.nodes.len(), 1);
    assert_eq!(cluster.nodes[0].role, Role::ControlPlane);
    assert!(cluster.notes.is_empty());
}

#[test]
fn fields_of_kind_that_a_lab_cannot_follow_are_noted() {
    let cluster = good(
        "name: demo\nfeatureGates: {A: true}\nnodes:\n- role: control-plane\n  image: kindest/node:v1\n  extraMounts:\n  - hostPath: /a\n    containerPath: /b\nnetworking:\n  ipFamily: ipv6\n  apiServerAddress: 0.0.0.0\n  apiServerPort: 6444\n  podSubnet: 10.1.0.0/16\n  serviceSubnet: 10.2.0.0/16\n  disableDefaultCNI: true\n  kubeProxyMode: none\n",
    );
    assert_eq!(cluster.name.as_deref(), Some("demo"));
    assert_eq!(cluster.api_port, Some(6444));
    assert_eq!(cluster.pod_subnet.as_deref(), Some("10.1.0.0/16"));
    assert_eq!(cluster.service_subnet.as_deref(), Some("10.2.0.0/16"));
    for what in
        ["featureGates", "image", "extraMounts", "ipFamily", "apiServerAddress", "disableDefaultCNI", "kubeProxyMode"]
    {
        assert_eq!(cluster.notes.iter().filter(|note| note.contains(what)).count(), 1, "{what}: {:?}", cluster.notes);
    }
    assert!(cluster.notes.iter().any(|note| note.starts_with("f.yaml:9: extraMounts")), "{:?}", cluster.notes);
}

#[test]
fn ports_keep_protocol_address_and_any() {
    let cluster = good(
        "nodes:\n- role: control-plane\n- role: worker\n  labels: {zone: a}\n  extraPortMappings:\n  - {containerPort: 53, hostPort: 5353, protocol: udp, listenAddress: 127.0.0.1}\n  - containerPort: 80\n",
    );
    let worker = &cluster.nodes[1];
    assert_eq!(worker.labels["zone"], "a");
    assert!(worker.ports[0].udp);
    assert_eq!(worker.ports[0].listen_address.as_deref(), Some("127.0.0.1"));
    assert_eq!(worker.ports[1].host_port, None);
}

#[test]
fn mistakes_name_their_line() {
    bad("kind: Pod\napiVersion: v1\n", "1", "kind: Cluster");
    bad("kind: Cluster\n", "1", "apiVersion");
    bad("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha3\n", "2", "v1alpha4");
    bad(&format!("{HEAD}nodes:\n- role: master\n"), "4", "control-plane or worker");
    bad(&format!("{HEAD}nodez: []\n"), "3", "nodez");
    bad(&format!("{HEAD}nodes:\n- role: worker\n  extraPorts: []\n"), "5", "extraPorts");
    bad(&format!("{HEAD}nodes:\n- extraPortMappings:\n  - hostPort: 1\n"), "5", "containerPort");
    bad(&format!("{HEAD}nodes:\n- extraPortMappings:\n  - containerPort: 70000\n"), "5", "1 to 65535");
    bad(&format!("{HEAD}nodes:\n- extraPortMappings:\n  - containerPort: 1\n    protocol: SCTP\n"), "6", "TCP or UDP");
    bad(&format!("{HEAD}networking:\n  apiServerPort: 99999\n"), "4", "apiServerPort");
    bad(&format!("{HEAD}nodes: 3\n"), "3", "");
    bad("kind: [\n", "", "");
}

#[test]
fn hostile_text_is_an_error_and_never_a_panic() {
    for text in
        ["", "\0", "- - - -", "a: &a [*a]", "{{{{", "kind: Cluster\nkind: Cluster\n", "\u{feff}", "%YAML 9.9\n---\n"]
    {
        assert!(parse("f.yaml", text).is_err(), "{text:?}");
    }
}
