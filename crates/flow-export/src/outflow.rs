//! From what is seen to what leaves.

use crate::aggregation::{Aggregation, Alike};
use crate::selection::{Gate, Selection};
use flow_api::Invalid;
use flow_api::ring::{Event, What};
use flow_api::sample::is_ordinary;
use std::time::Instant;

/// Lists, redaction, mask, and perhaps aggregation. Pure: the caller has the clock.
#[derive(Debug)]
pub struct Outflow {
    gate: Gate,
    aggregation: Option<Aggregation>,
    /// Whether what is wrong is told by its number too.
    all: bool,
}

impl Outflow {
    /// Reads the lists, the mask and the fields.
    ///
    /// # Errors
    /// A filter or a path that makes no sense.
    pub fn new(selection: &Selection, alike: Option<&Alike>) -> Result<Self, Invalid> {
        let aggregation = alike.map(|alike| Aggregation::new(alike, GROUPS)).transpose()?;
        Ok(Self { gate: Gate::new(selection)?, aggregation, all: alike.is_some_and(|alike| alike.all) })
    }

    /// Takes an event; what leaves now goes to `out`, in order. Answers whether the event waits to be told by its number. The lists
    /// are about flows: losses, and what agents tell, always leave.
    pub fn take(&mut self, event: &Event, now: Instant, out: &mut Vec<Event>) -> bool {
        self.end_interval(now, out);
        let What::Flow(flow) = &event.what else {
            out.push(event.clone());
            return false;
        };
        let Some(passed) = self.gate.pass(flow) else { return false };
        match &mut self.aggregation {
            Some(aggregation) if self.all || is_ordinary(flow) => {
                aggregation.add(&passed, flow.traffic_direction(), event.time, now, out);
                true
            }
            _ => {
                out.push(Event { time: event.time, what: What::flow(passed) });
                false
            }
        }
    }

    /// When there may be something for [`Outflow::end_interval`]; `None`: nothing waits.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.aggregation.as_ref().and_then(Aggregation::due)
    }

    /// What has waited for long enough leaves.
    pub fn end_interval(&mut self, now: Instant, out: &mut Vec<Event>) {
        if self.due().is_some_and(|due| due <= now) {
            self.flush(out);
        }
    }

    /// What waits leaves.
    pub fn flush(&mut self, out: &mut Vec<Event>) {
        if let Some(aggregation) = &mut self.aggregation {
            aggregation.flush(out);
        }
    }
}

/// Of one interval: some kilobytes each, where whole flows are asked for, so 8 MB or less.
pub const GROUPS: usize = 4096;
