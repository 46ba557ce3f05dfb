//! What became of objects of policy, for those who ask what the agent did.

use super::{Kind, Policies};
use datapath_layouts::PolicyKey;
use model::ObjectName;
use policy::reference::governs;
use policy::rule::{Origin, Policy};
use policy::subject::IdentityFacts;
use std::collections::{BTreeMap, BTreeSet};

/// What an object is by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Its uid.
    pub uid: Box<str>,
    /// Its rules; `None`: it is gone.
    pub rules: Option<usize>,
}

impl Policies {
    /// Objects that are otherwise than at the last call. Of one whose last good version stands nothing is. One about a subject that
    /// does not fit into the maps is not in force there: it is news when it fits.
    pub fn news(&mut self) -> BTreeMap<(Kind, ObjectName), News> {
        // As most of the time; the rest looks through all identities.
        if self.news.is_empty() {
            return BTreeMap::new();
        }
        let unfit: BTreeSet<u32> = self.planner.problems().map(|(key, _)| key.policy_id & !PolicyKey::SHADOW).collect();
        let unfit: Vec<&IdentityFacts> =
            self.planner.identities().filter(|facts| unfit.contains(&facts.number)).collect();
        let is_left_out = |object: &(Kind, ObjectName)| {
            let origins = self.origins.get(object).into_iter().flatten();
            let mut policies = origins.filter_map(|origin| self.planner.policy(origin));
            policies.any(|policy| unfit.iter().any(|facts| governs(policy, facts)))
        };
        let all = std::mem::take(&mut self.news);
        let (wait, told) = all.into_iter().partition(|(object, _)| is_left_out(object));
        self.news = wait;
        told
    }

    /// An object becomes these policies.
    pub(super) fn note(&mut self, object: &(Kind, ObjectName), policies: &[Policy]) {
        let before = self.origins.get(object).map(Vec::as_slice).unwrap_or_default();
        let stays = policies.iter().map(|policy| &policy.origin).eq(before)
            && policies.iter().all(|policy| self.planner.policy(&policy.origin) == Some(policy));
        if stays {
            return;
        }
        let uid = |origin: &Origin| origin.uid.clone();
        let uid = policies.iter().map(|policy| &policy.origin).chain(before).next().map(uid).unwrap_or_default();
        let rules = (!policies.is_empty()).then(|| policies.iter().map(|policy| policy.rules.len()).sum());
        self.news.insert(object.clone(), News { uid, rules });
    }
}
