//! Sockets: Pods whose sockets are left alone, and sockets whose backend has gone.

use std::{process::Stdio, thread::sleep, time::Duration};

use serde_json::Value;

use crate::cluster::{Cluster, From, at, report, text, wait_until};
use crate::{FAMILIES, Fate, Findings, cluster_malla, http, udp};

const ANNOTATION: &str = "service.malla.dev/socket-translation";

/// Whether worker-2 tracks a flow that it translated per packet, of `pod` to port 80 of `service`.
fn per_packet(cluster: &Cluster, pod: &str, protocol: &str, service: &str) -> bool {
    let output = cluster_malla(cluster, &["bpf", "conntrack", "-o", "json", "--node", "worker-2"]);
    let flows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
    let of = |flow: &Value| {
        flow["from"]["address"] == pod && flow["protocol"].as_str().is_some_and(|p| p.eq_ignore_ascii_case(protocol))
    };
    // Of a call that was translated at its socket the Service is told, too.
    let at_socket = |flow: &Value| flow["flags"].as_array().unwrap().contains(&"translated-at-socket".into());
    flows.iter().any(|flow| of(flow) && flow["service"] == at(service, 80).as_str() && !at_socket(flow))
}

/// By annotation of the Pod, of its Namespace, of both, and changed while it runs. Whatever translates, Services serve.
pub fn left_alone(cluster: &Cluster, findings: &mut Findings) {
    let address = cluster.cluster_ips("everywhere");
    let mut translated = |what: &str, pod: &'static str, by_packet: bool| {
        let own = cluster.pod_addresses(pod);
        for (family, name) in FAMILIES.iter().enumerate() {
            // A flow that is tracked stays so for a while: what is told by one must be none of an earlier look.
            let protocol = if what.contains("UDP") { "UDP" } else { "TCP" };
            let found = match protocol {
                "UDP" => udp(cluster, From::Pod(pod), &address[family], 80),
                _ => http(cluster, From::Pod(pod), &address[family], 80, "20"),
            };
            let answered = matches!(found, Fate::Answered { .. });
            let seen = per_packet(cluster, &own[family], protocol, &address[family]);
            let why = format!("{found:?}, translated per packet: {seen}");
            findings.check(&format!("{name} {what}"), answered && seen == by_packet, &why);
        }
    };
    let annotate = |arguments: &[&str]| {
        cluster.kubectl(&[&["annotate", "--overwrite"], arguments].concat());
        // The change has its way to the node.
        sleep(Duration::from_millis(700));
    };
    let (off, on, none) = (format!("{ANNOTATION}=off"), format!("{ANNOTATION}=on"), format!("{ANNOTATION}-"));
    translated("a Pod without annotation, TCP", "client-2", false);
    translated("a Pod that says off, TCP", "client-3", true);
    annotate(&["pod", "client-3", &none]);
    translated("a Pod that does not say off any more, UDP", "client-3", false);
    annotate(&["namespace", "default", &off]);
    annotate(&["pod", "client-3", &on]);
    translated("a Pod that says on where its Namespace says off, UDP", "client-3", false);
    translated("a Namespace that says off, TCP", "client-2", true);
    annotate(&["pod", "client-3", &format!("{ANNOTATION}=maybe")]);
    translated("a Pod that says nothing that can be followed, UDP", "client-3", true);
    let said = text(&cluster_malla(cluster, &["status"]));
    findings.check(
        "what can't be followed is told",
        said.contains("default/client-3") && said.contains(ANNOTATION),
        &said,
    );
    for object in [["namespace", "default"], ["pod", "client-3"]] {
        annotate(&[&object[..], &[&none]].concat());
    }
}

/// The slices of Service `moving`: one endpoint.
fn move_to(cluster: &Cluster, server: &str) {
    for (address, (kind, name)) in
        cluster.pod_addresses(server).iter().zip([("IPv4", "moving-4"), ("IPv6", "moving-6")])
    {
        cluster.apply(&format!(
            r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "{kind}",
                "metadata": {{"name": "{name}", "labels": {{"kubernetes.io/service-name": "moving"}}}},
                "ports": [{{"name": "tcp", "port": 8081}}, {{"name": "datagrams", "port": 8080, "protocol": "UDP"}}],
                "endpoints": [{{"addresses": ["{address}"], "conditions": {{"ready": true}}}}]}}"#
        ));
    }
}

/// What becomes of those that speak to a backend when it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Their socket is ended; the built-in client begins anew.
    Ended,
    /// Their next datagram goes elsewhere.
    Rebalanced,
    /// Nothing.
    LetAlone,
}

/// The backend lives on, so that only what is ended or sent elsewhere changes over: connected UDP sockets and TCP
/// connections, of Pods and of a node's processes. Whoever speaks to the backend itself is let alone.
pub fn ended_with_their_backend(cluster: &Cluster, findings: &mut Findings) {
    // Per packet.
    cluster.kubectl(&["annotate", "--overwrite", "pod", "client-3", &format!("{ANNOTATION}=off")]);
    let (pod, node, packets) = (From::Pod("client-2"), From::Node("control-plane"), From::Pod("client-3"));
    for (family, name) in FAMILIES.iter().enumerate() {
        move_to(cluster, "server-1");
        let service = at(&cluster.cluster_ips("moving")[family], 80);
        let itself = at(&cluster.pod_addresses("server-1")[family], 8080);
        for from in [pod, node, packets] {
            wait_until("the first backend serves", Duration::from_secs(20), || {
                cluster.ask(from, &["udp", &service, "--whoami"]).is_ok_and(|r| r.answered_by.contains_key("server-1"))
            });
        }
        let (udp, tcp, direct) =
            (["udp", &service, "--whoami"], ["tcp", &service, "--keep"], ["udp", &itself, "--whoami"]);
        let mut running = Vec::new();
        for (what, from, request, then) in [
            ("UDP of a Pod", pod, &udp, Then::Ended),
            ("TCP of a Pod", pod, &tcp, Then::Ended),
            ("UDP of a Pod to the backend itself", pod, &direct, Then::LetAlone),
            ("UDP of a node", node, &udp, Then::Ended),
            ("TCP of a node", node, &tcp, Then::Ended),
            ("UDP of a node to the backend itself", node, &direct, Then::LetAlone),
            ("UDP of a Pod, per packet", packets, &udp, Then::Rebalanced),
        ] {
            let load = ["--rate", "10", "--duration", "6s", "--timeout", "2s"];
            let keep = if request[0] == "udp" { &["--keep"][..] } else { &[] };
            let mut client = cluster.client(from, &[&request[..], &load, keep].concat());
            let child = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            running.push((format!("{name} {what}"), request[0], then, child));
        }
        sleep(Duration::from_secs(3));
        move_to(cluster, "server-2");
        for (what, protocol, then, child) in running {
            let report = report(&child.wait_with_output().unwrap());
            let right = report.as_ref().is_ok_and(|r| {
                let errors = if then == Then::Ended { 1..=2 } else { 0..=0 };
                // The echo of TCP does not say who it is.
                let moved = protocol == "tcp" || r.answered_by.contains_key("server-2") == (then != Then::LetAlone);
                errors.contains(&r.errors) && moved && r.requests > 30
            });
            findings.check(&what, right, &format!("{then:?} was expected, {report:?}"));
        }
    }
}
