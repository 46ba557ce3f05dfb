//! Which events leave, and as what.

use crate::{Redaction, Settings};
use flow_api::Invalid;
use flow_api::filter::Filters;
use flow_api::json::to_json;
use flow_api::mask::Mask;
use flow_api::observer::ExportEvent;
use flow_api::observer::export_event::ResponseTypes;
use flow_api::ring::{Event, What};

/// Makes lines of events.
#[derive(Debug)]
pub struct Lines {
    filters: Filters,
    redaction: Redaction,
    mask: Mask,
    /// Whether the mask names what Hubble has no field for.
    is_extended: bool,
}

impl Lines {
    /// Reads the lists and the mask.
    ///
    /// # Errors
    /// A filter or a path that makes no sense.
    pub fn new(settings: &Settings) -> Result<Self, Invalid> {
        Ok(Self {
            filters: Filters::new(&settings.allowlist, &settings.denylist)?,
            redaction: settings.redaction.clone(),
            mask: Mask::new(settings.fieldmask.iter().map(String::as_str))?,
            is_extended: settings.fieldmask.iter().any(|path| path.split('.').next() == Some("extensions")),
        })
    }

    /// `observer.ExportEvent` as JSON, without the line's end; `None`: it does not leave. The lists are about flows: losses, and what agents
    /// tell, always leave.
    #[must_use]
    pub fn line(&self, event: &Event, node_name: &str) -> Option<String> {
        let what = match &event.what {
            What::Flow(flow) => {
                // Judged as it was seen, told as it may be.
                if !self.filters.admit(flow) {
                    return None;
                }
                let mut flow = flow.as_ref().clone();
                self.redaction.apply(&mut flow);
                // Readers in Go refuse a line with a message in it that they don't know.
                flow.extensions = flow.extensions.filter(|_| self.is_extended);
                ResponseTypes::Flow(self.mask.apply(&flow))
            }
            What::Agent(agent) => ResponseTypes::AgentEvent(agent.as_ref().clone()),
            What::Debug(debug) => ResponseTypes::DebugEvent(debug.as_ref().clone()),
            What::Lost(lost) => ResponseTypes::LostEvents(*lost),
        };
        let event = ExportEvent { node_name: node_name.to_owned(), time: Some(event.time), response_types: Some(what) };
        to_json("observer.ExportEvent", &event).ok()
    }
}
