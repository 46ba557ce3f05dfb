//! One answer after the other, as fast as the client takes them: nothing is prepared that it did not ask for yet.

use super::archive::{Busy, Held, Question, Shelf};
use super::reading::Older;
use crate::moment::{nanoseconds, now};
use crate::query::{Past, Query, counts};
use crate::ring::{BATCH, Event, Ring, What};
use prost_types::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Which events a client gets; it also gets all losses.
pub type Admit = Arc<dyn Fn(&Event) -> bool + Send + Sync>;

/// One of them.
pub enum Told {
    /// Something that happened.
    Event(Arc<Event>),
    /// A part of the log is missing, in words for the operator.
    Trouble(String),
}

/// The events of one request, in order.
pub struct Answers {
    ring: Arc<Ring>,
    query: Query,
    admit: Admit,
    /// Comes before everything else.
    older: Option<Older>,
    /// Events that may still be told of what is past; `None`: all.
    left: Option<u64>,
    /// To be told before anything else is read of the ring.
    waiting: VecDeque<Arc<Event>>,
    /// Where to read on; `None`: nothing more comes.
    position: Option<u64>,
}

impl Answers {
    /// Looks through the ring once, and begins to read what is older.
    ///
    /// # Errors
    /// Too many read what is older.
    pub async fn new(
        ring: Arc<Ring>,
        query: Query,
        admit: Admit,
        log: Option<(&Shelf, Question)>,
    ) -> Result<Self, Busy> {
        let end = ring.end();
        let mut answers =
            Self { ring, query, admit, older: None, left: None, waiting: VecDeque::new(), position: None };
        let mut next = end;
        if answers.query.looks_back() {
            // In one piece, so that what leaves the ring meanwhile is told once.
            let held = hold(&answers.ring, end).await;
            (answers.waiting, next) = look_back(&held, end, &answers.query, &answers.admit).await;
            if let Some((shelf, question)) = log {
                let told = answers.waiting.iter().filter(|event| counts(event)).count() as u64;
                let held = Held { events: held.into_iter().map(|(_, event)| event).collect(), end };
                answers.older = shelf.older(&answers.query, question, &answers.ring, held, told, &answers.admit)?;
            }
        }
        let is_bounded = answers.query.number() > 0 && !answers.query.follows();
        answers.left = is_bounded.then_some(answers.query.number());
        answers.position = answers.query.follows().then_some(next);
        Ok(answers)
    }

    /// The next; `None`: that was all.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(older) = &mut self.older {
                match older.answers.recv().await {
                    Some(Ok(event)) => return self.count(Arc::new(event)),
                    Some(Err(trouble)) => return Some(Told::Trouble(trouble)),
                    None => self.come(),
                }
            }
            if let Some(event) = self.waiting.pop_front() {
                return self.count(event);
            }
            let position = self.position?;
            if !self.wait(position).await {
                self.position = None;
                continue;
            }
            let batch = self.ring.read(position);
            self.position = Some(batch.next);
            if batch.missed > 0 {
                self.waiting.push_back(Arc::new(Event::missed(batch.missed, now())));
            }
            let fits = |event: &&Arc<Event>| is_told(event, &self.query, &self.admit);
            self.waiting.extend(batch.events.iter().filter(fits).cloned());
            // A filter that fits nothing must not keep the thread from others.
            tokio::task::yield_now().await;
        }
    }

    /// The log is read: what came while it was asked comes after what waits, for the ring may have turned since then.
    fn come(&mut self) {
        let came = self.older.take().and_then(Older::came);
        if let (Some(position), Some(came)) = (&mut self.position, came) {
            let fits = |event: &Arc<Event>| is_told(event, &self.query, &self.admit);
            self.waiting.extend(came.events.into_iter().filter(fits));
            *position = came.next;
        }
    }

    fn count(&mut self, event: Arc<Event>) -> Option<Told> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(u64::from(counts(&event)))?;
        }
        Some(Told::Event(event))
    }

    /// Whether there is something to read; not when the time is over.
    async fn wait(&self, position: u64) -> bool {
        let Some((seconds, nanos)) = self.query.until() else {
            self.ring.wait(position).await;
            return true;
        };
        let left = nanoseconds(&Timestamp { seconds, nanos }).saturating_sub(nanoseconds(&now()));
        if left <= 0 {
            // What is there already may still be of before.
            return self.ring.end() > position;
        }
        let left = Duration::from_nanos(left.unsigned_abs());
        match tokio::time::timeout(left.min(LONGEST_WAIT), self.ring.wait(position)).await {
            Ok(()) => true,
            Err(_) => self.ring.end() > position,
        }
    }
}

/// Events before `end`, each with its number.
async fn hold(ring: &Ring, end: u64) -> Vec<(u64, Arc<Event>)> {
    let (mut held, mut position) = (Vec::new(), 0);
    while position < end {
        let batch = ring.read(position);
        let first = batch.next - batch.events.len() as u64;
        // What was gone before the first look is no loss: nobody waited for it.
        if batch.missed > 0 && !held.is_empty() {
            held.push((first, Arc::new(Event::missed(batch.missed, now()))));
        }
        held.extend((first..end).zip(batch.events));
        position = batch.next;
        tokio::task::yield_now().await;
    }
    held
}

/// What is told of them, and where to read on.
async fn look_back(held: &[(u64, Arc<Event>)], end: u64, query: &Query, admit: &Admit) -> (VecDeque<Arc<Event>>, u64) {
    let mut past = Past::new(query);
    for batch in held.chunks(BATCH as usize) {
        for (number, event) in batch {
            if is_told(event, query, admit) && !past.offer(event.clone()) {
                return (past.finish(), number + 1);
            }
        }
        tokio::task::yield_now().await;
    }
    (past.finish(), end)
}

pub(super) fn is_told(event: &Event, query: &Query, admit: &Admit) -> bool {
    query.is_in_time(event) && (matches!(event.what, What::Lost(_)) || admit(event))
}

/// A timer of a thousand years is none.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Flow;

    #[tokio::test]
    async fn what_the_ring_has_forgotten_before_it_is_looked_at_is_no_loss() {
        let ring = Ring::new(4);
        (0..9).for_each(|_| ring.write(Event { time: now(), what: What::flow(Flow::default()) }));
        let numbers = |held: Vec<(u64, Arc<Event>)>| held.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        assert_eq!(numbers(hold(&ring, 9).await), [5, 6, 7, 8]);
        // The ring has gone on since the end was taken, and has turned.
        assert_eq!(numbers(hold(&ring, 7).await), [5, 6]);
        assert_eq!(numbers(hold(&ring, 3).await), [0_u64; 0]);
    }
}
