//! What is older than the ring: told to those who name a time.

use super::answers::{Admit, is_told};
use super::border::{Border, Reach};
use super::reading::{Older, PATIENCE, Places, desk};
use crate::flow::FlowFilter;
use crate::moment::{Moment, moment};
use crate::query::Query;
use crate::ring::{Event, Ring};
use prost_types::Timestamp;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A log of what was in the ring, in the ring's order. It goes back further.
pub trait Archive: Debug + Send + Sync {
    /// Asks for what the log has now: what is written to it later is not told. By then it has everything that has left the ring. A loss
    /// has the time at which the ring told it. Called on a thread that may wait for a disk.
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
    /// When it is over, whoever asked has gone, and nothing more need be read.
    pub gone: CancellationToken,
}

/// An archive, and how many ask it now.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub archive: Arc<dyn Archive>,
    places: Arc<Places>,
}

/// What was in the ring when a request came.
#[derive(Debug)]
pub(super) struct Held {
    /// In order.
    pub events: Vec<Arc<Event>>,
    /// The ring's position after them.
    pub end: u64,
}

/// What came into the ring while an archive was asked.
#[derive(Debug)]
pub(super) struct Came {
    /// In order.
    pub events: Vec<Arc<Event>>,
    /// The ring's position after them.
    pub next: u64,
}

/// More ask at once than may.
#[derive(Debug)]
pub(super) struct Busy;

impl Shelf {
    pub fn new(archive: Arc<dyn Archive>) -> Self {
        Self { archive, places: Arc::new(Places::new(MOST_READERS, PATIENCE)) }
    }

    /// Another patience with clients that take nothing while others wait.
    pub fn patient(self, patience: Duration) -> Self {
        Self { places: Arc::new(Places::new(MOST_READERS, patience)), ..self }
    }

    /// Begins to read what the ring has no more, while of what was `held` of it `told` counted events are told. `None`: nothing is
    /// wanted of the log.
    pub fn older(
        &self,
        query: &Query,
        mut question: Question,
        ring: &Arc<Ring>,
        held: Held,
        told: u64,
        admit: &Admit,
    ) -> Result<Option<Older>, Busy> {
        let first = held.events.first().map(|event| moment(&event.time));
        let reach = Reach { forgotten: ring.forgotten(), first, made: ring.made() };
        if !is_wanted(query, reach, told) {
            return Ok(None);
        }
        let (desk, older) = desk(&self.places).ok_or(Busy)?;
        let number = query.number();
        question.newest_first = query.takes_last() && number > 0;
        question.since = query.since().map(time);
        question.until = query.until().map(time);
        question.gone = desk.gone.clone();
        let most = match (question.newest_first, query.follows()) {
            (true, _) => Some(number - told),
            (false, false) if number > 0 => Some(number),
            _ => None,
        };
        let (archive, ring) = (self.archive.clone(), ring.clone());
        let (query, admit) = (query.clone(), admit.clone());
        let _reading = tokio::task::spawn_blocking(move || {
            let told = match archive.ask(&question) {
                Ok(told) => told,
                Err(trouble) => return desk.refuse(trouble),
            };
            let is_told = |event: &Event| is_told(event, &query, &admit);
            let mut border = Border::new(reach);
            // What came while the log was asked may be in it already, and is still to be told after what was held. The ring may have turned
            // before that is read.
            let came = after(&ring, held.end);
            let both = held.events.iter().chain(&came.events);
            both.filter(|event| is_told(event)).for_each(|event| border.add(event));
            if query.follows() {
                desk.keep(came);
            }
            let fits = |event: &Event| is_told(event) && !border.has(event);
            desk.read(told, question.newest_first, fits, most);
        });
        Ok(Some(older))
    }
}

/// Whether the log may have something that the ring does not tell, and that is wanted.
fn is_wanted(query: &Query, reach: Reach, told: u64) -> bool {
    match (query.since(), query.until()) {
        (Some(since), _) => !reach.needs_no_log(since),
        // The first are the oldest that there are.
        (None, Some(_)) => !query.takes_last() || query.number() == 0 || told < query.number(),
        (None, None) => false,
    }
}

/// What is in the ring from this position on. What has left it already is in the log, or is told there as lost.
fn after(ring: &Ring, mut position: u64) -> Came {
    let (mut events, end) = (Vec::new(), ring.end());
    while position < end {
        let batch = ring.read(position);
        events.extend(batch.events);
        position = batch.next;
    }
    Came { events, next: position }
}

fn time((seconds, nanos): Moment) -> Timestamp {
    Timestamp { seconds, nanos }
}

/// Each has a thread, and some MB at most.
const MOST_READERS: usize = 8;
