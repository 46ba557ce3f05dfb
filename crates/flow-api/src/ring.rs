//! The last events of a node, in a ring of fixed size.
//!
//! One writes, many read. Every event has a number, from 0 on; the ring holds the newest. Writing takes the lock for the
//! stores of what came together, reading for at most [`BATCH`] clones of a pointer, so nobody's slowness reaches the writer: who falls behind
//! by more than the ring's size is told how many events it will never see.

use crate::flow::{AgentEvent, DebugEvent, Flow, LostEvent, LostEventSource};
use crate::moment::{Moment, moment, now};
use crate::seen::Seen;
use prost_types::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// What happened, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// What.
    pub what: What,
}

impl Event {
    /// The ring was faster than a reader, who noticed it at this time.
    #[must_use]
    pub fn missed(number: u64, time: Timestamp) -> Self {
        let source = LostEventSource::HubbleRingBuffer as i32;
        let lost = LostEvent { source, num_events_lost: number, ..LostEvent::default() };
        Self { time, what: What::Lost(lost) }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A flow was seen.
    Flow(Seen),
    /// The agent did something.
    Agent(Seen<AgentEvent>),
    /// The datapath explained itself.
    Debug(Box<DebugEvent>),
    /// Events were lost before they came here.
    Lost(LostEvent),
}

impl What {
    /// A flow in Hubble's words.
    #[must_use]
    pub fn flow(flow: Flow) -> Self {
        Self::Flow(flow.into())
    }
}

/// The newest events.
#[derive(Debug)]
pub struct Ring {
    slots: Mutex<Slots>,
    written: Notify,
    flows: AtomicU64,
    made: Moment,
}

#[derive(Debug)]
struct Slots {
    /// Event `n` is at `n % capacity`.
    events: Vec<Option<Arc<Event>>>,
    /// Number of the event to come.
    next: u64,
    /// Time of the newest event that is overwritten.
    forgotten: Option<Moment>,
}

/// Events from one position on.
#[derive(Debug, Default, PartialEq)]
pub struct Batch {
    /// Events between the position and the first of these that are overwritten.
    pub missed: u64,
    /// In order.
    pub events: Vec<Arc<Event>>,
    /// Position after them.
    pub next: u64,
}

impl Ring {
    /// An empty ring for `capacity` events (at least 1).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let slots = Slots { events: vec![None; capacity.max(1)], next: 0, forgotten: None };
        Self { slots: Mutex::new(slots), written: Notify::new(), flows: AtomicU64::new(0), made: moment(&now()) }
    }

    /// Adds an event and forgets the oldest, if the ring is full.
    pub fn write(&self, event: Event) {
        self.write_all([event]);
    }

    /// Adds events in their order, and wakes once those who wait.
    pub fn write_all(&self, events: impl IntoIterator<Item = Event>) {
        let mut events: Vec<Option<Arc<Event>>> = events.into_iter().map(|event| Some(Arc::new(event))).collect();
        let is_flow = |event: &&Arc<Event>| matches!(event.what, What::Flow(_));
        self.flows.fetch_add(events.iter().flatten().filter(is_flow).count() as u64, Relaxed);
        let mut slots = self.lock();
        for event in &mut events {
            let at = slots.index(slots.next);
            // What was there is freed later, without the lock.
            std::mem::swap(&mut slots.events[at], event);
            slots.next += 1;
            let time = event.as_ref().map(|event| moment(&event.time));
            slots.forgotten = slots.forgotten.max(time);
        }
        drop(slots);
        self.written.notify_waiters();
    }

    /// Events from `position` on, at most [`BATCH`].
    #[must_use]
    pub fn read(&self, position: u64) -> Batch {
        let slots = self.lock();
        let start = position.clamp(slots.oldest(), slots.next);
        let end = slots.next.min(start + BATCH);
        let events = (start..end).filter_map(|n| slots.events[slots.index(n)].clone()).collect();
        Batch { missed: start.saturating_sub(position), events, next: end }
    }

    /// Waits until there is something to read at `position`.
    pub async fn wait(&self, position: u64) {
        loop {
            let mut written = std::pin::pin!(self.written.notified());
            // Before the look: what is written after it wakes us.
            written.as_mut().enable();
            if self.end() > position {
                return;
            }
            written.await;
        }
    }

    /// Number of the oldest event.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.lock().oldest()
    }

    /// Time of the newest event that it has no more: seconds and nanoseconds since 1970. `None`: it has all that were written.
    #[must_use]
    pub fn forgotten(&self) -> Option<Moment> {
        self.lock().forgotten
    }

    /// When it was made, by the wall clock: what is of before that was another ring's.
    #[must_use]
    pub fn made(&self) -> Moment {
        self.made
    }

    /// Number of the event to come: how many there were.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.lock().next
    }

    /// Events in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        let slots = self.lock();
        slots.next - slots.oldest()
    }

    /// Whether nothing happened yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Events for which there is room.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.lock().events.len() as u64
    }

    /// Flows that were written, over all time.
    #[must_use]
    pub fn flows(&self) -> u64 {
        self.flows.load(Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn oldest(&self) -> u64 {
        self.next.saturating_sub(self.events.len() as u64)
    }

    fn index(&self, number: u64) -> usize {
        (number % self.events.len() as u64) as usize
    }
}

/// Events that one [`Ring::read`] returns at most: some microseconds under the lock.
pub const BATCH: u64 = 256;

/// Hubble's own (`hubble-event-buffer-capacity`).
pub const DEFAULT_CAPACITY: usize = 4095;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(seconds: i64) -> Event {
        Event { time: Timestamp { seconds, nanos: 0 }, what: What::flow(Flow::default()) }
    }

    fn seconds(batch: &Batch) -> Vec<i64> {
        batch.events.iter().map(|event| event.time.seconds).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        /// Against a list that forgets nothing.
        #[test]
        fn a_batch_is_what_is_left(capacity in 1_usize..600, written in 0_i64..1_300, position in 0_u64..1_400) {
            let ring = Ring::new(capacity);
            (0..written).for_each(|n| ring.write(event(n)));
            let left = written.min(capacity as i64);
            let first = (written - left).max((position as i64).min(written));
            let expected: Vec<i64> = (first..written).take(BATCH as usize).collect();
            let batch = ring.read(position);
            prop_assert_eq!(batch.missed, u64::try_from(written - left).unwrap().saturating_sub(position));
            let forgotten = (written > left).then_some((written - left - 1, 0));
            prop_assert_eq!(ring.forgotten(), forgotten);
            prop_assert_eq!(batch.next, first as u64 + expected.len() as u64);
            prop_assert_eq!(seconds(&batch), expected);
            prop_assert_eq!((ring.len(), ring.end(), ring.flows()), (left as u64, written as u64, written as u64));
        }
    }

    #[tokio::test]
    async fn waiting_ends_with_the_next_event() {
        let ring = Arc::new(Ring::new(4));
        let waiter = tokio::spawn({
            let ring = ring.clone();
            async move { ring.wait(0).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        ring.write(event(1));
        tokio::time::timeout(std::time::Duration::from_secs(20), waiter).await.unwrap().unwrap();
        ring.wait(0).await;
    }

    #[test]
    fn readers_and_a_writer_at_once_lose_nothing_uncounted() {
        let ring = Ring::new(64);
        let total = 50_000;
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let (mut position, mut seen, mut missed, mut last) = (0, 0, 0, -1);
                    while position < total {
                        let batch = ring.read(position);
                        missed += batch.missed;
                        seen += batch.events.len() as u64;
                        for second in seconds(&batch) {
                            assert!(second > last, "{second} after {last}");
                            last = second;
                        }
                        position = batch.next;
                    }
                    assert_eq!(seen + missed, total);
                });
            }
            scope.spawn(|| (0..total).for_each(|n| ring.write(event(n as i64))));
        });
    }
}
