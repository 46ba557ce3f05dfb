//! A relay over real sockets: nodes that answer, one that is not there, one that says nothing, one that comes back.

#[allow(dead_code, reason = "other tests use the rest")]
mod cluster;

use cluster::{PATIENCE, Running, cluster, flows, hear, told};
use flow_api::client::connect;
use flow_api::flow::Flow;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::{GetFlowsRequest, GetNodesRequest, ServerStatusRequest};
use flow_api::relay::NodeState;
use flow_api::server::{About, Listener, Node, Peer, Peers, bind, serve_observer};
use flow_relay::{Limits, Relay, Target, Targets, follow_peers};
use prost_types::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

#[tokio::test]
async fn flows_come_by_time_and_who_is_missing_is_told_and_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let (a, _b, relay, _targets, _deaf) = cluster(folder.path());
    let all = told(&relay, GetFlowsRequest::default()).await;
    let expected: Vec<String> = (1..=1000).map(|s| format!("{} {s}", if s % 3 == 0 { "a" } else { "b" })).collect();
    assert_eq!(flows(&all), expected);
    for word in ["a NODE_CONNECTED", "b NODE_CONNECTED", "gone NODE_UNAVAILABLE", "deaf NODE_UNAVAILABLE"] {
        assert_eq!(all.iter().filter(|told| *told == word).count(), 1, "{word}");
    }
    let last = GetFlowsRequest { number: 3, ..GetFlowsRequest::default() };
    assert_eq!(flows(&told(&relay, last.clone()).await), ["b 998", "a 999", "b 1000"]);
    let first = GetFlowsRequest { first: true, ..last.clone() };
    assert_eq!(flows(&told(&relay, first).await), ["b 1", "b 2", "a 3"]);
    // A loss belongs to no time, and is never left out silently.
    a.node.lost(17, None);
    assert!(told(&relay, GetFlowsRequest::default()).await.contains(&"lost 17".to_owned()));
    // What no node would answer is asked of none.
    let wrong = GetFlowsRequest { follow: true, first: true, ..last };
    assert_eq!(relay.flows(wrong).unwrap_err().code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn a_node_that_is_killed_is_told_and_asked_again_from_where_it_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let (a, mut b, relay, targets, _deaf) = cluster(folder.path());
    targets.send_modify(|targets| targets.retain(|name, _| name == "a" || name == "b"));
    let request = GetFlowsRequest { number: 1, follow: true, ..GetFlowsRequest::default() };
    let mut stream = relay.flows(request).unwrap();
    let mut seen = Vec::new();
    let mut until = async |wanted: &str| hear(&mut stream, &mut seen, wanted).await;
    until("b 1000").await;
    b.server = None;
    until("b NODE_UNAVAILABLE").await;
    // The other goes on; what happens at the first meanwhile is not lost.
    b.see(2001);
    a.see(2002);
    until("a 2002").await;
    b.server = Some(Running::serve(&b.path, &b.node));
    until("b NODE_CONNECTED").await;
    until("b 2001").await;
    b.see(2003);
    until("b 2003").await;
    let c = Running::start(folder.path(), "c");
    let now = Timestamp::from(std::time::SystemTime::now()).seconds;
    c.see(now - 100);
    targets.send_modify(|targets| targets.extend([c.target()]));
    until("c NODE_CONNECTED").await;
    c.see(now + 1);
    until(&format!("c {}", now + 1)).await;
    targets.send_modify(|targets| drop(targets.remove("c")));
    until("c NODE_GONE").await;
    assert_eq!(seen.iter().filter(|word| *word == "b 1000").count(), 1, "nothing is told twice");
    assert!(!seen.contains(&format!("c {}", now - 100)), "who joins is not asked for its past");
}

#[tokio::test]
async fn a_node_that_was_away_first_tells_its_past_and_one_that_moves_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (a, mut b, relay, targets, _deaf) = cluster(folder.path());
    targets.send_modify(|targets| targets.retain(|name, _| name == "a" || name == "b"));
    b.server = None;
    let request = GetFlowsRequest {
        since: Some(Timestamp { seconds: 998, nanos: 0 }),
        follow: true,
        ..GetFlowsRequest::default()
    };
    let mut stream = relay.flows(request).unwrap();
    let mut seen = Vec::new();
    let mut until = async |wanted: &str| {
        hear(&mut stream, &mut seen, wanted).await;
        seen.clone()
    };
    until("b NODE_UNAVAILABLE").await;
    tokio::time::sleep(Duration::from_secs(5)).await; // it is asked again meanwhile
    b.server = Some(Running::serve(&b.path, &b.node));
    let seen = until("b 1000").await;
    assert_eq!(seen.iter().filter(|word| *word == "b NODE_UNAVAILABLE").count(), 1, "{seen:?}");
    assert!(seen.contains(&"b 998".to_owned()), "{seen:?}");
    b.see(2000);
    until("b 2000").await;
    // A loss has the time of its finding, and flows from before may still come.
    b.node.lost(3, None);
    until("lost 3").await;
    // The node gets another address.
    let moved = folder.path().join("moved").join("b.sock");
    std::fs::create_dir(moved.parent().unwrap()).unwrap();
    b.server = Some(Running::serve(&moved, &b.node));
    b.see(2001);
    targets.send_modify(|targets| drop(targets.insert("b".to_owned(), Target::Socket(moved))));
    until("b 2001").await;
    a.see(2002);
    let seen = until("a 2002").await;
    for once in ["b 998", "b 1000", "b 2000", "b 2001"] {
        assert_eq!(seen.iter().filter(|word| *word == once).count(), 1, "{once}: {seen:?}");
    }
}

#[tokio::test]
async fn events_of_one_time_are_each_told_once_though_the_stream_ends_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut b = Running::start(folder.path(), "b");
    let (sender, targets) = watch::channel(Targets::from([b.target()]));
    let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
    let mut stream = Relay::new(targets, None).flows(request).unwrap();
    let mut seen = Vec::new();
    let mut until = async |wanted: &str| {
        hear(&mut stream, &mut seen, wanted).await;
        seen.clone()
    };
    // A packet and its verdict.
    let see = |node: &Node, uuid: &str| {
        let time = Some(Timestamp { seconds: 5, nanos: 0 });
        node.saw(Flow { time, uuid: uuid.to_owned(), node_name: "b".to_owned(), ..Flow::default() });
    };
    until("b NODE_CONNECTED").await;
    see(&b.node, "one");
    until("b 5").await;
    b.server = None;
    until("b NODE_UNAVAILABLE").await;
    see(&b.node, "two");
    b.server = Some(Running::serve(&b.path, &b.node));
    until("b NODE_CONNECTED").await;
    until("b 5").await;
    // The same where the node gets another address.
    let moved = folder.path().join("moved").join("b.sock");
    std::fs::create_dir(moved.parent().unwrap()).unwrap();
    b.server = Some(Running::serve(&moved, &b.node));
    see(&b.node, "three");
    b.see(6);
    sender.send_modify(|targets| drop(targets.insert("b".to_owned(), Target::Socket(moved))));
    let seen = until("b 6").await;
    assert_eq!(seen.iter().filter(|word| *word == "b 5").count(), 3, "{seen:?}");
}

#[tokio::test]
async fn a_peer_service_that_starts_again_takes_no_node_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut a = Running::start(folder.path(), "a");
    let peer = |name: String| (name.clone(), Peer { address: format!("{name}:1"), tls_server_name: None });
    let all: Peers = (0..3000).map(|number| peer(format!("node-{number}"))).collect();
    let (sender, mut targets) = watch::channel(Targets::new());
    tokio::spawn(follow_peers(a.target().1, None, Limits::default(), sender));
    a.node.set_peers(all.clone());
    let first = tokio::time::timeout(PATIENCE, targets.changed()).await;
    first.unwrap().unwrap();
    assert_eq!(targets.borrow_and_update().len(), 3000, "at once, not one after the other");
    // A new process, that does not know the nodes yet.
    a.node = Arc::new(Node::new(About::default(), 15));
    a.server = Some(Running::serve(&a.path, &a.node));
    assert!(
        tokio::time::timeout(Duration::from_secs(4), targets.changed()).await.is_err(),
        "{} nodes",
        targets.borrow().len()
    );
    a.node.set_peers(all.into_iter().filter(|(name, _)| name != "node-7").collect());
    tokio::time::timeout(PATIENCE, targets.changed()).await.unwrap().unwrap();
    let now = targets.borrow_and_update();
    assert!(now.len() == 2999 && !now.contains_key("node-7"), "{} nodes", now.len());
}

#[tokio::test]
async fn the_relay_tells_how_its_nodes_are() {
    let folder = tempfile::tempdir().unwrap();
    let (_a, _b, relay, _targets, _deaf) = cluster(folder.path());
    let path = folder.path().join("relay.sock");
    tokio::spawn(serve_observer(Listener::Socket(bind(&path).unwrap()), relay, std::future::pending()));
    let mut client = ObserverClient::new(connect(&path).await.unwrap());
    let status = client.server_status(ServerStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.num_connected_nodes, status.num_unavailable_nodes), (Some(2), Some(2)));
    assert_eq!((status.unavailable_nodes, status.seen_flows), (vec!["deaf".to_owned(), "gone".to_owned()], 1000));
    let nodes = client.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
    let states: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.state())).collect();
    let (here, away) = (NodeState::NodeConnected, NodeState::NodeUnavailable);
    assert_eq!(states, [("a", here), ("b", here), ("deaf", away), ("gone", away)]);
    assert!(nodes[0].address.starts_with("unix:///"), "{nodes:?}");
}
