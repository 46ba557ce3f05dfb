//! Reading a log for a client, on a thread that may wait: for the disk, and for the client, which may be slow, stand still or go.

use super::archive::{Came, Told};
use crate::query::counts;
use crate::ring::{Event, What};
use prost::Message;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::mpsc::{OwnedPermit, Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What is told; `Err`: what is missing, in words for the operator.
type Answer = Result<Event, String>;

/// So many may read at once.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// How often there was none.
    refused: AtomicU64,
    /// How long a client may take nothing while others wait.
    patience: Duration,
}

/// The reader's end. Whoever has it holds one of the places.
#[derive(Debug)]
pub(super) struct Desk {
    sender: Sender<Answer>,
    /// Room for one more word, however slow the client is.
    last: OwnedPermit<Answer>,
    /// When it is over, the client has gone.
    pub gone: CancellationToken,
    came: Arc<Mutex<Option<Came>>>,
    places: Arc<Places>,
    _place: OwnedSemaphorePermit,
}

/// The client's end.
#[derive(Debug)]
pub(super) struct Older {
    pub answers: Receiver<Answer>,
    came: Arc<Mutex<Option<Came>>>,
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

impl Places {
    pub fn new(number: usize, patience: Duration) -> Self {
        Self { free: Arc::new(Semaphore::new(number)), refused: AtomicU64::new(0), patience }
    }

    /// Whether somebody has found none since there were so many refusals, and would find none now.
    fn are_wanted(&self, refused: u64) -> bool {
        self.free.available_permits() == 0 && self.refused.load(Relaxed) > refused
    }
}

/// Takes one of the places; `None`: there is none.
pub(super) fn desk(places: &Arc<Places>) -> Option<(Desk, Older)> {
    let Ok(place) = places.free.clone().try_acquire_owned() else {
        places.refused.fetch_add(1, Relaxed);
        return None;
    };
    let (sender, answers) = channel(WAITING + 1);
    let last = sender.clone().try_reserve_owned().ok()?;
    let (gone, came) = (CancellationToken::new(), Arc::<Mutex<_>>::default());
    let older = Older { answers, came: came.clone(), _client: gone.clone().drop_guard() };
    Some((Desk { sender, last, gone, came, places: places.clone(), _place: place }, older))
}

impl Older {
    /// When all answers are there: what came while the log was asked, if it was.
    pub fn came(self) -> Option<Came> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Desk {
    /// Sends at most so many that count, in the order of time.
    pub fn read(self, told: Told, newest_first: bool, fits: impl Fn(&Event) -> bool, most: Option<u64>) {
        match self.tell(told, newest_first, fits, most) {
            Ok(()) | Err(Stop::Gone) => {}
            Err(Stop::Slow) => drop(self.last.send(Err(TOO_SLOW.to_owned()))),
        }
    }

    /// To be told after what is read.
    pub fn keep(&self, came: Came) {
        *self.came.lock().unwrap_or_else(PoisonError::into_inner) = Some(came);
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
        let (mut counted, mut kept, mut bytes) = (0, VecDeque::new(), 0);
        for one in told {
            if self.gone.is_cancelled() {
                return Err(Stop::Gone);
            }
            if one.as_ref().is_ok_and(|event| !fits(event)) {
                continue;
            }
            counted += u64::from(one.as_ref().is_ok_and(counts));
            if newest_first {
                bytes += one.as_ref().map_or(0, size);
                kept.push_front(one);
            } else {
                self.send(one)?;
            }
            if most.is_some_and(|most| counted >= most) {
                break;
            }
            if kept.len() >= MOST_KEPT || bytes >= MOST_BYTES {
                let number = kept.len();
                self.send(Err(format!(
                    "of the last flows, no more than {number} are told out of the log: name a since"
                )))?;
                break;
            }
        }
        kept.into_iter().try_for_each(|one| self.send(one))
    }

    /// Waits for the client, which may take its time as long as nobody else is refused a place.
    fn send(&self, mut answer: Answer) -> Result<(), Stop> {
        let refused = self.places.refused.load(Relaxed);
        loop {
            match Handle::current().block_on(self.sender.send_timeout(answer, self.places.patience)) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Closed(_)) => return Err(Stop::Gone),
                Err(SendTimeoutError::Timeout(_)) if self.places.are_wanted(refused) => return Err(Stop::Slow),
                Err(SendTimeoutError::Timeout(same)) => answer = same,
            }
        }
    }
}

/// Encoded bytes of a flow or a loss; nothing else is in a log.
fn size(event: &Event) -> usize {
    match &event.what {
        What::Flow(flow) => flow.encoded_len(),
        What::Lost(lost) => lost.encoded_len(),
        What::Agent(_) | What::Debug(_) => 0,
    }
}

const TOO_SLOW: &str =
    "the rest of the log is left out: this client has taken nothing for a while, and others wait for its place";
/// Events that wait for one client.
const WAITING: usize = 64;
/// Of the newest: they are held until the oldest of them is known.
const MOST_KEPT: usize = 1 << 14;
/// The same in bytes of encoded flows; in memory they take some times as much.
const MOST_BYTES: usize = 16 << 20;
/// How long a client may take nothing while others wait. A relay holds a node's stream still while it tells older flows of another node,
/// which may take a good while of reading there.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
