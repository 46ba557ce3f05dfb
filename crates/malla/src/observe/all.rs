//! All that the nodes can still tell of a time, for commands that reckon with flows.

use super::heard::Heard;
use super::{Filters, said};
use crate::agents::Selection;
use crate::relay::sockets;
use anyhow::bail;
use flow_api::extension;
use flow_api::flow::{Flow, FlowFilter, LostEventSource};
use flow_api::observer::GetFlowsRequest;
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_relay::Relay;
use futures::StreamExt;
use prost_types::Timestamp;
use tokio::sync::watch;

/// What is missing in an account of all nodes.
#[derive(Debug, Default)]
pub struct Told {
    /// Events that nobody can tell.
    pub lost: u64,
    /// Flows that a node has left out on purpose (`--flow-sampling`).
    pub left_out: u64,
    /// Nodes that could not be asked, or not for all, and why.
    pub missing: Vec<String>,
}

/// Asks all nodes for what they still have of a time, with how flows ended. Flows are handed on as they come: days of them
/// are more than memory holds.
///
/// # Errors
/// When no node answers, or one refuses the request.
pub fn all(
    selection: &Selection,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
    filters: &Filters,
    mut each: impl FnMut(&Flow),
) -> anyhow::Result<Told> {
    let targets = sockets(selection.agents()?);
    let request = GetFlowsRequest {
        since,
        until,
        whitelist: filters.white.clone(),
        blacklist: filters.black.clone(),
        extensions: Some(extension::asked()),
        ..GetFlowsRequest::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (_targets, watched) = watch::channel(targets);
        let mut answers = Relay::new(watched, None).flows(request).map_err(said)?;
        let (mut told, mut heard) = (Told::default(), Heard::default());
        while let Some(answer) = answers.next().await {
            match answer.map_err(said)?.response_types {
                Some(ResponseTypes::Flow(flow)) => each(&flow),
                Some(ResponseTypes::LostEvents(lost)) if lost.source() == LostEventSource::MallaSampling => {
                    told.left_out += lost.num_events_lost;
                }
                Some(ResponseTypes::LostEvents(lost)) => told.lost += lost.num_events_lost,
                Some(ResponseTypes::NodeStatus(status)) => heard.note(&status),
                None => {}
            }
        }
        told.missing = heard.missing();
        if !heard.any() {
            bail!("no node answers: {}", told.missing.join("; "));
        }
        Ok(told)
    })
}

/// Flows of which the source, or the destination, is a Pod of this namespace.
pub fn of_namespace(namespace: &str, source: bool) -> FlowFilter {
    let pods = vec![format!("{namespace}/")];
    if source {
        FlowFilter { source_pod: pods, ..FlowFilter::default() }
    } else {
        FlowFilter { destination_pod: pods, ..FlowFilter::default() }
    }
}
