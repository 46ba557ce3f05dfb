//! Who is waited for, for how long, and what waits meanwhile: slow nodes, clocks that are behind, clients that take nothing.

#[allow(dead_code, reason = "other tests use the rest")]
mod cluster;
#[allow(dead_code, reason = "other tests use the rest")]
mod strange;

use cluster::{PATIENCE, Running, cluster, flows, hear, told, word};
use flow_api::client::connect;
use flow_api::flow::Flow;
use flow_api::moment::now;
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::{GetFlowsRequest, GetFlowsResponse};
use flow_api::server::{Listener, bind, serve_observer};
use flow_relay::{Limits, Relay, Target, Targets};
use futures::StreamExt;
use prost_types::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strange::{Strange, Way};
use tokio::sync::watch;

fn relay(nodes: impl IntoIterator<Item = (String, Target)>, limits: Limits) -> Relay {
    Relay::new(watch::channel(nodes.into_iter().collect::<Targets>()).1, None).within(limits)
}

fn number(number: u64, first: bool) -> GetFlowsRequest {
    GetFlowsRequest { number, first, ..GetFlowsRequest::default() }
}

#[tokio::test]
async fn a_node_that_stops_in_the_middle_is_named_and_the_end_comes() {
    let folder = tempfile::tempdir().unwrap();
    let a = Running::start(folder.path(), "a");
    (1..=9).for_each(|second| a.see(second));
    let (stuck, _server) = Strange::new("stuck", Way::Stuck).serve(folder.path());
    let limits = Limits { silence: Duration::from_secs(3), ..Limits::default() };
    let relay = relay([a.target(), stuck], limits);
    let all = told(&relay, GetFlowsRequest::default()).await;
    let expected: Vec<String> = ["stuck 0".to_owned()].into_iter().chain((1..=9).map(|s| format!("a {s}"))).collect();
    assert_eq!(flows(&all), expected);
    assert_eq!(all.iter().filter(|word| *word == "stuck NODE_UNAVAILABLE").count(), 1, "{all:?}");
    assert_eq!(flows(&told(&relay, number(2, false)).await), ["a 8", "a 9"]);
}

/// Its silence is not the node's.
#[tokio::test]
async fn a_client_that_takes_its_time_is_told_all_and_no_node_is_blamed() {
    let folder = tempfile::tempdir().unwrap();
    let (_a, _b, relay, targets, _deaf) = cluster(folder.path());
    targets.send_modify(|targets| targets.retain(|name, _| name == "a" || name == "b"));
    let limits = Limits { silence: Duration::from_secs(3), waiting: 2, ..Limits::default() };
    let mut stream = relay.within(limits).flows(GetFlowsRequest::default()).unwrap();
    let mut all = Vec::new();
    while let Some(answer) = tokio::time::timeout(PATIENCE, stream.next()).await.expect("an end") {
        all.push(word(answer.unwrap().response_types.unwrap()));
        if all.len() % 500 == 250 {
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
    }
    let expected: Vec<String> = (1..=1000).map(|s| format!("{} {s}", if s % 3 == 0 { "a" } else { "b" })).collect();
    assert_eq!(flows(&all), expected);
    assert!(!all.iter().any(|word| word.contains("UNAVAILABLE")), "{all:?}");
}

#[tokio::test]
async fn the_first_and_the_last_are_those_of_all_nodes_though_one_is_late() {
    let folder = tempfile::tempdir().unwrap();
    let a = Running::start(folder.path(), "a");
    (-3..=-1).chain(1..=3).for_each(|second| a.see(second));
    let (late, _server) = Strange::new("late", Way::Late(Duration::from_millis(1500))).serve(folder.path());
    let relay = relay([a.target(), late], Limits { patience: Duration::from_millis(100), ..Limits::default() });
    assert_eq!(flows(&told(&relay, number(4, true)).await), ["a -3", "a -2", "a -1", "late 0"]);
    assert_eq!(flows(&told(&relay, number(4, false)).await), ["late 0", "a 1", "a 2", "a 3"]);
    // Who wants all does not wait so long.
    let all = told(&relay, GetFlowsRequest::default()).await;
    assert_eq!(all.last().unwrap(), "late 0", "{all:?}");
}

#[tokio::test]
async fn what_is_too_much_to_keep_is_counted_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let (_a, _b, relay, targets, _deaf) = cluster(folder.path());
    targets.send_modify(|targets| targets.retain(|name, _| name == "a" || name == "b"));
    let kept = 20 * size_of::<GetFlowsResponse>();
    let all = told(&relay.within(Limits { kept, ..Limits::default() }), number(900, false)).await;
    let flows = flows(&all);
    let lost: usize = flows[0].strip_prefix("lost ").unwrap().parse().unwrap();
    assert!(lost > 0 && flows.len() > 10 && lost + flows.len() - 1 == 900, "{flows:?}");
    assert_eq!(flows.last().unwrap(), &"b 1000");
}

#[tokio::test]
async fn a_clock_that_is_behind_holds_up_nobody_who_follows_and_its_node_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let (behind, b) = (Running::start(folder.path(), "behind"), Running::start(folder.path(), "b"));
    let limits = Limits { patience: Duration::from_millis(100), ..Limits::default() };
    let relay = relay([behind.target(), b.target()], limits);
    let mut stream = relay.flows(GetFlowsRequest { follow: true, ..GetFlowsRequest::default() }).unwrap();
    let mut seen = Vec::new();
    while !["behind", "b"].iter().all(|node| seen.contains(&format!("{node} NODE_CONNECTED"))) {
        let answer = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
        seen.push(word(answer.response_types.unwrap()));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, at) = (stop.clone(), now().seconds + 1);
    let telling = std::thread::spawn(move || {
        for second in 1.. {
            behind.see(second);
            std::thread::sleep(Duration::from_millis(1));
            if stopped.load(Ordering::Relaxed) {
                return;
            }
        }
    });
    hear(&mut stream, &mut seen, "behind 10").await;
    b.see(at);
    hear(&mut stream, &mut seen, &format!("b {at}")).await;
    stop.store(true, Ordering::Relaxed);
    telling.join().unwrap();
}

#[tokio::test]
async fn what_waits_for_its_turn_when_its_node_moves_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let (a, mut b) = (Running::start(folder.path(), "a"), Running::start(folder.path(), "b"));
    let (sender, targets) = watch::channel(Targets::from([a.target(), b.target()]));
    let limits = Limits { patience: Duration::from_secs(2), ..Limits::default() };
    let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
    let mut stream = Relay::new(targets, None).within(limits).flows(request).unwrap();
    let mut seen = Vec::new();
    hear(&mut stream, &mut seen, "b NODE_CONNECTED").await;
    b.see(1);
    hear(&mut stream, &mut seen, "b 1").await;
    // The other has something older perhaps: it was heard just now.
    a.see(2);
    hear(&mut stream, &mut seen, "a 2").await;
    b.see(3);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let moved = folder.path().join("moved").join("b.sock");
    std::fs::create_dir(moved.parent().unwrap()).unwrap();
    b.server = Some(Running::serve(&moved, &b.node));
    sender.send_modify(|targets| drop(targets.insert("b".to_owned(), Target::Socket(moved))));
    hear(&mut stream, &mut seen, "b 3").await;
    b.see(4);
    hear(&mut stream, &mut seen, "b 4").await;
    for once in ["b 1", "b 3", "b 4"] {
        assert_eq!(seen.iter().filter(|word| *word == once).count(), 1, "{once}: {seen:?}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_lets_the_nodes_go() {
    let folder = tempfile::tempdir().unwrap();
    for (name, way) in [("stuck", Way::Stuck), ("flooding", Way::Flooding)] {
        let node = Strange::new(name, way);
        let (target, _server) = node.serve(folder.path());
        let path = folder.path().join("relay.sock");
        let listener = Listener::Socket(bind(&path).unwrap());
        tokio::spawn(serve_observer(listener, relay([target], Limits::default()), std::future::pending()));
        let mut client = ObserverClient::new(connect(&path).await.unwrap());
        let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
        let mut stream = client.get_flows(request).await.unwrap().into_inner();
        let mut told = Vec::new();
        while told.last() != Some(&format!("{name} 0")) {
            let answer = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
            told.push(word(answer.response_types.unwrap()));
        }
        assert_eq!(node.streams(), 1, "{name}");
        drop(stream);
        let gone = async {
            while node.streams() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.unwrap_or_else(|_| panic!("{name} is still asked"));
    }
}

#[tokio::test]
async fn a_slow_client_learns_exactly_what_it_missed_and_little_waits_for_it() {
    const RING: u64 = 4095;
    const SEEN: u64 = 40_000;
    let folder = tempfile::tempdir().unwrap();
    let a = Running::start(folder.path(), "a");
    let relay = relay([a.target()], Limits::default());
    let mut stream = relay.flows(GetFlowsRequest { follow: true, ..GetFlowsRequest::default() }).unwrap();
    let mut seen = Vec::new();
    hear(&mut stream, &mut seen, "a NODE_CONNECTED").await;
    // A kilobyte each, and time for what is between to fill.
    for second in 1..=SEEN {
        let uuid = "x".repeat(1000);
        let time = Some(Timestamp { seconds: i64::try_from(second).unwrap(), nanos: 0 });
        a.node.saw(Flow { time, uuid, ..Flow::default() });
        if second % 1000 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let (mut told, mut lost) = (0, 0);
    while told + lost < SEEN {
        let answer = tokio::time::timeout(PATIENCE, stream.next()).await;
        match answer.unwrap_or_else(|_| panic!("{told} told, {lost} lost")).unwrap().unwrap().response_types.unwrap() {
            ResponseTypes::Flow(_) => told += 1,
            ResponseTypes::LostEvents(event) => lost += event.num_events_lost,
            ResponseTypes::NodeStatus(status) => panic!("{status:?}"),
        }
    }
    assert_eq!(told + lost, SEEN);
    println!("{told} told, {lost} lost");
    // The ring, what may wait in the relay, and what is under way.
    assert!(told > RING && told < RING + 2000, "{told} told, {lost} lost");
}

#[tokio::test]
async fn following_until_a_time_ends_then_with_nodes_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let a = Running::start(folder.path(), "a");
    a.see(0);
    let begun = now();
    let until = Timestamp { seconds: begun.seconds + 3, ..begun };
    let request = || GetFlowsRequest { follow: true, number: 1, until: Some(until), ..GetFlowsRequest::default() };
    let (nodes, nobody) = (relay([a.target()], Limits::default()), relay([], Limits::default()));
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        a.see(1);
    };
    let (of_one, of_none, ()) = tokio::join!(told(&nodes, request()), told(&nobody, request()), meanwhile);
    assert_eq!(flows(&of_one), ["a 0", "a 1"]);
    assert!(of_none.is_empty(), "{of_none:?}");
    assert!(now().seconds >= until.seconds, "it has ended before");
}
