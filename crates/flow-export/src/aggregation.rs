//! Flows alike become one, with their number.

use flow_api::Invalid;
use flow_api::flow::{Aggregate, Flow, TrafficDirection};
use flow_api::mask::Mask;
use flow_api::ring::{Event, What};
use prost::Message;
use prost_types::Timestamp;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What an operator chooses, under Hubble's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// `hubble-export-fieldaggregate`: flows that agree in these fields are one; no other is told of them, but their time: the first's.
    pub fields: Vec<String>,
    /// `hubble-export-aggregation-interval`: so long is waited for more of them. Not 0.
    pub interval: Duration,
    /// Also those with which something is wrong (see `flow_api::sample::is_ordinary`), which otherwise are told one by one.
    pub all: bool,
}

/// The flows of one interval. Pure: the caller has the clock.
#[derive(Debug)]
pub struct Aggregation {
    mask: Mask,
    interval: Duration,
    room: usize,
    /// In the order of their first flows.
    groups: Vec<Group>,
    /// By what they agree in, encoded: where they are.
    places: HashMap<Vec<u8>, usize>,
    /// When the interval ends; `None`: there is nothing.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Group {
    /// Of the first.
    time: Timestamp,
    flow: Flow,
    number: Aggregate,
}

impl Aggregation {
    /// Nothing yet, and room for so many groups (at least 1).
    ///
    /// # Errors
    /// A field that there is not.
    pub fn new(alike: &Alike, room: usize) -> Result<Self, Invalid> {
        let mask = Mask::new(alike.fields.iter().map(String::as_str))?;
        let (groups, places) = (Vec::new(), HashMap::new());
        Ok(Self { mask, interval: alike.interval, room: room.max(1), groups, places, due: None })
    }

    /// Adds a flow, as it may leave, and the direction that it had before. What there is no room for beside it goes to `out` first:
    /// the interval ends early.
    pub fn add(
        &mut self,
        flow: &Flow,
        direction: TrafficDirection,
        time: Timestamp,
        now: Instant,
        out: &mut Vec<Event>,
    ) {
        // Fields stand in the order of their numbers, and there are no maps: the same fields are the same bytes.
        let key = self.mask.encode(flow);
        let known = self.places.get(&key).copied();
        let is_full = match known {
            Some(place) => sum(&self.groups[place].number) == u64::from(u32::MAX),
            None => self.groups.len() >= self.room,
        };
        if is_full {
            self.flush(out);
        }
        let place = known.filter(|_| !is_full).unwrap_or_else(|| {
            // Can't fail on what was encoded above; if it did, nothing is the safe answer.
            let flow = Flow::decode(key.as_slice()).unwrap_or_default();
            self.places.insert(key, self.groups.len());
            self.groups.push(Group { time, flow, number: Aggregate::default() });
            self.groups.len() - 1
        });
        let number = &mut self.groups[place].number;
        *match direction {
            TrafficDirection::Ingress => &mut number.ingress_flow_count,
            TrafficDirection::Egress => &mut number.egress_flow_count,
            TrafficDirection::Unknown => &mut number.unknown_direction_flow_count,
        } += 1;
        self.due.get_or_insert(now + self.interval);
    }

    /// When [`Aggregation::flush`] is due; `None`: nothing waits.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Ends the interval: each group is one event.
    pub fn flush(&mut self, out: &mut Vec<Event>) {
        self.places.clear();
        self.due = None;
        out.extend(self.groups.drain(..).map(|Group { time, flow, number }| {
            let flow = Flow { time: Some(time), aggregate: Some(number), ..flow };
            Event { time, what: What::flow(flow) }
        }));
    }
}

/// Flows that it stands for.
#[must_use]
pub fn sum(number: &Aggregate) -> u64 {
    [number.ingress_flow_count, number.egress_flow_count, number.unknown_direction_flow_count]
        .map(u64::from)
        .iter()
        .sum()
}
