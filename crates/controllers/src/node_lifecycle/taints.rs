//! The taints that say why a Node should get no Pods (`node.kubernetes.io/…`), and what tolerates them.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, Taint, Toleration},
    apimachinery::pkg::apis::meta::v1::Time,
};

/// The Node says that it is not ready.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The Node says nothing at all.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Someone ran `kubectl cordon`.
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// What the Ready condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// `True`.
    Ready,
    /// `False`.
    NotReady,
    /// `Unknown`: too long without a sign of life.
    Unknown,
    /// The Node never said anything yet.
    NeverReported,
}

/// Reads the Ready condition.
pub fn readiness(node: &Node) -> Readiness {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    match conditions.into_iter().find(|condition| condition.type_ == "Ready").map(|ready| ready.status.as_str()) {
        Some("True") => Readiness::Ready,
        Some("False") => Readiness::NotReady,
        Some(_) => Readiness::Unknown,
        None => Readiness::NeverReported,
    }
}

/// The taints that a Node should carry, or `None` when it carries them already. Taints of other people stay.
pub fn wanted(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
    let held: Vec<Taint> = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).cloned().collect();
    let mut own: Vec<(&str, &str)> = match readiness(node) {
        Readiness::Ready => vec![],
        Readiness::NotReady => vec![(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")],
        Readiness::Unknown => vec![(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")],
        // As a kubelet registers: nobody comes before the first report, but nobody is sent away either.
        Readiness::NeverReported => vec![(NOT_READY, "NoSchedule")],
    };
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        own.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let is_ours = |taint: &Taint| [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str());
    let mut wanted: Vec<Taint> = held
        .iter()
        .filter(|taint| !is_ours(taint) || own.contains(&(taint.key.as_str(), taint.effect.as_str())))
        .cloned()
        .collect();
    for (key, effect) in own {
        if !wanted.iter().any(|taint| taint.key == key && taint.effect == effect) {
            wanted.push(Taint { key: key.into(), effect: effect.into(), value: None, time_added: Some(Time(now)) });
        }
    }
    (wanted != held).then_some(wanted)
}

/// True when the toleration covers the taint (`Toleration.ToleratesTaint`): an empty key with Exists covers all keys,
/// an empty effect all effects.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "" | "Equal" => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::NodeCondition;

    fn node(ready: Option<&str>, unschedulable: bool, taints: &[(&str, &str)]) -> Node {
        let mut node = Node::default();
        let spec = node.spec.get_or_insert_default();
        spec.unschedulable = Some(unschedulable);
        spec.taints = Some(
            taints
                .iter()
                .map(|(key, effect)| Taint { key: (*key).into(), effect: (*effect).into(), ..Default::default() })
                .collect(),
        );
        node.status.get_or_insert_default().conditions = ready
            .map(|status| vec![NodeCondition { type_: "Ready".into(), status: status.into(), ..Default::default() }]);
        node
    }

    fn check(node: &Node, expected: Option<&[(&str, &str)]>) {
        let wanted = wanted(node, Timestamp::UNIX_EPOCH);
        let pairs: Option<Vec<(&str, &str)>> = wanted
            .as_ref()
            .map(|taints| taints.iter().map(|taint| (taint.key.as_str(), taint.effect.as_str())).collect());
        assert_eq!(pairs.as_deref(), expected);
    }

    #[test]
    fn taints_follow_readiness_and_leave_others_alone() {
        let mine = ("example.com/gpu", "NoSchedule");
        check(&node(Some("True"), false, &[mine]), None);
        check(
            &node(Some("Unknown"), false, &[mine]),
            Some(&[mine, (UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        );
        check(
            &node(Some("False"), false, &[(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
            Some(&[(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        );
        check(&node(Some("True"), false, &[(NOT_READY, "NoSchedule"), mine]), Some(&[mine]));
        check(&node(None, false, &[]), Some(&[(NOT_READY, "NoSchedule")]));
        check(&node(Some("True"), true, &[]), Some(&[(UNSCHEDULABLE, "NoSchedule")]));
        check(&node(Some("True"), false, &[(UNSCHEDULABLE, "NoSchedule")]), Some(&[]));
    }

    #[test]
    fn tolerations() {
        let taint = Taint { key: "k".into(), value: Some("v".into()), effect: "NoSchedule".into(), time_added: None };
        let toleration = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
            key: Some(key.into()),
            operator: Some(operator.into()),
            value: Some(value.into()),
            effect: Some(effect.into()),
            toleration_seconds: None,
        };
        for (toleration, expected) in [
            (toleration("k", "Equal", "v", "NoSchedule"), true),
            (toleration("k", "", "v", ""), true),
            (toleration("k", "Equal", "other", "NoSchedule"), false),
            (toleration("k", "Exists", "", "NoSchedule"), true),
            (toleration("k", "Exists", "", "NoExecute"), false),
            (toleration("", "Exists", "", ""), true),
            (toleration("", "Equal", "v", ""), false),
            (toleration("other", "Exists", "", ""), false),
            (toleration("k", "Bogus", "v", ""), false),
        ] {
            assert_eq!(tolerates(&toleration, &taint), expected, "{toleration:?}");
        }
    }
}
