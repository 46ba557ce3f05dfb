//! The flows of all nodes for one request, from the question to the last answer.

use crate::lane::{self, Asked, News, Place};
use crate::limits::Limits;
use crate::merge::{Merge, Next};
use crate::target::{Target, Targets};
use crate::trim::Trim;
use crate::trouble::Trouble;
use flow_api::client::Credentials;
use flow_api::moment::{moment, nanoseconds, now};
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::{GetFlowsRequest, GetFlowsResponse};
use flow_api::relay::{NodeState, NodeStatusEvent};
use prost_types::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tonic::Status;

/// One request under way.
pub struct Gathering {
    targets: watch::Receiver<Targets>,
    credentials: Option<Arc<Credentials>>,
    limits: Limits,
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
    from: Option<Place>,
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
    /// Of these nodes, as they come and go; the answers go to the sender.
    pub fn new(
        targets: watch::Receiver<Targets>,
        credentials: Option<Arc<Credentials>>,
        limits: Limits,
        request: GetFlowsRequest,
        sender: mpsc::Sender<Result<GetFlowsResponse, Status>>,
    ) -> Self {
        let (trim, begun) = (Trim::new(&request, limits.kept), now());
        // Which are the first or the last is known when all have told theirs.
        let patience = if trim.counts() { limits.longest() } else { limits.patience };
        let merge = Merge::new(patience, request.follow.then(|| moment(&begun)));
        let (lanes, nodes) = (BTreeMap::new(), BTreeMap::new());
        Self { targets, credentials, limits, request, merge, trim, lanes, number: 0, nodes, begun, sender }
    }

    /// Until all is told, or whoever asked has gone.
    pub async fn run(mut self) {
        let mut targets = self.targets.clone();
        let now = targets.borrow_and_update().clone();
        self.nodes = now.keys().map(|node| (node.clone(), Known::default())).collect();
        let mut goes_on = self.follow_targets(&now).await;
        while goes_on && !self.trim.is_done() {
            let now = Instant::now();
            let until = match self.merge.next(now) {
                Next::Tell(lane) => {
                    if let Some(answer) = self.merge.take(lane, now) {
                        self.leave_at(lane, &answer);
                        goes_on = self.tell(answer).await;
                    }
                    continue;
                }
                Next::WaitUntil(until) => Some(until),
                Next::Wait if !self.lanes.is_empty() => None,
                Next::Wait if !self.request.follow || lane::is_over(&self.request) => break,
                // Of no node: that nothing more will come is said by the clock alone.
                Next::Wait => self.request.until.as_ref().map(|until| Instant::now() + left(until)),
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
            let trim = std::mem::replace(&mut self.trim, Trim::All);
            for answer in trim.finish() {
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
                self.merge.arrive(number, *arrived);
                true
            }
            Some(News::Connected) => {
                if !std::mem::replace(&mut lane.is_open, true) {
                    self.merge.open(number, Instant::now());
                }
                self.tell_state(NodeState::NodeConnected, node, String::new()).await
            }
            Some(News::Trouble(Trouble { state, why })) => {
                lane.is_open = false;
                self.merge.close(number);
                self.tell_state(state, node, why).await
            }
            None => {
                self.merge.close(number);
                self.lanes.remove(&number);
                true
            }
        }
    }

    /// Wherever the node is when it is asked again: what was not told by then is to be told by that one.
    fn leave_at(&mut self, number: usize, answer: &GetFlowsResponse) {
        if let Some(lane) = self.lanes.get(&number) {
            Place::pass(&mut self.nodes.entry(lane.node.clone()).or_default().from, answer);
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
            let (sender, news) = mpsc::channel(self.limits.waiting_of_each(targets.len()));
            let (away, late) = (self.away_from(), self.late_from());
            let known = self.nodes.entry(node.clone()).or_insert(Known { state: None, from: late.map(Place::at) });
            let asked = Asked {
                target: target.clone(),
                credentials: self.credentials.clone(),
                limits: self.limits,
                request: self.request.clone(),
                from: known.from.clone(),
                away,
            };
            // Wherever it is when it is asked again.
            if known.from.is_none() {
                known.from = away.map(Place::at);
            }
            let task = tokio::spawn(lane::run(asked, sender));
            let (node, target, task) = (node.clone(), target.clone(), task.abort_handle());
            self.lanes.insert(self.number, Lane { node, target, news, task, is_open: true });
            self.merge.open(self.number, Instant::now());
            self.number += 1;
        }
        true
    }

    /// Where a node begins that was there when the request came, but not when it was asked first; `None`: as the request says. One
    /// that answers at once goes by its own clock, whatever ours says.
    fn away_from(&self) -> Option<Timestamp> {
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
        let Some(answer) = self.trim.pass(answer) else { return true };
        let begun = Instant::now();
        let is_there = self.sender.send(Ok(answer)).await.is_ok();
        self.merge.pause(begun.elapsed());
        is_there
    }
}

/// Until that time; no more than an hour, since clocks are set.
fn left(until: &Timestamp) -> Duration {
    let nanoseconds = nanoseconds(until).saturating_sub(nanoseconds(&now()));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)).clamp(SHORTEST, LONGEST)
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3600);
