//! Where the ring begins and the log ends: what both have is told once, and what one of them has is told.
//!
//! Times are no border: clocks are set, and events of several CPUs lie a little out of order. Flows are known by their UUIDs, and losses by
//! all that is told of them.

use crate::flow::{LostEvent, LostEventSource};
use crate::moment::{Moment, moment};
use crate::ring::{Event, What};
use std::collections::HashSet;

/// What the ring tells.
#[derive(Debug, Default)]
pub(super) struct Border {
    /// How far back it reaches.
    reach: Reach,
    flows: HashSet<String>,
    losses: HashSet<(Moment, Loss)>,
}

/// What of the past a ring has no more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reach {
    /// Time of the newest event that it has forgotten.
    pub forgotten: Option<Moment>,
    /// Time of its first event.
    pub first: Option<Moment>,
    /// When it was made.
    pub made: Moment,
}

/// Source, number, CPU.
type Loss = (i32, u64, Option<i32>);

impl Border {
    pub fn new(reach: Reach) -> Self {
        Self { reach, ..Self::default() }
    }

    /// The ring tells it.
    pub fn add(&mut self, event: &Event) {
        match &event.what {
            What::Flow(flow) => drop(self.flows.insert(flow.uuid.clone())),
            What::Lost(lost) => drop(self.losses.insert((moment(&event.time), loss(lost)))),
            What::Agent(_) | What::Debug(_) => {}
        }
    }

    /// Whether the ring tells what the log tells.
    pub fn has(&self, event: &Event) -> bool {
        match &event.what {
            What::Flow(flow) => !flow.uuid.is_empty() && self.flows.contains(&flow.uuid),
            What::Lost(lost) => {
                // What only the log has lost, or left out.
                let of_logs = [LostEventSource::ObserverEventsQueue, LostEventSource::MallaSampling];
                let is_logs = of_logs.contains(&lost.source());
                let first = moment(&lost.first.unwrap_or(event.time));
                self.losses.contains(&(moment(&event.time), loss(lost))) || is_logs && self.reach.is_back_to(first)
            }
            What::Agent(_) | What::Debug(_) => false,
        }
    }
}

impl Reach {
    /// Whether the ring has everything that happened from this time on.
    fn is_back_to(&self, time: Moment) -> bool {
        match self.forgotten {
            Some(forgotten) => time > forgotten,
            // It is as old as the agent.
            None => self.first.is_some_and(|first| time >= first),
        }
    }

    /// Whether nobody else has anything from this time on. What was before a ring that has forgotten nothing was another agent's, and is in
    /// the log.
    pub fn needs_no_log(&self, since: Moment) -> bool {
        match self.forgotten {
            Some(forgotten) => since > forgotten,
            None => since >= self.made,
        }
    }
}

fn loss(lost: &LostEvent) -> Loss {
    (lost.source, lost.num_events_lost, lost.cpu)
}
