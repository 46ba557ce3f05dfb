//! Whether a claim about policies holds, for every Pod there is and every Pod that could come.
//!
//! Every label that a selector asks about becomes a variable with the values that are asked for, "another one" and "none";
//! so do the namespaces, the addresses (by the prefixes that are named), the ports and their names. For each pair of what
//! the ends can be (Pod, node, world, …) and each family, "somebody refutes the claim" is a formula over these variables.
//! The search for values that make it true is exact ([`formula`]): it finds a witness, or there is none. A witness is
//! judged once more by the reference evaluator before anybody sees it.
//!
//! Assumed is what always holds: the labels of a namespace that is known are as they are, two Pods of a namespace see the
//! same ones, a namespace's name is among its labels, every Pod has an account. What a Pod is must be known to the nodes;
//! before it is, less is allowed and more denied.

mod formula;
mod question;
mod sort;
mod variables;
mod verdict;

pub use question::{
    API_VERSION, Assume, Claim, EntityName, Expression, KIND, Labelled, Metadata, Party, Port, Protocol, Question,
    Spec, schema,
};

use crate::dialect::Mistake;
use crate::explain::explain;
use crate::reach::{PortClass, classes_of, prefixes, regions};
use crate::reference::{Packet, World};
use crate::rule::{Direction, Peer, Peers, Policy, PortMatch, PortSet, Ports, Subject};
use crate::selector::{CLUSTER, NAMESPACE, NAMESPACE_LABELS, SERVICE_ACCOUNT};
use crate::snapshot::Snapshot;
use crate::subject::{IdentityFacts, Kind, NamedPort, NodeFacts};
use crate::told::Told;
use datapath_layouts::identity;
use formula::{Formula, TooHard, Values, solve};
use ipnet::IpNet;
use question::Ends;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sort::{End, Sort};
use std::collections::BTreeMap;
use std::net::IpAddr;
use variables::{Asked, DESTINATION, NAME_OF_NAMESPACE, SOURCE, Variables};

/// What the question is asked about.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Every policy.
    pub policies: Vec<Policy>,
    /// Labels of the namespaces that are known, by name. All others may have any.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Name of the cluster.
    pub cluster: String,
    /// Where Pods' addresses are; empty: anywhere.
    pub pod_ranges: Vec<IpNet>,
}

impl Known {
    /// What an agent knows.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let pods = || snapshot.identities.iter().filter(|facts| facts.kind == Kind::Pod);
        let mut namespaces: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for facts in pods() {
            let Some(namespace) = facts.labels.get(NAMESPACE) else { continue };
            let labels = facts.labels.iter().filter_map(|(key, value)| {
                key.strip_prefix(NAMESPACE_LABELS).map(|key| (key.to_owned(), value.to_owned()))
            });
            namespaces.entry(namespace.to_owned()).or_default().extend(labels);
        }
        Self {
            policies: snapshot.policies.clone(),
            namespaces,
            cluster: pods().find_map(|facts| facts.labels.get(CLUSTER)).unwrap_or(DEFAULT_CLUSTER).to_owned(),
            pod_ranges: snapshot.pod_ranges.clone(),
        }
    }
}

/// The name that a cluster has if nobody gives it one.
pub const DEFAULT_CLUSTER: &str = "default";

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// Name of the question.
    pub question: String,
    /// Whether the claim holds.
    pub holds: bool,
    /// Who refutes it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub witness: Option<Witness>,
    /// Pairs of sorts of ends, and families, that were searched.
    pub cases: usize,
    /// Steps of the search.
    pub steps: u64,
}

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

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The question has no meaning.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Mistakes(Vec<Mistake>),
    /// The search was given up.
    #[error(
        "the search was given up after {0} steps: the policies combine too many labels; ask about fewer Pods or ports"
    )]
    TooHard(u64),
    /// A witness that the reference evaluator does not confirm: one of the two is wrong.
    #[error(
        "the search found {0}, and the reference evaluator says otherwise: this is a mistake of Malla's, please report it"
    )]
    Unconfirmed(String),
}

/// Steps after which a search is given up: some minutes.
pub const MOST_STEPS: u64 = 2_000_000_000;

/// Answers a question.
///
/// # Errors
/// When it has no meaning, or takes too long.
pub fn prove(known: &Known, question: &Question, most_steps: u64) -> Result<Answer, NoAnswer> {
    let asking = Asking::new(known, question)?;
    let mut left = most_steps;
    let mut answer =
        Answer { question: question.metadata.name.clone(), holds: true, witness: None, cases: 0, steps: 0 };
    'search: for v4 in [true, false] {
        let variables = asking.variables(v4);
        for from in Sort::all(v4) {
            for to in Sort::all(v4) {
                let Some(case) = asking.case(&variables, from, to) else { continue };
                answer.cases += 1;
                let found = solve(&case.refuted(), &variables.domains(), &mut left);
                if let Some(values) = found.map_err(|TooHard| NoAnswer::TooHard(most_steps))? {
                    answer.holds = false;
                    answer.witness = Some(case.witness(&values)?);
                    break 'search;
                }
            }
        }
    }
    answer.steps = most_steps - left;
    Ok(answer)
}

/// A question that has been read, with what it is asked about.
struct Asking<'a> {
    known: &'a Known,
    claim: Claim,
    from: Option<Vec<Ends>>,
    to: Option<Vec<Ends>>,
    ports: Option<Vec<PortMatch>>,
    pod_ranges: Vec<IpNet>,
    node_ranges: Vec<IpNet>,
}

impl<'a> Asking<'a> {
    fn new(known: &'a Known, question: &Question) -> Result<Self, NoAnswer> {
        let mistakes = question.mistakes();
        if !mistakes.is_empty() {
            return Err(NoAnswer::Mistakes(mistakes));
        }
        let spec = &question.spec;
        let mut found = Vec::new();
        let mut read = |parties: &Option<Vec<Party>>| {
            let parties = parties.as_ref()?;
            Some(parties.iter().map(|party| party.read("", &mut found)).collect::<Vec<_>>())
        };
        let (from, to) = (read(&spec.from), read(&spec.to));
        let ports = spec.ports.as_ref().map(|all| all.iter().flat_map(|port| port.read("", &mut found)).collect());
        let given = !spec.assume.pod_cidrs.is_empty();
        let pod_ranges = if given { &spec.assume.pod_cidrs } else { &known.pod_ranges }.clone();
        Ok(Self { known, claim: spec.claim, from, to, ports, pod_ranges, node_ranges: spec.assume.node_cidrs.clone() })
    }

    /// Everything that anybody asks about.
    fn asked(&self) -> Asked {
        let mut asked = Asked::default();
        for policy in &self.known.policies {
            let (Subject::Endpoints(subject) | Subject::Nodes(subject)) = &policy.subject;
            asked.take(subject);
            for rule in &policy.rules {
                if let Peers::OneOf(peers) = &rule.peers {
                    for peer in peers {
                        if let Peer::Endpoints(one) | Peer::OtherEndpoints(one) | Peer::Nodes(one) = peer {
                            asked.take(one);
                        }
                    }
                }
                if let Ports::OneOf(ports) = &rule.ports {
                    for port in ports {
                        if let PortMatch::Port(_, PortSet::Named(name)) = port {
                            asked.port_names.insert(name.to_string());
                        }
                    }
                }
            }
        }
        let parties = self.from.iter().chain(&self.to).flatten();
        parties.filter_map(|party| party.pods.as_ref()).for_each(|selector| asked.take(selector));
        // Of a namespace whose labels nobody asks about nothing has to be known.
        if asked.labels.keys().any(|key| key.starts_with(NAMESPACE_LABELS)) {
            asked.namespaces.extend(self.known.namespaces.keys().cloned());
        }
        asked
    }

    fn variables(&self, v4: bool) -> Variables {
        let mut nets = prefixes(&self.known.policies);
        let parties = self.from.iter().chain(&self.to).flatten().filter_map(|party| party.cidr);
        nets.extend(parties.chain(self.pod_ranges.iter().copied()).chain(self.node_ranges.iter().copied()));
        let rules = self.known.policies.iter().flat_map(|policy| &policy.rules);
        let of_rules = rules.filter_map(|rule| match &rule.ports {
            Ports::OneOf(ports) => Some(ports),
            Ports::Any => None,
        });
        let ports = of_rules.flatten().chain(self.ports.iter().flatten());
        Variables::new(&self.asked(), regions(&nets, v4), classes_of(ports, &[], v4))
    }

    /// A pair of sorts; `None` where policy is about neither, or two can't be so at once.
    fn case<'v>(&'v self, variables: &'v Variables, from: Sort, to: Sort) -> Option<Case<'v>> {
        let has_node_policies = self.known.policies.iter().any(|policy| matches!(policy.subject, Subject::Nodes(_)));
        let is_judged = |sort: Sort| sort == Sort::Pod || (sort.is_node() && has_node_policies);
        let end = |side, sort| End { side, sort, variables, cluster: &self.known.cluster };
        // Two nodes are two, and whoever is outside has no node.
        let odd = |one: Sort, other: Sort| one == Sort::Host && other != Sort::Pod;
        if !(is_judged(from) || is_judged(to)) || odd(from, to) || odd(to, from) {
            return None;
        }
        Some(Case {
            asking: self,
            from: end(SOURCE, from),
            to: end(DESTINATION, to),
            judged: [is_judged(from), is_judged(to)],
        })
    }
}

/// Two sorts of ends in one family.
struct Case<'a> {
    asking: &'a Asking<'a>,
    from: End<'a>,
    to: End<'a>,
    judged: [bool; 2],
}

impl Case<'_> {
    /// That somebody refutes the claim.
    fn refuted(&self) -> Formula {
        let Asking { from, to, ports, claim, .. } = self.asking;
        let sizes = &self.from.variables.sizes;
        let any = |parties: &Option<Vec<Ends>>, end: &End<'_>| match parties {
            None => Formula::TRUE,
            Some(parties) => Formula::any(parties.iter().map(|party| end.is_party(party))),
        };
        let (from, to) = (any(from, &self.from), any(to, &self.to));
        let ports = ports.as_ref().map_or(Formula::TRUE, |ports| {
            self.from.variables.port(|class| ports.iter().any(|port| verdict::is_in(class, port)))
        });
        let (from, let_through) = match claim {
            Claim::Only => (from.not(sizes), true),
            Claim::Never => (from, true),
            Claim::Always => (from, false),
        };
        let meant = Formula::all([to, ports, from, self.always()]);
        if matches!(meant, Formula::Known(false)) {
            return Formula::FALSE;
        }
        let passes = self.passes();
        meant.and(if let_through { passes } else { passes.not(sizes) })
    }

    fn passes(&self) -> Formula {
        let policies = &self.asking.known.policies;
        let at = |judged: bool, here: &End<'_>, there: &End<'_>, direction| {
            if judged { verdict::allowed(policies, &here.itself(), there, direction) } else { Formula::TRUE }
        };
        let ingress = at(self.judged[1], &self.to, &self.from, Direction::Ingress);
        ingress.and(at(self.judged[0], &self.from, &self.to, Direction::Egress))
    }

    /// What is so in any case.
    fn always(&self) -> Formula {
        let known = &self.asking.known.namespaces;
        let variables = self.from.variables;
        let mut all = Vec::new();
        for end in [&self.from, &self.to] {
            if end.sort == Sort::Pod {
                all.push(variables.of_pod(end.side, &[SERVICE_ACCOUNT], known));
            }
            let in_any = |ranges: &[IpNet]| {
                variables.address(end.side, |region| ranges.iter().any(|net| net.contains(&region.address)))
            };
            let is_v4 = variables.regions.first().is_some_and(|region| region.address.is_ipv4());
            for (ranges, is_theirs) in
                [(&self.asking.pod_ranges, end.sort == Sort::Pod), (&self.asking.node_ranges, end.sort.is_node())]
            {
                if !ranges.iter().any(|net| net.addr().is_ipv4() == is_v4) {
                    continue;
                }
                if is_theirs {
                    all.push(in_any(ranges));
                } else if end.sort.is_outside() || end.sort.is_node() {
                    all.push(in_any(ranges).not(&variables.sizes));
                }
            }
        }
        // An address is one end's only.
        for region in variables.regions.iter().filter(|region| region.another.is_none()) {
            let elsewhere = [SOURCE, DESTINATION].map(|side| variables.address(side, |one| one != region));
            all.push(Formula::any(elsewhere));
        }
        if self.from.sort == Sort::Pod && self.to.sort == Sort::Pod {
            all.push(variables.of_two_pods(known));
        }
        Formula::all(all)
    }

    /// The values as a flow, judged by the reference evaluator.
    fn witness(&self, values: &[Values]) -> Result<Witness, NoAnswer> {
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
