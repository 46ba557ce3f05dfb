//! What is at a name of the zone: Kubernetes' DNS specification 1.1.0, paragraph by paragraph.

use std::{collections::BTreeSet, net::IpAddr};

use hickory_proto::rr::{Name, RData, rdata::TXT};

use super::{
    Entry, Facts, Found, Key, Table,
    records::{address, addresses, services, undashed},
};

impl Table {
    /// `labels` are those before the zone's own, from left to right, in lower case.
    pub fn lookup(&self, labels: &[&str]) -> Found {
        match labels {
            [] => Found::Here(self.apex()),
            // §2.2
            ["dns-version"] => Found::Here(vec![RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()]))]),
            ["dns"] | ["svc"] | ["pod"] => Found::Here(Vec::new()),
            ["ns", "dns"] => Found::Here(self.servers.iter().map(|server| address(*server)).collect()),
            [namespace, "svc"] => found_if(self.has_services(namespace)),
            [.., service, namespace, "svc"] => {
                let key = Key::new(*namespace, *service);
                let below = &labels[..labels.len() - 3];
                match self.services.get(&key) {
                    Some(entry) => self.service(&key, entry, below),
                    None => Found::Nothing,
                }
            }
            [namespace, "pod"] => found_if(self.has_pods(namespace)),
            // §2.6: deprecated, and only for Pods that there are.
            [label, namespace, "pod"] => match undashed(label) {
                Some(ip) if self.pods.contains_key(&((*namespace).to_owned(), ip)) => Found::Here(vec![address(ip)]),
                _ => Found::Nothing,
            },
            _ => Found::Nothing,
        }
    }

    fn service(&self, key: &Key, entry: &Entry, below: &[&str]) -> Found {
        match &entry.facts {
            None => Found::Nothing,
            // §2.5
            Some(Facts::External(name)) if below.is_empty() => Found::Alias(name.clone()),
            Some(Facts::External(_)) => Found::Nothing,
            // §2.3
            Some(Facts::Cluster { addresses: own, ports }) => match below {
                [] => Found::Here(addresses(own.iter().copied())),
                [protocol] => found_if(ports.iter().any(|port| is(protocol, &port.protocol))),
                [name, protocol] => {
                    let ports = ports.iter().filter(|port| is(name, &port.name) && is(protocol, &port.protocol));
                    let target = self.service_name(key);
                    let targets = ports.filter_map(|port| Some((target.clone()?, port.number))).collect();
                    let told = own.iter().filter_map(|address| Some((target.clone()?, *address))).collect();
                    services_of(&targets, told)
                }
                _ => Found::Nothing,
            },
            // §2.4
            Some(Facts::Headless { publish_not_ready }) => self.headless(key, entry, *publish_not_ready, below),
        }
    }

    fn headless(&self, key: &Key, entry: &Entry, publish_not_ready: bool, below: &[&str]) -> Found {
        let endpoints = || entry.endpoints(publish_not_ready);
        match below {
            // No ready endpoint: no such name.
            [] => here_unless_empty(addresses(endpoints().map(|endpoint| endpoint.address))),
            [protocol] if protocol.starts_with('_') => {
                let has = |port: &super::Port| is(protocol, &port.protocol);
                found_if(endpoints().any(|endpoint| endpoint.slice.ports.iter().any(has)))
            }
            [hostname] => {
                let named = endpoints().filter(|endpoint| endpoint.label() == **hostname);
                here_unless_empty(addresses(named.map(|endpoint| endpoint.address)))
            }
            // The number is the endpoint's own: with a target port that differs, the Service's leads nowhere, and CoreDNS
            // tells the endpoint's too.
            [name, protocol] => {
                let (mut targets, mut told) = (BTreeSet::new(), BTreeSet::new());
                for endpoint in endpoints() {
                    let ports = endpoint.slice.ports.iter();
                    for port in ports.filter(|port| is(name, &port.name) && is(protocol, &port.protocol)) {
                        if let Some(target) = self.endpoint_name(key, &endpoint.label()) {
                            told.insert((target.clone(), endpoint.address));
                            targets.insert((target, port.number));
                        }
                    }
                }
                services_of(&targets, told.into_iter().collect())
            }
            _ => Found::Nothing,
        }
    }

    fn has_services(&self, namespace: &str) -> bool {
        let all = self.services.range(Key::new(namespace, "")..);
        all.take_while(|(key, _)| key.namespace == namespace).any(|(_, entry)| entry.facts.is_some())
    }

    fn has_pods(&self, namespace: &str) -> bool {
        let first = (namespace.to_owned(), IpAddr::from([0, 0, 0, 0]));
        self.pods.range(first..).next().is_some_and(|((found, _), _)| found == namespace)
    }
}

/// `_http` is http.
fn is(label: &str, name: &str) -> bool {
    label.strip_prefix('_') == Some(name)
}

fn found_if(there_is: bool) -> Found {
    if there_is { Found::Here(Vec::new()) } else { Found::Nothing }
}

fn here_unless_empty(records: Vec<RData>) -> Found {
    if records.is_empty() { Found::Nothing } else { Found::Here(records) }
}

fn services_of(targets: &BTreeSet<(Name, u16)>, told: Vec<(Name, IpAddr)>) -> Found {
    if targets.is_empty() { Found::Nothing } else { Found::Services { records: services(targets), targets: told } }
}

/// Of Kubernetes' DNS-based service discovery.
const SCHEMA_VERSION: &str = "1.1.0";
