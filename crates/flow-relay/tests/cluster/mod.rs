//! Nodes with real sockets, and what a relay tells of them.

use flow_api::flow::Flow;
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::{GetFlowsRequest, GetFlowsResponse};
use flow_api::relay::NodeState;
use flow_api::server::{About, Listener, Node, bind, serve};
use flow_relay::{Relay, Target, Targets};
use futures::StreamExt;
use futures::future::BoxFuture;
use prost_types::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;

pub type Answers = ReceiverStream<Result<GetFlowsResponse, tonic::Status>>;

/// Far more than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Running {
    pub node: Arc<Node>,
    pub path: PathBuf,
    pub server: Option<Server>,
}

/// A node's process: dropped, all its connections are cut.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Runs it on a thread of its own until it is dropped; returns when it says that it is ready.
    pub fn start<F: Future<Output = ()>>(
        run: impl FnOnce(mpsc::Sender<()>, BoxFuture<'static, ()>) -> F + Send + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(ready, Box::pin(async { drop(stopped.await) })));
        });
        is_ready.recv().unwrap();
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Running {
    pub fn start(folder: &Path, name: &str) -> Self {
        let about = About { node: name.to_owned(), cluster: "c1".into(), version: "v1".into(), ..About::default() };
        let node = Arc::new(Node::new(about, 4095));
        let path = folder.join(format!("{name}.sock"));
        let server = Some(Self::serve(&path, &node));
        Self { node, path, server }
    }

    pub fn serve(path: &Path, node: &Arc<Node>) -> Server {
        let (path, node) = (path.to_owned(), node.clone());
        Server::start(|ready, stopped| async move {
            let listener = bind(&path).unwrap();
            ready.send(()).unwrap();
            serve(Listener::Socket(listener), node, stopped).await.unwrap();
        })
    }

    pub fn see(&self, seconds: i64) {
        let name = self.path.file_stem().unwrap().to_str().unwrap().to_owned();
        self.node.saw(Flow { time: Some(Timestamp { seconds, nanos: 0 }), node_name: name, ..Flow::default() });
    }

    pub fn target(&self) -> (String, Target) {
        (self.path.file_stem().unwrap().to_str().unwrap().to_owned(), Target::Socket(self.path.clone()))
    }
}

/// What is told, in words: `a 1` for a flow, `a NODE_UNAVAILABLE` for a node.
pub fn word(what: ResponseTypes) -> String {
    match what {
        ResponseTypes::Flow(flow) => format!("{} {}", flow.node_name, flow.time.unwrap().seconds),
        ResponseTypes::NodeStatus(status) => {
            format!("{} {}", status.node_names[0], NodeState::as_str_name(&status.state_change()))
        }
        ResponseTypes::LostEvents(lost) => format!("lost {}", lost.num_events_lost),
    }
}

pub async fn told(relay: &Relay, request: GetFlowsRequest) -> Vec<String> {
    let stream = relay.flows(request).unwrap();
    let all = stream.map(|answer| word(answer.unwrap().response_types.unwrap())).collect::<Vec<_>>();
    tokio::time::timeout(PATIENCE, all).await.expect("an end")
}

/// Takes down what comes until this comes.
pub async fn hear(stream: &mut Answers, seen: &mut Vec<String>, wanted: &str) {
    while seen.last().is_none_or(|word| word != wanted) {
        let answer = tokio::time::timeout(PATIENCE, stream.next()).await;
        let answer = answer.unwrap_or_else(|_| panic!("{wanted}: {seen:?}"));
        seen.push(word(answer.unwrap().unwrap().response_types.unwrap()));
    }
}

pub fn flows(told: &[String]) -> Vec<&str> {
    told.iter().map(String::as_str).filter(|word| !word.contains("NODE")).collect()
}

/// `a` and `b` have told flows in turns, `gone` has no socket, `deaf` has one that nobody serves.
pub fn cluster(folder: &Path) -> (Running, Running, Relay, watch::Sender<Targets>, std::os::unix::net::UnixListener) {
    let (a, b) = (Running::start(folder, "a"), Running::start(folder, "b"));
    for second in 1..=1000 {
        if second % 3 == 0 { a.see(second) } else { b.see(second) }
    }
    let deaf = std::os::unix::net::UnixListener::bind(folder.join("deaf.sock")).unwrap();
    let away = ["gone", "deaf"].map(|name| (name.to_owned(), Target::Socket(folder.join(format!("{name}.sock")))));
    let targets: Targets = [a.target(), b.target()].into_iter().chain(away).collect();
    let (sender, targets) = watch::channel(targets);
    (a, b, Relay::new(targets, None), sender, deaf)
}
