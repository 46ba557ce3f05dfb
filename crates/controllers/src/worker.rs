//! The loop around a [`Queue`]: keys in, work done, retries kept.

use crate::{
    Error, Result,
    queue::{Outcome, Queue},
};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use std::{fmt::Debug, future::Future, hash::Hash, time::Duration, time::Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

/// What a reconciliation asks for: nothing, or to be called again after a time.
pub type Again = Option<Duration>;

/// Works on every key that arrives, at most `concurrency` keys at a time, until cancelled or all senders are gone.
pub async fn drive<K, F, Fut>(
    controller: &'static str,
    mut inbox: UnboundedReceiver<K>,
    concurrency: usize,
    cancel: CancellationToken,
    reconcile: F,
) where
    K: Clone + Eq + Hash + Debug,
    F: Fn(K) -> Fut,
    Fut: Future<Output = Result<Again>>,
{
    let mut queue: Queue<K> = Queue::new();
    let mut running = FuturesUnordered::new();
    loop {
        queue.release_due(Instant::now());
        while running.len() < concurrency {
            let Some(key) = queue.take() else { break };
            running.push(reconcile(key.clone()).map(move |result| (key, result)));
        }
        let due = queue.next_due();
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            key = inbox.recv() => match key {
                Some(key) => {
                    queue.add(key);
                    // Everything that arrived together is looked at together.
                    while let Ok(key) = inbox.try_recv() {
                        queue.add(key);
                    }
                }
                None => return,
            },
            Some((key, result)) = running.next(), if !running.is_empty() => {
                let outcome = outcome_of(controller, &key, result);
                queue.finish(&key, outcome, Instant::now());
            }
            () = timer => {}
        }
    }
}

fn outcome_of<K: Debug>(controller: &str, key: &K, result: Result<Again>) -> Outcome {
    match result {
        Ok(None) => Outcome::Done,
        Ok(Some(after)) => Outcome::Again(after),
        Err(error) => {
            // Losing a race is everyday life; the winner's change is on its way through the watch.
            if error.is_conflict() || error.is_not_found() || matches!(error, Error::NotLeading) {
                tracing::debug!(controller, ?key, error = %chain(&error), "retrying");
            } else {
                tracing::warn!(controller, ?key, error = %chain(&error), "retrying");
            }
            Outcome::Failed
        }
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    };
    use tokio::sync::mpsc::unbounded_channel;

    #[tokio::test]
    async fn retries_until_it_works_and_stops_when_cancelled() {
        let (sender, inbox) = unbounded_channel();
        let cancel = CancellationToken::new();
        let tries = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&tries);
        let stop = cancel.clone();
        sender.send("a").expect("open");
        let work = drive("test", inbox, 2, cancel, move |_| {
            let try_number = seen.fetch_add(1, Ordering::SeqCst) + 1;
            let stop = stop.clone();
            async move {
                if try_number < 3 {
                    return Err(Error::TaskEnded { name: "not yet".into() });
                }
                stop.cancel();
                Ok(None)
            }
        });
        tokio::time::timeout(Duration::from_secs(5), work).await.expect("ends");
        assert_eq!(tries.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn one_key_never_runs_beside_itself() {
        let (sender, inbox) = unbounded_channel();
        let cancel = CancellationToken::new();
        let active = Arc::new(Mutex::new(std::collections::HashSet::new()));
        let count = Arc::new(AtomicUsize::new(0));
        let feeder = {
            let cancel = cancel.clone();
            async move {
                for number in 0..50u32 {
                    sender.send(number % 3).expect("open");
                    tokio::time::sleep(Duration::from_micros(300)).await;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                cancel.cancel();
            }
        };
        let (shared, counted) = (Arc::clone(&active), Arc::clone(&count));
        let work = drive("test", inbox, 8, cancel, move |key| {
            let (active, count) = (Arc::clone(&shared), Arc::clone(&counted));
            async move {
                assert!(active.lock().expect("lock").insert(key), "key {key} twice at once");
                tokio::time::sleep(Duration::from_millis(2)).await;
                active.lock().expect("lock").remove(&key);
                count.fetch_add(1, Ordering::SeqCst);
                Ok(None)
            }
        });
        tokio::join!(feeder, work);
        assert!(count.load(Ordering::SeqCst) >= 3);
    }
}
