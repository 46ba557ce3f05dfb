//! One answer after the other, as fast as the client takes them: nothing is prepared that it did not ask for yet.

use super::now;
use crate::flow::{LostEvent, LostEventSource};
use crate::query::{Past, Query};
use crate::ring::{Event, Ring, What};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Which events a client gets; it also gets all losses.
pub type Admit = Box<dyn Fn(&Event) -> bool + Send + Sync>;

/// The events of one request, in order.
pub struct Answers {
    ring: Arc<Ring>,
    query: Query,
    admit: Admit,
    /// To be told before anything else is read.
    waiting: VecDeque<Arc<Event>>,
    /// Where to read on; `None`: nothing more comes.
    position: Option<u64>,
}

impl Answers {
    /// Looks through the ring once.
    pub async fn new(ring: Arc<Ring>, query: Query, admit: Admit) -> Self {
        let end = ring.end();
        let (waiting, next) =
            if query.looks_back() { look_back(&ring, end, &query, &admit).await } else { (VecDeque::new(), end) };
        let position = query.follows().then_some(next);
        Self { ring, query, admit, waiting, position }
    }

    /// The next event; `None`: that was all.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            let position = self.position?;
            if !self.wait(position).await {
                self.position = None;
                continue;
            }
            let batch = self.ring.read(position);
            self.position = Some(batch.next);
            if batch.missed > 0 {
                self.waiting.push_back(missed(batch.missed));
            }
            let fits = |event: &&Arc<Event>| is_told(event, &self.query, &self.admit);
            self.waiting.extend(batch.events.iter().filter(fits).cloned());
            // A filter that fits nothing must not keep the thread from others.
            tokio::task::yield_now().await;
        }
    }

    /// Whether there is something to read; not when the time is over.
    async fn wait(&self, position: u64) -> bool {
        let Some((seconds, nanos)) = self.query.until() else {
            self.ring.wait(position).await;
            return true;
        };
        let now = now();
        let left = i128::from(seconds - now.seconds) * 1_000_000_000 + i128::from(nanos - now.nanos);
        if left <= 0 {
            // What is there already may still be of before.
            return self.ring.end() > position;
        }
        let left = Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX));
        match tokio::time::timeout(left.min(LONGEST_WAIT), self.ring.wait(position)).await {
            Ok(()) => true,
            Err(_) => self.ring.end() > position,
        }
    }
}

/// What is told of the events before `end`, and where to read on.
async fn look_back(ring: &Ring, end: u64, query: &Query, admit: &Admit) -> (VecDeque<Arc<Event>>, u64) {
    let mut past = Past::new(query);
    let mut position = ring.start();
    while position < end {
        let batch = ring.read(position);
        if batch.missed > 0 {
            past.offer(missed(batch.missed));
        }
        let first = batch.next - batch.events.len() as u64;
        for (number, event) in (first..end).zip(batch.events) {
            position = number + 1;
            if is_told(&event, query, admit) && !past.offer(event) {
                return (past.finish(), position);
            }
        }
        position = position.max(first);
        tokio::task::yield_now().await;
    }
    (past.finish(), position)
}

fn is_told(event: &Event, query: &Query, admit: &Admit) -> bool {
    query.is_in_time(event) && (matches!(event.what, What::Lost(_)) || admit(event))
}

/// The ring was faster than the client.
fn missed(number: u64) -> Arc<Event> {
    let source = LostEventSource::HubbleRingBuffer as i32;
    let lost = LostEvent { source, num_events_lost: number, ..LostEvent::default() };
    Arc::new(Event { time: now(), what: What::Lost(lost) })
}

/// A timer of a thousand years is none.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);
