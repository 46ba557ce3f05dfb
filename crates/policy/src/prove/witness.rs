//! Who refutes a claim: the values that the search found, as a flow between two ends, judged once more by the reference
//! evaluator.

use super::sort::{End, Sort};
use super::variables::{DESTINATION, NAME_OF_NAMESPACE, SOURCE};
use super::{Case, Claim, NoAnswer, Values};
use crate::explain::explain;
use crate::reach::PortClass;
use crate::reference::{Packet, World};
use crate::rule::Direction;
use crate::selector::{CLUSTER, NAMESPACE, NAMESPACE_LABELS, SERVICE_ACCOUNT};
use crate::subject::{IdentityFacts, NamedPort, NodeFacts};
use crate::told::Told;
use datapath_layouts::identity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A flow that refutes a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Witness {
    /// Who sends.
    pub from: Somebody,
    /// Who receives.
    pub to: Somebody,
    /// IP protocol number.
    pub protocol: u8,
    /// The port; ICMP: the type.
    pub port: u16,
    /// As people write it.
    pub spoken: String,
    /// Whether both ends let it pass.
    pub allowed: bool,
    /// The verdict at the source; none where nobody judges there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub egress: Option<Told>,
    /// The verdict at the destination.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ingress: Option<Told>,
}

/// An end of a flow that refutes a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Somebody {
    /// `Pod`, `world`, `host`, `remote-node`, ….
    pub what: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespace: Option<String>,
    /// Labels of its namespace that matter.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub namespace_labels: BTreeMap<String, String>,
    /// Its labels that matter; any others change nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub labels: BTreeMap<String, String>,
    /// Its account, where that matters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service_account: Option<String>,
    /// Its address.
    pub address: IpAddr,
    /// A node that runs the API server.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub runs_api_server: bool,
    /// Names that it gives to the port.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub port_names: Vec<String>,
}

impl Case<'_> {
    /// The values as a flow, judged by the reference evaluator.
    ///
    /// # Errors
    /// When that one says otherwise.
    pub(super) fn witness(&self, values: &[Values]) -> Result<Witness, NoAnswer> {
        let variables = self.from.variables;
        let odd = || NoAnswer::Unconfirmed("a flow without an address or a port".to_owned());
        let class = variables.class_of(values).ok_or_else(odd)?;
        let addresses = [
            variables.region_of(SOURCE, values).ok_or_else(odd)?.address,
            variables
                .region_of(DESTINATION, values)
                .map(|region| region.another.unwrap_or(region.address))
                .ok_or_else(odd)?,
        ];
        let ends = [&self.from, &self.to];
        let nodes: Vec<NodeFacts> = ends
            .iter()
            .filter(|end| end.sort.is_node())
            .map(|end| NodeFacts {
                name: "a-node".into(),
                labels: variables.labels_of(end.side, values).into_iter().collect(),
                addresses: vec![addresses[end.side]],
            })
            .collect();
        let verdict = |direction, here: usize| {
            self.judged[here].then(|| {
                let there = 1 - here;
                let subject = self.facts(&ends[here].itself(), values, class, SUBJECT);
                let peer = self.facts(ends[there], values, class, PEER);
                let packet = Packet {
                    direction,
                    subject: subject.number,
                    peer: peer.number,
                    address: addresses[there],
                    protocol: class.protocol,
                    port: class.ports.0,
                };
                let identities = [subject, peer];
                let world = World { policies: &self.asking.known.policies, identities: &identities, nodes: &nodes };
                Told::of(&explain(&world, &packet, false), direction)
            })
        };
        let (egress, ingress) = (verdict(Direction::Egress, SOURCE), verdict(Direction::Ingress, DESTINATION));
        let allowed = [&egress, &ingress].into_iter().flatten().all(|told| told.allowed);
        let witness = Witness {
            from: self.somebody(&self.from, values, addresses[0]),
            to: self.somebody(&self.to, values, addresses[1]),
            protocol: class.protocol,
            port: class.ports.0,
            spoken: crate::reach::text(
                &[PortClass { ports: (class.ports.0, class.ports.0), others: false, ..*class }],
                0,
            ),
            allowed,
            egress,
            ingress,
        };
        if allowed == (self.asking.claim == Claim::Always) {
            return Err(NoAnswer::Unconfirmed(format!("{witness:?}")));
        }
        Ok(witness)
    }

    /// An end as the reference evaluator takes it.
    fn facts(&self, end: &End<'_>, values: &[Values], class: &PortClass, number: u32) -> IdentityFacts {
        let variables = self.from.variables;
        let chosen = variables.labels_of(end.side, values);
        let (mut labels, mut namespace, mut named_ports) = (Vec::new(), None, Vec::new());
        let mut number = number;
        match end.sort {
            Sort::Pod => {
                let name = variables.namespace_of(end.side, values);
                labels.extend(chosen);
                labels.push((NAMESPACE.to_owned(), name.clone()));
                labels.push((NAME_OF_NAMESPACE.to_owned(), name.clone()));
                labels.push((CLUSTER.to_owned(), self.asking.known.cluster.clone()));
                namespace = Some(name.into());
                if end.side == DESTINATION {
                    let names = variables.names_of(values).into_iter();
                    let port =
                        |name: String| NamedPort { name: name.into(), protocol: class.protocol, port: class.ports.0 };
                    named_ports = names.map(port).collect();
                }
            }
            Sort::Host => {
                labels.extend(chosen);
                labels.push(("reserved:host".to_owned(), String::new()));
                number = identity::HOST;
            }
            Sort::RemoteNode => {
                labels.push(("reserved:remote-node".to_owned(), String::new()));
                number = identity::REMOTE_NODE;
            }
            Sort::Reserved(reserved) => {
                if let Some(facts) = IdentityFacts::reserved(reserved) {
                    return facts;
                }
            }
        }
        if end.sort.is_node() && variables.is_api(end.side, values) {
            labels.push(("reserved:kube-apiserver".to_owned(), String::new()));
        }
        IdentityFacts { number, labels: labels.into_iter().collect(), namespace, kind: end.kind(), named_ports }
    }

    /// An end as people see it.
    fn somebody(&self, end: &End<'_>, values: &[Values], address: IpAddr) -> Somebody {
        let variables = self.from.variables;
        let what = match end.sort {
            Sort::Pod => "Pod",
            Sort::Host => "host",
            Sort::RemoteNode => "remote-node",
            sort if sort.is_world() => "world",
            Sort::Reserved(number) => identity::reserved_name(number).unwrap_or("unknown"),
        };
        let mut somebody = Somebody {
            what: what.to_owned(),
            namespace: None,
            namespace_labels: BTreeMap::new(),
            labels: BTreeMap::new(),
            service_account: None,
            address,
            runs_api_server: end.sort.is_node() && variables.is_api(end.side, values),
            port_names: Vec::new(),
        };
        if end.sort == Sort::Pod {
            somebody.namespace = Some(variables.namespace_of(end.side, values));
            if end.side == DESTINATION {
                somebody.port_names = variables.names_of(values);
            }
        }
        if end.sort == Sort::Pod || end.sort.is_node() {
            for (key, value) in variables.labels_of(end.side, values) {
                if end.sort.is_node() {
                    // A node may have any labels, also ones that mean something else of a Pod.
                    somebody.labels.insert(key.trim_start_matches("k8s:").to_owned(), value);
                } else if key == SERVICE_ACCOUNT {
                    somebody.service_account = Some(value);
                } else if let Some(key) = key.strip_prefix(NAMESPACE_LABELS) {
                    let namespace = somebody.namespace.as_ref().and_then(|name| self.asking.known.namespaces.get(name));
                    let value = namespace.and_then(|labels| labels.get(key).cloned()).unwrap_or(value);
                    somebody.namespace_labels.insert(key.to_owned(), value);
                } else if key != CLUSTER {
                    somebody.labels.insert(key.trim_start_matches("k8s:").to_owned(), value);
                }
            }
        }
        somebody
    }
}

/// Numbers of the two ends of a witness.
const SUBJECT: u32 = 1_000;
const PEER: u32 = 1_001;
