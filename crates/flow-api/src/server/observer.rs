//! `observer.Observer`.

use super::Node;
use super::answers::{Admit, Answers, Told};
use super::archive::{Question, Shelf};
use crate::extension;
use crate::filter::Filters;
use crate::flow::AgentEvent;
use crate::mask::Mask;
use crate::moment::{nanoseconds, now};
use crate::observer::get_flows_response::ResponseTypes;
use crate::observer::observer_server::Observer;
use crate::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse, GetFlowsRequest,
    GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest, GetNodesResponse, Namespace,
    Node as NodeAnswer, ServerStatusRequest, ServerStatusResponse, Tls,
};
use crate::query::{Query, Wanted};
use crate::relay::{NodeState, NodeStatusEvent};
use crate::ring::{Event, Ring, What};
use futures::Stream;
use std::pin::Pin;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Answers about one node.
#[derive(Clone, Debug)]
pub struct Service(pub Arc<Node>);

type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Observer for Service {
    type GetFlowsStream = Answer<GetFlowsResponse>;
    type GetAgentEventsStream = Answer<GetAgentEventsResponse>;
    type GetDebugEventsStream = Answer<GetDebugEventsResponse>;

    async fn get_flows(&self, request: Request<GetFlowsRequest>) -> Result<Response<Self::GetFlowsStream>, Status> {
        let GetFlowsRequest {
            number, first, follow, since, until, whitelist, blacklist, field_mask, extensions, ..
        } = request.into_inner();
        let query = Query::new(&Wanted { number, first, follow, since, until })?;
        let filters = Filters::new(&whitelist, &blacklist)?;
        let mask = Mask::new(field_mask.iter().flat_map(|mask| &mask.paths).map(String::as_str))?;
        let extended = mask != Mask::default() || extension::is_asked(extensions.as_ref());
        let admit: Admit = Arc::new(move |event| matches!(&event.what, What::Flow(flow) if filters.admit(flow)));
        let node = self.0.about.node.clone();
        let trouble = {
            let node = node.clone();
            move |message| {
                Some(GetFlowsResponse {
                    node_name: node.clone(),
                    time: Some(now()),
                    response_types: Some(ResponseTypes::NodeStatus(NodeStatusEvent {
                        state_change: NodeState::NodeError as i32,
                        node_names: vec![node.clone()],
                        message,
                    })),
                })
            }
        };
        let tell = move |event: &Event| {
            let (response_types, node_name) = match &event.what {
                What::Flow(flow) => {
                    let mut told = mask.apply(flow);
                    told.extensions = told.extensions.filter(|_| extended);
                    (ResponseTypes::Flow(told), flow.node_name.clone())
                }
                What::Lost(lost) => (ResponseTypes::LostEvents(*lost), node.clone()),
                What::Agent(_) | What::Debug(_) => return None,
            };
            Some(Ok(GetFlowsResponse { node_name, time: Some(event.time), response_types: Some(response_types) }))
        };
        let question = Question { whitelist, blacklist, ..Question::default() };
        let log = self.0.shelf.as_ref().map(|shelf| (shelf, question));
        self.answer(&self.0.ring, query, admit, log, tell, trouble).await
    }

    async fn get_agent_events(
        &self,
        request: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        let GetAgentEventsRequest { number, first, follow, since, until } = request.into_inner();
        let query = Query::new(&Wanted { number, first, follow, since, until })?;
        let node = self.0.about.node.clone();
        let tell = move |event: &Event| match &event.what {
            What::Agent(agent) => Some(Ok(GetAgentEventsResponse {
                node_name: node.clone(),
                time: Some(event.time),
                agent_event: Some(AgentEvent::clone(agent)),
            })),
            // There is no message for it, and who follows counts on all of them.
            What::Lost(lost) => Some(Err(Status::data_loss(format!(
                "{} events of the agent were missed: ask again",
                lost.num_events_lost
            )))),
            What::Flow(_) | What::Debug(_) => None,
        };
        let admit: Admit = Arc::new(|event| matches!(event.what, What::Agent(_)));
        self.answer(&self.0.deeds, query, admit, None, tell, |_| None).await
    }

    /// A datapath that explains itself: this one does not, it is followed packet by packet instead. So nothing is told, which
    /// a client prints as nothing (and waits, where it follows); an error it would end with.
    async fn get_debug_events(
        &self,
        request: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        let GetDebugEventsRequest { number, first, follow, since, until } = request.into_inner();
        let query = Query::new(&Wanted { number, first, follow, since, until })?;
        let node = self.0.about.node.clone();
        let tell = move |event: &Event| match &event.what {
            What::Debug(debug) => Some(Ok(GetDebugEventsResponse {
                node_name: node.clone(),
                time: Some(event.time),
                debug_event: Some((**debug).clone()),
            })),
            _ => None,
        };
        let admit: Admit = Arc::new(|event| matches!(event.what, What::Debug(_)));
        self.answer(&self.0.ring, query, admit, None, tell, |_| None).await
    }

    /// This node alone: a relay knows the others.
    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        let (node, ring) = (&self.0, &self.0.ring);
        let answer = NodeAnswer {
            name: node.about.node.clone(),
            version: node.about.version.clone(),
            address: node.about.address.clone(),
            state: NodeState::NodeConnected as i32,
            tls: Some(Tls {
                enabled: node.about.tls_server_name.is_some(),
                server_name: node.about.tls_server_name.clone().unwrap_or_default(),
            }),
            uptime_ns: self.uptime_ns(),
            num_flows: ring.len(),
            max_flows: ring.capacity(),
            seen_flows: ring.flows(),
        };
        Ok(Response::new(GetNodesResponse { nodes: vec![answer] }))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let cluster = &self.0.about.cluster;
        let of = |namespace| Namespace { cluster: cluster.clone(), namespace };
        Ok(Response::new(GetNamespacesResponse { namespaces: self.0.namespaces().into_iter().map(of).collect() }))
    }

    async fn server_status(&self, _: Request<ServerStatusRequest>) -> Result<Response<ServerStatusResponse>, Status> {
        let ring = &self.0.ring;
        Ok(Response::new(ServerStatusResponse {
            num_flows: ring.len(),
            max_flows: ring.capacity(),
            seen_flows: ring.flows(),
            uptime_ns: self.uptime_ns(),
            version: self.0.about.version.clone(),
            flows_rate: self.flows_rate().await,
            ..ServerStatusResponse::default()
        }))
    }
}

/// Whether a node would answer it: a relay says so before it asks any.
///
/// # Errors
/// What is wrong with it.
pub fn check(request: &GetFlowsRequest) -> Result<(), Status> {
    let GetFlowsRequest { number, first, follow, since, until, .. } = *request;
    Query::new(&Wanted { number, first, follow, since, until })?;
    Filters::new(&request.whitelist, &request.blacklist)?;
    Mask::new(request.field_mask.iter().flat_map(|mask| &mask.paths).map(String::as_str))?;
    Ok(())
}

impl Service {
    /// A stream that reads on when its client has taken what was read, and ends with the first error.
    async fn answer<T: Send + 'static>(
        &self,
        ring: &Arc<Ring>,
        query: Query,
        admit: Admit,
        log: Option<(&Shelf, Question)>,
        tell: impl Fn(&Event) -> Option<Result<T, Status>> + Send + Sync + 'static,
        trouble: impl Fn(String) -> Option<T> + Send + Sync + 'static,
    ) -> Result<Response<Answer<T>>, Status> {
        let busy =
            |_| Status::resource_exhausted("too many read the log of flows: ask again, or without since and until");
        let answers = Answers::new(ring.clone(), query, admit, log).await.map_err(busy)?;
        let told = Some((answers, tell, trouble));
        let stream = futures::stream::unfold(told, |told| async move {
            let (mut answers, tell, trouble) = told?;
            loop {
                let answer = match answers.next().await? {
                    Told::Event(event) => tell(&event),
                    Told::Trouble(message) => trouble(message).map(Ok),
                };
                if let Some(answer) = answer {
                    let goes_on = answer.is_ok().then_some((answers, tell, trouble));
                    return Some((answer, goes_on));
                }
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    fn uptime_ns(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Flows per second over the last minute, or over the time that the ring goes back.
    async fn flows_rate(&self) -> f64 {
        let ring = &self.0.ring;
        let now = now();
        let age = |event: &Event| nanoseconds(&now).saturating_sub(nanoseconds(&event.time)) as f64 / 1e9;
        let (mut position, end) = (ring.start(), ring.end());
        let (mut flows, mut oldest, mut goes_back) = (0_u64, 0_f64, false);
        while position < end {
            let batch = ring.read(position);
            for event in batch.events.iter().filter(|event| matches!(event.what, What::Flow(_))) {
                let age = age(event);
                goes_back |= age > MINUTE;
                if age <= MINUTE {
                    flows += 1;
                    oldest = oldest.max(age);
                }
            }
            position = batch.next;
            tokio::task::yield_now().await;
        }
        let uptime = self.0.started.elapsed().as_secs_f64();
        // A full ring that does not hold a minute tells about the time that it holds.
        let over = if goes_back || ring.end() <= ring.capacity() { MINUTE.min(uptime.max(oldest)) } else { oldest };
        if over > 0.0 { flows as f64 / over } else { 0.0 }
    }
}

const MINUTE: f64 = 60.0;
