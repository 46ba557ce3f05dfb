//! Whether to write the Lease, and what. Pure: what the API has and our clock in, the object to write out.

use super::Election;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use std::time::{Duration, Instant};

/// How fast a Lease is renewed and runs out; client-go's defaults for controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Others wait so long without seeing a renewal; whole seconds, as the API has them.
    pub duration: Duration,
    /// Whoever could not renew for so long leads no more.
    pub deadline: Duration,
    /// Between two attempts.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { duration: Duration::from_secs(15), deadline: Duration::from_secs(10), retry: Duration::from_secs(2) }
    }
}

/// What is remembered from one look at the Lease to the next.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// The record, and when it was first seen like this.
    record: Option<(LeaseSpec, Instant)>,
}

impl Observed {
    /// What to write: the Lease with this replica as its holder; nothing while another's holds.
    pub fn next(&mut self, election: &Election, lease: Option<&Lease>, now: Instant, wall: Timestamp) -> Option<Lease> {
        let Some(lease) = lease else {
            self.record = None;
            let metadata = ObjectMeta {
                name: Some(Election::LEASE.to_owned()),
                namespace: Some(election.namespace.clone()),
                ..ObjectMeta::default()
            };
            return Some(Lease { metadata, spec: Some(spec(election, None, wall)) });
        };
        let old = lease.spec.clone().unwrap_or_default();
        let since = match &self.record {
            Some((known, since)) if *known == old => *since,
            _ => {
                self.record = Some((old.clone(), now));
                now
            }
        };
        let holder = old.holder_identity.as_deref().unwrap_or_default();
        let theirs = !holder.is_empty() && holder != election.identity;
        let seconds = old.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(election.timing.duration, Duration::from_secs);
        if theirs && now.saturating_duration_since(since) < duration {
            return None;
        }
        Some(Lease { spec: Some(spec(election, Some(&old), wall)), ..lease.clone() })
    }
}

fn spec(election: &Election, old: Option<&LeaseSpec>, wall: Timestamp) -> LeaseSpec {
    let goes_on = old.filter(|old| old.holder_identity.as_deref() == Some(&election.identity));
    let transitions = old.and_then(|old| old.lease_transitions).unwrap_or(0);
    LeaseSpec {
        holder_identity: Some(election.identity.clone()),
        lease_duration_seconds: i32::try_from(election.timing.duration.as_secs()).ok(),
        acquire_time: goes_on.and_then(|old| old.acquire_time.clone()).or(Some(MicroTime(wall))),
        renew_time: Some(MicroTime(wall)),
        lease_transitions: Some(transitions.saturating_add(i32::from(old.is_some() && goes_on.is_none()))),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(lease: &Lease) -> (&str, i32) {
        let spec = lease.spec.as_ref().expect("a spec");
        (spec.holder_identity.as_deref().unwrap_or_default(), spec.lease_transitions.unwrap_or(0))
    }

    /// Two replicas and one Lease, by two clocks that agree in nothing but their pace.
    #[test]
    fn only_a_record_that_stands_still_for_its_whole_time_is_taken() {
        let (a, b) = (Election::new("a"), Election::new("b"));
        let (mut of_a, mut of_b) = (Observed::default(), Observed::default());
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let wall = |second| Timestamp::from_second(second).expect("a time");
        let mut lease = of_a.next(&a, None, at(0), wall(1_000)).expect("nobody has it");
        assert_eq!(holder(&lease), ("a", 0));
        // b's wall clock is years away: it does not matter.
        for second in [0, 2, 14] {
            assert_eq!(of_b.next(&b, Some(&lease), at(second), wall(90_000_000)), None, "second {second}");
        }
        lease = of_a.next(&a, Some(&lease), at(14), wall(1_014)).expect("its own");
        assert_eq!(holder(&lease), ("a", 0));
        for second in [15, 16, 29] {
            assert_eq!(of_b.next(&b, Some(&lease), at(second), wall(90_000_000)), None, "second {second}");
        }
        let taken = of_b.next(&b, Some(&lease), at(30), wall(90_000_030)).expect("15 s without a change");
        assert_eq!(holder(&taken), ("b", 1));
        assert_eq!(taken.metadata.resource_version, lease.metadata.resource_version, "guarded by what was seen");
        assert_eq!(of_a.next(&a, Some(&taken), at(31), wall(1_031)), None, "a comes back and is nobody");
        // A successor of the same name goes on at once; what names nobody is free.
        assert!(Observed::default().next(&b, Some(&taken), at(31), wall(5)).is_some());
        let free = Lease { spec: Some(LeaseSpec::default()), ..taken };
        assert_eq!(holder(&Observed::default().next(&a, Some(&free), at(31), wall(5)).expect("free")), ("a", 1));
    }
}
