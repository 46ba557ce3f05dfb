//! One Deployment under planning: the step it takes and what it reports.

use super::{
    draft::Draft,
    limits::{Limits, Strategy},
    plan::{Change, Input, Plan},
    progress::{self, PROGRESSING},
    revision, rolling, scale, status, template,
};
use crate::{owner, pod};
use k8s_openapi::api::apps::v1::DeploymentCondition;
use std::time::Duration;

/// A Deployment under planning.
pub(super) struct Rollout<'a> {
    input: &'a Input<'a>,
    limits: Limits,
    newest: Option<Draft>,
    /// By creation, the oldest first.
    old: Vec<Draft>,
    conditions: Vec<DeploymentCondition>,
}

impl<'a> Rollout<'a> {
    pub(super) fn new(input: &'a Input<'a>, mut drafts: Vec<Draft>) -> Self {
        let template = input.deployment.spec.as_ref().map(|spec| &spec.template);
        // Should there be two with the present template, the older one is it, always.
        let newest = drafts
            .iter()
            .position(|draft| {
                let own = draft.set.spec.as_ref().and_then(|spec| spec.template.as_ref());
                own.zip(template).is_some_and(|(own, template)| template::same(own, template))
            })
            .map(|index| drafts.remove(index));
        let conditions = input.deployment.status.as_ref().and_then(|status| status.conditions.clone());
        Self {
            input,
            limits: Limits::of(input.deployment),
            newest,
            old: drafts,
            conditions: conditions.unwrap_or_default(),
        }
    }

    pub(super) fn step(&mut self) {
        self.note_pause();
        self.mark_newest();
        if self.limits.paused || scale::is_due(self.newest.iter().chain(&self.old), &self.limits) {
            let counted = self.input.deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
            scale::scale(&mut self.newest, &mut self.old, &self.limits, counted);
            if self.limits.paused {
                self.clean_up();
            }
            return;
        }
        match self.limits.strategy {
            Strategy::Recreate => self.recreate(),
            Strategy::Rolling { .. } => self.roll(),
        }
        let held = self.input.deployment.status.clone().unwrap_or_default();
        if progress::is_complete(&held, &self.limits, self.input.deployment.metadata.generation) {
            self.clean_up();
        }
    }

    fn roll(&mut self) {
        let mut newest = self.take_or_create_newest();
        if !rolling::grow_newest(&mut newest, &self.old, &self.limits) {
            rolling::shrink_old(&newest, &mut self.old, &self.limits);
        }
        self.newest = Some(newest);
    }

    fn recreate(&mut self) {
        if rolling::stop_old(&mut self.old, &self.limits) || self.old_pods_remain() {
            return;
        }
        let mut newest = self.take_or_create_newest();
        rolling::grow_newest(&mut newest, &self.old, &self.limits);
        self.newest = Some(newest);
    }

    /// Pods of old templates that have not ended, even if they are asked to.
    fn old_pods_remain(&self) -> bool {
        self.input
            .pods
            .iter()
            .filter(|pod| !pod::has_ended(pod))
            .any(|pod| self.old.iter().any(|old| owner::is_controlled_by(&pod.metadata, &old.set.metadata)))
    }

    fn take_or_create_newest(&mut self) -> Draft {
        if let Some(newest) = self.newest.take() {
            return newest;
        }
        let mut newest = Draft::for_template(self.input.deployment);
        revision::mark_newest(&mut newest, self.input.deployment, self.highest_old_revision());
        revision::note_replicas(&mut newest.set.metadata, &self.limits);
        let message = format!("Created new replica set \"{}\"", newest.name());
        self.set_progressing("True", "NewReplicaSetCreated", message);
        newest
    }

    /// The present template's ReplicaSet, if it exists, gets the highest revision: after a rollback it is an old one.
    fn mark_newest(&mut self) {
        let highest = self.highest_old_revision();
        let Some(newest) = &mut self.newest else {
            return;
        };
        revision::mark_newest(newest, self.input.deployment, highest);
        if let Some(spec) = &mut newest.set.spec {
            spec.min_ready_seconds = self.limits.min_ready_seconds;
        }
        let message = format!("Found new replica set \"{}\"", newest.name());
        if progress::find(&self.conditions, PROGRESSING).is_none() {
            self.set_progressing("True", "FoundNewReplicaSet", message);
        }
    }

    /// A paused rollout has no deadline, and a resumed one starts a new one (`checkPausedConditions`).
    fn note_pause(&mut self) {
        let held = progress::find(&self.conditions, PROGRESSING).and_then(|held| held.reason.clone());
        if held.as_deref() == Some(progress::DEADLINE_EXCEEDED) {
            return;
        }
        let was_paused = held.as_deref() == Some("DeploymentPaused");
        if self.limits.paused && !was_paused {
            self.set_progressing("Unknown", "DeploymentPaused", "Deployment is paused".into());
        } else if !self.limits.paused && was_paused {
            self.set_progressing("Unknown", "DeploymentResumed", "Deployment is resumed".into());
        }
    }

    fn set_progressing(&mut self, status: &str, reason: &str, message: String) {
        if self.limits.progress_deadline.is_some() {
            let condition = progress::condition(PROGRESSING, status, reason, message, self.input.now);
            progress::set(&mut self.conditions, condition);
        }
    }

    fn highest_old_revision(&self) -> i64 {
        self.old.iter().map(|old| revision::of(&old.set.metadata)).max().unwrap_or(0)
    }

    /// Removes the oldest revisions beyond the limit, if they hold no Pods and have seen their last change.
    fn clean_up(&mut self) {
        let mut candidates: Vec<&mut Draft> =
            self.old.iter_mut().filter(|old| old.set.metadata.deletion_timestamp.is_none()).collect();
        let surplus = candidates.len().saturating_sub(self.limits.history);
        candidates.sort_by_key(|old| revision::of(&old.set.metadata));
        for old in candidates.into_iter().take(surplus) {
            let observed = old.set.status.as_ref().and_then(|status| status.observed_generation);
            let is_idle = old.existing() == 0
                && old.replicas() == 0
                && old.replicas_seen() == 0
                && observed >= old.set.metadata.generation;
            old.removed = is_idle;
        }
    }

    pub(super) fn finish(self) -> Plan {
        let deployment = self.input.deployment;
        let generation = deployment.metadata.generation;
        let held = deployment.status.clone().unwrap_or_default();
        let mut report =
            status::count(deployment, self.newest.as_ref(), &self.old, &self.limits, self.conditions, self.input.now);
        let subject = match &self.newest {
            Some(newest) => format!("ReplicaSet \"{}\"", newest.name()),
            None => format!("Deployment \"{}\"", deployment.metadata.name.as_deref().unwrap_or_default()),
        };
        if !self.limits.paused && deployment.metadata.deletion_timestamp.is_none() {
            progress::update(&held, &mut report, &self.limits, generation, &subject, self.input.now);
        }
        let look_again = self.limits.progress_deadline.filter(|_| !self.limits.paused).and_then(|deadline| {
            let conditions = report.conditions.as_deref().unwrap_or_default();
            // A second later, so that the deadline is surely over at the resolution of the times we write.
            let left = progress::time_left(progress::find(conditions, PROGRESSING), deadline, self.input.now)?;
            Some(left + Duration::from_secs(1))
        });

        let mut changes = Vec::new();
        if let Some(newest) = &self.newest {
            let number = revision::of(&newest.set.metadata);
            if number > 0 && number != revision::of(&deployment.metadata) {
                changes.push(Change::Revision(number.to_string()));
            }
        }
        for draft in self.newest.into_iter().chain(self.old) {
            let changed = draft.is_changed();
            match draft.seen {
                Some(old) if draft.removed => changes.push(Change::Delete(old)),
                Some(old) if changed => changes.push(Change::Update { old, new: Box::new(draft.set) }),
                Some(_) => {}
                None => changes.push(Change::Create(Box::new(draft.set))),
            }
        }
        if deployment.status.as_ref() != Some(&report) {
            changes.push(Change::Status(Box::new(report)));
        }
        Plan { changes, look_again }
    }
}
