//! Answers, one flow after the other.

use crate::catalog::{Catalog, Part, snapshot};
use crate::columns::Facts;
use crate::frames::{self, Frame};
use crate::journal::{Record, View};
use crate::moment::{NO_TIME, nanoseconds, timestamp};
use crate::plan::Plan;
use crate::query::{Order, Query};
use crate::row::Row;
use crate::scan::Scan;
use crate::{Damage, Error};
use flow_api::flow::{Endpoint, Flow, LostEvent};
use flow_api::ring::{Event, What};
use prost::Message;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

/// Reads the log. Cheap to copy; any number of them, while one writes.
#[derive(Clone, Debug)]
pub struct Reader {
    catalog: Arc<Catalog>,
}

/// What the log has, by its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Parts, the open one included.
    pub parts: u64,
    /// Flows and losses.
    pub rows: u64,
    /// On disk.
    pub bytes: u64,
    /// Oldest time, nanoseconds since 1970.
    pub oldest: Option<i64>,
    /// Segments that can't be opened.
    pub damaged: Vec<Damage>,
}

/// The answer to a query: what was in the log when it was asked. Reads from the disk while it is iterated, at most
/// some thousand flows or one record at a time, so it is nothing for an async task's own thread.
///
/// An `Err` names a part that is left out; the answer goes on after it.
pub struct Answer {
    query: Query,
    plan: Plan,
    parts: VecDeque<Part>,
    current: Option<Current>,
    ready: VecDeque<Event>,
    /// Flows still wanted; `None`: all.
    left: Option<u64>,
    step: usize,
    is_over: Box<dyn Fn() -> bool + Send>,
}

enum Current {
    Segment(Box<Scan>),
    Journal(View, VecDeque<Record>),
}

impl Reader {
    pub(crate) fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog }
    }

    /// Of a log that another process may be writing: as it is now, and never changed by this.
    ///
    /// # Errors
    /// The file system.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Self::new(Arc::new(snapshot(folder)?)))
    }

    /// Asks.
    #[must_use]
    pub fn query(&self, query: Query) -> Answer {
        let mut parts: VecDeque<Part> = self.catalog.parts().into();
        let may_have = |part: &Part| {
            let span = part.span();
            query.since.is_none_or(|since| span.last >= since) && query.until.is_none_or(|until| span.first <= until)
        };
        parts.retain(may_have);
        if query.order == Order::NewestFirst {
            parts.make_contiguous().reverse();
        }
        let left = (query.number > 0).then_some(query.number);
        let plan = Plan::new(&query);
        let is_over = Box::new(|| false);
        Answer { query, plan, parts, current: None, ready: VecDeque::new(), left, step: FIRST_STEP, is_over }
    }

    /// What there is.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for part in self.catalog.parts() {
            summary.parts += 1;
            summary.rows += part.rows();
            summary.bytes += part.bytes();
            match part {
                Part::Damaged(damage, _) => summary.damaged.push(damage),
                part if part.rows() > 0 => {
                    let first = part.span().first;
                    summary.oldest = Some(summary.oldest.map_or(first, |oldest: i64| oldest.min(first)));
                }
                _ => {}
            }
        }
        summary
    }
}

impl Iterator for Answer {
    type Item = Result<Event, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left != Some(0) {
            if let Some(event) = self.ready.pop_front() {
                if matches!(event.what, What::Flow(_)) {
                    self.left = self.left.map(|left| left - 1);
                }
                return Some(Ok(event));
            }
            if (self.is_over)() {
                return None;
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(damage) => {
                    self.current = None;
                    return Some(Err(damage));
                }
            }
        }
        None
    }
}

impl Answer {
    /// It ends as soon as this says so, also in the middle of a search that finds nothing: it is asked before each step.
    #[must_use]
    pub fn until(self, is_over: impl Fn() -> bool + Send + 'static) -> Self {
        Self { is_over: Box::new(is_over), ..self }
    }

    /// Reads on, into `ready`. `false`: there is nothing more.
    fn advance(&mut self) -> Result<bool, Damage> {
        let (events, is_over) = match &mut self.current {
            None => return self.next_part(),
            Some(Current::Segment(scan)) => {
                let events = scan.next(self.step)?;
                self.step = (self.step * 2).min(LARGEST_STEP);
                let is_over = events.is_empty();
                (events, is_over)
            }
            Some(Current::Journal(view, records)) => {
                let record = match self.query.order {
                    Order::OldestFirst => records.pop_front(),
                    Order::NewestFirst => records.pop_back(),
                };
                match record {
                    Some(record) => (decode(view, &record, &self.plan, self.query.order)?, records.is_empty()),
                    None => (Vec::new(), true),
                }
            }
        };
        if is_over {
            self.current = None;
        }
        let query = &self.query;
        self.ready.extend(events.into_iter().filter(|event| query.admits(event)));
        Ok(true)
    }

    fn next_part(&mut self) -> Result<bool, Damage> {
        let Some(part) = self.parts.pop_front() else { return Ok(false) };
        self.current = match part {
            Part::Damaged(damage, _) => return Err(damage),
            Part::Segment(segment) => {
                Scan::new(segment, &self.plan, &self.query)?.map(|scan| Current::Segment(Box::new(scan)))
            }
            Part::Closed(view) | Part::Open(view) => {
                let is_wanted = |record: &&Record| {
                    self.query.since.is_none_or(|since| record.span.last >= since)
                        && self.query.until.is_none_or(|until| record.span.first <= until)
                };
                let records = view.records.iter().filter(is_wanted).copied().collect();
                Some(Current::Journal(view, records))
            }
        };
        Ok(true)
    }
}

fn decode(view: &View, record: &Record, plan: &Plan, order: Order) -> Result<Vec<Event>, Damage> {
    let bytes = view.read(record)?;
    let wrong = || Damage::new(&view.path, "a record holds what is no flow");
    let (mut events, mut facts) = (Vec::new(), HashMap::new());
    for frame in frames::read(&bytes) {
        let frame = frame.map_err(|_| wrong())?;
        if may_fit(&frame, plan, &mut facts).ok_or_else(wrong)? {
            events.push(event(frame).ok_or_else(wrong)?);
        }
    }
    if order == Order::NewestFirst {
        events.reverse();
    }
    Ok(events)
}

/// Without decoding the flow: most are not wanted. What there is to know of an endpoint is found out once per record.
fn may_fit<'a>(frame: &Frame<'a>, plan: &Plan, facts: &mut HashMap<&'a [u8], Facts>) -> Option<bool> {
    let Frame::Flow(bytes) = frame else { return Some(true) };
    if plan.0.is_empty() {
        return Some(true);
    }
    let row = Row::split(bytes)?;
    for endpoint in [row.source, row.destination] {
        if !facts.contains_key(endpoint) {
            facts.insert(endpoint, Facts::of(&Endpoint::decode(endpoint).ok()?));
        }
    }
    Some(plan.may_fit(&row, [facts.get(row.source)?, facts.get(row.destination)?]))
}

fn event(frame: Frame<'_>) -> Option<Event> {
    let (time, what) = match frame {
        Frame::Flow(bytes) => {
            let flow = Flow::decode(bytes).ok()?;
            (flow.time, What::flow(flow))
        }
        Frame::Lost(bytes) => {
            let lost = LostEvent::decode(bytes).ok()?;
            (lost.last, What::Lost(lost))
        }
    };
    // As a segment tells it.
    let time = time.as_ref().map_or(NO_TIME, nanoseconds);
    Some(Event { time: if time == NO_TIME { Default::default() } else { timestamp(time) }, what })
}

/// Flows that are read at once at first: often a screenful is all that is wanted.
const FIRST_STEP: usize = 64;
/// Flows that are read at once at most: some 4 MB.
const LARGEST_STEP: usize = 2048;
