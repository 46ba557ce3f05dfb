//! Sends until it is taken, or never will be.

use super::client::Client;
use super::failure::{Failure, pause};
use super::messages::{PartialSuccess, Request};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// To one receiver, one request after the other, so that records come in order.
#[derive(Debug)]
pub struct Delivery {
    client: Client,
    stop: CancellationToken,
    /// It is stopped, and nobody has answered: nothing more is tried.
    is_over: bool,
}

impl Delivery {
    /// Nothing is sent yet. Once it is stopped, each request is tried once more, until one fails.
    #[must_use]
    pub fn new(client: Client, stop: CancellationToken) -> Self {
        Self { client, stop, is_over: false }
    }

    /// By another connection from now on.
    pub fn redirect(&mut self, client: Client) {
        self.client = client;
    }

    /// Sends it, again and again, as long as there is hope; `waiting` is told why it has to be. Answers with what the receiver did not
    /// take of it.
    ///
    /// # Errors
    /// In words: nothing of it was taken, and never will be, or it was stopped.
    pub async fn deliver(&mut self, request: &Request, waiting: impl Fn(String)) -> Result<PartialSuccess, String> {
        self.deliver_anew(request, waiting, || None).await
    }

    /// The same; from the second time on by `another` connection, if there is one by then.
    ///
    /// # Errors
    /// As there.
    pub async fn deliver_anew(
        &mut self,
        request: &Request,
        waiting: impl Fn(String),
        mut another: impl FnMut() -> Option<Client>,
    ) -> Result<PartialSuccess, String> {
        if self.is_over {
            return Err(STOPPED.to_owned());
        }
        let (begun, mut attempt) = (Instant::now(), 0);
        loop {
            let mut is_last = self.stop.is_cancelled();
            let sent = tokio::select! {
                sent = self.client.send(request) => sent,
                () = last_chance(&self.stop) => {
                    is_last = true;
                    Err(Failure::passing(STOPPED))
                }
            };
            let failure = match sent {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            // One that is never taken must not keep all after it from being sent.
            let may_wait = !is_last && begun.elapsed() < GIVE_UP;
            let pause = pause(failure.again, attempt, RandomState::new().hash_one(attempt)).filter(|_| may_wait);
            let Some(pause) = pause else {
                self.is_over = is_last;
                return Err(failure.words);
            };
            waiting(failure.words);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => {}
            }
            attempt += 1;
            if let Some(client) = another() {
                self.redirect(client);
            }
        }
    }
}

/// Some time after it was stopped.
async fn last_chance(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST).await;
}

const STOPPED: &str = "it was stopped before somebody answered";
/// For one request, as OpenTelemetry's collector has it (`max_elapsed_time`).
const GIVE_UP: Duration = Duration::from_secs(300);
/// For the last attempt: whoever stops an agent waits for some seconds.
const LAST: Duration = Duration::from_secs(2);
