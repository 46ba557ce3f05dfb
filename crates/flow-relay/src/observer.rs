//! `observer.Observer` of all nodes.

use crate::lane::{self, News};
use crate::merge::{Merge, Next};
use crate::target::{Target, Targets};
use crate::trim::Trim;
use flow_api::client::Credentials;
use flow_api::moment::now;
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::observer_server::Observer;
use flow_api::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse, GetFlowsRequest,
    GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest, GetNodesResponse, Node,
    ServerStatusRequest, ServerStatusResponse, Tls,
};
use flow_api::relay::{NodeState, NodeStatusEvent};
use flow_api::server::check;
use futures::future::join_all;
use futures::stream::BoxStream;
use prost_types::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Answers for all nodes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Relay {
    targets: watch::Receiver<Targets>,
    credentials: Option<Arc<Credentials>>,
    started: Instant,
}

impl Relay {
    /// A relay of these nodes, as they come and go.
    #[must_use]
    pub fn new(targets: watch::Receiver<Targets>, credentials: Option<Credentials>) -> Self {
        Self { targets, credentials: credentials.map(Arc::new), started: Instant::now() }
    }

    /// The flows of all nodes.
    ///
    /// # Errors
    /// A request that makes no sense. What is wrong with a node is told among the answers.
    pub fn flows(&self, request: GetFlowsRequest) -> Result<ReceiverStream<Result<GetFlowsResponse, Status>>, Status> {
        check(&request)?;
        let (sender, receiver) = mpsc::channel(READY);
        let gathering = Gathering {
            relay: self.clone(),
            trim: Trim::new(&request),
            request,
            merge: Merge::default(),
            lanes: BTreeMap::new(),
            number: 0,
            nodes: BTreeMap::new(),
            begun: now(),
            sender,
        };
        tokio::spawn(gathering.run());
        Ok(ReceiverStream::new(receiver))
    }

    /// Asks every node its status.
    async fn statuses(&self) -> Vec<(String, Target, Option<ServerStatusResponse>)> {
        let targets = self.targets.borrow().clone();
        join_all(targets.into_iter().map(|(name, target)| async move {
            let ask = async {
                let channel = target.connect(self.credentials.as_deref()).await.ok()?;
                let answer = ObserverClient::new(channel).server_status(ServerStatusRequest {}).await;
                answer.ok().map(Response::into_inner)
            };
            let status = tokio::time::timeout(LIMIT, ask).await.ok().flatten();
            (name, target, status)
        }))
        .await
    }
}

/// One request under way.
struct Gathering {
    relay: Relay,
    request: GetFlowsRequest,
    merge: Merge,
    trim: Trim,
    /// By their number in `merge`.
    lanes: BTreeMap<usize, Lane>,
    number: usize,
    /// Of each node that ever was one.
    nodes: BTreeMap<String, Known>,
    begun: Timestamp,
    sender: mpsc::Sender<Result<GetFlowsResponse, Status>>,
}

/// What was told of a node.
#[derive(Default)]
struct Known {
    state: Option<NodeState>,
    /// Where to go on, wherever the node is by then.
    from: Option<Timestamp>,
}

struct Lane {
    node: String,
    target: Target,
    news: mpsc::Receiver<News>,
    task: AbortHandle,
    is_open: bool,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What happens next.
enum Event {
    News(usize, Option<News>),
    Targets,
    Late,
    ReaderGone,
}

impl Gathering {
    async fn run(mut self) {
        let mut targets = self.relay.targets.clone();
        let now = targets.borrow_and_update().clone();
        self.nodes = now.keys().map(|node| (node.clone(), Known { state: None, from: self.first_from() })).collect();
        let mut goes_on = self.follow_targets(&now).await;
        while goes_on && !self.trim.is_done() {
            let now = Instant::now();
            let until = match self.merge.next(now) {
                Next::Tell(lane) => {
                    if let Some(answer) = self.merge.take(lane, now) {
                        goes_on = self.tell(answer).await;
                    }
                    continue;
                }
                Next::WaitUntil(until) => Some(until),
                Next::Wait if self.lanes.is_empty() && !self.request.follow => break,
                Next::Wait => None,
            };
            goes_on = match self.wait(until, &mut targets).await {
                Event::News(lane, news) => self.take(lane, news).await,
                Event::Targets => {
                    let now = targets.borrow_and_update().clone();
                    self.follow_targets(&now).await
                }
                Event::Late => true,
                Event::ReaderGone => false,
            };
        }
        if goes_on {
            for answer in std::mem::replace(&mut self.trim, Trim::All).finish() {
                if self.sender.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Until a lane has news that are wanted, or the time.
    async fn wait(&mut self, until: Option<Instant>, targets: &mut watch::Receiver<Targets>) -> Event {
        let (lanes, merge, follow) = (&mut self.lanes, &self.merge, self.request.follow);
        let news = std::future::poll_fn(|context| {
            for (number, lane) in lanes.iter_mut().filter(|(number, lane)| !lane.is_open || merge.wants(**number)) {
                if let Poll::Ready(news) = lane.news.poll_recv(context) {
                    return Poll::Ready(Event::News(*number, news));
                }
            }
            Poll::Pending
        });
        let late = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        let changed = async {
            if !follow || targets.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            event = news => event,
            () = late => Event::Late,
            () = changed => Event::Targets,
            () = self.sender.closed() => Event::ReaderGone,
        }
    }

    /// `false`: whoever asked has gone.
    async fn take(&mut self, number: usize, news: Option<News>) -> bool {
        let Some(lane) = self.lanes.get_mut(&number) else { return true };
        let node = lane.node.clone();
        match news {
            Some(News::Answer(arrived)) => {
                let known = self.nodes.entry(node).or_default();
                known.from = lane::behind(&arrived.answer).or(known.from);
                self.merge.arrive(number, *arrived);
                true
            }
            Some(News::Connected) => {
                if !std::mem::replace(&mut lane.is_open, true) {
                    self.merge.open(number, Instant::now());
                }
                self.tell_state(NodeState::NodeConnected, node, String::new()).await
            }
            Some(News::Unavailable(why)) => {
                lane.is_open = false;
                self.merge.close(number);
                self.tell_state(NodeState::NodeUnavailable, node, why).await
            }
            Some(News::Error(why)) => {
                lane.is_open = false;
                self.merge.close(number);
                self.tell_state(NodeState::NodeError, node, why).await
            }
            None => {
                self.merge.close(number);
                self.lanes.remove(&number);
                true
            }
        }
    }

    /// Who is new is asked, who is no more is not.
    async fn follow_targets(&mut self, targets: &Targets) -> bool {
        let is_there = |lane: &Lane| targets.get(&lane.node) == Some(&lane.target);
        let gone: Vec<usize> =
            self.lanes.iter().filter(|(_, lane)| !is_there(lane)).map(|(number, _)| *number).collect();
        for number in gone {
            self.merge.close(number);
            let Some(lane) = self.lanes.remove(&number) else { continue };
            let is_elsewhere = targets.contains_key(&lane.node);
            if !is_elsewhere && !self.tell_state(NodeState::NodeGone, lane.node.clone(), String::new()).await {
                return false;
            }
        }
        let known: BTreeSet<String> = self.lanes.values().map(|lane| lane.node.clone()).collect();
        for (node, target) in targets.iter().filter(|(node, _)| !known.contains(*node)) {
            let (sender, news) = mpsc::channel(lane::WAITING);
            let credentials = self.relay.credentials.clone();
            let late = self.late_from();
            let from = self.nodes.entry(node.clone()).or_insert(Known { state: None, from: late }).from;
            let task = tokio::spawn(lane::run(target.clone(), credentials, self.request.clone(), from, sender));
            let (node, target, task) = (node.clone(), target.clone(), task.abort_handle());
            self.lanes.insert(self.number, Lane { node, target, news, task, is_open: true });
            self.merge.open(self.number, Instant::now());
            self.number += 1;
        }
        true
    }

    /// Where a node begins that was there when the request came; `None`: as the request says.
    fn first_from(&self) -> Option<Timestamp> {
        let looks_back = self.request.since.is_some() || self.request.number > 0;
        (self.request.follow && !looks_back).then_some(self.begun)
    }

    /// Where one begins that joins a request that follows: it is asked for no more of its past than others have told by then.
    fn late_from(&self) -> Option<Timestamp> {
        self.request.since.is_none().then_some(self.begun)
    }

    /// Only what is new.
    async fn tell_state(&mut self, state: NodeState, node: String, message: String) -> bool {
        if self.nodes.entry(node.clone()).or_default().state.replace(state) == Some(state) {
            return true;
        }
        let status = NodeStatusEvent { state_change: state as i32, node_names: vec![node.clone()], message };
        self.tell(GetFlowsResponse {
            node_name: node,
            time: Some(now()),
            response_types: Some(ResponseTypes::NodeStatus(status)),
        })
        .await
    }

    async fn tell(&mut self, answer: GetFlowsResponse) -> bool {
        match self.trim.pass(answer) {
            Some(answer) => self.sender.send(Ok(answer)).await.is_ok(),
            None => true,
        }
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
        Err(Status::unimplemented("a relay passes no agents' events: ask a node"))
    }

    async fn get_debug_events(
        &self,
        _: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        Err(Status::unimplemented("a relay passes no debug events: ask a node"))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        let nodes = self.statuses().await.into_iter().map(|(name, target, status)| {
            let state = if status.is_some() { NodeState::NodeConnected } else { NodeState::NodeUnavailable } as i32;
            let status = status.unwrap_or_default();
            let server_name = target.server_name().unwrap_or_default().to_owned();
            Node {
                name,
                version: status.version,
                address: target.address(),
                state,
                tls: Some(Tls { enabled: !server_name.is_empty(), server_name }),
                uptime_ns: status.uptime_ns,
                num_flows: status.num_flows,
                max_flows: status.max_flows,
                seen_flows: status.seen_flows,
            }
        });
        Ok(Response::new(GetNodesResponse { nodes: nodes.collect() }))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let targets = self.targets.borrow().clone();
        let asked = join_all(targets.values().map(|target| async move {
            let ask = async {
                let channel = target.connect(self.credentials.as_deref()).await.ok()?;
                let answer = ObserverClient::new(channel).get_namespaces(GetNamespacesRequest {}).await;
                Some(answer.ok()?.into_inner().namespaces)
            };
            tokio::time::timeout(LIMIT, ask).await.ok().flatten().unwrap_or_default()
        }));
        let mut namespaces = asked.await.concat();
        namespaces.sort_by(|a, b| (&a.cluster, &a.namespace).cmp(&(&b.cluster, &b.namespace)));
        namespaces.dedup();
        Ok(Response::new(GetNamespacesResponse { namespaces }))
    }

    async fn server_status(&self, _: Request<ServerStatusRequest>) -> Result<Response<ServerStatusResponse>, Status> {
        let mut sum = ServerStatusResponse {
            version: concat!("malla ", env!("CARGO_PKG_VERSION")).to_owned(),
            uptime_ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            ..ServerStatusResponse::default()
        };
        let mut connected = 0;
        for (name, _, status) in self.statuses().await {
            let Some(status) = status else {
                sum.unavailable_nodes.push(name);
                continue;
            };
            connected += 1;
            sum.num_flows += status.num_flows;
            sum.max_flows += status.max_flows;
            sum.seen_flows += status.seen_flows;
            sum.flows_rate += status.flows_rate;
        }
        sum.num_connected_nodes = Some(connected);
        sum.num_unavailable_nodes = Some(u32::try_from(sum.unavailable_nodes.len()).unwrap_or(u32::MAX));
        Ok(Response::new(sum))
    }
}

/// Answers that are ready for the client.
const READY: usize = 64;
/// Longest wait for one node's status.
const LIMIT: Duration = Duration::from_secs(3);
