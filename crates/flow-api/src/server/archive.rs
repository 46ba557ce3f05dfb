//! What is older than the ring: told to those who name a time.

use crate::flow::FlowFilter;
use crate::query::{Query, counts};
use crate::ring::{Event, What};
use prost_types::Timestamp;
use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// A log that goes back further than the ring, and has also what the ring has.
pub trait Archive: Debug + Send + Sync {
    /// Asks. Called on a thread that may wait for a disk.
    ///
    /// # Errors
    /// Why nothing can be told, in words for the operator.
    fn ask(&self, question: &Question) -> Result<Told, String>;
}

/// Events in order, each read when it is wanted. `Err`: a part is missing, in words for the operator.
pub type Told = Box<dyn Iterator<Item = Result<Event, String>> + Send>;

/// What is wanted of an [`Archive`]. It may tell too much: what it tells is judged again.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Not older.
    pub since: Option<Timestamp>,
    /// Not newer.
    pub until: Option<Timestamp>,
    /// The newest come first.
    pub newest_first: bool,
    /// With any, only what fits one of them.
    pub whitelist: Vec<FlowFilter>,
    /// Nothing that fits one of them.
    pub blacklist: Vec<FlowFilter>,
}

/// An archive, and how many ask it now.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub archive: Arc<dyn Archive>,
    readers: Arc<Semaphore>,
}

/// Where the ring begins.
#[derive(Debug, Default)]
struct Border {
    oldest: Option<(i64, i32)>,
    /// Flows that the ring tells.
    told: HashSet<String>,
}

/// The part of an answer that is older than the ring.
#[derive(Debug)]
pub(super) struct Older(pub mpsc::Receiver<Result<Event, String>>);

/// More ask at once than may.
#[derive(Debug)]
pub(super) struct Busy;

impl Shelf {
    pub fn new(archive: Arc<dyn Archive>) -> Self {
        Self { archive, readers: Arc::new(Semaphore::new(MOST_READERS)) }
    }

    /// Begins to read what is older than `ring`, of which `told` counted events are told. `None`: nothing is wanted of it.
    pub fn older(
        &self,
        query: &Query,
        mut question: Question,
        ring: &[Arc<Event>],
        told: u64,
        admit: &super::answers::Admit,
    ) -> Result<Option<Older>, Busy> {
        let border = Border::of(ring);
        let number = query.number();
        let is_wanted = match (query.since(), query.until()) {
            (Some(since), _) => border.oldest.is_none_or(|oldest| oldest > since),
            (None, Some(_)) => number == 0 || told < number,
            (None, None) => false,
        };
        if !is_wanted {
            return Ok(None);
        }
        let permit = self.readers.clone().try_acquire_owned().map_err(|_| Busy)?;
        question.newest_first = query.takes_last() && number > 0;
        // Events of several CPUs lie a little out of order.
        let border_end = border.oldest.map(|(seconds, nanos)| (seconds.saturating_add(1), nanos));
        question.since = query.since().map(time);
        question.until = [query.until(), border_end].into_iter().flatten().min().map(time);
        let most = match (question.newest_first, query.follows()) {
            (true, _) => Some(number - told),
            (false, false) if number > 0 => Some(number),
            _ => None,
        };
        let (sender, receiver) = mpsc::channel(WAITING);
        let (archive, query, admit) = (self.archive.clone(), query.clone(), admit.clone());
        let fits = move |event: &Event| border.is_before(event) && super::answers::is_told(event, &query, &admit);
        let _reading = tokio::task::spawn_blocking(move || {
            // Whoever asked may have gone; then nothing more is read.
            let _ = read(&*archive, &question, fits, most, &sender, &permit);
        });
        Ok(Some(Older(receiver)))
    }
}

/// Sends at most so many that count, in the order of time.
fn read(
    archive: &dyn Archive,
    question: &Question,
    fits: impl Fn(&Event) -> bool,
    most: Option<u64>,
    sender: &mpsc::Sender<Result<Event, String>>,
    _permit: &OwnedSemaphorePermit,
) -> Option<()> {
    let told = match archive.ask(question) {
        Ok(told) => told,
        Err(trouble) => return sender.blocking_send(Err(trouble)).ok(),
    };
    let (mut counted, mut kept) = (0, VecDeque::new());
    for one in told.filter(|one| one.as_ref().map_or(true, &fits)) {
        if most.is_some_and(|most| counted >= most) {
            break;
        }
        counted += u64::from(one.as_ref().is_ok_and(counts));
        if !question.newest_first {
            sender.blocking_send(one).ok()?;
            continue;
        }
        kept.push_front(one);
        if kept.len() > MOST_KEPT {
            let trouble = format!("of the last flows, no more than {MOST_KEPT} are told out of the log: name a since");
            sender.blocking_send(Err(trouble)).ok()?;
            break;
        }
    }
    kept.into_iter().try_for_each(|one| sender.blocking_send(one)).ok()
}

impl Border {
    fn of(ring: &[Arc<Event>]) -> Self {
        let flows = ring.iter().filter_map(|event| match &event.what {
            What::Flow(flow) => Some((event.time, flow)),
            _ => None,
        });
        let oldest = flows.clone().map(|(time, _)| (time.seconds, time.nanos)).min();
        Self { oldest, told: flows.map(|(_, flow)| flow.uuid.clone()).collect() }
    }

    /// Whether the ring does not tell it.
    fn is_before(&self, event: &Event) -> bool {
        match &event.what {
            What::Flow(flow) => flow.uuid.is_empty() || !self.told.contains(&flow.uuid),
            _ => self.oldest.is_none_or(|oldest| (event.time.seconds, event.time.nanos) < oldest),
        }
    }
}

fn time((seconds, nanos): (i64, i32)) -> Timestamp {
    Timestamp { seconds, nanos }
}

/// Each has a thread, and some MB at most.
const MOST_READERS: usize = 8;
/// Events that wait for one client.
const WAITING: usize = 64;
/// Of the newest: they are held until the oldest of them is known. Some 60 MB at most.
const MOST_KEPT: usize = 1 << 16;
