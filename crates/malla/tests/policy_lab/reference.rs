//! What the slow judge expects of the same objects: no agent, no table, no kernel. Who the Pods are is written anew here,
//! and not taken from the agent, so that it is judged too.

use std::net::IpAddr;

use k8s_openapi::serde::de::DeserializeOwned;
use policy::dialect::references::{CidrGroup, References, ServiceFacts};
use policy::dialect::{cilium, cluster_network_policy::cluster_network_policy, network_policy};
use policy::reference::{Packet, World, judge};
use policy::rule::{Direction, Policy};
use policy::selector::{CLUSTER, Labels, NAMESPACE, NAMESPACE_LABELS, SERVICE_ACCOUNT};
use policy::subject::{IdentityFacts, Kind, NamedPort};
use serde_json::Value;

use crate::pods::{Pod, namespace_labels};
use crate::table::{Port, Table};

/// The table for these objects, over the family of these addresses.
pub fn table(objects: &[Value], address: impl Fn(Pod) -> IpAddr) -> Table {
    let [out, into] = ends(objects, address);
    out.and(&into)
}

/// What the sender's end says, and what the receiver's.
pub fn ends(objects: &[Value], address: impl Fn(Pod) -> IpAddr) -> [Table; 2] {
    let policies = policies(objects);
    let identities: Vec<IdentityFacts> = Pod::all().map(facts).collect();
    let world = World { policies: &policies, identities: &identities, nodes: &[] };
    let allowed = |direction, subject: Pod, peer: Pod, port: Port| {
        let packet = Packet {
            direction,
            subject: number(subject),
            peer: number(peer),
            address: address(peer),
            protocol: port.protocol.number(),
            port: port.number,
        };
        judge(&world, &packet, false).allowed
    };
    [
        Table::from_fn(|from, to, port| allowed(Direction::Egress, from, to, port)),
        Table::from_fn(|from, to, port| allowed(Direction::Ingress, to, from, port)),
    ]
}

fn number(pod: Pod) -> u32 {
    300 + pod.0 as u32
}

fn facts(pod: Pod) -> IdentityFacts {
    let namespace = pod.namespace();
    let own = [("pod", pod.own_name())].into_iter().chain(pod.labels().iter().copied());
    let of_namespace = [("ns", namespace), ("kubernetes.io/metadata.name", namespace)];
    let of_namespace = of_namespace.into_iter().chain(namespace_labels(namespace).iter().copied());
    let labels: Labels = own
        .map(|(key, value)| (format!("k8s:{key}"), value))
        .chain(of_namespace.map(|(key, value)| (format!("{NAMESPACE_LABELS}{key}"), value)))
        .chain([(NAMESPACE, namespace), (SERVICE_ACCOUNT, "default"), (CLUSTER, "default")].map(|(k, v)| (k.into(), v)))
        .collect();
    let named =
        |name: &str, port: Port| NamedPort { name: name.into(), protocol: port.protocol.number(), port: port.number };
    let named_ports =
        [("web", pod.web())].into_iter().chain(Pod::NAMED).map(|(name, port)| named(name, port)).collect();
    IdentityFacts { number: number(pod), labels, namespace: Some(namespace.into()), kind: Kind::Pod, named_ports }
}

/// What the objects say in the one form of rules.
pub fn policies(objects: &[Value]) -> Vec<Policy> {
    let references = references(objects);
    let mut all = Vec::new();
    for object in objects {
        let read = match object["kind"].as_str().unwrap() {
            "NetworkPolicy" => network_policy::convert(&typed(object)).map(|policy| vec![policy]),
            "ClusterNetworkPolicy" => cluster_network_policy(&typed(object)).map(|policy| vec![policy]),
            "CiliumNetworkPolicy" => cilium::network_policy(&typed(object), &references),
            "CiliumClusterwideNetworkPolicy" => cilium::clusterwide_policy(&typed(object), &references),
            _ => continue,
        };
        all.extend(read.unwrap_or_else(|mistakes| panic!("{mistakes:?}: {object}")));
    }
    all
}

fn references(objects: &[Value]) -> References {
    let mut references = References::default();
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        match object["kind"].as_str().unwrap() {
            "CiliumCIDRGroup" => {
                let prefixes = typed(&object["spec"]["externalCIDRs"]);
                references.cidr_groups.insert(name, CidrGroup { prefixes, ..CidrGroup::default() });
            }
            "Service" => {
                let namespace = object["metadata"]["namespace"].as_str().unwrap().to_owned();
                let labels = object["metadata"].get("labels").map(typed).unwrap_or_default();
                let selector = typed(&object["spec"]["selector"]);
                references.services.insert((namespace, name), ServiceFacts { labels, selector, addresses: Vec::new() });
            }
            _ => {}
        }
    }
    references
}

fn typed<T: DeserializeOwned>(object: &Value) -> T {
    serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"))
}
