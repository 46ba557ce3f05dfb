//! What became of objects of policy, for those who ask what the agent did.

use super::{Kind, Policies};
use model::ObjectName;
use policy::rule::{Origin, Policy};
use std::collections::BTreeMap;

/// What an object is by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Its uid.
    pub uid: Box<str>,
    /// Its rules; `None`: it is gone.
    pub rules: Option<usize>,
}

impl Policies {
    /// Objects that are otherwise than at the last call. Of one whose last good version stands nothing is.
    pub fn news(&mut self) -> BTreeMap<(Kind, ObjectName), News> {
        std::mem::take(&mut self.news)
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
