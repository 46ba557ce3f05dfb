//! A Service of the model as the API wants it.

use serde_json::{Value, json};

use crate::model::{ANCHOR_NODE_PORT, ANCHOR_PORT, Entry, Kind, Policy, Ranges, SERVERS, Service, Slices, State};

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

pub fn service(service: &Service) -> Value {
    let families: Vec<usize> = (0..2).filter(|family| service.families[*family]).collect();
    let of = |entry: Entry| families.iter().map(|family| service.address(entry)[*family].clone()).collect::<Vec<_>>();
    let mut ports = vec![
        json!({"name": "http", "port": service.port, "targetPort": 8080, "protocol": "TCP"}),
        json!({"name": "datagrams", "port": service.port, "targetPort": 8080, "protocol": "UDP"}),
    ];
    let mut node_ports = vec![service.node_port(); 2];
    if service.slices == Slices::Anchored {
        ports.push(json!({"name": "echo", "port": ANCHOR_PORT, "targetPort": 8080, "protocol": "TCP"}));
        node_ports.push(ANCHOR_NODE_PORT);
    }
    if service.kind != Kind::ClusterIp {
        ports.iter_mut().zip(node_ports).for_each(|(port, node_port)| port["nodePort"] = node_port.into());
    }
    let mut spec = json!({
        "type": match service.kind {
            Kind::ClusterIp => "ClusterIP",
            Kind::NodePort => "NodePort",
            Kind::LoadBalancer => "LoadBalancer",
        },
        "clusterIP": of(Entry::ClusterIp)[0],
        "clusterIPs": of(Entry::ClusterIp),
        "ipFamilies": families.iter().map(|family| FAMILIES[*family]).collect::<Vec<_>>(),
        "ipFamilyPolicy": if families.len() == 2 { "RequireDualStack" } else { "SingleStack" },
        "ports": ports,
        "internalTrafficPolicy": policy(service.internal),
        "sessionAffinity": if service.affinity { "ClientIP" } else { "None" },
    });
    if service.affinity {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 600}});
    }
    if service.kind != Kind::ClusterIp {
        spec["externalTrafficPolicy"] = policy(service.external).into();
    }
    if service.kind == Kind::LoadBalancer {
        spec["loadBalancerClass"] = "example.org/by-hand".into();
        let ranges = match service.ranges {
            Ranges::Everybody => None,
            Ranges::Outside => Some(json!(["203.0.113.0/24", "2001:db8:113::/64"])),
            Ranges::Pods => Some(json!(["10.244.0.0/16", "fd00:10:244::/56"])),
        };
        ranges.into_iter().for_each(|ranges| spec["loadBalancerSourceRanges"] = ranges);
    }
    if service.external_ip {
        spec["externalIPs"] = of(Entry::External).into();
    }
    if service.slices == Slices::Selected {
        spec["selector"] = json!({"app": "live"});
    }
    let mut metadata = json!({"name": service.name(), "namespace": "default"});
    if let Some(algorithm) = service.algorithm {
        metadata["annotations"] = json!({"service.malla.dev/algorithm": algorithm});
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}

/// As a load balancer's controller writes it.
pub fn status(service: &Service) -> Value {
    let families = (0..2).filter(|family| service.families[*family] && service.kind == Kind::LoadBalancer);
    let ingress: Vec<Value> = families.map(|family| json!({"ip": service.address(Entry::Balancer)[family]})).collect();
    json!({"status": {"loadBalancer": {"ingress": ingress}}})
}

/// One slice for each family, named after it. `addresses`: those of the servers.
pub fn slices(service: &Service, addresses: &[[String; 2]]) -> Vec<(String, Value)> {
    let one = |family: usize| {
        let name = format!("{}-{}", service.name(), FAMILIES[family].to_lowercase());
        let endpoint = |(server, state): (&usize, &State)| {
            let (ready, serving, terminating) = match state {
                State::Ready => (true, true, false),
                State::Terminating => (false, true, true),
                State::NotReady => (false, false, false),
            };
            json!({
                "addresses": [addresses[*server][family]],
                "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
                "nodeName": crate::model::NODES[SERVERS[*server].1],
                "targetRef": {"kind": "Pod", "namespace": "default", "name": SERVERS[*server].0},
            })
        };
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": name, "namespace": "default",
                "labels": {"kubernetes.io/service-name": service.name()},
            },
            "addressType": FAMILIES[family],
            "endpoints": service.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
            "ports": [
                {"name": "http", "port": 8080, "protocol": "TCP"},
                {"name": "datagrams", "port": 8080, "protocol": "UDP"},
                {"name": "echo", "port": 8080, "protocol": "TCP"},
            ],
        });
        (name, object)
    };
    (0..2).map(one).collect()
}

pub fn pod(server: usize) -> Value {
    let (name, node) = SERVERS[server];
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "live"}},
        "spec": {
            "nodeName": crate::model::NODES[node],
            "terminationGracePeriodSeconds": 5,
            "containers": [{"name": "echo", "image": "malla.dev/echo"}],
        },
    })
}

const fn policy(policy: Policy) -> &'static str {
    match policy {
        Policy::Cluster => "Cluster",
        Policy::Local => "Local",
    }
}
