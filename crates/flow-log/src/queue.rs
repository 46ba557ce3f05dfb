//! Between the one who sees flows and the disk: encoded flows, bounded in bytes. Who comes when it is full is counted.

use crate::frames::Frames;
use flow_api::flow::{Flow, LostEvent, LostEventSource};
use prost_types::Timestamp;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
    room: usize,
}

#[derive(Debug, Default)]
struct Inner {
    /// In order; the last is being filled.
    blocks: VecDeque<Frames>,
    bytes: usize,
    loss: Loss,
    /// How often a sync was asked for, and how many of these are answered.
    asked: u64,
    answered: u64,
    is_closed: bool,
}

/// Flows that could not be taken since the last was.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    number: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// What the writer gets.
#[derive(Debug)]
pub struct Work {
    pub blocks: VecDeque<Frames>,
    /// To be answered by [`Queue::answer`].
    pub asked: u64,
    pub is_last: bool,
}

impl Queue {
    pub fn new(room: usize) -> Self {
        Self { inner: Mutex::default(), changed: Condvar::new(), room }
    }

    /// Takes what there is room for; answers with the number of flows that are lost.
    pub fn offer<'a>(&self, flows: impl IntoIterator<Item = &'a Flow>) -> u64 {
        let mut inner = self.lock();
        let mut lost = 0;
        for flow in flows {
            let is_room = inner.bytes < self.room && !inner.is_closed;
            if is_room && flow_fits(flow) {
                inner.tell_loss();
                inner.with_block(|block| block.flow(flow));
            } else {
                inner.loss.add(1, flow.time, flow.time);
                lost += 1;
            }
        }
        if inner.bytes > self.room / 2 {
            self.changed.notify_all();
        }
        lost
    }

    /// Counts what was lost elsewhere; where there is no room for the event itself, together with what is lost here. What was left out on
    /// purpose is no loss: answers with false where there is no room for it.
    pub fn lost(&self, event: &LostEvent) -> bool {
        let mut inner = self.lock();
        if inner.bytes < self.room {
            inner.tell_loss();
            inner.with_block(|block| block.lost(event));
        } else if event.source() == LostEventSource::MallaSampling {
            return false;
        } else {
            inner.loss.add(event.num_events_lost, event.first.or(event.last), event.last);
        }
        true
    }

    /// Counts what the disk did not take, and what it would have told of losses.
    pub fn not_written(&self, frames: &Frames) {
        let (first, last) = (crate::moment::timestamp(frames.span.first), crate::moment::timestamp(frames.span.last));
        self.lock().loss.add(u64::from(frames.flows).saturating_add(frames.lost), Some(first), Some(last));
    }

    /// Everything that waits: at once when half of the room is used, when somebody asks for a sync or it is closed, and
    /// otherwise after `pause`.
    pub fn take(&self, pause: Duration) -> Work {
        let until = Instant::now() + pause;
        let mut inner = self.lock();
        while inner.bytes <= self.room / 2 && inner.asked == inner.answered && !inner.is_closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.tell_loss();
        inner.bytes = 0;
        Work { blocks: std::mem::take(&mut inner.blocks), asked: inner.asked, is_last: inner.is_closed }
    }

    /// Waits until what was offered before is synced, but no longer than this. `false`: it is not, or never will be.
    pub fn sync(&self, patience: Duration) -> bool {
        let mut inner = self.lock();
        inner.asked += 1;
        let mine = inner.asked;
        self.changed.notify_all();
        let waits = |inner: &mut Inner| inner.answered < mine && !inner.is_closed;
        let waited = self.changed.wait_timeout_while(inner, patience, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0.answered >= mine
    }

    pub fn answer(&self, asked: u64) {
        let mut inner = self.lock();
        inner.answered = inner.answered.max(asked);
        self.changed.notify_all();
    }

    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Before the next flow, the log learns how many are missing.
    fn tell_loss(&mut self) {
        let loss = std::mem::take(&mut self.loss);
        if loss.number > 0 {
            self.with_block(|block| block.lost(&loss.event()));
        }
    }

    fn with_block(&mut self, put: impl FnOnce(&mut Frames)) {
        if self.blocks.back().is_none_or(|block| block.bytes.len() >= BLOCK) {
            self.blocks.push_back(Frames::default());
        }
        if let Some(block) = self.blocks.back_mut() {
            let before = block.bytes.len();
            put(block);
            self.bytes += block.bytes.len() - before;
        }
    }
}

impl Loss {
    fn add(&mut self, number: u64, first: Option<Timestamp>, last: Option<Timestamp>) {
        self.number = self.number.saturating_add(number);
        self.first = self.first.or(first);
        self.last = last.or(self.last);
    }

    fn event(&self) -> LostEvent {
        LostEvent {
            source: LostEventSource::ObserverEventsQueue.into(),
            num_events_lost: self.number,
            first: self.first,
            last: self.last,
            ..LostEvent::default()
        }
    }
}

/// Larger ones are counted as lost: a record of them could not be read with bounded memory.
fn flow_fits(flow: &Flow) -> bool {
    prost::Message::encoded_len(flow) <= LARGEST_FLOW
}

/// Bytes at which a block is full: some 600 flows, one record.
const BLOCK: usize = 256 << 10;
/// An L7 flow with all its headers has some 20 kB.
const LARGEST_FLOW: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_ever_for_a_disk_that_stands_still() {
        let queue = Queue::new(1000);
        assert!(!queue.sync(Duration::from_millis(1)), "nobody writes");
        // The writer finds both who asked, also him who has gone.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.sync(Duration::MAX));
            while queue.lock().asked < 2 {
                std::thread::yield_now();
            }
            queue.answer(queue.take(Duration::ZERO).asked);
            assert!(waiting.join().unwrap());
        });
    }
}
