//! A real client over a real unix socket.

use flow_api::client::connect;
use flow_api::extension;
use flow_api::flow::{AgentEvent, DebugEvent, Endpoint, Flow, FlowFilter, LostEventSource, Verdict, flow_filter};
use flow_api::malla::{self, Ended};
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::*;
use flow_api::peer::peer_client::PeerClient;
use flow_api::peer::{ChangeNotificationType, NotifyRequest};
use flow_api::ring::{DEFAULT_CAPACITY, Event, What};
use flow_api::server::{About, DEEDS, Listener, Node, Peer, Peers, bind, serve};
use prost_types::{FieldMask, Timestamp};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::Channel;

/// Far more than anything here takes; a machine may be loaded.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    node: Arc<Node>,
    folder: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn start(capacity: usize) -> Running {
    let about = About {
        node: "east/worker-1".to_owned(),
        cluster: "east".to_owned(),
        address: "10.0.0.1:4244".to_owned(),
        version: "malla 0.1.0".to_owned(),
        tls_server_name: None,
    };
    let node = Arc::new(Node::new(about, capacity));
    let folder = tempfile::tempdir().unwrap();
    let listener = bind(&folder.path().join("hubble.sock")).unwrap();
    let server = tokio::spawn({
        let node = node.clone();
        async move { serve(Listener::Socket(listener), node, std::future::pending()).await.unwrap() }
    });
    Running { node, folder, server }
}

impl Running {
    fn path(&self) -> PathBuf {
        self.folder.path().join("hubble.sock")
    }

    async fn channel(&self) -> Channel {
        connect(&self.path()).await.unwrap()
    }

    async fn observer(&self) -> ObserverClient<Channel> {
        ObserverClient::new(self.channel().await)
    }

    /// Flows from `first` to `last`, one per second, of Pods `shop/web-N`; the odd ones dropped.
    fn see(&self, first: i64, last: i64) {
        (first..=last).for_each(|second| self.node.saw(flow(second)));
    }

    /// Seconds of the flows that are told, and the events that were lost.
    async fn ask(&self, request: GetFlowsRequest) -> (Vec<i64>, u64) {
        let mut stream = self.observer().await.get_flows(request).await.unwrap().into_inner();
        let (mut seconds, mut lost) = (Vec::new(), 0);
        while let Some(answer) = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap() {
            match answer.response_types.unwrap() {
                ResponseTypes::Flow(flow) => seconds.push(flow.time.unwrap().seconds),
                ResponseTypes::LostEvents(event) => lost += event.num_events_lost,
                ResponseTypes::NodeStatus(_) => unreachable!(),
            }
        }
        (seconds, lost)
    }
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn flow(second: i64) -> Flow {
    let dropped = second % 2 == 1;
    Flow {
        time: time(second),
        verdict: if dropped { Verdict::Dropped } else { Verdict::Forwarded } as i32,
        source: Some(Endpoint {
            namespace: "shop".into(),
            pod_name: format!("web-{second}"),
            identity: 300,
            ..Endpoint::default()
        }),
        node_name: "east/worker-1".to_owned(),
        summary: "x".repeat(1000),
        ..Flow::default()
    }
}

#[tokio::test]
async fn only_its_owner_may_connect_and_a_second_start_replaces_the_socket() {
    let running = start(4);
    let mode = std::fs::metadata(running.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let _second = bind(&running.path()).unwrap();
    assert_eq!(std::fs::read_dir(running.folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn first_last_since_and_until() {
    let running = start(DEFAULT_CAPACITY);
    running.see(1, 600);
    let all = GetFlowsRequest::default;
    for (request, expected) in [
        (all(), (1..=600).collect::<Vec<i64>>()),
        (GetFlowsRequest { number: 3, ..all() }, vec![598, 599, 600]),
        (GetFlowsRequest { number: 3, first: true, ..all() }, vec![1, 2, 3]),
        (GetFlowsRequest { since: time(599), ..all() }, vec![599, 600]),
        (GetFlowsRequest { since: time(5), number: 2, ..all() }, vec![5, 6]),
        (GetFlowsRequest { until: time(2), ..all() }, vec![1, 2]),
        (GetFlowsRequest { until: time(400), number: 2, ..all() }, vec![399, 400]),
        (GetFlowsRequest { since: time(700), ..all() }, vec![]),
        (GetFlowsRequest { until: time(3), follow: true, number: 2, ..all() }, vec![2, 3]),
    ] {
        assert_eq!(running.ask(request.clone()).await, (expected, 0), "{request:?}");
    }
}

#[tokio::test]
async fn lists_and_masks() {
    let running = start(DEFAULT_CAPACITY);
    running.see(1, 20);
    let dropped = FlowFilter { verdict: vec![Verdict::Dropped as i32], ..FlowFilter::default() };
    let ones = FlowFilter { source_pod: vec!["shop/web-1".to_owned()], ..FlowFilter::default() };
    let request = GetFlowsRequest {
        whitelist: vec![ones],
        blacklist: vec![dropped],
        field_mask: Some(FieldMask { paths: vec!["time".to_owned(), "source.pod_name".to_owned()] }),
        number: 3,
        ..GetFlowsRequest::default()
    };
    assert_eq!(running.ask(request.clone()).await.0, [14, 16, 18]);
    let mut stream = running.observer().await.get_flows(request).await.unwrap().into_inner();
    let answer = stream.message().await.unwrap().unwrap();
    assert_eq!((answer.node_name.as_str(), answer.time), ("east/worker-1", time(14)));
    let source = Endpoint { pod_name: "web-14".to_owned(), ..Endpoint::default() };
    let expected = Flow { time: time(14), source: Some(source), ..Flow::default() };
    assert_eq!(answer.response_types, Some(ResponseTypes::Flow(expected)));
}

#[tokio::test]
async fn following_tells_what_comes_and_only_that() {
    let running = start(DEFAULT_CAPACITY);
    running.see(1, 10);
    let request = |number| GetFlowsRequest { follow: true, number, ..GetFlowsRequest::default() };
    let mut new = running.observer().await.get_flows(request(0)).await.unwrap().into_inner();
    let mut last = running.observer().await.get_flows(request(2)).await.unwrap().into_inner();
    running.see(11, 12);
    for (stream, expected) in [(&mut new, &[11, 12][..]), (&mut last, &[9, 10, 11, 12][..])] {
        for second in expected {
            let answer = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
            assert_eq!(answer.time, time(*second));
        }
        let more = tokio::time::timeout(Duration::from_millis(100), stream.message()).await;
        assert!(more.is_err(), "nothing happened, and {more:?} is told");
    }
}

#[tokio::test]
async fn following_ends_at_until_though_nothing_happens() {
    let running = start(8);
    let soon = Timestamp::from(std::time::SystemTime::now() + Duration::from_millis(300));
    let request = GetFlowsRequest { follow: true, until: Some(soon), ..GetFlowsRequest::default() };
    assert_eq!(running.ask(request).await, (vec![], 0));
}

/// 200,000 flows of a kilobyte: far more than the ring and all buffers on the way hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_nobody_up_and_learns_exactly_what_it_missed() {
    const TOTAL: u64 = 200_000;
    let running = start(1000);
    let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
    let mut stream = running.observer().await.get_flows(request).await.unwrap().into_inner();
    let began = Instant::now();
    // Nobody reads meanwhile.
    running.see(1, TOTAL as i64);
    assert!(began.elapsed() < PATIENCE, "writing took {:?}", began.elapsed());
    let (mut seen, mut lost, mut last) = (0, 0, 0);
    while seen + lost < TOTAL {
        let answer = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
        match answer.response_types.unwrap() {
            ResponseTypes::Flow(flow) => {
                let second = flow.time.unwrap().seconds;
                assert!(second > last, "{second} after {last}");
                last = second;
                seen += 1;
            }
            ResponseTypes::LostEvents(event) => {
                assert_eq!(event.source(), LostEventSource::HubbleRingBuffer);
                lost += event.num_events_lost;
            }
            ResponseTypes::NodeStatus(_) => unreachable!(),
        }
    }
    assert_eq!((seen + lost, last), (TOTAL, TOTAL as i64));
    assert!(lost > 0, "all {seen} fitted somewhere: this shows nothing");
}

#[tokio::test]
async fn losses_of_the_kernel_are_told_whatever_the_filter() {
    let running = start(DEFAULT_CAPACITY);
    running.see(1, 3);
    running.node.lost(17, Some(1));
    running.see(4, 4);
    let nothing = FlowFilter { source_pod: vec!["nowhere/".to_owned()], ..FlowFilter::default() };
    let request = GetFlowsRequest { whitelist: vec![nothing], ..GetFlowsRequest::default() };
    assert_eq!(running.ask(request).await, (vec![], 17));
    assert_eq!(running.ask(GetFlowsRequest::default()).await, (vec![1, 2, 3, 4], 17));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_by_name_and_hurt_nobody() {
    let running = start(DEFAULT_CAPACITY);
    running.see(1, 3);
    let all = GetFlowsRequest::default;
    let filter = |filter: FlowFilter| GetFlowsRequest { whitelist: vec![filter], ..all() };
    let wrong_time = Some(Timestamp { seconds: i64::MIN, nanos: i32::MIN });
    for (request, field) in [
        (GetFlowsRequest { first: true, follow: true, ..all() }, "first"),
        (GetFlowsRequest { since: wrong_time, ..all() }, "since"),
        (GetFlowsRequest { until: wrong_time, follow: true, ..all() }, "until"),
        (GetFlowsRequest { field_mask: Some(FieldMask { paths: vec!["sauce".into()] }), ..all() }, "field_mask"),
        (filter(FlowFilter { source_ip: vec!["300.0.0.1".into()], ..FlowFilter::default() }), "whitelist[0].source_ip"),
        (
            filter(FlowFilter { http_path: vec!["(a{9999}){9999}".into()], ..FlowFilter::default() }),
            "whitelist[0].http_path",
        ),
        (GetFlowsRequest { blacklist: vec![FlowFilter::default(); 1000], ..all() }, "blacklist"),
        (filter(cel("_flow.verdict == Verdict.DROPED")), "whitelist[0].experimental.cel_expression[0]"),
        (filter(cel(&"(".repeat(4000))), "whitelist[0].experimental.cel_expression[0]"),
        (GetFlowsRequest { whitelist: vec![cel("true"); 17], ..all() }, "whitelist"),
    ] {
        let status = running.observer().await.get_flows(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(&format!("{field}: ")), "{status:?}");
    }
    let huge = filter(FlowFilter { source_pod: vec!["x".repeat(3 << 20)], ..FlowFilter::default() });
    let status = running.observer().await.get_flows(huge).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    // As many as can be asked for is as many as there are.
    let request = GetFlowsRequest { number: u64::MAX, ..all() };
    assert_eq!(running.ask(request).await.0, [1, 2, 3]);
    // What is no HTTP/2 at all.
    let stranger = UnixStream::connect(running.path()).await.unwrap();
    stranger.writable().await.unwrap();
    let _ = stranger.try_write(&[0xff; 4096]);
    assert_eq!(running.ask(GetFlowsRequest::default()).await.0, [1, 2, 3]);
}

fn cel(expression: &str) -> FlowFilter {
    let experimental = flow_filter::Experimental { cel_expression: vec![expression.to_owned()] };
    FlowFilter { experimental: Some(experimental), ..FlowFilter::default() }
}

#[tokio::test]
async fn expressions_in_cel_choose_flows() {
    let running = start(DEFAULT_CAPACITY);
    running.see(1, 4);
    let white = |expression| GetFlowsRequest { whitelist: vec![cel(expression)], ..GetFlowsRequest::default() };
    assert_eq!(running.ask(white("int(_flow.time) in [2, 3]")).await.0, [2, 3]);
    assert!(running.ask(white("1 / 0 == 1")).await.0.is_empty());
    let black = GetFlowsRequest { blacklist: vec![cel("int(_flow.time) > 1")], ..GetFlowsRequest::default() };
    assert_eq!(running.ask(black).await.0, [1]);
}

#[tokio::test]
async fn agent_and_debug_events_come_by_their_own_names() {
    let running = start(DEFAULT_CAPACITY);
    running.see(1, 2);
    let agent = |kind| AgentEvent { r#type: kind, notification: None };
    let debug = DebugEvent { message: "why".to_owned(), ..DebugEvent::default() };
    running.node.write(Event { time: time(3).unwrap(), what: What::Agent(agent(2).into()) });
    running.node.write(Event { time: time(4).unwrap(), what: What::Debug(Box::new(debug.clone())) });
    let mut client = running.observer().await;
    let mut agents = client.get_agent_events(GetAgentEventsRequest::default()).await.unwrap().into_inner();
    let told = agents.message().await.unwrap().unwrap();
    assert_eq!((told.agent_event, told.time, told.node_name.as_str()), (Some(agent(2)), time(3), "east/worker-1"));
    assert_eq!(agents.message().await.unwrap(), None);
    let mut debugs = client.get_debug_events(GetDebugEventsRequest::default()).await.unwrap().into_inner();
    assert_eq!(debugs.message().await.unwrap().unwrap().debug_event, Some(debug));
    assert_eq!(debugs.message().await.unwrap(), None);
    assert_eq!(running.ask(GetFlowsRequest::default()).await.0, [1, 2]);
}

/// Asked for as flows are, and with room of their own: flows drive none of them out, and none of them a flow.
#[tokio::test]
async fn agent_events_are_asked_for_as_flows_are_and_kept_apart() {
    let running = start(3);
    let tell = |second, kind| {
        let what = What::Agent(AgentEvent { r#type: kind, notification: None }.into());
        running.node.write(Event { time: time(second).unwrap(), what });
    };
    running.see(1, 3);
    (1..=4).for_each(|second| tell(second, 2));
    running.see(4, 9);
    let mut client = running.observer().await;
    let mut ask = async |request: GetAgentEventsRequest| {
        let mut stream = client.get_agent_events(request).await.unwrap().into_inner();
        let mut seconds = Vec::new();
        while let Some(answer) = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap() {
            seconds.push(answer.time.unwrap().seconds);
        }
        seconds
    };
    let all = GetAgentEventsRequest::default;
    assert_eq!(ask(all()).await, [1, 2, 3, 4]);
    assert_eq!(ask(GetAgentEventsRequest { number: 2, ..all() }).await, [3, 4]);
    assert_eq!(ask(GetAgentEventsRequest { number: 2, first: true, ..all() }).await, [1, 2]);
    assert_eq!(ask(GetAgentEventsRequest { since: time(2), until: time(3), ..all() }).await, [2, 3]);
    assert_eq!(ask(GetAgentEventsRequest { since: time(5), ..all() }).await, [0_i64; 0]);
    assert_eq!(running.ask(GetFlowsRequest::default()).await, (vec![7, 8, 9], 0));
    let contradiction = GetAgentEventsRequest { first: true, follow: true, ..all() };
    assert_eq!(client.get_agent_events(contradiction).await.unwrap_err().code(), Code::InvalidArgument);
    // Whoever follows is told what comes, and nothing of what was.
    let following = GetAgentEventsRequest { follow: true, ..all() };
    let mut stream = client.get_agent_events(following).await.unwrap().into_inner();
    tell(10, 3);
    let told = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
    assert_eq!((told.time, told.agent_event.unwrap().r#type), (time(10), 3));
    // The oldest make room.
    (0..DEEDS as i64).for_each(|second| tell(second, 4));
    let mut stream = client.get_agent_events(all()).await.unwrap().into_inner();
    let mut number = 0;
    while let Some(answer) = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap() {
        assert_eq!(answer.agent_event.unwrap().r#type, 4);
        number += 1;
    }
    assert_eq!(number, DEEDS);
}

/// Of one thread: the server can't read while they are written.
#[tokio::test]
async fn who_misses_events_of_the_agent_is_told_how_many_and_let_go() {
    let running = start(3);
    let following = GetAgentEventsRequest { follow: true, ..GetAgentEventsRequest::default() };
    let mut stream = running.observer().await.get_agent_events(following).await.unwrap().into_inner();
    for second in 0..DEEDS as i64 + 5 {
        let what = What::Agent(AgentEvent { r#type: 2, notification: None }.into());
        running.node.write(Event { time: time(second).unwrap(), what });
    }
    let error = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::DataLoss, "5 events of the agent were missed: ask again"));
}

#[tokio::test]
async fn a_node_tells_what_it_is_and_has() {
    let running = start(15);
    let now = Timestamp::from(std::time::SystemTime::now()).seconds;
    running.node.saw(flow(now - 4000));
    (0..20).for_each(|_| running.node.saw(flow(now)));
    let old = Endpoint { namespace: "forgotten".to_owned(), ..Endpoint::default() };
    running.node.saw(Flow { source: Some(old), ..flow(now - 4000) });
    let mut client = running.observer().await;
    let status = client.server_status(ServerStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.num_flows, status.max_flows, status.seen_flows), (15, 15, 22));
    assert!(status.uptime_ns > 0 && status.version == "malla 0.1.0" && status.flows_rate > 0.0, "{status:?}");
    let nodes = client.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!((nodes.len(), nodes[0].name.as_str(), nodes[0].seen_flows), (1, "east/worker-1", 22));
    let namespaces = client.get_namespaces(GetNamespacesRequest {}).await.unwrap().into_inner().namespaces;
    assert_eq!(namespaces, [Namespace { cluster: "east".to_owned(), namespace: "shop".to_owned() }]);
}

#[tokio::test]
async fn peers_come_change_and_go() {
    let running = start(4);
    let peer = |address: &str| Peer { address: address.to_owned(), tls_server_name: None };
    running.node.set_peers(Peers::from([("a".to_owned(), peer("1")), ("b".to_owned(), peer("2"))]));
    let mut stream = PeerClient::new(running.channel().await).notify(NotifyRequest {}).await.unwrap().into_inner();
    let mut told = async || {
        let change = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
        (change.name.clone(), change.address.clone(), change.r#type())
    };
    assert_eq!(told().await, ("a".to_owned(), "1".to_owned(), ChangeNotificationType::PeerAdded));
    assert_eq!(told().await, ("b".to_owned(), "2".to_owned(), ChangeNotificationType::PeerAdded));
    running.node.set_peers(Peers::from([("b".to_owned(), peer("3"))]));
    assert_eq!(told().await, ("a".to_owned(), "1".to_owned(), ChangeNotificationType::PeerDeleted));
    assert_eq!(told().await, ("b".to_owned(), "3".to_owned(), ChangeNotificationType::PeerUpdated));
}

#[tokio::test]
async fn health_and_reflection() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let running = start(4);
    let mut health = HealthClient::new(running.channel().await);
    for service in ["", "hubble.server.Observer", "observer.Observer", "peer.Peer"] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service} is serving");
    }
    let unknown = health.check(HealthCheckRequest { service: "nobody".to_owned() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(running.channel().await);
    let mut answers = client.server_reflection_info(tokio_stream::iter([list])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"observer.Observer") && names.contains(&"peer.Peer"), "{names:?}");
}

/// A client that does not know the type can't print it as JSON.
#[tokio::test]
async fn what_hubble_does_not_know_is_told_to_who_asks() {
    let running = start(DEFAULT_CAPACITY);
    let ended = Ended { way: malla::Way::PeerGone as i32, reply_bytes: 7, ..Ended::default() };
    running.node.saw(Flow { extensions: Some(extension::pack(&ended)), ..Flow::default() });
    let ask = async |request: GetFlowsRequest| {
        let mut stream = running.observer().await.get_flows(request).await.unwrap().into_inner();
        match stream.message().await.unwrap().unwrap().response_types.unwrap() {
            ResponseTypes::Flow(flow) => {
                (extension::ended(&flow), flow_api::json::to_json("flow.Flow", &flow).unwrap())
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(GetFlowsRequest::default()).await.0, None);
    let mask = |path: &str| Some(FieldMask { paths: vec![path.to_owned()] });
    assert_eq!(ask(GetFlowsRequest { field_mask: mask("time"), ..Default::default() }).await.0, None);
    let (told, json) = ask(GetFlowsRequest { field_mask: mask("extensions"), ..Default::default() }).await;
    assert_eq!(told, Some(ended));
    let inner = r#""extensions":{"@type":"type.googleapis.com/malla.Ended","way":"PEER_GONE","reply_bytes":"7"}"#;
    assert!(json.contains(inner), "{json}");
    let (told, _) = ask(GetFlowsRequest { extensions: Some(extension::asked()), ..Default::default() }).await;
    assert_eq!(told, Some(ended));
}
