//! A node whose ring is small and that has a log answers those who name a time as one whose ring holds everything.

use flow_api::client::connect;
use flow_api::flow::{Endpoint, Flow, FlowFilter, LostEvent, LostEventSource};
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::{GetFlowsRequest, GetFlowsResponse};
use flow_api::ring::{Event, What};
use flow_api::server::{About, Archive, Listener, Node, Question, Told, bind, serve};
use proptest::prelude::*;
use prost_types::Timestamp;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

/// Far more than anything here takes; a machine may be loaded.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log in memory. It tells all of the time: what else is not wanted is for the node to leave out.
#[derive(Debug, Default)]
struct InMemory {
    events: Vec<Event>,
    trouble: Option<String>,
    refuses: bool,
}

impl Archive for InMemory {
    fn ask(&self, question: &Question) -> Result<Told, String> {
        if self.refuses {
            return Err("the disk is away".to_owned());
        }
        let moment = |time: &Timestamp| (time.seconds, time.nanos);
        let [since, until] = [&question.since, &question.until].map(|bound| bound.as_ref().map(moment));
        let is_in_time = move |event: &Event| {
            let time = moment(&event.time);
            since.is_none_or(|since| time >= since) && until.is_none_or(|until| time <= until)
        };
        let events: Vec<Event> = self.events.iter().filter(|event| is_in_time(event)).cloned().collect();
        let events = events.into_iter();
        let events: Told = match question.newest_first {
            true => Box::new(events.rev().map(Ok)),
            false => Box::new(events.map(Ok)),
        };
        Ok(Box::new(self.trouble.clone().into_iter().map(Err).chain(events)))
    }
}

struct Running {
    folder: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn start(events: &[Event], capacity: usize, archive: Option<InMemory>) -> Running {
    let archive = archive.map(|archive| Arc::new(archive) as Arc<dyn Archive>);
    let node = Arc::new(Node::new(About::default(), capacity).reaching_back(archive));
    events.iter().cloned().for_each(|event| node.write(event));
    run(node)
}

fn run(node: Arc<Node>) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let listener = bind(&folder.path().join("hubble.sock")).unwrap();
    let server = tokio::spawn(async move {
        serve(Listener::Socket(listener), node, std::future::pending()).await.unwrap();
    });
    Running { folder, server }
}

impl Running {
    async fn client(&self) -> ObserverClient<Channel> {
        ObserverClient::new(connect(&self.folder.path().join("hubble.sock")).await.unwrap())
    }

    /// Flows by number, and what else is told.
    async fn ask(&self, request: GetFlowsRequest) -> (Vec<u64>, Vec<String>) {
        let mut stream = self.client().await.get_flows(request).await.unwrap().into_inner();
        let (mut flows, mut others) = (Vec::new(), Vec::new());
        while let Some(answer) = next(&mut stream).await {
            match answer.response_types.unwrap() {
                ResponseTypes::Flow(flow) => flows.push(flow.socket_cookie),
                ResponseTypes::LostEvents(_) => {}
                ResponseTypes::NodeStatus(status) => others.push(status.message),
            }
        }
        (flows, others)
    }
}

async fn next(stream: &mut Streaming<GetFlowsResponse>) -> Option<GetFlowsResponse> {
    tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap()
}

/// Five per second, two and two the wrong way round, every thirteenth by a clock that was set back meanwhile, every eleventh a loss.
fn event(number: u64) -> Event {
    let at = number ^ 1;
    let back = if number % 13 == 5 { 7 } else { 0 };
    let time = Timestamp { seconds: (at / 5) as i64 - back, nanos: (at % 5) as i32 * 200_000_000 };
    let source = Endpoint { pod_name: format!("web-{}", number % 3), namespace: "shop".into(), ..Endpoint::default() };
    let flow = Flow {
        time: Some(time),
        uuid: format!("{number}"),
        socket_cookie: number,
        source: Some(source),
        ..Flow::default()
    };
    let lost = LostEvent { num_events_lost: number, ..LostEvent::default() };
    Event { time, what: if number % 11 == 10 { What::Lost(lost) } else { What::flow(flow) } }
}

fn time(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn it_answers_as_a_ring_without_bounds(
        seen in 0_u64..120,
        // What the ring has lost with the last agent.
        forgotten in 0_u64..120,
        capacity in 1_usize..40,
        number in 0_u64..40,
        first: bool,
        since in proptest::option::of(0_i64..24),
        until in proptest::option::of(0_i64..24),
        filtered: bool,
    ) {
        prop_assume!(since.is_some() || until.is_some());
        let events: Vec<Event> = (0..seen).map(event).collect();
        let whitelist = match filtered {
            true => vec![FlowFilter { source_pod: vec!["shop/web-1".to_owned()], ..FlowFilter::default() }],
            false => Vec::new(),
        };
        let (since, until) = (since.map(time), until.map(time));
        let request = GetFlowsRequest { number, first, since, until, whitelist, ..GetFlowsRequest::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (whole, small) = runtime.block_on(async {
            let log = InMemory { events: events.clone(), ..InMemory::default() };
            let whole = start(&events, 1000, None);
            let small = start(&events[forgotten.min(seen) as usize..], capacity, Some(log));
            (whole.ask(request.clone()).await, small.ask(request).await)
        });
        prop_assert_eq!(small, whole);
    }
}

#[tokio::test]
async fn who_names_no_time_gets_the_ring_alone() {
    let events: Vec<Event> = (0..9).map(event).collect();
    let running = start(&events, 4, Some(InMemory { events: events.clone(), ..InMemory::default() }));
    for first in [false, true] {
        let request = GetFlowsRequest { number: 8, first, ..GetFlowsRequest::default() };
        assert_eq!(running.ask(request).await, (vec![5, 6, 7, 8], Vec::new()));
    }
}

#[tokio::test]
async fn who_follows_gets_the_log_then_the_ring_then_what_comes() {
    let events: Vec<Event> = (0..9).map(event).collect();
    let node = Arc::new(
        Node::new(About::default(), 4)
            .reaching_back(Some(Arc::new(InMemory { events: events.clone(), ..InMemory::default() }))),
    );
    events.iter().cloned().for_each(|event| node.write(event));
    let running = run(node.clone());
    let request = GetFlowsRequest { follow: true, since: Some(time(-9)), ..GetFlowsRequest::default() };
    let mut stream = running.client().await.get_flows(request).await.unwrap().into_inner();
    for number in 0..12 {
        if number >= 9 && number != 10 {
            node.write(event(number));
        }
        if number == 10 {
            continue;
        }
        let Some(ResponseTypes::Flow(flow)) = next(&mut stream).await.unwrap().response_types else {
            panic!("no flow at {number}")
        };
        assert_eq!(flow.socket_cookie, number);
    }
}

/// A log to whose node something happens while it is asked, and which has it already.
#[derive(Debug, Default)]
struct AtWork {
    node: OnceLock<Weak<Node>>,
    events: Mutex<Vec<Event>>,
    to_come: Mutex<Vec<Event>>,
    /// These come when all of it is read.
    at_last: Mutex<Vec<Event>>,
}

impl Archive for AtWork {
    fn ask(&self, _: &Question) -> Result<Told, String> {
        let node = self.node.get().and_then(Weak::upgrade).ok_or("gone")?;
        let mut events = self.events.lock().unwrap();
        for event in std::mem::take(&mut *self.to_come.lock().unwrap()) {
            node.write(event.clone());
            events.push(event);
        }
        let mut at_last = std::mem::take(&mut *self.at_last.lock().unwrap());
        let end = std::iter::from_fn(move || {
            at_last.drain(..).for_each(|event| node.write(event));
            None
        });
        Ok(Box::new(events.clone().into_iter().map(Ok).chain(end)))
    }
}

fn at_work(log: Vec<Event>, ring: Vec<Event>, to_come: Vec<Event>, at_last: Vec<Event>) -> (Arc<Node>, Running) {
    let (events, to_come, at_last) = (Mutex::new(log), Mutex::new(to_come), Mutex::new(at_last));
    let archive = Arc::new(AtWork { events, to_come, at_last, ..AtWork::default() });
    let node = Arc::new(Node::new(About::default(), 8).reaching_back(Some(archive.clone())));
    archive.node.set(Arc::downgrade(&node)).unwrap();
    ring.into_iter().for_each(|event| node.write(event));
    (node.clone(), run(node))
}

#[tokio::test]
async fn what_comes_while_the_log_is_asked_is_told_once() {
    // Another agent has seen the first three.
    let (log, ring) = ((0..5).map(event).collect(), (3..5).map(event).collect());
    let (node, running) = at_work(log, ring, (5..8).map(event).collect(), Vec::new());
    let request = GetFlowsRequest { follow: true, since: Some(time(-9)), ..GetFlowsRequest::default() };
    let mut stream = running.client().await.get_flows(request.clone()).await.unwrap().into_inner();
    let mut told = Vec::new();
    while told.last() != Some(&8) {
        if told.len() == 8 {
            node.write(event(8));
        }
        let Some(ResponseTypes::Flow(flow)) = next(&mut stream).await.unwrap().response_types else {
            panic!("no flow")
        };
        told.push(flow.socket_cookie);
        assert!(told.len() < 20, "{told:?}");
    }
    assert_eq!(told, (0..9).collect::<Vec<_>>());
    // Who does not follow gets what was there when he asked.
    let (log, ring) = ((0..5).map(event).collect(), (3..5).map(event).collect());
    let (_node, running) = at_work(log, ring, (5..8).map(event).collect(), Vec::new());
    let request = GetFlowsRequest { follow: false, ..request };
    assert_eq!(running.ask(request).await.0, (0..5).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_comes_while_the_log_is_asked_is_told_also_when_the_ring_has_turned_since() {
    let (log, ring) = ((0..5).map(event).collect(), (3..5).map(event).collect());
    let (_node, running) = at_work(log, ring, (5..8).map(event).collect(), (8..16).map(event).collect());
    let request = GetFlowsRequest { follow: true, since: Some(time(-9)), ..GetFlowsRequest::default() };
    let mut stream = running.client().await.get_flows(request).await.unwrap().into_inner();
    let mut told = Vec::new();
    while told.last() != Some(&15) {
        told.push(match next(&mut stream).await.unwrap().response_types.unwrap() {
            ResponseTypes::Flow(flow) => flow.socket_cookie,
            ResponseTypes::LostEvents(lost) => lost.num_events_lost,
            ResponseTypes::NodeStatus(status) => panic!("{}", status.message),
        });
    }
    // The loss is number ten.
    assert_eq!(told, (0..16).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_ring_that_has_forgotten_nothing_needs_no_log_for_what_came_since_it_was_made() {
    let before = flow_api::moment::now().seconds - 1;
    let running = start(&[event(1)], 4, Some(InMemory { refuses: true, ..InMemory::default() }));
    let since = |since| GetFlowsRequest { since: Some(since), ..GetFlowsRequest::default() };
    assert_eq!(running.ask(since(flow_api::moment::now())).await, (Vec::new(), Vec::new()));
    assert_eq!(running.ask(since(time(before))).await.1, ["the disk is away"]);
}

#[tokio::test]
async fn a_loss_is_told_once_and_only_of_what_nobody_tells() {
    let lost = |seconds, number, source: LostEventSource| {
        let lost = LostEvent { source: source.into(), num_events_lost: number, ..LostEvent::default() };
        Event { time: time(seconds), what: What::Lost(lost) }
    };
    let flow = |seconds: i64| {
        let flow = Flow { uuid: seconds.to_string(), socket_cookie: seconds as u64, ..Flow::default() };
        Event { time: time(seconds), what: What::flow(flow) }
    };
    let (of_kernel, of_log) = (LostEventSource::PerfEventRingBuffer, LostEventSource::ObserverEventsQueue);
    // The ring has the loss of 40 and flows 6, 7 and 8. The log has lost two times, once before that and once 7.
    let ring = vec![lost(4, 40, of_kernel), flow(6), flow(7), flow(8)];
    let mut log = vec![lost(1, 10, of_kernel), flow(2), lost(3, 30, of_log)];
    log.extend([lost(4, 40, of_kernel), flow(6), lost(7, 1, of_log), flow(8)]);
    let (_node, running) = at_work(log, ring, Vec::new(), Vec::new());
    let request = GetFlowsRequest { since: Some(time(-9)), ..GetFlowsRequest::default() };
    let mut stream = running.client().await.get_flows(request).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(answer) = next(&mut stream).await {
        told.push(match answer.response_types.unwrap() {
            ResponseTypes::Flow(flow) => format!("flow {}", flow.socket_cookie),
            ResponseTypes::LostEvents(lost) => format!("lost {}", lost.num_events_lost),
            ResponseTypes::NodeStatus(status) => status.message,
        });
    }
    assert_eq!(told, ["lost 10", "flow 2", "lost 30", "lost 40", "flow 6", "flow 7", "flow 8"]);
}

#[tokio::test]
async fn a_part_that_is_missing_is_told_and_the_rest_is_too() {
    let events: Vec<Event> = (0..9).map(event).collect();
    let since = GetFlowsRequest { since: Some(time(-9)), ..GetFlowsRequest::default() };
    let trouble = Some("part 7 is damaged".to_owned());
    let running = start(&events, 4, Some(InMemory { events: events.clone(), trouble, ..InMemory::default() }));
    let (flows, others) = running.ask(since.clone()).await;
    assert_eq!((flows, others), ((0..9).collect(), vec!["part 7 is damaged".to_owned()]));
    let running = start(&events, 4, Some(InMemory { refuses: true, ..InMemory::default() }));
    let (flows, others) = running.ask(since).await;
    assert_eq!((flows, others), (vec![5, 6, 7, 8], vec!["the disk is away".to_owned()]));
}

/// A node with a log that nobody takes without reading, how many flows it has, and so much patience with those who take nothing.
fn large(patience: Duration) -> (Running, usize) {
    let large = |number: u64| {
        let Event { time, what } = event(number);
        let What::Flow(flow) = what else { return Event { time, what } };
        Event { time, what: What::flow(Flow { summary: "x".repeat(10_000), ..flow.into_told() }) }
    };
    let events: Vec<Event> = (0..2000).map(large).collect();
    let all = events.iter().filter(|event| matches!(event.what, What::Flow(_))).count();
    let last = events[1998].clone();
    let archive = Arc::new(InMemory { events, ..InMemory::default() });
    let node = Node::new(About::default(), 4).reaching_back(Some(archive)).patient(patience);
    node.write(last);
    (run(Arc::new(node)), all)
}

#[tokio::test]
async fn readers_that_stand_still_are_few_and_stop_nobody_else() {
    let (running, all) = large(Duration::from_secs(1));
    let since = GetFlowsRequest { since: Some(time(-9)), ..GetFlowsRequest::default() };
    let mut standing = Vec::new();
    let refused = loop {
        match running.client().await.get_flows(since.clone()).await {
            Ok(stream) => standing.push(stream),
            Err(status) => break status,
        }
        assert!(standing.len() < 50, "nobody is refused");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let ring = GetFlowsRequest { number: 1, ..GetFlowsRequest::default() };
    assert_eq!(running.ask(ring).await.0.len(), 1);
    // Those who stand still while others wait give their places up, and are told so.
    until("a place", async || running.client().await.get_flows(since.clone()).await.is_ok()).await;
    let mut whole = 0;
    for stream in &mut standing {
        let (mut flows, mut troubles) = (0_usize, 0);
        while let Some(answer) = next(stream.get_mut()).await {
            match answer.response_types.unwrap() {
                ResponseTypes::Flow(_) => flows += 1,
                ResponseTypes::NodeStatus(status) => {
                    assert!(status.message.contains("left out"), "{}", status.message);
                    troubles += 1;
                }
                ResponseTypes::LostEvents(_) => {}
            }
        }
        assert_eq!(flows < all, troubles == 1, "{flows} flows");
        whole += usize::from(troubles == 0);
    }
    assert!(whole < standing.len(), "nobody was cut");
    // Those who have gone need none.
    drop(standing);
    until("a place", async || running.client().await.get_flows(since.clone()).await.is_ok()).await;
}

#[tokio::test]
async fn who_stands_still_while_nobody_waits_keeps_his_place() {
    let patience = Duration::from_millis(50);
    let (running, all) = large(patience);
    let since = GetFlowsRequest { since: Some(time(-9)), ..GetFlowsRequest::default() };
    let mut standing = Vec::new();
    // All the places that there are.
    for _ in 0..8 {
        standing.push(running.client().await.get_flows(since.clone()).await.unwrap().into_inner());
    }
    tokio::time::sleep(patience * 10).await;
    for stream in &mut standing {
        let mut flows = 0;
        while let Some(answer) = next(stream).await {
            match answer.response_types.unwrap() {
                ResponseTypes::Flow(_) => flows += 1,
                ResponseTypes::LostEvents(_) => {}
                ResponseTypes::NodeStatus(status) => panic!("{}", status.message),
            }
        }
        assert_eq!(flows, all);
    }
}

#[tokio::test]
async fn of_the_newest_no_more_are_told_than_are_held_in_memory() {
    let (running, all) = large(PATIENCE);
    let request = GetFlowsRequest { number: 4000, until: Some(time(1 << 32)), ..GetFlowsRequest::default() };
    let (flows, others) = running.ask(request).await;
    assert!(flows.len() < all && flows.len() < (16 << 20) / 10_000 + 2, "{} flows", flows.len());
    assert_eq!(flows.last(), Some(&1998));
    assert!(matches!(&others[..], [why] if why.contains("name a since")), "{others:?}");
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let mut tries = 0;
    while !holds().await {
        tries += 1;
        assert!(tries < 2000, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A log that begins with so many flows that nobody wants, and tells at the end how many were read.
#[derive(Debug)]
struct Long(u64, Sender<u64>);

struct Reading(u64, u64, Sender<u64>);

impl Archive for Long {
    fn ask(&self, _: &Question) -> Result<Told, String> {
        Ok(Box::new(Reading(self.0, 0, self.1.clone())))
    }
}

impl Iterator for Reading {
    type Item = Result<Event, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.1;
        self.1 += 1;
        let socket_cookie = number.saturating_sub(self.0);
        let flow = Flow { verdict: if number < self.0 { 1 } else { 2 }, socket_cookie, ..Flow::default() };
        if number < self.0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        (number < self.0 + 9).then_some(Ok(Event { time: time(1), what: What::flow(flow) }))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let _ = self.2.send(self.1);
    }
}

fn long(unwanted: u64) -> (Running, Receiver<u64>, GetFlowsRequest) {
    let (sender, read) = channel();
    let archive = Some(Arc::new(Long(unwanted, sender)) as Arc<dyn Archive>);
    let dropped = FlowFilter { verdict: vec![2], ..FlowFilter::default() };
    let request = GetFlowsRequest { since: Some(time(-9)), whitelist: vec![dropped], ..GetFlowsRequest::default() };
    (run(Arc::new(Node::new(About::default(), 9).reaching_back(archive))), read, request)
}

#[tokio::test]
async fn no_more_is_read_than_is_wanted() {
    let (running, read, request) = long(5);
    assert_eq!(running.ask(GetFlowsRequest { number: 3, ..request }).await.0, [0, 1, 2]);
    assert_eq!(read.recv().unwrap(), 8);
}

#[tokio::test]
async fn nothing_more_is_read_for_who_has_gone() {
    // Half a minute's work at least.
    let (running, read, request) = long(30_000);
    let client = running.client().await.get_flows(request).await.unwrap();
    drop(client);
    let read = tokio::task::spawn_blocking(move || read.recv().unwrap()).await.unwrap();
    assert!(read < 30_000, "all of it was read");
}
