//! What the loop did, told where it has done it.

use super::state::State;
use crate::deeds::{Deed, Endpoint, Place};
use crate::error::{Error, chain};
use crate::pods::{LocalPod, News, policy_id};
use datapath_layouts::{PolicyKey, PrefixKey, Route};
use policy::plan::Change;
use std::collections::BTreeSet;

impl State {
    fn endpoint(&self, pod: &LocalPod) -> Endpoint {
        Endpoint {
            number: pod.id,
            name: pod.name.clone(),
            identity: pod.identity,
            labels: self.identities.labels(pod.identity).cloned(),
        }
    }

    /// Pods that came and went.
    pub(super) fn tell_pods(&self) {
        for news in self.parts.pods.news() {
            self.parts.hub.did(|| match &news {
                News::Came(pod) => Deed::Came(self.endpoint(pod)),
                News::Went(pod) => Deed::Went(self.endpoint(pod)),
            });
        }
    }

    /// A Pod has another policy from here on.
    pub(super) fn tell_judged(&self, pod: &LocalPod) {
        self.parts.hub.did(|| Deed::Judged(self.endpoint(pod), None));
    }

    /// All of a plan is written: whose policies it wrote, and those of whom it was told that theirs could not be. A plan that goes on
    /// after one that failed has only what that one left.
    pub(super) fn tell_written(&mut self, changes: &[Change]) {
        let mut written = std::mem::take(&mut self.unwritten_told);
        written.extend(policies_of(changes));
        // As most of the time: the loop plans after everything that it hears.
        if written.is_empty() {
            return;
        }
        for pod in self.parts.pods.list().iter().filter(|pod| written.contains(&policy_id(pod.identity))) {
            self.tell_judged(pod);
        }
    }

    /// Whose policies could not be written. It is told when it fails first, and not each time that it is tried again.
    pub(super) fn tell_unwritten(&mut self, changes: &[Change], error: &Error) {
        let known = &self.unwritten_told;
        let unwritten: BTreeSet<u32> = policies_of(changes).filter(|number| !known.contains(number)).collect();
        // Who waits for its policy has another until it is there.
        let awaited = |pod: &LocalPod| self.parts.local_identities.get(pod.name.as_ref()?);
        let has = |number: u32| unwritten.contains(&policy_id(number));
        let pods = self.parts.pods.list();
        for pod in pods.iter().filter(|pod| has(pod.identity) || awaited(pod).is_some_and(has)) {
            self.parts.hub.did(|| Deed::Judged(self.endpoint(pod), Some(chain(error))));
        }
        self.unwritten_told.extend(unwritten);
    }

    /// Objects of policy that are in force as they are now, or no more.
    pub(super) fn tell_policies(&mut self) -> Result<(), Error> {
        let clock = self.parts.maps.policy.epoch()?;
        for ((kind, name), news) in self.policies.news() {
            self.parts.hub.did(|| Deed::Policy(kind, name, news, clock));
        }
        Ok(())
    }

    /// Who is at an address of another node.
    pub(super) fn tell_peer(&self, key: &PrefixKey, now: Option<&Route>) {
        self.parts.hub.did(|| {
            let (before, pod) = self.identities.peers.known(key);
            Deed::Found(Place { key: *key, before: before.copied(), now: now.copied(), pod: pod.cloned() })
        });
    }
}

/// The policies that are written by these.
fn policies_of(changes: &[Change]) -> impl Iterator<Item = u32> {
    changes.iter().filter_map(|change| match change {
        Change::WritePolicy(key, _) => Some(key.policy_id & !PolicyKey::SHADOW),
        _ => None,
    })
}
