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
        (EventKind::Audit, _)
        | (EventKind::Drop | EventKind::EndOfFlow, Some(Way::DeniedAtSource | Way::DeniedAtDestination)) => {
            let rule = sight.rule.iter().map(|rule| (&rule.name, rule.uid.as_deref()));
            rule.chain(sight.denying()).map(|(named, uid)| policy(named, uid, sight.revision)).collect()
        }
        _ => return Default::default(),
    };
    // The judged end is the packet's receiver on the way in.
    let is_initiators =
        sight.denied_elsewhere.is_none() && sight.has(event_flags::INGRESS) == sight.has(event_flags::REPLY);
    if is_initiators { (policies, Vec::new()) } else { (Vec::new(), policies) }
}

/// The policy whose rule allowed it.
pub(super) fn allowed(sight: &Sight, rule: &Option<Arc<RuleFacts>>) -> Vec<flow::Policy> {
    rule.iter().map(|rule| policy(&rule.name, rule.uid.as_deref(), sight.revision)).collect()
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

/// `uid`: as [`RuleFacts::uid`].
fn policy(named: &Named, uid: Option<&str>, revision: u64) -> flow::Policy {
    let mut labels = uid.map_or_else(Vec::new, |uid| of_object(named, uid));
    labels.extend(named.field.iter().map(|field| format!("malla:rule={field}")));
    flow::Policy {
        name: named.name.clone(),
        namespace: named.namespace.clone(),
        kind: named.kind.clone(),
        labels,
        revision,
    }
}

/// Which object it was, as Cilium says it of every rule that it makes of one (`GetPolicyLabels` of
/// `pkg/k8s/apis/cilium.io/utils`), in the same order.
fn of_object(named: &Named, uid: &str) -> Vec<String> {
    let told = [("derived-from", &*named.kind), ("name", &*named.name), ("namespace", &*named.namespace), ("uid", uid)];
    let known = told.into_iter().filter(|(_, value)| !value.is_empty());
    known.map(|(key, value)| format!("k8s:io.cilium.k8s.policy.{key}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(kind: &str, namespace: &str, field: Option<&str>) -> Named {
        let field = field.map(str::to_owned);
        Named { kind: kind.into(), namespace: namespace.into(), name: "shut".into(), field }
    }

    #[test]
    fn a_policy_is_labelled_by_the_object_that_it_was_made_of() {
        let told = policy(&named("NetworkPolicy", "shop", Some("spec.ingress[0]")), Some("17-4"), 9);
        let all = [
            "k8s:io.cilium.k8s.policy.derived-from=NetworkPolicy",
            "k8s:io.cilium.k8s.policy.name=shut",
            "k8s:io.cilium.k8s.policy.namespace=shop",
            "k8s:io.cilium.k8s.policy.uid=17-4",
            "malla:rule=spec.ingress[0]",
        ];
        assert_eq!((told.labels.as_slice(), told.revision), (all.map(str::to_owned).as_slice(), 9));
        let clusterwide = policy(&named("CiliumClusterwideNetworkPolicy", "", None), Some("17-5"), 0);
        let all = [
            "k8s:io.cilium.k8s.policy.derived-from=CiliumClusterwideNetworkPolicy",
            "k8s:io.cilium.k8s.policy.name=shut",
            "k8s:io.cilium.k8s.policy.uid=17-5",
        ];
        assert_eq!(clusterwide.labels, all, "it has no namespace");
        let without = policy(&named("NetworkPolicy", "shop", None), Some(""), 0);
        assert_eq!(without.labels.len(), 3, "its object has no uid: {:?}", without.labels);
    }

    #[test]
    fn what_nobody_wrote_is_of_no_object() {
        let told = policy(&named("Failsafe", "", Some("ingress")), None, 9);
        assert_eq!((told.labels, told.kind.as_str()), (vec!["malla:rule=ingress".to_owned()], "Failsafe"));
    }
}
