//! Every call of Hubble's API, asked of a relay at its socket: what it tells of all nodes, and what it leaves to them.

#[allow(dead_code, reason = "other tests use the rest")]
mod cluster;
#[allow(dead_code, reason = "other tests use the rest")]
mod strange;

use cluster::{PATIENCE, Running, flows, told};
use flow_api::client::connect;
use flow_api::flow::{Endpoint, Flow, FlowFilter};
use flow_api::moment::now;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::{
    GetAgentEventsRequest, GetDebugEventsRequest, GetFlowsRequest, GetNamespacesRequest, GetNodesRequest, Node,
    ServerStatusRequest, Tls,
};
use flow_api::peer::peer_server::{Peer, PeerServer};
use flow_api::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest};
use flow_api::relay::NodeState;
use flow_api::server::{Listener, bind, serve_observer};
use flow_relay::{Limits, Relay, Target, Targets, follow_peers};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use prost_types::{FieldMask, Timestamp};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use strange::{Strange, Way};
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// A relay of these nodes at its socket, and a client of it.
async fn served(folder: &Path, nodes: impl IntoIterator<Item = (String, Target)>, limits: Limits) -> Channel {
    let (_, targets) = watch::channel(nodes.into_iter().collect::<Targets>());
    let path = folder.join("relay.sock");
    let listener = Listener::Socket(bind(&path).unwrap());
    tokio::spawn(serve_observer(listener, Relay::new(targets, None).within(limits), std::future::pending()));
    connect(&path).await.unwrap()
}

fn see_between(node: &Running, source: &str, destination: &str) {
    let end = |namespace: &str| Some(Endpoint { namespace: namespace.to_owned(), ..Endpoint::default() });
    node.node.saw(Flow { time: Some(now()), source: end(source), destination: end(destination), ..Flow::default() });
}

#[tokio::test]
async fn a_node_is_told_with_all_that_is_known_of_it_and_where_it_should_be() {
    let folder = tempfile::tempdir().unwrap();
    let a = Running::start(folder.path(), "a");
    (1..=3).for_each(|second| a.see(second));
    let nobodys = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let away = Target::Network { address: nobodys.clone(), server_name: Some("away.c1".to_owned()) };
    let nodes = [a.target(), ("away".to_owned(), away)];
    let mut client = ObserverClient::new(served(folder.path(), nodes, Limits::default()).await);
    let mut nodes = client.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
    assert!(nodes[0].uptime_ns > 0 && Duration::from_nanos(nodes[0].uptime_ns) < PATIENCE, "{nodes:?}");
    nodes[0].uptime_ns = 0;
    let here = Node {
        name: "a".to_owned(),
        version: "v1".to_owned(),
        address: format!("unix://{}", folder.path().join("a.sock").display()),
        state: NodeState::NodeConnected as i32,
        tls: Some(Tls::default()),
        uptime_ns: 0,
        num_flows: 3,
        max_flows: 4095,
        seen_flows: 3,
    };
    let away = Node {
        name: "away".to_owned(),
        address: nobodys,
        state: NodeState::NodeUnavailable as i32,
        tls: Some(Tls { enabled: true, server_name: "away.c1".to_owned() }),
        ..Node::default()
    };
    assert_eq!(nodes, [here, away]);
}

#[tokio::test]
async fn statuses_are_added_up_and_the_uptime_is_that_of_the_oldest_node() {
    let folder = tempfile::tempdir().unwrap();
    let a = Running::start(folder.path(), "a");
    (0..3).for_each(|_| see_between(&a, "shop", "bank"));
    tokio::time::sleep(Duration::from_millis(20)).await; // so that they differ in age
    let b = Running::start(folder.path(), "b");
    (0..4).for_each(|_| see_between(&b, "shop", "bank"));
    let mut client = ObserverClient::new(served(folder.path(), [a.target(), b.target()], Limits::default()).await);
    let status = client.server_status(ServerStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.num_flows, status.max_flows, status.seen_flows), (7, 2 * 4095, 7));
    assert_eq!((status.num_connected_nodes, status.num_unavailable_nodes), (Some(2), Some(0)));
    assert!(status.version.starts_with("malla ") && status.unavailable_nodes.is_empty(), "{status:?}");
    let nodes = client.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
    let (oldest, youngest) = (nodes[0].uptime_ns, nodes[1].uptime_ns);
    assert!(youngest < status.uptime_ns && status.uptime_ns < oldest, "{status:?} {nodes:?}");
    assert!(status.flows_rate > 0.0, "{status:?}");
}

#[tokio::test]
async fn namespaces_are_those_of_all_nodes_once_and_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (Running::start(folder.path(), "a"), Running::start(folder.path(), "b"));
    see_between(&a, "shop", "bank");
    see_between(&b, "attic", "shop");
    let mut client = ObserverClient::new(served(folder.path(), [a.target(), b.target()], Limits::default()).await);
    let namespaces = client.get_namespaces(GetNamespacesRequest {}).await.unwrap().into_inner().namespaces;
    let told: Vec<_> = namespaces.iter().map(|one| (one.cluster.as_str(), one.namespace.as_str())).collect();
    assert_eq!(told, [("c1", "attic"), ("c1", "bank"), ("c1", "shop")]);
}

#[tokio::test]
async fn what_a_relay_does_not_answer_it_asks_of_nobody_and_says_where_to_ask() {
    let folder = tempfile::tempdir().unwrap();
    let node = Strange::new("node", Way::Well);
    let (target, _server) = node.serve(folder.path());
    let mut client = ObserverClient::new(served(folder.path(), [target], Limits::default()).await);
    let events = client.get_agent_events(GetAgentEventsRequest::default()).await.unwrap_err();
    let debug = client.get_debug_events(GetDebugEventsRequest::default()).await.unwrap_err();
    for (status, call) in [(events, "GetAgentEvents"), (debug, "GetDebugEvents")] {
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains(call) && status.message().contains("hubble.sock"), "{status:?}");
    }
    let time = |nanos| Some(Timestamp { seconds: 0, nanos });
    let address = FlowFilter { source_ip: vec!["1.2.3.4".into(), "nonsense".into()], ..FlowFilter::default() };
    let wrong = [
        (GetFlowsRequest { follow: true, first: true, ..Default::default() }, "first"),
        (GetFlowsRequest { since: time(-1), ..Default::default() }, "since"),
        (GetFlowsRequest { until: time(-1), ..Default::default() }, "until"),
        (GetFlowsRequest { whitelist: vec![address.clone()], ..Default::default() }, "whitelist[0].source_ip"),
        (GetFlowsRequest { blacklist: vec![address], ..Default::default() }, "blacklist[0].source_ip"),
        (
            GetFlowsRequest { field_mask: Some(FieldMask { paths: vec!["nonsense".into()] }), ..Default::default() },
            "nonsense",
        ),
    ];
    for (request, field) in wrong {
        let status = client.get_flows(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}");
        assert!(status.message().contains(field), "{field}: {status:?}");
    }
    assert_eq!(node.asked(), 0);
    client.get_flows(GetFlowsRequest::default()).await.unwrap().into_inner().collect::<Vec<_>>().await;
    assert_eq!(node.asked(), 1);
}

#[tokio::test]
async fn health_and_reflection() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let folder = tempfile::tempdir().unwrap();
    let channel = served(folder.path(), [], Limits::default()).await;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "hubble.server.Observer", "observer.Observer"] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service} is serving");
    }
    let peers = health.check(HealthCheckRequest { service: "peer.Peer".to_owned() }).await.unwrap_err();
    assert_eq!(peers.code(), Code::NotFound, "a relay tells of no peers");
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let list = ServerReflectionRequest { host: String::new(), message_request };
    let answers = ServerReflectionClient::new(channel).server_reflection_info(stream::iter([list])).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"observer.Observer") && !names.contains(&"peer.Peer"), "{names:?}");
}

#[tokio::test]
async fn a_node_that_is_strange_holds_nobody_up_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let a = Running::start(folder.path(), "a");
    see_between(&a, "shop", "bank");
    let at = |name: &str| folder.path().join(format!("{name}.sock"));
    let _deaf = std::os::unix::net::UnixListener::bind(at("deaf")).unwrap();
    let garbage = std::os::unix::net::UnixListener::bind(at("garbage")).unwrap();
    std::thread::spawn(move || {
        for mut stream in garbage.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nnonsense");
            // Until the other side has had enough.
            std::thread::spawn(move || stream.read_to_end(&mut Vec::new()));
        }
    });
    let strange = [("boasting", Way::Boasting), ("failing", Way::Failing), ("mute", Way::Mute)];
    let strange = strange.map(|(name, way)| Strange::new(name, way).serve(folder.path()));
    let silent = ["deaf", "garbage", "gone"].map(|name| (name.to_owned(), Target::Socket(at(name))));
    let nodes = strange.iter().map(|(target, _)| target.clone()).chain(silent).chain([a.target()]);
    let limits = Limits { dial: Duration::from_secs(1), ..Limits::default() };
    let channel = served(folder.path(), nodes, limits).await;
    let begun = Instant::now();
    let mut clients = [(); 3].map(|()| ObserverClient::new(channel.clone()));
    let [one, two, three] = &mut clients;
    let (nodes, namespaces, status) = tokio::join!(
        one.get_nodes(GetNodesRequest {}),
        two.get_namespaces(GetNamespacesRequest {}),
        three.server_status(ServerStatusRequest {}),
    );
    // A second for the connection, one for the answer.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let nodes = nodes.unwrap().into_inner().nodes;
    let states: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.state())).collect();
    let (here, away, error) = (NodeState::NodeConnected, NodeState::NodeUnavailable, NodeState::NodeError);
    let (garbage, others): (Vec<_>, Vec<_>) = states.into_iter().partition(|(name, _)| *name == "garbage");
    assert_eq!(
        others,
        [("a", here), ("boasting", here), ("deaf", away), ("failing", error), ("gone", away), ("mute", away)]
    );
    // How far one comes with it is a matter of who is faster.
    assert!(garbage.len() == 1 && [away, error].contains(&garbage[0].1), "{garbage:?}");
    let namespaces = namespaces.unwrap().into_inner().namespaces;
    assert_eq!(namespaces.iter().map(|one| one.namespace.as_str()).collect::<Vec<_>>(), ["bank", "shop"]);
    let status = status.unwrap().into_inner();
    assert_eq!(status.unavailable_nodes, ["deaf", "failing", "garbage", "gone", "mute"]);
    assert_eq!((status.num_connected_nodes, status.num_unavailable_nodes), (Some(2), Some(5)));
    assert_eq!((status.num_flows, status.uptime_ns), (u64::MAX, u64::MAX), "as far as numbers go");
    assert!(status.flows_rate.is_finite(), "{status:?}");
}

/// Names these nodes, one after the other, and falters before each.
struct Naming(Vec<ChangeNotification>);

#[tonic::async_trait]
impl Peer for Naming {
    type NotifyStream = BoxStream<'static, Result<ChangeNotification, Status>>;

    async fn notify(&self, _: Request<NotifyRequest>) -> Result<Response<Self::NotifyStream>, Status> {
        let named = stream::iter(self.0.clone()).then(|change| async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok::<_, Status>(change)
        });
        Ok(Response::new(named.chain(stream::pending()).boxed()))
    }
}

#[tokio::test]
async fn two_peers_of_one_name_are_one_node_where_it_was_named_last() {
    let folder = tempfile::tempdir().unwrap();
    let [before, after, other] = [(); 3].map(|()| Strange::new("node", Way::Well));
    let [(at_before, _x), (at_after, _y), (at_other, _z)] = [&before, &after, &other].map(Strange::serve_in_clear);
    let peers = [("twice", at_before), ("other", at_other), ("twice", at_after)].map(|(name, address)| {
        let kind = ChangeNotificationType::PeerAdded as i32;
        ChangeNotification { name: name.to_owned(), address: address.to_string(), r#type: kind, tls: None }
    });
    let path = folder.path().join("peers.sock");
    let listener = tokio_stream::wrappers::UnixListenerStream::new(bind(&path).unwrap());
    let server = tonic::transport::Server::builder().add_service(PeerServer::new(Naming(peers.into())));
    tokio::spawn(server.serve_with_incoming(listener));
    let (sender, mut targets) = watch::channel(Targets::new());
    tokio::spawn(follow_peers(Target::Socket(path), None, Limits::default(), sender));
    tokio::time::timeout(PATIENCE, targets.changed()).await.unwrap().unwrap();
    let all = told(&Relay::new(targets, None), GetFlowsRequest::default()).await;
    assert_eq!(flows(&all), ["node 0", "node 0"], "one of each: {all:?}");
    for word in ["twice NODE_CONNECTED", "other NODE_CONNECTED"] {
        assert_eq!(all.iter().filter(|told| *told == word).count(), 1, "{word}: {all:?}");
    }
    assert_eq!([before, after, other].map(|node| node.asked()), [0, 1, 1]);
}
