//! What can be different about two ends of a flow, as variables: every label that a selector asks about, the namespace, the
//! address, the port. What no selector can tell apart is one value.

use super::formula::{Formula, Values, Variable};
use crate::reach::{PortClass, Region};
use crate::selector::{NAMESPACE, NAMESPACE_LABELS, Requirement, Selector, Test};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The label of every namespace that has its name (KEP-2161).
pub const NAME_OF_NAMESPACE: &str = "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name";
/// The label is not there.
pub const ABSENT: usize = 0;
/// It has a value that nobody asks about.
pub const OTHER: usize = 1;
/// Before the values of a label.
const VALUES: usize = 2;
/// Namespaces that nobody names: two, so that both ends can be in different ones.
pub const OTHER_NAMESPACES: usize = 2;

/// Which end.
pub type Side = usize;
/// The source.
pub const SOURCE: Side = 0;
/// The destination.
pub const DESTINATION: Side = 1;

/// Everything that is asked about.
#[derive(Debug, Default)]
pub struct Asked {
    /// Values that selectors name, by `k8s:key` of Pods, without those of namespaces and service accounts.
    pub labels: BTreeMap<String, BTreeSet<String>>,
    /// Names of namespaces.
    pub namespaces: BTreeSet<String>,
    /// Names of ports.
    pub port_names: BTreeSet<String>,
}

impl Asked {
    /// Takes a selector's keys and values.
    pub fn take(&mut self, selector: &Selector) {
        for Requirement { key, test } in selector.requirements() {
            let key = of_kubernetes(key);
            let values: &[Box<str>] = match test {
                Test::In(values) | Test::NotIn(values) => values,
                Test::Exists | Test::DoesNotExist => &[],
            };
            let values = values.iter().map(|value| value.to_string());
            if key == NAMESPACE || key == NAME_OF_NAMESPACE {
                self.namespaces.extend(values);
            } else if key.starts_with("k8s:") {
                self.labels.entry(key).or_default().extend(values);
            }
        }
    }
}

/// Pods and nodes have labels of one source: whichever it may be is that one.
pub fn of_kubernetes(key: &str) -> String {
    key.strip_prefix("any:").map_or_else(|| key.to_owned(), |key| format!("k8s:{key}"))
}

/// The variables of a case, and their domains.
#[derive(Debug)]
pub struct Variables {
    /// How many values each has.
    pub sizes: Vec<usize>,
    labels: [BTreeMap<String, Variable>; 2],
    values: BTreeMap<String, Vec<String>>,
    namespaces: [Variable; 2],
    names: Vec<String>,
    addresses: [Variable; 2],
    runs_api: [Variable; 2],
    port: Variable,
    named: BTreeMap<String, Variable>,
    pub regions: Vec<Region>,
    pub classes: Vec<PortClass>,
}

impl Variables {
    /// For what is asked, with the addresses and ports of one family.
    pub fn new(asked: &Asked, regions: Vec<Region>, classes: Vec<PortClass>) -> Self {
        let mut sizes = Vec::new();
        let mut add = |size: usize| {
            sizes.push(size);
            sizes.len() - 1
        };
        let values: BTreeMap<String, Vec<String>> =
            asked.labels.iter().map(|(key, values)| (key.clone(), values.iter().cloned().collect())).collect();
        let mut labels = || values.iter().map(|(key, all)| (key.clone(), add(VALUES + all.len()))).collect();
        let labels: [BTreeMap<String, Variable>; 2] = [labels(), labels()];
        let names: Vec<String> = asked.namespaces.iter().cloned().collect();
        let namespaces = [add(OTHER_NAMESPACES + names.len()), add(OTHER_NAMESPACES + names.len())];
        let addresses = [add(regions.len()), add(regions.len())];
        let runs_api = [add(2), add(2)];
        let port = add(classes.len());
        let named = asked.port_names.iter().map(|name| (name.clone(), add(2))).collect();
        Self { sizes, labels, values, namespaces, names, addresses, runs_api, port, named, regions, classes }
    }

    /// Nothing is known.
    pub fn domains(&self) -> Vec<Values> {
        self.sizes.iter().map(|size| Values::all(*size)).collect()
    }

    fn is(&self, variable: Variable, values: impl IntoIterator<Item = usize>) -> Formula {
        let set = Values::of(self.sizes[variable], values);
        match (set.first(), set.complement(self.sizes[variable]).first()) {
            (None, _) => Formula::FALSE,
            (_, None) => Formula::TRUE,
            _ => Formula::Is(variable, Rc::new(set)),
        }
    }

    /// What is asked of a label of a Pod or a node, by `k8s:key`.
    pub fn label(&self, side: Side, key: &str, test: &Test) -> Formula {
        if key == NAMESPACE || key == NAME_OF_NAMESPACE {
            let named = |wanted: &[Box<str>]| {
                let all = self.names.iter().enumerate().filter(|(_, name)| wanted.iter().any(|one| **one == ***name));
                all.map(|(at, _)| OTHER_NAMESPACES + at).collect::<Vec<_>>()
            };
            let variable = self.namespaces[side];
            return match test {
                Test::In(wanted) => self.is(variable, named(wanted)),
                Test::NotIn(wanted) => self.is(variable, named(wanted)).not(&self.sizes),
                Test::Exists => Formula::TRUE,
                Test::DoesNotExist => Formula::FALSE,
            };
        }
        let Some(variable) = self.labels[side].get(key).copied() else {
            // Nobody can have it: labels of another source.
            return Formula::Known(matches!(test, Test::NotIn(_) | Test::DoesNotExist));
        };
        let all = &self.values[key];
        let listed = |wanted: &[Box<str>]| {
            let found = all.iter().enumerate().filter(|(_, value)| wanted.iter().any(|one| **one == ***value));
            found.map(|(at, _)| VALUES + at).collect::<Vec<_>>()
        };
        match test {
            Test::In(wanted) => self.is(variable, listed(wanted)),
            Test::NotIn(wanted) => self.is(variable, listed(wanted)).not(&self.sizes),
            Test::Exists => self.is(variable, 1..self.sizes[variable]),
            Test::DoesNotExist => self.is(variable, [ABSENT]),
        }
    }

    /// The same of a node: namespaces have none.
    pub fn node_label(&self, side: Side, key: &str, test: &Test) -> Formula {
        if key == NAMESPACE || key == NAME_OF_NAMESPACE {
            return Formula::Known(matches!(test, Test::NotIn(_) | Test::DoesNotExist));
        }
        self.label(side, key, test)
    }

    /// The address is in one of the regions of which this holds.
    pub fn address(&self, side: Side, holds: impl Fn(&Region) -> bool) -> Formula {
        let found = self.regions.iter().enumerate().filter(|(_, region)| holds(region)).map(|(at, _)| at);
        self.is(self.addresses[side], found)
    }

    /// The port is in one of the classes of which this holds.
    pub fn port(&self, holds: impl Fn(&PortClass) -> bool) -> Formula {
        let found = self.classes.iter().enumerate().filter(|(_, class)| holds(class)).map(|(at, _)| at);
        self.is(self.port, found)
    }

    /// The destination gives this name to the port.
    pub fn named(&self, name: &str) -> Formula {
        self.named.get(name).map_or(Formula::FALSE, |variable| self.is(*variable, [1]))
    }

    /// The node runs the API server.
    pub fn runs_api(&self, side: Side) -> Formula {
        self.is(self.runs_api[side], [1])
    }

    /// What is always so of a Pod: its account is there; a namespace that is known has its labels.
    pub fn of_pod(&self, side: Side, always: &[&str], known: &BTreeMap<String, BTreeMap<String, String>>) -> Formula {
        let mut all: Vec<Formula> = always.iter().map(|key| self.label(side, key, &Test::Exists)).collect();
        // What is always there is decided where nobody asks about it, too.
        all.retain(|one| !matches!(one, Formula::Known(false)));
        for (name, labels) in known {
            let elsewhere = self.label(side, NAMESPACE, &Test::NotIn(vec![name.as_str().into()]));
            for (key, variable) in self.of_namespaces(side) {
                let own = key.trim_start_matches(NAMESPACE_LABELS);
                let value = match labels.get(own) {
                    None => ABSENT,
                    Some(value) => self.values[key].iter().position(|one| one == value).map_or(OTHER, |at| VALUES + at),
                };
                all.push(elsewhere.clone().or(self.is(variable, [value])));
            }
        }
        Formula::all(all)
    }

    /// Two Pods of one namespace see the same labels of it.
    pub fn of_two_pods(&self, known: &BTreeMap<String, BTreeMap<String, String>>) -> Formula {
        let mut all = Vec::new();
        for place in 0..self.sizes[self.namespaces[SOURCE]] {
            if place >= OTHER_NAMESPACES && known.contains_key(&self.names[place - OTHER_NAMESPACES]) {
                continue;
            }
            let here = [SOURCE, DESTINATION].map(|side| self.is(self.namespaces[side], [place]).not(&self.sizes));
            let elsewhere = Formula::any(here);
            let pairs = self.of_namespaces(SOURCE).zip(self.of_namespaces(DESTINATION));
            for ((_, one), (_, other)) in pairs {
                for value in 0..self.sizes[one] {
                    let (a, b) = (self.is(one, [value]), self.is(other, [value]));
                    let (not_a, not_b) = (a.not(&self.sizes), b.not(&self.sizes));
                    all.push(Formula::any([elsewhere.clone(), not_a, b]));
                    all.push(Formula::any([elsewhere.clone(), not_b, a]));
                }
            }
        }
        Formula::all(all)
    }

    fn of_namespaces(&self, side: Side) -> impl Iterator<Item = (&String, Variable)> {
        self.labels[side].iter().filter(|(key, _)| key.starts_with(NAMESPACE_LABELS)).map(|(key, at)| (key, *at))
    }

    /// The labels of an end, `k8s:key` = value: the plainest that the domains allow.
    pub fn labels_of(&self, side: Side, domains: &[Values]) -> Vec<(String, String)> {
        let chosen = self.labels[side].iter().filter_map(|(key, variable)| {
            let value = match domains[*variable].first()? {
                ABSENT => return None,
                OTHER => unused(&self.values[key], "other"),
                at => self.values[key][at - VALUES].clone(),
            };
            Some((key.clone(), value))
        });
        chosen.collect()
    }

    /// The namespace of an end.
    pub fn namespace_of(&self, side: Side, domains: &[Values]) -> String {
        match domains[self.namespaces[side]].first().unwrap_or(0) {
            at if at < OTHER_NAMESPACES => unused(&self.names, if at == 0 { "any" } else { "another" }),
            at => self.names[at - OTHER_NAMESPACES].clone(),
        }
    }

    /// Where its address is.
    pub fn region_of(&self, side: Side, domains: &[Values]) -> Option<&Region> {
        self.regions.get(domains[self.addresses[side]].first()?)
    }

    /// What is spoken.
    pub fn class_of(&self, domains: &[Values]) -> Option<&PortClass> {
        self.classes.get(domains[self.port].first()?)
    }

    /// Names that the destination gives to the port.
    pub fn names_of(&self, domains: &[Values]) -> Vec<String> {
        let given = self.named.iter().filter(|(_, variable)| domains[**variable].first() == Some(1));
        given.map(|(name, _)| name.clone()).collect()
    }

    /// Whether the node runs the API server.
    pub fn is_api(&self, side: Side, domains: &[Values]) -> bool {
        domains[self.runs_api[side]].first() == Some(1)
    }
}

/// A word that is not among these.
fn unused(words: &[String], word: &str) -> String {
    let mut found = word.to_owned();
    while words.contains(&found) {
        found.push_str("-x");
    }
    found
}
