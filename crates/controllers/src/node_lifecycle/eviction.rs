//! When a Pod has to leave a Node with a NoExecute taint.

use super::taints::{NOT_READY, UNREACHABLE, tolerates};
use crate::pod::{elapsed, is_active};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use std::time::Duration;

/// When a Pod has to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing drives it away.
    Never,
    /// In this time.
    In(Duration),
    /// Now.
    Now,
}

/// The earliest end over all NoExecute taints. A taint tolerated without a limit never ends; an untolerated one ends
/// at once, except those the lifecycle controller sets, which are tolerated for `default` as the admission plugin
/// DefaultTolerationSeconds would have written into the Pod.
pub fn due(pod: &Pod, node: &Node, default: Duration, now: Timestamp) -> Due {
    if !is_active(pod) {
        return Due::Never;
    }
    let tolerations: Vec<&Toleration> = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten()).collect();
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints
        .filter(|taint| taint.effect == "NoExecute")
        .map(|taint| one(taint, &tolerations, default, now))
        .min_by_key(|due| match due {
            Due::Now => Duration::ZERO,
            Due::In(left) => *left,
            Due::Never => Duration::MAX,
        })
        .unwrap_or(Due::Never)
}

fn one(taint: &Taint, tolerations: &[&Toleration], default: Duration, now: Timestamp) -> Due {
    let covering: Vec<_> = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
    let limit = if covering.is_empty() {
        if taint.key == NOT_READY || taint.key == UNREACHABLE { default } else { Duration::ZERO }
    } else {
        // The shortest limit counts; a negative one means at once.
        match covering.iter().filter_map(|toleration| toleration.toleration_seconds).min() {
            Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
            None => return Due::Never,
        }
    };
    let held = taint.time_added.as_ref().map(|added| elapsed(added.0, now)).unwrap_or_default();
    match limit.checked_sub(held) {
        Some(left) if !left.is_zero() => Due::In(left),
        _ => Due::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn cases() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let node = |keys: &[&str]| {
            let mut node = Node::default();
            node.spec.get_or_insert_default().taints = Some(
                keys.iter()
                    .map(|key| Taint {
                        key: (*key).into(),
                        effect: "NoExecute".into(),
                        value: None,
                        time_added: Some(Time(at(100))),
                    })
                    .collect(),
            );
            node
        };
        let pod = |tolerations: &[(&str, Option<i64>)]| {
            let mut pod = Pod::default();
            pod.spec.get_or_insert_default().tolerations = Some(
                tolerations
                    .iter()
                    .map(|(key, seconds)| Toleration {
                        key: Some((*key).into()),
                        operator: Some("Exists".into()),
                        toleration_seconds: *seconds,
                        ..Default::default()
                    })
                    .collect(),
            );
            pod
        };
        let seconds = Duration::from_secs;
        for (pod, node, now, expected) in [
            (pod(&[]), node(&[]), 0, Due::Never),
            (pod(&[]), node(&[UNREACHABLE]), 100, Due::In(seconds(300))),
            (pod(&[]), node(&[UNREACHABLE]), 400, Due::Now),
            (pod(&[]), node(&["example.com/maintenance"]), 100, Due::Now),
            (pod(&[(UNREACHABLE, None)]), node(&[UNREACHABLE]), 9999, Due::Never),
            (pod(&[(UNREACHABLE, Some(10))]), node(&[UNREACHABLE]), 105, Due::In(seconds(5))),
            (pod(&[(UNREACHABLE, Some(-1))]), node(&[UNREACHABLE]), 100, Due::Now),
            (pod(&[(UNREACHABLE, Some(10)), (UNREACHABLE, Some(50))]), node(&[UNREACHABLE]), 111, Due::Now),
            (pod(&[(UNREACHABLE, None)]), node(&[UNREACHABLE, "other"]), 101, Due::Now),
        ] {
            assert_eq!(due(&pod, &node, seconds(300), at(now)), expected, "{pod:?} {node:?}");
        }
        let mut ending = pod(&[]);
        ending.metadata.deletion_timestamp = Some(Time(at(1)));
        assert_eq!(due(&ending, &node(&["other"]), seconds(300), at(100)), Due::Never);
    }
}
