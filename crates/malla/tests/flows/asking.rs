//! What is asked of a relay, and of each node at its socket: filters, masks, numbers and times. Both answer alike.

use crate::cluster::{Cluster, From, wait_until};
use crate::pods::Place;
use crate::relay::send;
use crate::{PATIENCE, flows, observe};
use flow_api::client::connect;
use flow_api::flow::layer4::Protocol;
use flow_api::flow::{Endpoint, Flow, FlowFilter, Layer4, Udp, Verdict, flow_filter};
use flow_api::moment::{Moment, moment, nanoseconds, now};
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::{GetFlowsRequest, GetFlowsResponse};
use flow_api::relay::{NodeState, NodeStatusEvent};
use prost_types::{FieldMask, Timestamp};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

const NODES: [&str; 3] = ["control-plane", "worker-1", "worker-2"];

/// Ports of Pod `server`.
const PORTS: RangeInclusive<u16> = 9201..=9213;
/// Those of [`PORTS`] that are used while somebody follows.
const FOLLOWED: RangeInclusive<u16> = 9211..=9213;

/// Who has seen a packet to which port, before a time and after it: that of the monolith of worker-2, that of `near`, and that of
/// `caged`, which is dropped.
const EARLY: [(&str, u16); 4] = [("worker-1", 9201), ("worker-2", 9201), ("worker-1", 9202), ("worker-1", 9203)];
const LATE: [(&str, u16); 4] = [("worker-1", 9204), ("worker-2", 9204), ("worker-1", 9205), ("worker-1", 9206)];

/// No Pod's, of the range of the control plane, which drops what goes there.
const NOWHERE: &str = "10.244.0.250";

/// Far longer than a packet takes, so that it is known to be before or after a time.
const APART: Duration = Duration::from_millis(500);
/// Nodes look at least ten times a second for what was seen.
const SETTLED: Duration = Duration::from_secs(1);
/// Somebody follows for so many seconds.
const A_WHILE: i64 = 5;

/// What the nodes have seen of it, and whom to ask.
struct Asking {
    runtime: Runtime,
    folder: PathBuf,
    since: Timestamp,
    between: Timestamp,
    until: Timestamp,
    /// To one of [`PORTS`] meanwhile, by time.
    seen: Vec<Flow>,
}

/// Before a node is killed: a relay at this address, and the nodes themselves.
pub fn all(cluster: &Cluster, relay: &str) {
    let [monolith, near, caged, server] = ["monolith", "near", "caged", "server"].map(|pod| Place::of(cluster, pod));
    // Where nobody listens, answers would come.
    let bind = |port: u16| server.make(move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)));
    let _open: Vec<UdpSocket> = PORTS.map(bind).collect();

    let pause = || std::thread::sleep(APART);
    let since = now();
    pause();
    for (pod, port) in [(&monolith, 9201), (&near, 9202), (&caged, 9203)] {
        send(pod, &server, port);
    }
    let ping = ["-c", "1", "-W", "1", NOWHERE];
    let _ = cluster.command(From::Node("worker-2"), Path::new("/usr/bin/ping"), &ping).output();
    pause();
    let between = now();
    pause();
    for (pod, port) in [(&caged, 9206), (&near, 9205), (&monolith, 9204)] {
        send(pod, &server, port);
    }
    pause();
    let asking = Asking::of(cluster.folder(), [since, between, now()]);

    asking.filters();
    asking.left_out();
    asking.times();
    asking.numbers();
    asking.masks();
    asking.nonsense();
    asking.following(&monolith, &near, &server);
    by_command(cluster, relay);
}

impl Asking {
    /// When all nodes have told what they have seen.
    fn of(folder: PathBuf, [since, between, until]: [Timestamp; 3]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut asking = Self { runtime, folder, since, between, until, seen: Vec::new() };
        let request = GetFlowsRequest { since: Some(since), until: Some(until), ..GetFlowsRequest::default() };
        let wanted: BTreeSet<(&str, u16)> = EARLY.into_iter().chain(LATE).collect();
        wait_until("what the nodes have seen", PATIENCE, || {
            let answers = asking.ask(&asking.relay(), &request);
            let is_third = |flow: &Flow| flow.node_name == "control-plane" && is_dropped(flow) && is_to_nowhere(flow);
            wanted.is_subset(&ports_of(flows_of(&answers))) && flows_of(&answers).any(is_third)
        });
        std::thread::sleep(SETTLED);
        let answers = asking.ask(&asking.relay(), &request);
        asking.seen = by_time(flows_of(&answers).filter(|flow| port(flow).is_some())).into_iter().cloned().collect();
        asking
    }

    fn relay(&self) -> PathBuf {
        self.folder.join("relay.sock")
    }

    fn node(&self, name: &str) -> PathBuf {
        self.folder.join("nodes").join(name).join("hubble.sock")
    }

    /// All answers.
    fn ask(&self, socket: &Path, request: &GetFlowsRequest) -> Vec<GetFlowsResponse> {
        self.runtime.block_on(async {
            let (_client, answers) = open(socket, request).await;
            rest(answers).await
        })
    }

    /// Of the time in question, where the request names none.
    fn then(&self, request: GetFlowsRequest) -> GetFlowsRequest {
        let (since, until) = (request.since.or(Some(self.since)), request.until.or(Some(self.until)));
        GetFlowsRequest { since, until, ..request }
    }

    /// That all that fits is told, each by the nodes that have seen it, and nothing else; by the relay, and by each node what is its own.
    fn check(&self, what: &str, request: GetFlowsRequest, fits: impl Fn(&Flow) -> bool, wanted: &[(&str, u16)]) {
        let request = self.then(request);
        let answers = self.ask(&self.relay(), &request);
        let missing: Vec<_> = states(&answers).filter(|of| of.state_change() != NodeState::NodeConnected).collect();
        assert!(missing.is_empty(), "{what}: {missing:?}");
        let told: Vec<&Flow> = flows_of(&answers).collect();
        for flow in &told {
            assert!(fits(flow), "{what} was not asked for: {flow:?}");
        }
        let wanted: BTreeSet<(&str, u16)> = wanted.iter().copied().collect();
        assert_eq!(ports_of(told.iter().copied()), wanted, "{what}");
        let ours = by_time(told.iter().copied().filter(|flow| port(flow).is_some()));
        let known: Vec<&Flow> = self.seen.iter().filter(|flow| fits(flow)).collect();
        assert_eq!(ours, known, "{what}");
        for node in NODES {
            let answers = self.ask(&self.node(node), &request);
            let of_node: Vec<&Flow> = told.iter().copied().filter(|flow| flow.node_name == node).collect();
            assert_eq!(flows_of(&answers).collect::<Vec<_>>(), of_node, "{what}, asked of {node}");
        }
    }

    fn filters(&self) {
        let of_monolith = [EARLY[0], EARLY[1], LATE[0], LATE[1]];
        let white = |whitelist: Vec<FlowFilter>| GetFlowsRequest { whitelist, ..GetFlowsRequest::default() };
        let filter = FlowFilter {
            source_pod: texts(["default/monolith"]),
            destination_label: texts(["app=server"]),
            ..FlowFilter::default()
        };
        let fits = |flow: &Flow| is_from(flow, "monolith") && is_to_server(flow);
        self.check("a Pod and a label", white(vec![filter]), fits, &of_monolith);

        let known = self.seen.iter().filter(|flow| is_from(flow, "monolith"));
        let identities: BTreeSet<u32> = known.filter_map(|flow| Some(flow.source.as_ref()?.identity)).collect();
        let identity = *identities.first().unwrap();
        assert!(identities.len() == 1 && identity >= 256, "to all nodes it is one: {identities:?}");
        let filter = FlowFilter { source_identity: vec![identity], ..FlowFilter::default() };
        let fits = |flow: &Flow| flow.source.as_ref().is_some_and(|end| end.identity == identity);
        self.check("an identity", white(vec![filter]), fits, &of_monolith);

        let filter = FlowFilter { destination_port: texts(["9202", "9204"]), ..FlowFilter::default() };
        let fits = |flow: &Flow| matches!(port(flow), Some(9202 | 9204));
        self.check("two ports", white(vec![filter]), fits, &[EARLY[2], LATE[0], LATE[1]]);

        let dropped = FlowFilter { verdict: vec![Verdict::Dropped as i32], ..FlowFilter::default() };
        self.check("a verdict", white(vec![dropped.clone()]), is_dropped, &[EARLY[3], LATE[3]]);
        let filter = FlowFilter { destination_ip: texts([NOWHERE]), ..dropped };
        let fits = |flow: &Flow| is_dropped(flow) && is_to_nowhere(flow);
        self.check("a verdict and an address", white(vec![filter.clone()]), fits, &[]);
        let answers = self.ask(&self.relay(), &self.then(white(vec![filter])));
        assert!(flows_of(&answers).any(|flow| flow.node_name == "control-plane"), "{answers:?}");

        let one = FlowFilter { source_pod: texts(["default/near"]), ..to_ports(PORTS) };
        let other = FlowFilter { node_name: texts(["worker-2"]), ..to_ports(PORTS) };
        let fits = |flow: &Flow| port(flow).is_some() && (is_from(flow, "near") || flow.node_name == "worker-2");
        let wanted = [EARLY[2], LATE[2], EARLY[1], LATE[1]];
        self.check("one filter or another", white(vec![one, other]), fits, &wanted);

        let expression = "_flow.verdict == Verdict.DROPPED && _flow.source.pod_name == 'caged' || \
            _flow.node_name == 'worker-2' && _flow.l4.UDP.destination_port == 9204u";
        let fits = |flow: &Flow| {
            is_dropped(flow) && is_from(flow, "caged") || flow.node_name == "worker-2" && port(flow) == Some(9204)
        };
        self.check("an expression", white(vec![cel(expression)]), fits, &[EARLY[3], LATE[3], LATE[1]]);
        let both = FlowFilter { source_pod: texts(["default/caged"]), ..cel("_flow.l4.UDP.destination_port < 9205u") };
        let fits = |flow: &Flow| is_from(flow, "caged") && port(flow).is_none_or(|port| port < 9205);
        self.check("an expression and a Pod", white(vec![both]), fits, &[EARLY[3]]);
    }

    fn left_out(&self) {
        let near = FlowFilter { source_label: texts(["app=near"]), ..FlowFilter::default() };
        let others = [EARLY[0], EARLY[1], EARLY[3], LATE[0], LATE[1], LATE[3]];
        let request = GetFlowsRequest { blacklist: vec![near], ..GetFlowsRequest::default() };
        self.check("what is not of a label", request, |flow| !is_from(flow, "near"), &others);

        let caged = FlowFilter { source_pod: texts(["default/caged"]), ..FlowFilter::default() };
        let node = FlowFilter { node_name: texts(["worker-2"]), ..FlowFilter::default() };
        let to_server = FlowFilter { destination_label: texts(["app=server"]), ..FlowFilter::default() };
        let (whitelist, blacklist) = (vec![to_server], vec![caged, node]);
        let request = GetFlowsRequest { whitelist, blacklist, ..GetFlowsRequest::default() };
        let fits = |flow: &Flow| is_to_server(flow) && !is_from(flow, "caged") && flow.node_name != "worker-2";
        self.check("what fits and is not left out", request, fits, &[EARLY[0], EARLY[2], LATE[0], LATE[2]]);
    }

    /// Before a time, and after it.
    fn times(&self) {
        let (whitelist, between) = (vec![to_ports(PORTS)], Some(moment(&self.between)));
        let request = GetFlowsRequest { whitelist, ..GetFlowsRequest::default() };
        let until = GetFlowsRequest { until: Some(self.between), ..request.clone() };
        self.check("what was before", until, |flow| port(flow).is_some() && time(flow) <= between, &EARLY);
        let since = GetFlowsRequest { since: Some(self.between), ..request };
        self.check("what was after", since, |flow| port(flow).is_some() && time(flow) >= between, &LATE);
    }

    /// The first ones and the last ones: of all nodes together, and of each.
    fn numbers(&self) {
        const NUMBER: usize = 3;
        let uuids = |flows: &[&Flow]| flows.iter().map(|flow| flow.uuid.clone()).collect::<Vec<_>>();
        for first in [true, false] {
            let request = GetFlowsRequest {
                number: NUMBER as u64,
                first,
                // With it, they would be the first ones.
                since: first.then_some(self.since),
                until: Some(self.until),
                whitelist: vec![to_ports(PORTS)],
                ..GetFlowsRequest::default()
            };
            let of = |known: &[&Flow]| {
                let number = NUMBER.min(known.len());
                if first { uuids(&known[..number]) } else { uuids(&known[known.len() - number..]) }
            };
            let known: Vec<&Flow> = self.seen.iter().collect();
            let answers = self.ask(&self.relay(), &request);
            let told: Vec<&Flow> = flows_of(&answers).collect();
            assert_eq!(uuids(&told), of(&known), "first: {first}");
            let nodes: BTreeSet<&str> = told.iter().map(|flow| flow.node_name.as_str()).collect();
            assert_eq!(nodes.into_iter().collect::<Vec<_>>(), ["worker-1", "worker-2"], "first: {first}");
            for node in NODES {
                let known: Vec<&Flow> = known.iter().copied().filter(|flow| flow.node_name == node).collect();
                let answers = self.ask(&self.node(node), &request);
                let told: Vec<&Flow> = flows_of(&answers).collect();
                assert_eq!(uuids(&told), of(&known), "first: {first}, asked of {node}");
            }
        }
    }

    /// What is left of flows, and nothing else is.
    fn masks(&self) {
        let whole = self.then(GetFlowsRequest { whitelist: vec![to_ports(PORTS)], ..GetFlowsRequest::default() });
        let paths = texts(["verdict", "source.pod_name", "destination.labels", "l4.UDP.destination_port"]);
        let masked = GetFlowsRequest { field_mask: Some(FieldMask { paths }), ..whole.clone() };
        let left = |flow: &Flow| Flow {
            verdict: flow.verdict,
            source: flow.source.as_ref().map(|end| Endpoint { pod_name: end.pod_name.clone(), ..Endpoint::default() }),
            destination: flow
                .destination
                .as_ref()
                .map(|end| Endpoint { labels: end.labels.clone(), ..Endpoint::default() }),
            l4: port(flow).map(|port| Layer4 {
                protocol: Some(Protocol::Udp(Udp { destination_port: port.into(), ..Udp::default() })),
            }),
            ..Flow::default()
        };
        // When and where it was is told beside the flow.
        let told = |answers: &[GetFlowsResponse], what: &dyn Fn(&Flow) -> Flow| {
            let one = |answer: &GetFlowsResponse| match &answer.response_types {
                Some(ResponseTypes::Flow(flow)) => {
                    Some(((answer.time.as_ref().map(moment), answer.node_name.clone()), what(flow)))
                }
                _ => None,
            };
            let mut told: Vec<_> = answers.iter().filter_map(one).collect();
            told.sort_by_key(|(place, _)| place.clone());
            told
        };
        let sockets = [("the relay", self.relay())].into_iter().chain(NODES.map(|node| (node, self.node(node))));
        for (name, socket) in sockets {
            let wanted = told(&self.ask(&socket, &whole), &left);
            assert_eq!(told(&self.ask(&socket, &masked), &Flow::clone), wanted, "{name}");
            assert_eq!(wanted.is_empty(), name == "control-plane", "{name} has seen nothing");
        }
    }

    /// What makes no sense is refused by all in the same words.
    fn nonsense(&self) {
        let mask = FieldMask { paths: texts(["verdict", "sauce"]) };
        let wrong = [
            GetFlowsRequest { field_mask: Some(mask), ..GetFlowsRequest::default() },
            GetFlowsRequest { whitelist: vec![cel("_flow.sauce == 1")], ..GetFlowsRequest::default() },
            GetFlowsRequest { first: true, follow: true, ..GetFlowsRequest::default() },
        ];
        for request in wrong {
            let refused = [self.relay(), self.node("worker-1")].map(|socket| {
                let asked = async {
                    let mut client = ObserverClient::new(connect(&socket).await.unwrap());
                    client.get_flows(request.clone()).await.unwrap_err()
                };
                let status = self.runtime.block_on(asked);
                assert_eq!(status.code(), Code::InvalidArgument, "{request:?}: {status:?}");
                status.message().to_owned()
            });
            assert!(refused[0] == refused[1] && !refused[0].is_empty(), "{refused:?}");
        }
    }

    /// What comes until a time, but not what is left out; and then the end, though nobody lets go.
    fn following(&self, monolith: &Place, near: &Place, server: &Place) {
        let since = now();
        let until = Timestamp { seconds: since.seconds + A_WHILE, ..since };
        let request = GetFlowsRequest {
            follow: true,
            since: Some(since),
            until: Some(until),
            whitelist: vec![to_ports(FOLLOWED)],
            blacklist: vec![FlowFilter { source_pod: texts(["default/near"]), ..FlowFilter::default() }],
            ..GetFlowsRequest::default()
        };
        let [of_all, of_worker_1] = self.runtime.block_on(async {
            let (_relay, of_all) = open(&self.relay(), &request).await;
            let (_node, of_worker_1) = open(&self.node("worker-1"), &request).await;
            send(monolith, server, 9211);
            tokio::time::sleep(SETTLED).await;
            for pod in [monolith, near] {
                send(pod, server, 9212);
            }
            let left = nanoseconds(&until) - nanoseconds(&now());
            assert!(left > 0, "it is over before everything has happened");
            tokio::time::sleep(Duration::from_nanos(left.unsigned_abs()) + APART).await;
            send(monolith, server, 9213);
            [rest(of_all).await, rest(of_worker_1).await]
        });
        for flow in flows_of(&of_all).chain(flows_of(&of_worker_1)) {
            assert!(is_from(flow, "monolith") && time(flow) <= Some(moment(&until)), "{flow:?}");
        }
        let wanted: [(&str, u16); 4] = [("worker-1", 9211), ("worker-2", 9211), ("worker-1", 9212), ("worker-2", 9212)];
        assert_eq!(ports_of(flows_of(&of_all)), BTreeSet::from(wanted));
        assert_eq!(ports_of(flows_of(&of_worker_1)), BTreeSet::from([wanted[0], wanted[2]]));

        // It was seen, and so was what was left out.
        let request =
            GetFlowsRequest { since: Some(since), whitelist: vec![to_ports(FOLLOWED)], ..GetFlowsRequest::default() };
        wait_until("what came after the end, and what was left out", PATIENCE, || {
            let answers = self.ask(&self.relay(), &request);
            let late = BTreeSet::from([("worker-1", 9213), ("worker-2", 9213)]);
            late.is_subset(&ports_of(flows_of(&answers))) && flows_of(&answers).any(|flow| is_from(flow, "near"))
        });
    }
}

/// The question as people put it, to the relay and to a node.
fn by_command(cluster: &Cluster, relay: &str) {
    let [service, _] = cluster.cluster_ips("user-service");
    let url = format!("http://{service}/");
    let call = |pod| cluster.ask(From::Pod(pod), &["http", &url, "--count", "1", "--timeout", "700ms"]);
    let asked = ["--from-label", "app=monolith", "--to-label", "app=user-service", "--verdict", "forwarded"];
    let denied = ["--from-label", "app=near", "--to-label", "app=user-service", "--verdict", "dropped"];
    let of_relay = |asked: &[&str]| flows(cluster, &[&["--server", relay], asked].concat());
    let nodes = |told: &[Value]| told.iter().map(|flow| flow["node_name"].to_string()).collect::<BTreeSet<_>>();
    let both = BTreeSet::from(["\"worker-1\"".to_owned(), "\"worker-2\"".to_owned()]);
    let (mut told, mut dropped) = (Vec::new(), Vec::new());
    wait_until("who is answered at both nodes, and who is not", PATIENCE, || {
        for pod in ["monolith", "near"] {
            let _ = call(pod);
        }
        (told, dropped) = (of_relay(&asked), of_relay(&denied));
        nodes(&told) == both && !dropped.is_empty()
    });
    let has = |end: &Value, label: &str| end["labels"].as_array().is_some_and(|all| all.iter().any(|one| one == label));
    for (told, app, verdict) in [(&told, "k8s:app=monolith", "FORWARDED"), (&dropped, "k8s:app=near", "DROPPED")] {
        for flow in told {
            assert!(has(&flow["source"], app) && has(&flow["destination"], "k8s:app=user-service"), "{flow:#}");
            assert_eq!(flow["verdict"], verdict, "{flow:#}");
        }
    }
    assert!(dropped.iter().all(|flow| flow["node_name"] == "worker-1"), "{dropped:#?}");
    let said = observe(cluster, &[&["--server", relay, "--all"], &asked[..]].concat());
    assert!(said.contains("[worker-1]: default/monolith:") && said.contains("[worker-2]: default/monolith:"), "{said}");
    assert!(!said.contains("default/near") && !said.contains("DROPPED"), "{said}");

    // The node has them all, and none of another's.
    let node = format!("unix://{}", cluster.folder().join("nodes/worker-1/hubble.sock").display());
    let of_node = flows(cluster, &[&["--server", &node], &asked[..]].concat());
    assert!(of_node.iter().all(|flow| flow["node_name"] == "worker-1"), "{of_node:#?}");
    for flow in told.iter().filter(|flow| flow["node_name"] == "worker-1") {
        assert!(of_node.iter().any(|one| one["uuid"] == flow["uuid"]), "{flow:#}");
    }
}

/// The client keeps the way open.
async fn open(socket: &Path, request: &GetFlowsRequest) -> (ObserverClient<Channel>, Streaming<GetFlowsResponse>) {
    let mut client = ObserverClient::new(connect(socket).await.unwrap());
    let answers = client.get_flows(request.clone()).await.unwrap().into_inner();
    (client, answers)
}

/// All that is still to come: it has an end.
async fn rest(mut answers: Streaming<GetFlowsResponse>) -> Vec<GetFlowsResponse> {
    let all = async {
        let mut told = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            told.push(answer);
        }
        told
    };
    timeout(PATIENCE, all).await.expect("the answers do not end")
}

fn flows_of(answers: &[GetFlowsResponse]) -> impl Iterator<Item = &Flow> {
    answers.iter().filter_map(|answer| match &answer.response_types {
        Some(ResponseTypes::Flow(flow)) => Some(flow),
        _ => None,
    })
}

fn states(answers: &[GetFlowsResponse]) -> impl Iterator<Item = &NodeStatusEvent> {
    answers.iter().filter_map(|answer| match &answer.response_types {
        Some(ResponseTypes::NodeStatus(status)) => Some(status),
        _ => None,
    })
}

fn by_time<'a>(flows: impl Iterator<Item = &'a Flow>) -> Vec<&'a Flow> {
    let mut flows: Vec<&Flow> = flows.collect();
    flows.sort_by_cached_key(|flow| (time(flow), flow.node_name.clone()));
    flows
}

/// Nodes that tell of these ports.
fn ports_of<'a>(flows: impl Iterator<Item = &'a Flow>) -> BTreeSet<(&'a str, u16)> {
    flows.filter_map(|flow| Some((flow.node_name.as_str(), port(flow)?))).collect()
}

/// One of [`PORTS`].
fn port(flow: &Flow) -> Option<u16> {
    match flow.l4.as_ref()?.protocol.as_ref()? {
        Protocol::Udp(udp) => u16::try_from(udp.destination_port).ok().filter(|port| PORTS.contains(port)),
        _ => None,
    }
}

fn time(flow: &Flow) -> Option<Moment> {
    flow.time.as_ref().map(moment)
}

fn is_from(flow: &Flow, pod: &str) -> bool {
    flow.source.as_ref().is_some_and(|end| end.pod_name == pod)
}

fn is_to_server(flow: &Flow) -> bool {
    flow.destination.as_ref().is_some_and(|end| end.labels.iter().any(|label| label == "k8s:app=server"))
}

fn is_dropped(flow: &Flow) -> bool {
    flow.verdict == Verdict::Dropped as i32
}

fn is_to_nowhere(flow: &Flow) -> bool {
    flow.ip.as_ref().is_some_and(|ip| ip.destination == NOWHERE)
}

fn to_ports(ports: RangeInclusive<u16>) -> FlowFilter {
    let destination_port = ports.map(|port| port.to_string()).collect();
    FlowFilter { protocol: texts(["udp"]), destination_port, ..FlowFilter::default() }
}

fn cel(expression: &str) -> FlowFilter {
    let experimental = flow_filter::Experimental { cel_expression: texts([expression]) };
    FlowFilter { experimental: Some(experimental), ..FlowFilter::default() }
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).into()
}
