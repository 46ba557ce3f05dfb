use super::*;
use crate::deployment::{draft::Draft as DraftSet, limits::Limits, revision};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::json;
use world::{World, at, pair, size};

#[path = "world.rs"]
mod world;

#[test]
fn a_first_rollout() {
    let mut world = World::new(json!({}));
    world.step();
    assert_eq!(world.events, ["create 4"]);
    assert_eq!(world.condition("Progressing"), pair("True", "NewReplicaSetCreated"));
    assert_eq!(world.condition("Available"), pair("False", "MinimumReplicasUnavailable"));
    world.run_to_the_end();
    assert_eq!(world.condition("Progressing"), pair("True", "NewReplicaSetAvailable"));
    assert_eq!(world.condition("Available"), pair("True", "MinimumReplicasAvailable"));
    let set = &world.sets[0];
    let annotations = set.metadata.annotations.as_ref().expect("annotations");
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "1");
    assert_eq!(annotations["deployment.kubernetes.io/desired-replicas"], "4");
    assert_eq!(annotations["deployment.kubernetes.io/max-replicas"], "5");
    assert_eq!(annotations["note"], "kept");
    assert!(!annotations.contains_key("kubectl.kubernetes.io/last-applied-configuration"));
    let hash = &set.metadata.labels.as_ref().expect("labels")["pod-template-hash"];
    assert_eq!(set.metadata.name.as_deref(), Some(format!("web-{hash}").as_str()));
    assert_eq!(
        set.spec
            .as_ref()
            .and_then(|spec| spec.selector.match_labels.as_ref())
            .map(|labels| &labels["pod-template-hash"]),
        Some(hash)
    );
    assert_eq!(world.revision(&world.deployment.metadata), 1);
    let status = world.deployment.status.as_ref().expect("a status");
    assert_eq!(
        (
            status.replicas,
            status.updated_replicas,
            status.available_replicas,
            status.unavailable_replicas,
            status.observed_generation
        ),
        (Some(4), Some(4), Some(4), None, Some(1))
    );
}

#[test]
fn a_rolling_update_goes_step_by_step() {
    let mut world = World::new(json!({"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}));
    world.run_to_the_end();
    world.events.clear();
    world.set_image("echo:2");
    world.run_to_the_end();
    assert_eq!(world.events, ["create 1", "4→3", "1→2", "3→2", "2→3", "2→1", "3→4", "1→0"]);
    assert_eq!(world.revision(&world.deployment.metadata), 2);
}

#[test]
fn a_rollback_takes_the_old_set_and_a_new_number() {
    let mut world = World::new(json!({}));
    world.run_to_the_end();
    world.set_image("echo:2");
    world.run_to_the_end();
    world.set_image("echo:1");
    world.run_to_the_end();
    assert_eq!(world.sizes(), [4, 0], "no third ReplicaSet");
    let annotations = world.sets[0].metadata.annotations.as_ref().expect("annotations");
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(world.revision(&world.deployment.metadata), 3);
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut world = World::new(json!({"strategy": {"type": "Recreate"}}));
    world.run_to_the_end();
    let old = world.sets[0].clone();
    let mut ending = Pod::default();
    ending.metadata.owner_references = Some(vec![owner::controller_reference(&*old)]);
    ending.metadata.deletion_timestamp = Some(Time(at(0)));
    world.pods = vec![Arc::new(ending)];
    world.events.clear();
    world.set_image("echo:2");
    world.run_to_the_end();
    assert_eq!(world.events, ["4→0"], "the new ones wait for the old one's end");
    world.pods.clear();
    world.run_to_the_end();
    assert_eq!(world.events, ["4→0", "create 4"]);
}

#[test]
fn scaling_without_a_rollout() {
    let mut world = World::new(json!({"replicas": 2}));
    world.run_to_the_end();
    for replicas in [5, 1, 0, 3] {
        world.set_replicas(replicas);
        world.run_to_the_end();
        assert_eq!(world.sizes(), [replicas]);
        assert_eq!(world.condition("Progressing"), pair("True", "NewReplicaSetAvailable"));
    }
    assert_eq!(world.revision(&world.deployment.metadata), 1, "scaling is no rollout");
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    // As the Kubernetes documentation tells it: 10 replicas, maxSurge 3, maxUnavailable 2, a bad image, then 15.
    let mut world =
        World::new(json!({"replicas": 10, "strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}));
    world.run_to_the_end();
    world.set_image("bad");
    for _ in 0..10 {
        world.step();
        let bad = world.sets.last().and_then(|set| set.metadata.name.clone());
        world.settle_pods(|set| if set.metadata.name == bad { 0 } else { size(set) });
    }
    assert_eq!(world.sizes(), [8, 5]);
    world.set_replicas(15);
    world.step();
    assert_eq!(world.sizes(), [11, 7]);
}

#[test]
fn a_paused_rollout_stands_still_but_scales() {
    let mut world = World::new(json!({"replicas": 2}));
    world.run_to_the_end();
    world.set_paused(true);
    world.set_image("echo:2");
    world.run_to_the_end();
    assert_eq!(world.sizes(), [2]);
    assert_eq!(world.condition("Progressing"), pair("Unknown", "DeploymentPaused"));
    world.set_replicas(3);
    world.run_to_the_end();
    assert_eq!(world.sizes(), [3]);
    world.set_paused(false);
    world.run_to_the_end();
    assert_eq!(world.sizes(), [0, 3]);
    assert_eq!(world.condition("Progressing"), pair("True", "NewReplicaSetAvailable"));
}

#[test]
fn a_rollout_that_stands_still_exceeds_its_deadline_and_a_better_one_recovers() {
    let mut world = World::new(json!({"replicas": 2, "progressDeadlineSeconds": 30}));
    world.run_to_the_end();
    world.set_image("bad");
    let bad_stays_unready = |world: &mut World| {
        for _ in 0..10 {
            world.step();
            let bad = world.sets.get(1).and_then(|set| set.metadata.name.clone());
            world.settle_pods(|set| if bad.is_some() && set.metadata.name == bad { 0 } else { size(set) });
        }
    };
    bad_stays_unready(&mut world);
    assert_eq!(world.condition("Progressing"), pair("True", "ReplicaSetUpdated"));
    let wait = world.plan().look_again.expect("a deadline runs");
    assert!(wait <= Duration::from_secs(31), "{wait:?}");
    world.now += 31;
    bad_stays_unready(&mut world);
    assert_eq!(world.condition("Progressing"), pair("False", "ProgressDeadlineExceeded"));
    assert_eq!(world.condition("Available"), pair("True", "MinimumReplicasAvailable"), "the old ones still serve");
    assert_eq!(world.plan().look_again, None);
    world.set_image("echo:3");
    world.run_to_the_end();
    assert_eq!(world.condition("Progressing"), pair("True", "NewReplicaSetAvailable"));
}

#[test]
fn a_pod_lost_later_is_no_failed_rollout() {
    let mut world = World::new(json!({"replicas": 2, "progressDeadlineSeconds": 30}));
    world.run_to_the_end();
    world.settle_pods(|_| 0);
    world.now += 500;
    world.step();
    assert_eq!(world.condition("Progressing"), pair("True", "NewReplicaSetAvailable"));
    assert_eq!(world.condition("Available"), pair("False", "MinimumReplicasUnavailable"));
}

#[test]
fn only_so_many_old_revisions_are_kept() {
    let mut world = World::new(json!({"revisionHistoryLimit": 2}));
    for image in ["a", "b", "c", "d", "e"] {
        world.set_image(image);
        world.run_to_the_end();
    }
    let mut revisions: Vec<i64> = world.sets.iter().map(|set| revision::of(&set.metadata)).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [3, 4, 5]);
}

#[test]
fn orphaned_sets_are_adopted_first_and_strangers_left_alone() {
    let mut world = World::new(json!({}));
    world.step();
    let mut orphan = world.sets[0].as_ref().clone();
    orphan.metadata.owner_references = None;
    let mut stranger = orphan.clone();
    stranger.metadata.name = Some("stranger".into());
    stranger.metadata.labels = Some([("app".to_owned(), "other".to_owned())].into());
    world.sets = vec![Arc::new(orphan), Arc::new(stranger)];
    let changes = world.plan().changes;
    assert!(
        matches!(changes.as_slice(), [Change::Adopt(set)] if set.metadata.name.as_deref() != Some("stranger")),
        "{changes:?}"
    );
}

#[test]
fn a_deleted_deployment_starts_nothing() {
    let mut world = World::new(json!({}));
    world.deployment.metadata.deletion_timestamp = Some(Time(at(0)));
    let changes = world.plan().changes;
    assert!(changes.iter().all(|change| matches!(change, Change::Status(_))), "{changes:?}");
}

#[test]
fn a_draft_differs_only_when_something_changed() {
    let mut world = World::new(json!({}));
    world.run_to_the_end();
    assert!(!DraftSet::of(&world.sets[0]).is_changed());
    assert_eq!(world.plan(), Plan { changes: vec![], look_again: None }, "at rest");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..Default::default() })]

    /// Whatever becomes ready when, a rolling update never has more Pods than the surge allows, never asks for fewer
    /// available ones than promised, and ends.
    #[test]
    fn rolling_updates_keep_their_promises(
        replicas in 1i32..12,
        surge in 0i32..4,
        unavailable in 0i32..4,
        pace in prop::collection::vec(0i32..3, 1..20),
    ) {
        let mut world = World::new(json!({
            "replicas": replicas,
            "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
        }));
        world.run_to_the_end();
        let limits = Limits::of(&world.deployment);
        world.set_image("echo:2");
        let mut pace = pace.into_iter().cycle();
        let mut rounds = 0;
        while world.sizes() != [0, replicas] {
            rounds += 1;
            prop_assert!(rounds < 200, "stuck at {:?}", world.sizes());
            let available = |world: &World| -> i32 {
                world.sets.iter().map(|set| {
                    let held = set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
                    held.min(size(set))
                }).sum()
            };
            world.step();
            let total: i32 = world.sizes().iter().sum();
            prop_assert!(total <= replicas + limits.surge(), "{total} Pods: {:?}", world.events);
            prop_assert!(available(&world) >= replicas - limits.unavailable(), "{:?}", world.events);
            // Each round, some more of the new Pods become available; old ones stay so.
            let extra = pace.next().unwrap_or(1).max(i32::from(rounds % 7 == 0));
            let held: std::collections::HashMap<_, _> = world.sets.iter().map(|set| {
                (set.metadata.name.clone(), set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0))
            }).collect();
            world.settle_pods(|set| held[&set.metadata.name] + extra);
        }
    }
}
