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
mod witness;

pub use question::{
    API_VERSION, Assume, Claim, EntityName, Expression, KIND, Labelled, Metadata, Party, Port, Protocol, Question,
    Spec, schema,
};
pub use witness::{Somebody, Witness};

use crate::dialect::Mistake;
use crate::reach::{classes_of, prefixes, regions};
use crate::rule::{Dialect, Direction, Peer, Peers, Policy, PortMatch, PortSet, Ports, Subject};
use crate::selector::{CLUSTER, NAMESPACE, NAMESPACE_LABELS, SERVICE_ACCOUNT};
use crate::snapshot::Snapshot;
use crate::subject::Kind;
use formula::{Formula, TooHard, Values, solve};
use ipnet::IpNet;
use question::Ends;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sort::{End, Sort};
use std::collections::BTreeMap;
use variables::{Asked, DESTINATION, SOURCE, Variables};

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
        // Failsafe ports alone are no policy about nodes.
        let mut written = self.known.policies.iter().filter(|policy| policy.origin.dialect != Dialect::Malla);
        let has_node_policies = written.any(|policy| matches!(policy.subject, Subject::Nodes(_)));
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
}
