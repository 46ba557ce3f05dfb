//! Reading a log for a client, on a thread that may wait: for the disk, and for the client, which may be slow, stand still or go.

use super::archive::Told;
use crate::query::counts;
use crate::ring::Event;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::mpsc::{OwnedPermit, Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What is told; `Err`: what is missing, in words for the operator.
type Answer = Result<Event, String>;

/// The reader's end. Whoever has it holds one of the places.
#[derive(Debug)]
pub(super) struct Desk {
    sender: Sender<Answer>,
    /// Room for one more word, however slow the client is.
    last: OwnedPermit<Answer>,
    /// When it is over, the client has gone.
    pub gone: CancellationToken,
    places: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
}

/// The client's end.
#[derive(Debug)]
pub(super) struct Older {
    pub answers: Receiver<Answer>,
    _client: DropGuard,
}

/// Why nothing more is read.
#[derive(Debug)]
enum Stop {
    /// The client has gone.
    Gone,
    /// It takes nothing, and others wait for its place.
    Slow,
}

/// Takes one of the places.
///
/// # Errors
/// There is none.
pub(super) fn desk(places: &Arc<Semaphore>) -> Result<(Desk, Older), TryAcquireError> {
    let place = places.clone().try_acquire_owned()?;
    let (sender, answers) = channel(WAITING + 1);
    let last = sender.clone().try_reserve_owned().map_err(|_| TryAcquireError::NoPermits)?;
    let gone = CancellationToken::new();
    let older = Older { answers, _client: gone.clone().drop_guard() };
    Ok((Desk { sender, last, gone, places: places.clone(), _place: place }, older))
}

impl Desk {
    /// Sends at most so many that count, in the order of time.
    pub fn read(self, told: Told, newest_first: bool, fits: impl Fn(&Event) -> bool, most: Option<u64>) {
        match self.tell(told, newest_first, fits, most) {
            Ok(()) | Err(Stop::Gone) => {}
            Err(Stop::Slow) => drop(self.last.send(Err(TOO_SLOW.to_owned()))),
        }
    }

    /// There is nothing to read.
    pub fn refuse(self, why: String) {
        self.last.send(Err(why));
    }

    fn tell(
        &self,
        told: Told,
        newest_first: bool,
        fits: impl Fn(&Event) -> bool,
        most: Option<u64>,
    ) -> Result<(), Stop> {
        let (mut counted, mut kept) = (0, VecDeque::new());
        for one in told {
            if self.gone.is_cancelled() {
                return Err(Stop::Gone);
            }
            if one.as_ref().is_ok_and(|event| !fits(event)) {
                continue;
            }
            counted += u64::from(one.as_ref().is_ok_and(counts));
            if newest_first {
                kept.push_front(one);
            } else {
                self.send(one)?;
            }
            if most.is_some_and(|most| counted >= most) {
                break;
            }
            if kept.len() >= MOST_KEPT {
                let most = format!("of the last flows, no more than {MOST_KEPT} are told out of the log: name a since");
                self.send(Err(most))?;
                break;
            }
        }
        kept.into_iter().try_for_each(|one| self.send(one))
    }

    /// Waits for the client, which may take its time as long as there are places for others.
    fn send(&self, mut answer: Answer) -> Result<(), Stop> {
        loop {
            match Handle::current().block_on(self.sender.send_timeout(answer, PATIENCE)) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Closed(_)) => return Err(Stop::Gone),
                Err(SendTimeoutError::Timeout(_)) if self.places.available_permits() == 0 => return Err(Stop::Slow),
                Err(SendTimeoutError::Timeout(same)) => answer = same,
            }
        }
    }
}

const TOO_SLOW: &str =
    "the rest of the log is left out: this client has taken nothing for a while, and others wait for its place";
/// Events that wait for one client.
const WAITING: usize = 64;
/// Of the newest: they are held until the oldest of them is known. Some 15 MB at most.
const MOST_KEPT: usize = 1 << 14;
/// How long a client may take nothing while others wait. Nobody who prints to a terminal needs as long for as many as wait for him.
const PATIENCE: Duration = Duration::from_secs(5);
