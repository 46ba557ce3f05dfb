//! What a run of requests came to, and the workers that make them.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{sleep_until, timeout},
};

use super::arguments::LoadArgs;

/// Enough to see what an error came after.
const ERROR_TIMES: usize = 16;

/// Counts of a run; printed as text or JSON.
#[derive(Debug, Default, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub requests: u64,
    pub ok: u64,
    pub errors: u64,
    /// How often each error happened, by its text.
    pub error_kinds: BTreeMap<String, u64>,
    /// When the first errors ended, in seconds since the beginning of the run; at most [`ERROR_TIMES`].
    pub error_times: Vec<f64>,
    /// How often each Pod (or address) answered.
    pub answered_by: BTreeMap<String, u64>,
    /// The client addresses that servers say they saw.
    pub seen_as: BTreeMap<String, u64>,
    /// HTTP status codes.
    pub statuses: BTreeMap<u16, u64>,
    pub bytes_received: u64,
    pub connections: u64,
    pub seconds: f64,
    pub latency_micros: Latency,
    /// The last answer, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_answer: Option<String>,
}

/// Microseconds from the first byte out to the last byte in.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Latency {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// What one successful request brought.
#[derive(Debug, Default)]
pub struct Success {
    pub answered_by: Option<String>,
    pub seen_as: Option<String>,
    pub status: Option<u16>,
    pub bytes: u64,
    pub answer: Option<String>,
}

/// Runs `load.concurrency` workers; each makes its state with `worker` and calls `request` with it again and again.
/// A request that fails leaves its worker with a fresh state.
pub async fn run<S, F, Fut>(load: &LoadArgs, worker: impl Fn() -> S, request: F) -> Report
where
    S: Send + 'static,
    F: Fn(S) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = (Option<S>, Result<Success, String>)> + Send,
    S: Default,
{
    let begin = Instant::now();
    let all: Arc<Mutex<(Report, Vec<u64>)>> = Arc::default();
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..load.concurrency.max(1) {
        let (all, next, load, request, mut state) =
            (all.clone(), next.clone(), load.clone(), request.clone(), worker());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let over = load.duration.map_or(number >= load.count, |duration| begin.elapsed() >= duration);
                if over {
                    return;
                }
                if let Some(rate) = load.rate.filter(|rate| *rate > 0.0) {
                    let due = Duration::try_from_secs_f64(to_f64(number) / rate).unwrap_or(Duration::MAX);
                    sleep_until((begin + due).into()).await;
                }
                let sent = Instant::now();
                let (kept, outcome) =
                    timeout(load.timeout, request(state)).await.unwrap_or_else(|_| (None, Err("timed out".into())));
                state = kept.unwrap_or_default();
                let micros = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                if outcome.is_err() && all.0.error_times.len() < ERROR_TIMES {
                    all.0.error_times.push(begin.elapsed().as_secs_f64());
                }
                all.0.count(outcome);
                all.1.push(micros);
            }
        });
    }
    while workers.join_next().await.is_some() {}
    let (mut report, mut latencies) = std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner));
    report.seconds = begin.elapsed().as_secs_f64();
    report.latency_micros = Latency::of(&mut latencies);
    report
}

impl Report {
    fn count(&mut self, outcome: Result<Success, String>) {
        self.requests += 1;
        match outcome {
            Ok(success) => {
                self.ok += 1;
                self.bytes_received += success.bytes;
                let add = |map: &mut BTreeMap<String, u64>, key: Option<String>| {
                    if let Some(key) = key {
                        *map.entry(key).or_default() += 1;
                    }
                };
                add(&mut self.answered_by, success.answered_by);
                add(&mut self.seen_as, success.seen_as);
                if let Some(status) = success.status {
                    *self.statuses.entry(status).or_default() += 1;
                }
                if success.answer.is_some() {
                    self.last_answer = success.answer;
                }
            }
            Err(error) => {
                self.errors += 1;
                *self.error_kinds.entry(error).or_default() += 1;
            }
        }
    }
}

impl Latency {
    fn of(latencies: &mut [u64]) -> Self {
        latencies.sort_unstable();
        let at = |percent: usize| latencies.get((latencies.len() * percent / 100).min(latencies.len().wrapping_sub(1)));
        Self {
            p50: at(50).copied().unwrap_or(0),
            p99: at(99).copied().unwrap_or(0),
            max: latencies.last().copied().unwrap_or(0),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(answer) = &self.last_answer {
            writeln!(f, "{}", answer.trim_end())?;
        }
        writeln!(f, "{} requests in {:.2} s: {} ok, {} errors", self.requests, self.seconds, self.ok, self.errors)?;
        let latency = &self.latency_micros;
        writeln!(f, "latency p50 {} µs, p99 {} µs, max {} µs", latency.p50, latency.p99, latency.max)?;
        for (title, counts) in
            [("answered by", &self.answered_by), ("seen as", &self.seen_as), ("error", &self.error_kinds)]
        {
            for (what, count) in counts {
                writeln!(f, "{title} {what}: {count}")?;
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a request number beyond 2^52 is not reached in a lifetime")]
fn to_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_few_and_none() {
        assert_eq!(Latency::of(&mut []).max, 0);
        let latency = Latency::of(&mut [30, 10, 20]);
        assert_eq!((latency.p50, latency.p99, latency.max), (20, 30, 30));
    }

    #[tokio::test]
    async fn counts_successes_and_errors_apart() {
        let load = LoadArgs {
            count: 10,
            duration: None,
            concurrency: 3,
            rate: None,
            timeout: Duration::from_secs(1),
            json: false,
        };
        let number = Arc::new(AtomicU64::new(0));
        let report = run(
            &load,
            || (),
            move |()| {
                let odd = number.fetch_add(1, Ordering::Relaxed) % 2 == 1;
                async move { (Some(()), if odd { Err("odd".to_owned()) } else { Ok(Success::default()) }) }
            },
        )
        .await;
        assert_eq!((report.requests, report.ok, report.errors), (10, 5, 5));
        assert_eq!(report.error_kinds["odd"], 5);
    }
}
