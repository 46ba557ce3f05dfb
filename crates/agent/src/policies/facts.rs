//! Who there is, in policy's own words.

use model::{Labels, Node};
use policy::selector::NAMESPACE;
use policy::subject::{IdentityFacts, Kind, NamedPort, NodeFacts};

/// Source of labels that stand for named ports: `malla:named-port.tcp.http=8080`.
const NAMED_PORT: (&str, &str) = ("malla", "named-port.");

/// A Pod's identity.
#[must_use]
pub fn pod_facts(number: u32, labels: &Labels) -> IdentityFacts {
    let own = labels.iter().filter(|label| label.source != NAMED_PORT.0);
    let labels_of: policy::selector::Labels =
        own.map(|label| (format!("{}:{}", label.source, label.key), label.value)).collect();
    IdentityFacts {
        number,
        namespace: labels_of.get(NAMESPACE).map(Into::into),
        labels: labels_of,
        kind: Kind::Pod,
        named_ports: labels.iter().filter_map(|label| named_port(label.source, label.key, label.value)).collect(),
    }
}

fn named_port(source: &str, key: &str, value: &str) -> Option<NamedPort> {
    if source != NAMED_PORT.0 {
        return None;
    }
    let (protocol, name) = key.strip_prefix(NAMED_PORT.1)?.split_once('.')?;
    let protocol = match protocol {
        "tcp" => 6,
        "udp" => 17,
        "sctp" => 132,
        _ => return None,
    };
    Some(NamedPort { name: name.into(), protocol, port: value.parse().ok()? })
}

/// A node.
#[must_use]
pub fn node_facts(node: &Node) -> NodeFacts {
    NodeFacts {
        name: node.name.to_string().into(),
        labels: labels_of(node).collect(),
        addresses: node.addresses.clone(),
    }
}

/// The own node, as policies about nodes select it and as it is a peer.
#[must_use]
pub fn host_facts(node: &Node, runs_api_server: bool) -> IdentityFacts {
    IdentityFacts::host(&labels_of(node).collect(), runs_api_server)
}

fn labels_of(node: &Node) -> impl Iterator<Item = (String, &str)> {
    node.labels.iter().map(|(key, value)| (format!("k8s:{key}"), &**value))
}
