//! `observer.Observer` of all nodes.

use crate::ask::ask;
use crate::gathering::Gathering;
use crate::limits::Limits;
use crate::status::{node, sum};
use crate::target::{Target, Targets};
use crate::trouble::Trouble;
use flow_api::client::Credentials;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::observer_server::Observer;
use flow_api::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse, GetFlowsRequest,
    GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest, GetNodesResponse, Namespace,
    ServerStatusRequest, ServerStatusResponse,
};
use flow_api::server::check;
use futures::future::join_all;
use futures::stream::BoxStream;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// Answers for all nodes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Relay {
    targets: watch::Receiver<Targets>,
    credentials: Option<Arc<Credentials>>,
    limits: Limits,
}

/// Namespaces of which nodes have seen flows.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    /// Sorted, each once.
    pub all: Vec<Namespace>,
    /// How many nodes have answered.
    pub answered: usize,
    /// The others by name, each with what is wrong with it.
    pub missing: Vec<(String, String)>,
}

impl Relay {
    /// A relay of these nodes, as they come and go.
    #[must_use]
    pub fn new(targets: watch::Receiver<Targets>, credentials: Option<Credentials>) -> Self {
        Self { targets, credentials: credentials.map(Arc::new), limits: Limits::default() }
    }

    /// With other limits.
    #[must_use]
    pub fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The flows of all nodes.
    ///
    /// # Errors
    /// A request that makes no sense. What is wrong with a node is told among the answers.
    pub fn flows(&self, request: GetFlowsRequest) -> Result<ReceiverStream<Result<GetFlowsResponse, Status>>, Status> {
        check(&request)?;
        let (sender, receiver) = mpsc::channel(READY);
        let (targets, credentials) = (self.targets.clone(), self.credentials.clone());
        tokio::spawn(Gathering::new(targets, credentials, self.limits, request, sender).run());
        Ok(ReceiverStream::new(receiver))
    }

    /// The namespaces of all nodes, and who is missing.
    pub async fn namespaces(&self) -> Namespaces {
        let asked = self.ask_all(|mut client| async move { client.get_namespaces(GetNamespacesRequest {}).await });
        let mut found = Namespaces::default();
        for (name, _, answer) in asked.await {
            match answer {
                Ok(answer) => {
                    found.answered += 1;
                    found.all.extend(answer.namespaces);
                }
                Err(trouble) => found.missing.push((name, trouble.why)),
            }
        }
        found.all.sort_by(|a, b| (&a.cluster, &a.namespace).cmp(&(&b.cluster, &b.namespace)));
        found.all.dedup();
        found
    }

    /// Asks all nodes at once.
    async fn ask_all<T, F>(
        &self,
        question: impl Fn(ObserverClient<Channel>) -> F,
    ) -> Vec<(String, Target, Result<T, Trouble>)>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let targets = self.targets.borrow().clone();
        let question = &question;
        join_all(targets.into_iter().map(|(name, target)| async move {
            let question = |channel: Channel| question(ObserverClient::new(channel));
            let answer = ask(&target, self.credentials.as_deref(), &self.limits, question).await;
            (name, target, answer)
        }))
        .await
    }

    async fn statuses(&self) -> Vec<(String, Target, Result<ServerStatusResponse, Trouble>)> {
        self.ask_all(|mut client| async move { client.server_status(ServerStatusRequest {}).await }).await
    }
}

#[tonic::async_trait]
impl Observer for Relay {
    type GetFlowsStream = ReceiverStream<Result<GetFlowsResponse, Status>>;
    type GetAgentEventsStream = BoxStream<'static, Result<GetAgentEventsResponse, Status>>;
    type GetDebugEventsStream = BoxStream<'static, Result<GetDebugEventsResponse, Status>>;

    async fn get_flows(&self, request: Request<GetFlowsRequest>) -> Result<Response<Self::GetFlowsStream>, Status> {
        self.flows(request.into_inner()).map(Response::new)
    }

    async fn get_agent_events(
        &self,
        _: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        Err(of_nodes_alone("GetAgentEvents"))
    }

    async fn get_debug_events(
        &self,
        _: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        Err(of_nodes_alone("GetDebugEvents"))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        let statuses = self.statuses().await;
        let nodes = statuses.into_iter().map(|(name, target, status)| node(name, &target, status)).collect();
        Ok(Response::new(GetNodesResponse { nodes }))
    }

    /// The answer has no place for who is missing: the log tells.
    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let found = self.namespaces().await;
        for (name, why) in found.missing {
            tracing::warn!("the namespaces of {name} are missing: {why}");
        }
        Ok(Response::new(GetNamespacesResponse { namespaces: found.all }))
    }

    async fn server_status(&self, _: Request<ServerStatusRequest>) -> Result<Response<ServerStatusResponse>, Status> {
        let statuses = self.statuses().await;
        Ok(Response::new(sum(statuses.into_iter().map(|(name, _, status)| (name, status)))))
    }
}

/// As Hubble's relay. An answer to it has no place for who is missing, and would look whole without.
fn of_nodes_alone(call: &str) -> Status {
    Status::unimplemented(format!("{call}: a relay answers about flows alone: ask at each node's own hubble.sock"))
}

/// Answers that are ready for the client.
const READY: usize = 64;
