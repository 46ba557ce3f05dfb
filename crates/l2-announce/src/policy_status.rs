//! What is wrong with a policy, in its own status, under Cilium's names (`pkg/l2announcer`).

use crate::wanted::{Part, Policy};
use custom_resources::CiliumL2AnnouncementPolicy;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// The type of the condition for a part of the policy.
const fn condition(part: Part) -> &'static str {
    match part {
        Part::Interfaces => "io.cilium/bad-interface-regex",
        Part::NodeSelector => "io.cilium/bad-node-selector",
        Part::ServiceSelector => "io.cilium/bad-service-selector",
    }
}

/// The policy's conditions as they should be; `None` when they are so.
#[must_use]
pub fn after(policy: &CiliumL2AnnouncementPolicy, now: Timestamp) -> Option<Vec<Condition>> {
    let old = policy.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let wrong = Policy::of(policy).err().unwrap_or_default();
    let mut out: Vec<Condition> =
        old.iter().filter(|known| Part::ALL.iter().all(|part| known.type_ != condition(*part))).cloned().collect();
    for (part, why) in wrong {
        let type_ = condition(part);
        let known = old.iter().find(|known| known.type_ == type_ && known.status == "True");
        out.push(Condition {
            type_: type_.to_owned(),
            status: "True".to_owned(),
            reason: "error".to_owned(),
            message: why,
            last_transition_time: known.map_or(Time(now), |known| known.last_transition_time.clone()),
            observed_generation: known.map_or(policy.metadata.generation, |known| known.observed_generation),
        });
    }
    (out != old).then_some(out)
}

/// Sees to it that the API has the policy's conditions. Every node comes to the same ones, so it is enough that one of them
/// writes: each waits its own time, and looks again before it does.
pub async fn tell(client: Client, policy: String, node: String) {
    let api: Api<CiliumL2AnnouncementPolicy> = Api::all(client);
    let mut hasher = DefaultHasher::new();
    (&node, &policy).hash(&mut hasher);
    let mut pause = Duration::from_millis(hasher.finish() % SPREAD.as_millis() as u64);
    loop {
        tokio::time::sleep(pause).await;
        match write(&api, &policy).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(policy, %error, "the policy's status"),
        }
        pause = (pause * 2).clamp(Duration::from_millis(100), Duration::from_secs(30));
    }
}

async fn write(api: &Api<CiliumL2AnnouncementPolicy>, name: &str) -> Result<(), kube::Error> {
    let Some(policy) = api.get_opt(name).await? else { return Ok(()) };
    let Some(conditions) = after(&policy, Timestamp::now()) else { return Ok(()) };
    // The list is written whole; with the version, only if it is still the one that was read.
    let patch = json!({
        "metadata": {"resourceVersion": policy.metadata.resource_version},
        "status": {"conditions": conditions},
    });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

/// Within this the first of many nodes has written, and the others need not.
const SPREAD: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policy(spec: Value, conditions: Option<Vec<Condition>>) -> CiliumL2AnnouncementPolicy {
        let object = json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumL2AnnouncementPolicy",
            "metadata": {"name": "p", "generation": 3}, "spec": spec, "status": {"conditions": conditions}});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn every_wrong_part_has_its_condition_until_it_is_right() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let other = Condition { type_: "example.com/Other".to_owned(), ..first(&json!({"interfaces": ["("]}), at(1)) };
        let operator = json!({"matchExpressions": [{"key": "a", "operator": "In"}]});
        let wrong = json!({"interfaces": ["("], "serviceSelector": operator, "nodeSelector": operator});
        let told = after(&policy(wrong.clone(), Some(vec![other.clone()])), at(5)).expect("a change");
        let types: Vec<&str> = told.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(
            types,
            [
                "example.com/Other",
                "io.cilium/bad-interface-regex",
                "io.cilium/bad-node-selector",
                "io.cilium/bad-service-selector"
            ]
        );
        assert!(told.iter().all(|c| c.status == "True" && !c.message.is_empty() && c.observed_generation == Some(3)));
        assert_eq!(after(&policy(wrong, Some(told.clone())), at(6)), None, "said already");
        assert_eq!(after(&policy(json!({"interfaces": ["eth0"]}), Some(told)), at(7)), Some(vec![other]));
        assert_eq!(after(&policy(json!({}), None), at(8)), None);
    }

    fn first(spec: &Value, now: Timestamp) -> Condition {
        after(&policy(spec.clone(), None), now).unwrap().remove(0)
    }
}
