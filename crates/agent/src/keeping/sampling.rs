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
pub struct LeftOut {
    untold: Option<Untold>,
    has_told: bool,
}

#[derive(Clone, Copy, Debug)]
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
        let untold = self.untold.get_or_insert_with(untold);
        untold.number += number;
        untold.last = last.time;
    }

    /// When it is to be told; `None`: there is nothing.
    pub fn due(&self) -> Option<Instant> {
        let interval = if self.has_told { INTERVAL } else { FIRST };
        self.untold.map(|untold| untold.since + interval)
    }

    /// Tells it, in the words of a loss; where `tell` has no room for it, it waits.
    pub fn tell(&mut self, tell: impl FnOnce(&LostEvent) -> bool) {
        let Some(Untold { number, first, last, .. }) = self.untold else { return };
        let source = LostEventSource::MallaSampling as i32;
        let (first, last) = (Some(first), Some(last));
        if tell(&LostEvent { source, num_events_lost: number, first, last, ..LostEvent::default() }) {
            *self = Self { untold: None, has_told: true };
        }
    }
}

/// That it is a sample is told soon after the start, and then not so often that nothing else is left to read.
const FIRST: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_api::flow::Flow;

    #[test]
    fn what_finds_no_room_is_told_with_the_next() {
        let event = |seconds| {
            let time = Timestamp { seconds, nanos: 0 };
            Arc::new(Event { time, what: What::flow(Flow::default()) })
        };
        let mut left_out = LeftOut::default();
        left_out.add(0, &[event(1)]);
        assert_eq!(left_out.due(), None);
        left_out.add(2, &[event(1), event(2)]);
        let soon = left_out.due().unwrap();
        left_out.tell(|_| false);
        assert_eq!(left_out.due(), Some(soon), "it waits");
        left_out.add(3, &[event(3), event(4), event(5)]);
        let mut told = Vec::new();
        left_out.tell(|lost| {
            told.push(*lost);
            true
        });
        let [lost] = told[..] else { panic!("{told:?}") };
        let seconds = |time: Option<Timestamp>| time.unwrap().seconds;
        assert_eq!((lost.num_events_lost, seconds(lost.first), seconds(lost.last)), (5, 1, 5));
        assert_eq!((lost.source(), left_out.due()), (LostEventSource::MallaSampling, None));
        left_out.add(1, &[event(6)]);
        assert!(left_out.due().unwrap() > soon + FIRST * 10, "then not so often");
    }
}
