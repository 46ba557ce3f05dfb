//! What of the events is kept, where a part is enough, and how whoever asks for it learns that it is one.

use flow_api::flow::{LostEvent, LostEventSource};
use flow_api::ring::{Event, What};
use flow_api::sample::Sample;
use prometheus_client::metrics::counter::Counter;
use prost_types::Timestamp;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `--flow-sampling`: one of so many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling(u32);

impl Sampling {
    /// One of so many connections; 1: all of them.
    pub fn one_of(number: u32) -> Self {
        Self(number.max(1))
    }

    pub fn number(self) -> u32 {
        self.0
    }

    pub fn is_all(self) -> bool {
        self.0 == 1
    }

    /// Of these events those that are kept; the others are counted. Losses, and what agents tell, always are.
    pub fn of<'a>(self, events: &'a [Arc<Event>], left_out: &Counter) -> Cow<'a, [Arc<Event>]> {
        if self.is_all() {
            return events.into();
        }
        let sample = Sample::one_of(self.0);
        let is_kept = |event: &&Arc<Event>| match &event.what {
            What::Flow(flow) => sample.keeps(flow),
            What::Lost(_) | What::Agent(_) | What::Debug(_) => true,
        };
        let kept: Vec<_> = events.iter().filter(is_kept).cloned().collect();
        left_out.inc_by((events.len() - kept.len()) as u64);
        kept.into()
    }
}

/// What a sample has left out and nobody was told of yet: told now and then, as what was lost is.
#[derive(Debug, Default)]
pub struct LeftOut(Option<Untold>);

#[derive(Debug)]
struct Untold {
    number: u64,
    /// Times of the first and the last event among which they were.
    first: Timestamp,
    last: Timestamp,
    since: Instant,
}

impl LeftOut {
    /// So many of these events were left out.
    pub fn add(&mut self, number: u64, events: &[Arc<Event>]) {
        let (Some(first), Some(last), 1..) = (events.first(), events.last(), number) else { return };
        let untold = || Untold { number: 0, first: first.time, last: last.time, since: Instant::now() };
        let untold = self.0.get_or_insert_with(untold);
        untold.number += number;
        untold.last = last.time;
    }

    /// When it is to be told; `None`: there is nothing.
    pub fn due(&self) -> Option<Instant> {
        self.0.as_ref().map(|untold| untold.since + INTERVAL)
    }

    /// In the words of a loss.
    pub fn take(&mut self) -> Option<LostEvent> {
        let Untold { number, first, last, .. } = self.0.take()?;
        let source = LostEventSource::MallaSampling as i32;
        Some(LostEvent {
            source,
            num_events_lost: number,
            first: Some(first),
            last: Some(last),
            ..LostEvent::default()
        })
    }
}

/// A row in the log for each, where there are thousands of flows.
const INTERVAL: Duration = Duration::from_secs(1);
