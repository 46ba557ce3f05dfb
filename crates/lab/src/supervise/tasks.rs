//! Keeps a task running inside the supervisor: a controller that gives up, or panics, is started again.

use std::{fmt::Display, future::Future, time::Instant};

use tokio_util::sync::CancellationToken;

use super::{backoff::Backoff, report::Reporter};

/// Runs what `start` makes until `cancel`; `start` is called again whenever that ends before.
pub async fn keep<Work, Error>(
    name: String,
    reporter: Reporter,
    cancel: CancellationToken,
    mut start: impl FnMut(CancellationToken) -> Work,
) where
    Work: Future<Output = Result<(), Error>> + Send + 'static,
    Error: Display + Send + 'static,
{
    reporter.task(&name, |_| {});
    let mut backoff = Backoff::default();
    loop {
        let started = Instant::now();
        // A task of its own, so that a panic ends it alone.
        let result = tokio::spawn(start(cancel.child_token())).await;
        if cancel.is_cancelled() {
            return;
        }
        let why = match result {
            Ok(Ok(())) => "it ended".to_owned(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => panic.to_string(),
        };
        tracing::error!(task = name, why, "ended, starting it again");
        reporter.task(&name, |task| {
            task.restarts += 1;
            task.last_error = Some(why);
        });
        tokio::select! {
            () = tokio::time::sleep(backoff.after(started.elapsed())) => {}
            () = cancel.cancelled() => return,
        }
    }
}
