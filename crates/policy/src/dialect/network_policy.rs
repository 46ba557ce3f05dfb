//! Kubernetes NetworkPolicy (`networking.k8s.io/v1`).
//!
//! Where others leave something out, this does not: `ipBlock` matches Pods and nodes too, a named port on egress is
//! that of each destination. To and from the Pod's own node everything passes that no deny of another dialect forbids.

use super::{Mistake, labels};
use crate::rule::{
    Action, Dialect, Direction, Entity, Gap, Origin, Peer, Peers, PerDirection, Policy, PortMatch, PortSet, Ports,
    Rule, Scope, Subject, Tier, Transport,
};
use crate::selector::{NAMESPACE, Selector, Test};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// On an object of any dialect, `"true"`: judged and reported, not enforced.
pub const AUDIT: &str = "malla.dev/audit";

/// The rule form of an object.
///
/// # Errors
/// Every field that has no meaning. Such an object can't be enforced, not even in part: nobody can say what it meant.
pub fn convert(object: &NetworkPolicy) -> Result<Policy, Vec<Mistake>> {
    let meta = &object.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let mut reader = Reader::new(namespace);
    if namespace.is_empty() {
        reader.mistake("metadata.namespace", "is missing");
    }
    let spec = object.spec.clone().unwrap_or_default();
    if object.spec.is_none() {
        reader.mistake("spec", "is missing");
    }
    let pods = labels::selector(spec.pod_selector.as_ref(), "k8s:", "spec.podSelector", &mut reader.mistakes);
    let subject = Subject::Endpoints(in_namespace(pods, namespace));
    let default_deny = reader.policy_types(spec.policy_types.as_deref(), spec.egress.is_some());
    if default_deny.ingress {
        for (at, rule) in spec.ingress.iter().flatten().enumerate() {
            let field = format!("spec.ingress[{at}]");
            reader.rule(Direction::Ingress, at, &field, ("from", rule.from.as_deref()), rule.ports.as_deref());
        }
    }
    if default_deny.egress {
        for (at, rule) in spec.egress.iter().flatten().enumerate() {
            let field = format!("spec.egress[{at}]");
            reader.rule(Direction::Egress, at, &field, ("to", rule.to.as_deref()), rule.ports.as_deref());
        }
        reader.rules.push(to_the_own_node());
    }
    if !reader.mistakes.is_empty() {
        return Err(reader.mistakes);
    }
    let (origin, audit) = (origin(meta), is_audited(meta));
    Ok(Policy { origin, subject, default_deny, rules: reader.rules, audit, log: None, gaps: reader.gaps })
}

/// What is enforced of an object that [`convert`] refuses and of which no better version is known: nothing is allowed to
/// the Pods that it selects, in the directions that it governs (in both, where it can't be read which). None where it
/// can't be read whom it selects.
#[must_use]
pub fn closed(object: &NetworkPolicy) -> Option<Policy> {
    let (meta, spec) = (&object.metadata, object.spec.as_ref()?);
    let namespace = meta.namespace.as_deref().filter(|name| !name.is_empty())?;
    let mut reader = Reader::new(namespace);
    let pods = labels::selector(spec.pod_selector.as_ref(), "k8s:", "spec.podSelector", &mut reader.mistakes);
    if !reader.mistakes.is_empty() {
        return None;
    }
    let mut default_deny = reader.policy_types(spec.policy_types.as_deref(), spec.egress.is_some());
    if !reader.mistakes.is_empty() {
        default_deny = PerDirection { ingress: true, egress: true };
    }
    Some(Policy {
        origin: origin(meta),
        subject: Subject::Endpoints(in_namespace(pods, namespace)),
        default_deny,
        rules: if default_deny.egress { vec![to_the_own_node()] } else { Vec::new() },
        audit: is_audited(meta),
        log: None,
        gaps: Vec::new(),
    })
}

fn origin(meta: &ObjectMeta) -> Origin {
    Origin {
        dialect: Dialect::Kubernetes,
        kind: "NetworkPolicy".into(),
        namespace: meta.namespace.as_deref().unwrap_or_default().into(),
        name: meta.name.as_deref().unwrap_or_default().into(),
        uid: meta.uid.as_deref().unwrap_or_default().into(),
        part: 0,
    }
}

fn is_audited(meta: &ObjectMeta) -> bool {
    meta.annotations.as_ref().and_then(|all| all.get(AUDIT)).is_some_and(|value| value == "true")
}

/// From it, every subject gets the same without being told (`allow-localhost-ingress`).
fn to_the_own_node() -> Rule {
    Rule {
        direction: Direction::Egress,
        tier: Tier::Normal,
        order: u16::MAX,
        action: Action::Allow,
        peers: Peers::OneOf(vec![Peer::Entity(Entity::Host)]),
        ports: Ports::Any,
        field: "spec.policyTypes".into(),
    }
}

fn in_namespace(selector: Selector, namespace: &str) -> Selector {
    selector.and(NAMESPACE, Test::In(vec![namespace.into()]))
}

struct Reader<'a> {
    namespace: &'a str,
    mistakes: Vec<Mistake>,
    gaps: Vec<Gap>,
    rules: Vec<Rule>,
}

impl<'a> Reader<'a> {
    const fn new(namespace: &'a str) -> Self {
        Self { namespace, mistakes: Vec::new(), gaps: Vec::new(), rules: Vec::new() }
    }

    fn mistake(&mut self, field: impl Into<String>, text: impl Into<String>) {
        self.mistakes.push(Mistake { field: field.into(), text: text.into() });
    }

    /// Which directions the policy governs. Missing: ingress always, egress if there is anything about it.
    fn policy_types(&mut self, types: Option<&[String]>, has_egress: bool) -> PerDirection<bool> {
        let Some(types) = types.filter(|types| !types.is_empty()) else {
            return PerDirection { ingress: true, egress: has_egress };
        };
        let mut governed = PerDirection::default();
        for (at, name) in types.iter().enumerate() {
            match name.as_str() {
                "Ingress" => governed.ingress = true,
                "Egress" => governed.egress = true,
                _ => self.mistake(format!("spec.policyTypes[{at}]"), format!("{name}: must be Ingress or Egress")),
            }
        }
        governed
    }

    fn rule(
        &mut self,
        direction: Direction,
        at: usize,
        field: &str,
        peers: (&str, Option<&[NetworkPolicyPeer]>),
        ports: Option<&[NetworkPolicyPort]>,
    ) {
        let (name, list) = peers;
        let list = list.unwrap_or_default();
        let mut found = Vec::new();
        for (index, peer) in list.iter().enumerate() {
            found.extend(self.peer(peer, &format!("{field}.{name}[{index}]")));
        }
        // Missing and empty are the same here: everybody, everything.
        let peers = if list.is_empty() { Peers::Any } else { Peers::OneOf(found) };
        let ports = self.ports(ports.unwrap_or_default(), field);
        let by_address = matches!(&peers, Peers::OneOf(peers) if peers.iter().any(|p| matches!(p, Peer::Cidr { .. })));
        let named = |port: &PortMatch| matches!(port, PortMatch::Port(_, PortSet::Named(_)));
        let by_name = matches!(&ports, Ports::OneOf(ports) if ports.iter().any(named));
        if direction == Direction::Egress && by_address && by_name {
            self.gaps.push(Gap {
                field: format!("{field}.ports"),
                why: "a named port is a port of Pods, and an ipBlock names none: together they allow nothing".into(),
            });
        }
        self.rules.push(Rule {
            direction,
            tier: Tier::Normal,
            order: u16::try_from(at).unwrap_or(u16::MAX),
            action: Action::Allow,
            peers,
            ports,
            field: field.into(),
        });
    }

    fn peer(&mut self, peer: &NetworkPolicyPeer, field: &str) -> Option<Peer> {
        let NetworkPolicyPeer { ip_block, namespace_selector, pod_selector } = peer;
        match (ip_block, namespace_selector, pod_selector) {
            (Some(block), None, None) => self.ip_block(block, &format!("{field}.ipBlock")),
            (Some(_), ..) => {
                self.mistake(field, "ipBlock can't stand together with a selector: make it a peer of its own");
                None
            }
            (None, None, None) => {
                self.mistake(field, "names nobody: needs podSelector, namespaceSelector or ipBlock");
                None
            }
            (None, namespaces, pods) => {
                let pod_field = format!("{field}.podSelector");
                let pods = labels::selector(pods.as_ref(), "k8s:", &pod_field, &mut self.mistakes);
                let Some(namespaces) = namespaces else {
                    return Some(Peer::Endpoints(in_namespace(pods, self.namespace)));
                };
                let field = format!("{field}.namespaceSelector");
                let of_namespace =
                    labels::selector(Some(namespaces), crate::selector::NAMESPACE_LABELS, &field, &mut self.mistakes);
                let both = [pods.requirements(), of_namespace.requirements()].concat();
                // What has no namespace is no Pod.
                Some(Peer::Endpoints(Selector::new(both).and(NAMESPACE, Test::Exists)))
            }
        }
    }

    fn ip_block(&mut self, block: &IPBlock, field: &str) -> Option<Peer> {
        let net = self.cidr(&block.cidr, format!("{field}.cidr"))?;
        let mut except = Vec::new();
        for (at, text) in block.except.iter().flatten().enumerate() {
            let field = format!("{field}.except[{at}]");
            let Some(inner) = self.cidr(text, field.clone()) else { continue };
            if net.contains(&inner) && net != inner {
                except.push(inner);
            } else {
                self.mistake(field, format!("{text} is not a part of {}", block.cidr));
            }
        }
        Some(Peer::Cidr { net, except, scope: Scope::Everyone })
    }

    fn cidr(&mut self, text: &str, field: String) -> Option<IpNet> {
        match text.parse::<IpNet>() {
            Ok(IpNet::V6(net)) if net.addr().to_ipv4_mapped().is_some() => {
                self.mistake(field, format!("{text} is an IPv4 prefix: write it as one"));
                None
            }
            Ok(net) => Some(net.trunc()),
            Err(_) => {
                self.mistake(field, format!("{text:?} is no prefix: write it like 10.0.0.0/8 or fd00::/8"));
                None
            }
        }
    }

    fn ports(&mut self, list: &[NetworkPolicyPort], field: &str) -> Ports {
        if list.is_empty() {
            return Ports::Any;
        }
        let mut found = Vec::new();
        for (at, port) in list.iter().enumerate() {
            found.extend(self.port(port, &format!("{field}.ports[{at}]")));
        }
        Ports::OneOf(found)
    }

    fn port(&mut self, port: &NetworkPolicyPort, field: &str) -> Option<PortMatch> {
        let transport = match port.protocol.as_deref() {
            None | Some("TCP") => Transport::Tcp,
            Some("UDP") => Transport::Udp,
            Some("SCTP") => Transport::Sctp,
            Some(other) => {
                self.mistake(format!("{field}.protocol"), format!("{other:?}: must be TCP, UDP or SCTP"));
                return None;
            }
        };
        let set = match (&port.port, port.end_port) {
            (None, None) => PortSet::All,
            (Some(IntOrString::Int(number)), end) => {
                let first = self.number(*number, format!("{field}.port"))?;
                let last = end.map_or(Some(first), |end| self.number(end, format!("{field}.endPort")))?;
                if last < first {
                    self.mistake(format!("{field}.endPort"), format!("{last} is below port {first}"));
                    return None;
                }
                PortSet::Range(first, last)
            }
            (Some(IntOrString::String(name)), None) if is_port_name(name) => PortSet::Named(name.as_str().into()),
            (Some(IntOrString::String(name)), None) => {
                self.mistake(format!("{field}.port"), format!("{name:?} is no name of a port"));
                return None;
            }
            (_, Some(_)) => {
                self.mistake(format!("{field}.endPort"), "needs a port that is a number");
                return None;
            }
        };
        Some(PortMatch::Port(transport, set))
    }

    fn number(&mut self, number: i32, field: String) -> Option<u16> {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        if port.is_none() {
            self.mistake(field, format!("{number}: must be 1 to 65535"));
        }
        port
    }
}

/// `IANA_SVC_NAME` of RFC 6335 §5.1, lower case as Kubernetes has it.
fn is_port_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=15).contains(&name.len())
        && name.chars().all(known)
        && name.contains(|c: char| c.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

#[cfg(test)]
#[path = "network_policy_tests.rs"]
mod tests;
