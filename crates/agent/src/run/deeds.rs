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

    /// Whose policies were written, or could not be; that is told when it fails first, and not each time that it is tried again.
    pub(super) fn tell_written(&mut self, changes: &[Change], error: Option<&Error>) {
        let whose = |change: &Change| match change {
            Change::WritePolicy(key, _) => Some(key.policy_id & !PolicyKey::SHADOW),
            _ => None,
        };
        let written: BTreeSet<u32> = changes.iter().filter_map(whose).collect();
        if written.is_empty() {
            return;
        }
        let is_told = std::mem::replace(&mut self.is_unwritten_told, error.is_some());
        if is_told && error.is_some() {
            return;
        }
        let error = error.map(|error| chain(error));
        // Who waits for its policy has another until it is there.
        let awaited = |pod: &LocalPod| self.parts.local_identities.get(pod.name.as_ref().filter(|_| error.is_some())?);
        let has = |number: u32| written.contains(&policy_id(number));
        let pods = self.parts.pods.list();
        for pod in pods.iter().filter(|pod| has(pod.identity) || awaited(pod).is_some_and(has)) {
            self.parts.hub.did(|| Deed::Judged(self.endpoint(pod), error.clone()));
        }
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
