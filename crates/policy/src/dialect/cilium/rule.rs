//! One rule of an object → whom it governs, and what it allows and denies.

use super::section::Section;
use super::{Frame, peers, ports, scope};
use crate::dialect::Findings;
use crate::rule::{Action, Direction, Peer, Peers, PerDirection, Ports, Rule, Subject, Tier};
use crate::selector::Selector;
use custom_resources::cilium_policy::PolicyRule;

/// A rule of an object, in the one form.
pub(super) struct Converted {
    pub subject: Subject,
    pub default_deny: PerDirection<bool>,
    pub rules: Vec<Rule>,
    pub log: Option<Box<str>>,
}

pub(super) fn convert(rule: &PolicyRule, field: &str, frame: Frame<'_>, findings: &mut Findings) -> Converted {
    let subject = subject(rule, field, frame, findings);
    if rule.ingress.is_none() && rule.ingress_deny.is_none() && rule.egress.is_none() && rule.egress_deny.is_none() {
        findings.mistake(field, "says nothing: write at least one of ingress, ingressDeny, egress and egressDeny");
    }
    let mut sections = Sections { field, frame, findings, rules: Vec::new() };
    let ingress = sections.add("ingress", Action::Allow, rule.ingress.as_deref());
    let ingress_deny = sections.add("ingressDeny", Action::Deny, rule.ingress_deny.as_deref());
    let egress = sections.add("egress", Action::Allow, rule.egress.as_deref());
    let egress_deny = sections.add("egressDeny", Action::Deny, rule.egress_deny.as_deref());
    let rules = sections.rules;
    let asked = rule.enable_default_deny.unwrap_or_default();
    let default_deny = PerDirection {
        ingress: asked.ingress.unwrap_or(ingress || ingress_deny),
        egress: asked.egress.unwrap_or(egress || egress_deny),
    };
    Converted { subject, default_deny, rules, log: log(rule) }
}

/// Of a rule that can't be read whole, all that is read: whom it governs, and in which directions. None where it can't be
/// read whom.
pub(super) fn closed(rule: &PolicyRule, field: &str, frame: Frame<'_>) -> Option<Converted> {
    let mut findings = Findings::default();
    let subject = subject(rule, field, frame, &mut findings);
    if !findings.mistakes.is_empty() {
        return None;
    }
    let (ingress_deny, egress_deny) = (has_rules(&rule.ingress_deny), has_rules(&rule.egress_deny));
    let (ingress, egress) = (ingress_deny || has_rules(&rule.ingress), egress_deny || has_rules(&rule.egress));
    // Who says nothing of either may have meant both.
    let nothing = !ingress && !egress;
    let asked = rule.enable_default_deny.unwrap_or_default();
    let default_deny = PerDirection {
        ingress: nothing || asked.ingress.unwrap_or(ingress),
        egress: nothing || asked.egress.unwrap_or(egress),
    };
    let deny = |direction, name: &str| Rule {
        direction,
        tier: Tier::Normal,
        order: 0,
        action: Action::Deny,
        peers: Peers::Any,
        ports: Ports::Any,
        field: format!("{field}.{name}").into(),
    };
    let mut rules = Vec::new();
    if ingress_deny {
        rules.push(deny(Direction::Ingress, "ingressDeny"));
    }
    if egress_deny {
        rules.push(deny(Direction::Egress, "egressDeny"));
    }
    Some(Converted { subject, default_deny, rules, log: log(rule) })
}

fn has_rules<R>(section: &Option<Vec<R>>) -> bool {
    section.as_ref().is_some_and(|rules| !rules.is_empty())
}

fn log(rule: &PolicyRule) -> Option<Box<str>> {
    rule.log.as_ref().and_then(|log| log.value.as_deref()).filter(|text| !text.is_empty()).map(Box::from)
}

fn subject(rule: &PolicyRule, field: &str, frame: Frame<'_>, findings: &mut Findings) -> Subject {
    match (&rule.endpoint_selector, &rule.node_selector) {
        (Some(selector), None) => {
            let field = format!("{field}.endpointSelector");
            return Subject::Endpoints(scope::of_subject(selector, &field, frame.namespace, findings));
        }
        (None, Some(selector)) => {
            let field = format!("{field}.nodeSelector");
            if frame.namespace.is_some() {
                findings.mistake(&field, "governs nodes, which only a CiliumClusterwideNetworkPolicy may");
            }
            return Subject::Nodes(scope::plain(selector, &field, findings));
        }
        (None, None) => {
            findings.mistake(format!("{field}.endpointSelector"), "is missing: write {} to govern every endpoint");
        }
        (Some(_), Some(_)) => {
            findings.mistake(format!("{field}.nodeSelector"), "excludes endpointSelector: write two rules");
        }
    }
    Subject::Endpoints(Selector::default())
}

/// Gathers the rules of all four sections.
struct Sections<'a, 'f> {
    field: &'a str,
    frame: Frame<'a>,
    findings: &'f mut Findings,
    rules: Vec<Rule>,
}

impl Sections<'_, '_> {
    /// Takes a section. Whether it has any rule: an empty list is as good as none.
    fn add<'r, R>(&mut self, name: &str, action: Action, list: Option<&'r [R]>) -> bool
    where
        Section<'r>: From<&'r R>,
    {
        let list = list.unwrap_or_default();
        for (index, rule) in list.iter().enumerate() {
            let field = format!("{}.{name}[{index}]", self.field);
            match u16::try_from(index) {
                Ok(order) => self.one(&Section::from(rule), &field, order, action),
                Err(_) => {
                    self.findings.mistake(field, "is one rule too many: a section holds at most 65536");
                    break;
                }
            }
        }
        !list.is_empty()
    }

    fn one(&mut self, section: &Section<'_>, field: &str, order: u16, action: Action) {
        let mut push = |action, peers, ports| {
            let direction = section.direction;
            self.rules.push(Rule { direction, tier: Tier::Normal, order, action, peers, ports, field: field.into() });
        };
        // What every peer has to match is a deny of all that don't: so it holds for the other rules too.
        for (index, selector) in section.requires.unwrap_or_default().iter().enumerate() {
            let field = format!("{field}.{}[{index}]", section.name("Requires"));
            let selector = scope::of_peers(selector, &field, self.frame.namespace, self.findings);
            push(Action::Deny, Peers::OneOf(vec![Peer::OtherEndpoints(selector)]), Ports::Any);
        }
        let peers = peers::convert(section, field, self.frame, action, self.findings);
        let ports = ports::convert(section, field, action, self.findings);
        let trusted = is_trusted(section, field, action, self.findings);
        let wildcard = peers.is_none();
        if wildcard && (section.requires.is_some_and(|all| !all.is_empty()) || ports.is_none()) {
            // Nobody is named and nothing is: the rule closes its direction and does no more.
            return;
        }
        let (peers, ports) = (peers.unwrap_or(Peers::Any), ports.unwrap_or(Ports::Any));
        let nobody = matches!(&peers, Peers::OneOf(list) if list.is_empty());
        let nothing = matches!(&ports, Ports::OneOf(list) if list.is_empty());
        if trusted && !nobody && !nothing {
            push(action, peers, ports);
        }
    }
}

/// Whether what the rule allows is allowed without a proof of who the peer is.
fn is_trusted(section: &Section<'_>, field: &str, action: Action, findings: &mut Findings) -> bool {
    let Some(authentication) = section.authentication else { return true };
    let place = format!("{field}.authentication.mode");
    match authentication.mode.as_str() {
        "disabled" => true,
        "required" | "test-always-fail" => {
            findings.gap(place, "authentication is not enforced yet: the rule allows nothing");
            action == Action::Deny
        }
        other => {
            findings.mistake(place, format!("is {other:?}: write disabled, required or test-always-fail"));
            false
        }
    }
}
