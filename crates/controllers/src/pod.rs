//! What can be read off a Pod: is it ready, available, still counted?

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use std::time::Duration;

/// `status.phase`; a Pod nobody has looked at yet is Pending.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// The Node that the Pod is bound to.
pub fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty())
}

/// A condition by type.
pub fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

/// True when the Ready condition is True.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Since when the Pod has been ready, if it is.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready").filter(|ready| ready.status == "True")?.last_transition_time.as_ref().map(|time| time.0)
}

/// Not ended and not asked to end.
pub fn is_active(pod: &Pod) -> bool {
    !has_ended(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// All its containers have ended for good.
pub fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Ready, and has been for `min_ready`.
pub fn is_available(pod: &Pod, min_ready: Duration, now: Timestamp) -> bool {
    is_ready(pod) && available_in(pod, min_ready, now).is_none()
}

/// How long a ready Pod still has to stay ready to count as available; `None` when it does already, or is not ready.
pub fn available_in(pod: &Pod, min_ready: Duration, now: Timestamp) -> Option<Duration> {
    if min_ready.is_zero() || !is_ready(pod) {
        return None;
    }
    // A ready Pod that does not say since when has only just become so.
    let age = ready_since(pod).map(|since| elapsed(since, now)).unwrap_or_default();
    min_ready.checked_sub(age).filter(|left| !left.is_zero())
}

/// Time from `since` to `now`, zero when it lies in the future.
pub fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::{api::core::v1::PodStatus, apimachinery::pkg::apis::meta::v1::Time};

    fn ready_at(second: i64) -> Pod {
        let status = Some(PodStatus {
            conditions: Some(vec![PodCondition {
                type_: "Ready".into(),
                status: "True".into(),
                last_transition_time: Timestamp::from_second(second).ok().map(Time),
                ..Default::default()
            }]),
            ..Default::default()
        });
        Pod { status, ..Default::default() }
    }

    #[test]
    fn availability_waits_for_min_ready_seconds() {
        let pod = ready_at(100);
        let at = |second| Timestamp::from_second(second).expect("in range");
        let ten = Duration::from_secs(10);
        assert!(is_available(&pod, Duration::ZERO, at(100)));
        assert!(!is_available(&pod, ten, at(109)));
        assert_eq!(available_in(&pod, ten, at(104)), Some(Duration::from_secs(6)));
        assert!(is_available(&pod, ten, at(110)));
        assert!(!is_available(&pod, ten, at(50)), "a clock that jumped back makes nobody available");
        assert!(!is_available(&Pod::default(), Duration::ZERO, at(110)));
    }
}
