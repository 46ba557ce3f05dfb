//! Events as lines.

use flow_api::json::to_json;
use flow_api::observer::ExportEvent;
use flow_api::observer::export_event::ResponseTypes;
use flow_api::ring::{Event, What};

/// `observer.ExportEvent` as JSON, without the line's end.
#[must_use]
pub fn line(event: Event, node_name: &str) -> String {
    let what = match event.what {
        What::Flow(flow) => ResponseTypes::Flow(flow.into_told()),
        What::Agent(agent) => ResponseTypes::AgentEvent(agent.into_told()),
        What::Debug(debug) => ResponseTypes::DebugEvent(*debug),
        What::Lost(lost) => ResponseTypes::LostEvents(lost),
    };
    let event = ExportEvent { node_name: node_name.to_owned(), time: Some(event.time), response_types: Some(what) };
    // Fails for a message that is not in this program's descriptors, which holds all of these.
    to_json("observer.ExportEvent", &event).unwrap_or_default()
}
