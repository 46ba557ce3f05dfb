//! Probes: kubelet's rules for when a container counts as started, alive and ready.

mod check;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container as Spec, Probe};
use tokio::{sync::mpsc, time::sleep};

pub use check::{Checker, Outcome};

/// Which question a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    /// As events name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// What the probes of a container found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The startup probe has succeeded.
    Started,
    Ready(bool),
    /// One check failed; worth an event.
    Unhealthy {
        kind: Kind,
        message: String,
    },
    /// A startup or liveness probe failed too often: the container must be restarted, within this grace period if the
    /// probe names one of its own.
    Failed {
        kind: Kind,
        grace: Option<Duration>,
    },
}

/// Runs the probes of `spec` until dropped.
pub async fn run(spec: Spec, checker: Arc<Checker>, news: mpsc::Sender<News>) {
    if let Some(startup) = &spec.startup_probe {
        watch(Kind::Startup, startup, &checker, &news).await;
    }
    let liveness = async {
        if let Some(probe) = &spec.liveness_probe {
            watch(Kind::Liveness, probe, &checker, &news).await;
        }
    };
    let readiness = async {
        if let Some(probe) = &spec.readiness_probe {
            watch(Kind::Readiness, probe, &checker, &news).await;
        }
    };
    tokio::join!(liveness, readiness);
}

async fn watch(kind: Kind, probe: &Probe, checker: &Checker, news: &mpsc::Sender<News>) {
    let seconds = |value: Option<i32>, default: u64| {
        Duration::from_secs(
            value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default),
        )
    };
    let period = seconds(probe.period_seconds, 10);
    let limit = seconds(probe.timeout_seconds, 1);
    let grace = probe.termination_grace_period_seconds.and_then(|grace| u64::try_from(grace).ok());
    let mut tally = Tally::new(kind, probe);
    sleep(Duration::from_secs(probe.initial_delay_seconds.and_then(|delay| u64::try_from(delay).ok()).unwrap_or(0)))
        .await;
    loop {
        let outcome = checker.check(probe, limit).await;
        if let Outcome::Failure(message) = &outcome {
            let _ = news.send(News::Unhealthy { kind, message: message.clone() }).await;
        }
        let verdict = tally.record(matches!(outcome, Outcome::Success));
        let told = match (kind, verdict) {
            (_, None) => None,
            (Kind::Readiness, Some(ready)) => Some(News::Ready(ready)),
            (Kind::Startup, Some(true)) => Some(News::Started),
            (Kind::Liveness, Some(true)) => None,
            (_, Some(false)) => Some(News::Failed { kind, grace: grace.map(Duration::from_secs) }),
        };
        let over = matches!(told, Some(News::Started | News::Failed { .. }));
        if let Some(told) = told
            && news.send(told).await.is_err()
        {
            return;
        }
        if over {
            return;
        }
        // Only readiness may be asked more often than its period at first: its failures cost nothing, and readiness
        // noticed a period late is service lost.
        let eager = kind == Kind::Readiness && tally.never_succeeded;
        sleep(if eager { period.min(EAGER) } else { period }).await;
    }
}

/// Counts results in a row against the thresholds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tally {
    success_threshold: u32,
    failure_threshold: u32,
    successes: u32,
    failures: u32,
    verdict: Option<bool>,
    never_succeeded: bool,
}

impl Tally {
    fn new(kind: Kind, probe: &Probe) -> Self {
        let threshold = |value: Option<i32>, default| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        Self {
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            successes: 0,
            failures: 0,
            // A container begins alive and unready.
            verdict: match kind {
                Kind::Liveness => Some(true),
                Kind::Readiness => Some(false),
                Kind::Startup => None,
            },
            never_succeeded: true,
        }
    }

    /// The new verdict when this result changes it.
    fn record(&mut self, success: bool) -> Option<bool> {
        if success {
            self.never_succeeded = false;
            self.successes += 1;
            self.failures = 0;
        } else {
            self.failures += 1;
            self.successes = 0;
        }
        let verdict = if self.successes >= self.success_threshold {
            true
        } else if self.failures >= self.failure_threshold {
            false
        } else {
            return None;
        };
        (self.verdict.replace(verdict) != Some(verdict)).then_some(verdict)
    }
}

/// How often a container is asked whether it has become ready for the first time.
const EAGER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(kind: Kind, success: i32, failure: i32) -> Tally {
        let probe = Probe { success_threshold: Some(success), failure_threshold: Some(failure), ..Probe::default() };
        Tally::new(kind, &probe)
    }

    #[test]
    fn thresholds_count_results_in_a_row() {
        let mut ready = tally(Kind::Readiness, 2, 3);
        let verdicts: Vec<_> =
            [true, false, true, true, false, false, true, false, false, false, false].map(|ok| ready.record(ok)).into();
        let expect = [None, None, None, Some(true), None, None, None, None, None, Some(false), None];
        assert_eq!(verdicts, expect);
    }

    #[test]
    fn liveness_speaks_only_when_it_fails() {
        let mut alive = tally(Kind::Liveness, 1, 2);
        assert_eq!(alive.record(true), None);
        assert_eq!(alive.record(false), None);
        assert_eq!(alive.record(false), Some(false));
        let mut startup = tally(Kind::Startup, 1, 2);
        assert_eq!(startup.record(true), Some(true));
    }
}
