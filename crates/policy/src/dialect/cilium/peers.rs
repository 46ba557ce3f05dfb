//! Who a rule is about.

use super::section::Section;
use super::{Frame, cidr, scope};
use crate::dialect::references::{ServiceFacts, selects};
use crate::dialect::{Findings, selectors};
use crate::rule::{Action, Entity, Peer, Peers, Scope};
use crate::selector::{NAMESPACE, Requirement, Selector, Test};
use custom_resources::cilium_policy::ServiceRule;
use ipnet::IpNet;
use std::net::IpAddr;

/// The peers of a rule; none where it names none, which means everybody if there are ports.
pub(super) fn convert(
    section: &Section<'_>,
    field: &str,
    frame: Frame<'_>,
    action: Action,
    findings: &mut Findings,
) -> Option<Peers> {
    let lists = section.lists();
    let mut kinds = lists.iter().filter(|(_, count)| count.is_some_and(|count| count > 0)).map(|(name, _)| *name);
    if let (Some(first), Some(second)) = (kinds.next(), kinds.next()) {
        let (first, second) = (section.name(first), section.name(second));
        findings.mistake(
            format!("{field}.{second}"),
            format!("stands beside {first}: a rule has one kind of peers; write it as a rule of its own"),
        );
    }
    if lists.iter().all(|(_, count)| count.is_none()) {
        return None;
    }
    let mut all = Gathered { field, section, frame, list: Vec::new(), unknown: false };
    all.endpoints(findings);
    all.cidrs(findings);
    all.entities(findings);
    all.services(findings);
    all.not_enforced(findings);
    // A list that is there and empty selects nobody, whatever stands in the others.
    if lists.iter().any(|(_, count)| *count == Some(0)) {
        return Some(Peers::OneOf(Vec::new()));
    }
    if all.unknown && action == Action::Deny { Some(Peers::Any) } else { Some(Peers::OneOf(all.list)) }
}

struct Gathered<'a> {
    field: &'a str,
    section: &'a Section<'a>,
    frame: Frame<'a>,
    list: Vec<Peer>,
    /// Some peers can't be told apart from others: a deny has to mean everybody.
    unknown: bool,
}

impl Gathered<'_> {
    fn place(&self, list: &str, index: usize) -> String {
        format!("{}.{}[{index}]", self.field, self.section.name(list))
    }

    fn gap(&mut self, field: String, what: &str, findings: &mut Findings) {
        self.unknown = true;
        findings.gap(field, format!("{what}: an allow of it adds nothing, a deny denies everybody"));
    }

    fn endpoints(&mut self, findings: &mut Findings) {
        for (index, selector) in self.section.endpoints.unwrap_or_default().iter().enumerate() {
            let field = self.place("Endpoints", index);
            let converted = scope::of_peers(selector, &field, self.frame.namespace, findings);
            if selectors::keys(selector).any(scope::is_not_held) {
                self.gap(field, "labels of prefixes and names are not held here; write CIDR or CIDRSet", findings);
            } else {
                self.list.push(Peer::Endpoints(converted));
            }
        }
        for (index, selector) in self.section.nodes.unwrap_or_default().iter().enumerate() {
            let field = self.place("Nodes", index);
            self.list.push(Peer::Nodes(scope::plain(selector, &field, findings)));
        }
    }

    fn cidrs(&mut self, findings: &mut Findings) {
        let scope = self.frame.cidr_scope;
        for (index, text) in self.section.cidr.unwrap_or_default().iter().enumerate() {
            if let Some(net) = cidr::prefix_or_address(text, &self.place("CIDR", index), findings) {
                self.list.push(Peer::Cidr { net, except: Vec::new(), scope });
            }
        }
        for (index, rule) in self.section.cidr_set.unwrap_or_default().iter().enumerate() {
            let field = self.place("CIDRSet", index);
            self.list.extend(cidr::set(rule, &field, self.frame.references, scope, findings));
        }
    }

    fn entities(&mut self, findings: &mut Findings) {
        for (index, name) in self.section.entities.unwrap_or_default().iter().enumerate() {
            match entity(name) {
                Some(entity) => self.list.push(Peer::Entity(entity)),
                None => {
                    let names = ENTITIES.map(|(name, _)| name).join(", ");
                    findings.mistake(self.place("Entities", index), format!("is {name:?}: write one of {names}"));
                }
            }
        }
    }

    fn services(&mut self, findings: &mut Findings) {
        for (index, rule) in self.section.services.unwrap_or_default().iter().enumerate() {
            let field = self.place("Services", index);
            let mut found = false;
            for ((namespace, _), service) in wanted(rule, &field, self.frame, findings) {
                found = true;
                self.list.extend(behind(namespace, service));
            }
            if !found {
                findings.gap(field, "no such Service: it stands for nobody until there is one");
            }
        }
    }

    fn not_enforced(&mut self, findings: &mut Findings) {
        let lists = [
            ("Groups", self.section.groups.map_or(0, <[_]>::len), "groups of a cloud's provider are not enforced yet"),
            ("FQDNs", self.section.fqdns.map_or(0, <[_]>::len), "names are not enforced yet"),
        ];
        for (list, count, why) in lists {
            if count > 0 {
                self.gap(format!("{}.{}", self.field, self.section.name(list)), why, findings);
            }
        }
        for (index, name) in self.section.fqdns.unwrap_or_default().iter().enumerate() {
            if name.match_name.is_some() == name.match_pattern.is_some() {
                findings.mistake(self.place("FQDNs", index), "needs exactly one of matchName and matchPattern");
            }
        }
    }
}

type Service<'a> = (&'a (String, String), &'a ServiceFacts);

/// The Services that a rule names: by name, by labels, or by both.
fn wanted<'a>(rule: &ServiceRule, field: &str, frame: Frame<'a>, findings: &mut Findings) -> Vec<Service<'a>> {
    let mut named = None;
    if let Some(service) = &rule.k8s_service {
        let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let name = text(&service.service_name);
        let namespace = text(&service.namespace).or_else(|| frame.namespace.map(str::to_owned));
        if name.is_none() {
            findings.mistake(format!("{field}.k8sService.serviceName"), "is missing");
        }
        if namespace.is_none() {
            findings.mistake(
                format!("{field}.k8sService.namespace"),
                "is missing: a clusterwide policy has none of its own",
            );
        }
        named = Some((namespace.unwrap_or_default(), name.unwrap_or_default()));
    }
    let selected = rule.k8s_service_selector.as_ref();
    if let Some(by) = selected {
        // Read for what is wrong in it; the selection itself is by the labels as the Service has them.
        selectors::kubernetes(&by.selector, &format!("{field}.k8sServiceSelector.selector"), findings);
    }
    if named.is_none() && selected.is_none() {
        findings.mistake(field, "names no Service: write k8sService or k8sServiceSelector");
        return Vec::new();
    }
    let fits = |(key, service): &Service<'_>| {
        named.as_ref().is_none_or(|named| named == *key)
            && selected.is_none_or(|by| {
                by.namespace.as_ref().is_none_or(|namespace| namespace.is_empty() || *namespace == key.0)
                    && selects(&by.selector, &service.labels)
            })
    };
    frame.references.services.iter().filter(fits).collect()
}

/// Whom a Service stands for: the Pods that it selects, or the addresses that somebody wrote for it. Those are meant as
/// they are, so also where a node has them (as with the Service of the API server), whatever prefixes match otherwise.
fn behind(namespace: &str, service: &ServiceFacts) -> Vec<Peer> {
    if service.selector.is_empty() {
        let peer =
            |address: &IpAddr| Peer::Cidr { net: IpNet::from(*address), except: Vec::new(), scope: Scope::Everyone };
        return service.addresses.iter().map(peer).collect();
    }
    let label = |(key, value): (&String, &String)| Requirement {
        key: format!("k8s:{key}").into(),
        test: Test::In(vec![value.as_str().into()]),
    };
    let selector = Selector::new(service.selector.iter().map(label).collect());
    vec![Peer::Endpoints(selector.and(NAMESPACE, Test::In(vec![namespace.into()])))]
}

fn entity(name: &str) -> Option<Entity> {
    ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, entity)| *entity)
}

/// Cilium's `pkg/policy/api/entity.go`.
const ENTITIES: [(&str, Entity); 13] = [
    ("all", Entity::All),
    ("world", Entity::World),
    ("world-ipv4", Entity::WorldIpv4),
    ("world-ipv6", Entity::WorldIpv6),
    ("cluster", Entity::Cluster),
    ("host", Entity::Host),
    ("init", Entity::Init),
    ("ingress", Entity::Ingress),
    ("unmanaged", Entity::Unmanaged),
    ("remote-node", Entity::RemoteNode),
    ("health", Entity::Health),
    ("none", Entity::None),
    ("kube-apiserver", Entity::KubeApiserver),
];
