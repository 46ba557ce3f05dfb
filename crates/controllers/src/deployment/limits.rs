//! The numbers a Deployment sets, with Kubernetes' defaults where it sets none.

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::time::Duration;

/// How Pods are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// All old ones first.
    Recreate,
    /// Step by step, within these limits.
    Rolling {
        /// Pods above the wanted number.
        surge: i32,
        /// Pods of the wanted number that may be missing.
        unavailable: i32,
    },
}

/// Everything that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wanted number of Pods.
    pub replicas: i32,
    /// How Pods are replaced.
    pub strategy: Strategy,
    /// No new rollout.
    pub paused: bool,
    /// Without progress for this long, a rollout has failed.
    pub progress_deadline: Option<Duration>,
    /// Old ReplicaSets kept for rollbacks.
    pub history: usize,
    /// Seconds a Pod must be ready to count as available.
    pub min_ready_seconds: Option<i32>,
}

impl Limits {
    /// Reads them off a Deployment.
    pub fn of(deployment: &Deployment) -> Self {
        let default = DeploymentSpec::default();
        let spec = deployment.spec.as_ref().unwrap_or(&default);
        let replicas = spec.replicas.unwrap_or(1).max(0);
        let strategy = spec.strategy.as_ref();
        let strategy = if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            Strategy::Recreate
        } else {
            let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
            let quarter = IntOrString::String("25%".into());
            let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
            let missing = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
            let surge = share_of(surge, replicas, Rounding::Up);
            let mut unavailable = share_of(missing, replicas, Rounding::Down);
            // Both zero would be a rollout that cannot move (`ResolveFenceposts`).
            if surge == 0 && unavailable == 0 {
                unavailable = 1;
            }
            Strategy::Rolling { surge, unavailable: unavailable.min(replicas) }
        };
        let deadline = spec.progress_deadline_seconds.unwrap_or(600);
        Self {
            replicas,
            strategy,
            paused: spec.paused == Some(true),
            // Kubernetes reads the largest number as "never".
            progress_deadline: (deadline != i32::MAX)
                .then(|| Duration::from_secs(u64::try_from(deadline).unwrap_or(0))),
            history: usize::try_from(spec.revision_history_limit.unwrap_or(10)).unwrap_or(0),
            min_ready_seconds: spec.min_ready_seconds,
        }
    }

    /// Pods above the wanted number.
    pub fn surge(&self) -> i32 {
        match self.strategy {
            Strategy::Recreate => 0,
            Strategy::Rolling { surge, .. } => surge,
        }
    }

    /// Pods that may be missing; none where all are replaced at once, because then there is no promise to keep.
    pub fn unavailable(&self) -> i32 {
        match self.strategy {
            Strategy::Recreate => 0,
            Strategy::Rolling { unavailable, .. } => unavailable,
        }
    }
}

#[derive(Clone, Copy)]
enum Rounding {
    Up,
    Down,
}

/// A number, or a percentage of `total`. What is neither counts as 0, as the API server would have refused it.
fn share_of(value: &IntOrString, total: i32, rounding: Rounding) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|number| number.parse::<i64>().ok()).unwrap_or(0).max(0);
            let hundredths = percent.saturating_mul(i64::from(total));
            let share = match rounding {
                Rounding::Up => hundredths.saturating_add(99) / 100,
                Rounding::Down => hundredths / 100,
            };
            i32::try_from(share).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn strategy(replicas: i32, rolling: Value) -> Strategy {
        let deployment: Deployment = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "spec": {"replicas": replicas, "selector": {}, "template": {}, "strategy": {"rollingUpdate": rolling}},
        }))
        .expect("a Deployment");
        Limits::of(&deployment).strategy
    }

    #[test]
    fn percentages_round_in_favour_of_availability() {
        for (replicas, rolling, surge, unavailable) in [
            (2, json!(null), 1, 0),
            (4, json!(null), 1, 1),
            (10, json!({"maxSurge": "25%", "maxUnavailable": "25%"}), 3, 2),
            (10, json!({"maxSurge": 0, "maxUnavailable": 0}), 0, 1),
            (2, json!({"maxSurge": 0, "maxUnavailable": "25%"}), 0, 1),
            (3, json!({"maxSurge": "100%", "maxUnavailable": 0}), 3, 0),
            (3, json!({"maxSurge": 1, "maxUnavailable": 9}), 1, 3),
            (3, json!({"maxSurge": "many", "maxUnavailable": "-5%"}), 0, 1),
            (0, json!(null), 0, 0),
        ] {
            assert_eq!(
                strategy(replicas, rolling.clone()),
                Strategy::Rolling { surge, unavailable },
                "{replicas} {rolling}"
            );
        }
    }
}
