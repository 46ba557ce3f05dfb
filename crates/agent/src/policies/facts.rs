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

/// A node. Its labels are not told to agents: selectors of nodes match by none.
#[must_use]
pub fn node_facts(node: &Node) -> NodeFacts {
    NodeFacts {
        name: node.name.to_string().into(),
        labels: policy::selector::Labels::default(),
        addresses: node.addresses.clone(),
    }
}
