//! What of the events is kept, where a part is enough.

use flow_api::ring::{Event, What};
use flow_api::sample::Sample;
use prometheus_client::metrics::counter::Counter;
use std::borrow::Cow;
use std::sync::Arc;

/// `--flow-sampling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling(Option<Sample>);

impl Sampling {
    /// One of so many connections; 1: all of them.
    pub fn one_of(number: u32) -> Self {
        Self((number > 1).then(|| Sample::one_of(number)))
    }

    pub fn is_all(self) -> bool {
        self.0.is_none()
    }

    /// Of these events those that are kept; the others are counted. Losses, and what agents tell, always are.
    pub fn of<'a>(self, events: &'a [Arc<Event>], left_out: &Counter) -> Cow<'a, [Arc<Event>]> {
        let Some(sample) = self.0 else { return events.into() };
        let is_kept = |event: &&Arc<Event>| match &event.what {
            What::Flow(flow) => sample.keeps(flow),
            What::Lost(_) | What::Agent(_) | What::Debug(_) => true,
        };
        let kept: Vec<_> = events.iter().filter(is_kept).cloned().collect();
        left_out.inc_by((events.len() - kept.len()) as u64);
        kept.into()
    }
}
