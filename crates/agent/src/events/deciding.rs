//! Which policies decided, and what they want to be told with it: in flows, and in what policy said of them.

use super::names::RuleFacts;
use super::record::Way;
use super::sight::Sight;
use datapath_layouts::EventKind;
use datapath_layouts::event::event_flags;
use flow_api::flow;
use policy::told::Named;
use std::sync::Arc;

/// The policies that denied, at the initiator's end and at the responder's: the one whose rule did, or those with default
/// deny that no rule opened.
pub(super) fn denied_by(sight: &Sight) -> (Vec<flow::Policy>, Vec<flow::Policy>) {
    let policies: Vec<flow::Policy> = match (sight.kind, sight.ended()) {
        (EventKind::Audit, _) | (EventKind::Drop, Some(Way::DeniedAtSource | Way::DeniedAtDestination)) => {
            let rule = sight.rule.iter().map(|rule| &rule.name);
            rule.chain(sight.default_deny()).map(policy).collect()
        }
        _ => return Default::default(),
    };
    // The judged end is the packet's receiver on the way in.
    let is_initiators = sight.has(event_flags::INGRESS) == sight.has(event_flags::REPLY);
    if is_initiators { (policies, Vec::new()) } else { (Vec::new(), policies) }
}

/// The policy whose rule allowed it.
pub(super) fn allowed(rule: &Option<Arc<RuleFacts>>) -> Vec<flow::Policy> {
    rule.iter().map(|rule| policy(&rule.name)).collect()
}

/// What the policies of these rules want to be told with what they say; each once.
pub(super) fn logs<'a>(rules: impl IntoIterator<Item = &'a Option<Arc<RuleFacts>>>) -> Vec<String> {
    let mut logs: Vec<String> = Vec::new();
    for log in rules.into_iter().flatten().filter_map(|rule| rule.log.as_deref()) {
        if logs.iter().all(|told| told != log) {
            logs.push(log.to_owned());
        }
    }
    logs
}

fn policy(named: &Named) -> flow::Policy {
    flow::Policy {
        name: named.name.clone(),
        namespace: named.namespace.clone(),
        kind: named.kind.clone(),
        labels: named.field.iter().map(|field| format!("malla:rule={field}")).collect(),
        revision: 0,
    }
}
