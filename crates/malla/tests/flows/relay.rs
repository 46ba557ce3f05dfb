//! `malla relay` across the nodes of a lab, over the network with certificates on both sides.

use crate::cluster::{Cluster, From, Running, malla_path, text, wait_until};
use crate::pods::{Place, processes};
use crate::{PATIENCE, asking, flows, observe};
use flow_api::client::connect;
use flow_api::flow::FlowFilter;
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::{
    GetAgentEventsRequest, GetDebugEventsRequest, GetFlowsRequest, GetNamespacesRequest, GetNodesRequest,
    ServerStatusRequest,
};
use flow_api::relay::NodeState;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// What a node has seen is in its log by then: that is synced each second.
const WRITTEN: Duration = Duration::from_secs(3);
/// An agent that has found no way to anybody when it started tries again after some seconds, and a node that begins again has more
/// to do than one that was cut off.
const BOOT: Duration = Duration::from_secs(60);

/// `malla` in a node's network.
fn on_node(cluster: &Cluster, node: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &format!("{}-{node}", cluster.name)]).arg(malla_path()).args(arguments);
    command.env_remove("MALLA_LAB").stdin(Stdio::null());
    command
}

/// A relay whose nodes are told by worker-1, and where it serves: a socket, and port 4245 of worker-1.
fn start(cluster: &Cluster) -> (Vec<Running>, String) {
    let folder = cluster.folder();
    let (tls, socket) = (folder.join("pki/hubble-relay"), format!("unix://{}", folder.join("relay.sock").display()));
    let tls = tls.to_str().unwrap();
    let peers = format!("unix://{}", folder.join("nodes/worker-1/hubble.sock").display());
    let network = ["--listen", "172.18.0.3:4245", "--serve-tls", tls];
    let all = [&["--listen", &socket][..], &network].map(|listen| {
        let arguments = [&["relay", "--peer-service", &peers, "--tls", tls], listen].concat();
        Running(on_node(cluster, "worker-1", &arguments).spawn().unwrap())
    });
    wait_until("the relay", PATIENCE, || folder.join("relay.sock").exists());
    (Vec::from(all), socket)
}

/// Flows on all three nodes: between two of them, and a packet that the third one drops.
fn traffic(cluster: &Cluster) {
    let [service, _] = cluster.cluster_ips("user-service");
    let _ = cluster.ask(From::Pod("monolith"), &["http", &format!("http://{service}/"), "--count", "1"]);
    let ping = ["-c", "1", "-W", "1", "10.244.0.250"];
    let _ = cluster.command(From::Node("worker-2"), Path::new("/usr/bin/ping"), &ping).output();
}

pub fn agent(cluster: &Cluster, node: &str) -> String {
    let status = cluster.status();
    let node = status["nodes"].as_array().unwrap().iter().find(|one| one["name"] == node).expect("the node");
    node["agent"]["pid"].as_i64().expect("its agent runs").to_string()
}

pub fn kill(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
}

/// What a test prints by the macros is not seen unless it fails.
fn say(what: &str) {
    std::io::stderr().write_all(format!("{what}\n").as_bytes()).unwrap();
}

/// Hubble's own command, where somebody has it, is the last judge.
fn by_hubble(server: &str) {
    let hubble = |words: &[&str]| Command::new("hubble").args(words).args(["--server", server]).output();
    let Ok(version) = Command::new("hubble").arg("version").output() else {
        say(&format!("there is no `hubble` on the PATH: {server} is asked by `malla observe` alone"));
        return;
    };
    say(&format!("{server} is asked by {}", String::from_utf8_lossy(&version.stdout).trim()));
    for words in [&["status"][..], &["list", "nodes"], &["observe", "--last", "20", "-o", "jsonpb"]] {
        let output = hubble(words).unwrap();
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !said.is_empty(), "hubble {words:?}: {said}{complained}");
        if words[0] == "observe" {
            let read =
                |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(said.lines().map(read).any(|answer| answer["flow"]["node_name"].is_string()), "{said}");
        }
    }
}

pub fn all(cluster: &Cluster) {
    let (_relays, socket) = start(cluster);
    let mut told = Vec::new();
    wait_until("flows of three nodes", PATIENCE, || {
        traffic(cluster);
        told = flows(cluster, &["--server", &socket]);
        told.iter().map(|flow| flow["node_name"].to_string()).collect::<BTreeSet<_>>().len() == 3
    });
    by_hubble(&socket);
    let times: Vec<&str> = told.iter().map(|flow| flow["time"].as_str().unwrap()).collect();
    // All have microseconds, so that text sorts as time does; but for those that end in zeros.
    let padded = |time: &str| format!("{:0<30}", time.trim_end_matches('Z'));
    assert!(times.windows(2).all(|two| padded(two[0]) <= padded(two[1])), "{times:?}");

    // So many of all nodes together.
    for which in ["--last", "--first"] {
        let said = observe(cluster, &["--server", &socket, which, "5", "-o", "json"]);
        let is_flow = |line: &&str| serde_json::from_str(line).is_ok_and(|told: Value| told["flow"].is_object());
        assert_eq!(said.lines().filter(is_flow).count(), 5, "{which}: {said}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(every_call(cluster));
    who_may_ask(cluster);
    asking::all(cluster, &socket);
    one_stands_still(cluster, &socket);
    let following = Following::start(&socket);
    one_is_killed(cluster, &following);
    one_is_cut_off(cluster, &following);
    one_dies_whole(cluster, &following, &socket);
}

/// The calls that are not about flows, and those that a relay leaves to the nodes.
async fn every_call(cluster: &Cluster) {
    let channel = connect(&cluster.folder().join("relay.sock")).await.unwrap();
    let mut relay = ObserverClient::new(channel.clone());
    let nodes = relay.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
    let status = relay.server_status(ServerStatusRequest {}).await.unwrap().into_inner();
    let names = ["control-plane", "worker-1", "worker-2"];
    assert_eq!(nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), names);
    for (node, address) in nodes.iter().zip(["172.18.0.2:4244", "172.18.0.3:4244", "172.18.0.4:4244"]) {
        assert_eq!((node.address.as_str(), node.state()), (address, NodeState::NodeConnected), "{node:?}");
        let tls = node.tls.as_ref().unwrap();
        assert_eq!((tls.enabled, &tls.server_name), (true, &format!("{}.default.hubble-grpc.cilium.io", node.name)));
        assert!(node.version.starts_with("malla ") && node.uptime_ns > 0, "{node:?}");
        assert!(node.seen_flows > 0 && node.num_flows > 0 && node.max_flows >= node.num_flows, "{node:?}");
    }
    assert_eq!((status.num_connected_nodes, status.num_unavailable_nodes), (Some(3), Some(0)), "{status:?}");
    assert!(status.unavailable_nodes.is_empty() && status.version.starts_with("malla "), "{status:?}");
    assert_eq!(status.max_flows, nodes.iter().map(|node| node.max_flows).sum::<u64>());
    assert!(status.seen_flows >= nodes.iter().map(|node| node.seen_flows).sum::<u64>(), "{status:?} {nodes:?}");
    assert!(Some(status.uptime_ns) >= nodes.iter().map(|node| node.uptime_ns).max(), "{status:?} {nodes:?}");
    assert!(status.flows_rate > 0.0, "{status:?}");

    let namespaces = relay.get_namespaces(GetNamespacesRequest {}).await.unwrap().into_inner().namespaces;
    let namespaces: Vec<_> = namespaces.into_iter().map(|one| (one.cluster, one.namespace)).collect();
    assert!(namespaces.contains(&("default".to_owned(), "default".to_owned())), "{namespaces:?}");
    assert!(namespaces.windows(2).all(|two| two[0] < two[1]), "sorted, and each once: {namespaces:?}");

    let events = relay.get_agent_events(GetAgentEventsRequest::default()).await.unwrap_err();
    let debug = relay.get_debug_events(GetDebugEventsRequest::default()).await.unwrap_err();
    for status in [events, debug] {
        assert!(status.code() == Code::Unimplemented && status.message().contains("hubble.sock"), "{status:?}");
    }
    // Where it says.
    let node = connect(&cluster.folder().join("nodes/worker-1/hubble.sock")).await.unwrap();
    ObserverClient::new(node).get_agent_events(GetAgentEventsRequest::default()).await.unwrap();

    let wrong = FlowFilter { source_ip: vec!["nonsense".to_owned()], ..FlowFilter::default() };
    let wrong = GetFlowsRequest { whitelist: vec![wrong], ..GetFlowsRequest::default() };
    let refused = relay.get_flows(wrong).await.unwrap_err();
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains("source_ip"), "{refused:?}");

    let check = HealthCheckRequest { service: "hubble.server.Observer".to_owned() };
    assert_eq!(HealthClient::new(channel).check(check).await.unwrap().into_inner().status, 1, "it is serving");
}

/// The status with which the API answers to a certificate; `000` where it does not.
fn api_answers(cluster: &Cluster, certificate: &str, key: &str) -> String {
    let file = |name: &str| cluster.folder().join("pki").join(name).to_str().unwrap().to_owned();
    let mut command = Command::new("ip");
    command.args([
        "netns",
        "exec",
        &format!("{}-worker-2", cluster.name),
        "curl",
        "--noproxy",
        "*",
        "-s",
        "-o",
        "/dev/null",
    ]);
    command.args([
        "-w",
        "%{http_code}",
        "--cacert",
        &file("ca.crt"),
        "--cert",
        &file(certificate),
        "--key",
        &file(key),
    ]);
    String::from_utf8(command.arg("https://172.18.0.2:6443/api/v1/namespaces").output().unwrap().stdout).unwrap()
}

/// Whoever has a certificate for it, and believes that of the other side.
fn who_may_ask(cluster: &Cluster) {
    let pki = cluster.folder().join("pki");
    let ask = |address: &str, name: &str, tls: Option<&str>| -> Output {
        let folder = tls.map(|folder| pki.join(folder).to_str().unwrap().to_owned());
        let mut arguments = vec!["observe", "--server", address, "--tls-server-name", name, "--last", "1"];
        arguments.extend(folder.iter().flat_map(|folder| ["--tls", folder]));
        on_node(cluster, "worker-2", &arguments).output().unwrap()
    };
    let (node, name) = ("172.18.0.3:4244", "worker-1.default.hubble-grpc.cilium.io");
    for (address, name) in [(node, name), ("172.18.0.3:4245", "relay.hubble-relay.cilium.io")] {
        let output = ask(address, name, Some("hubble-relay"));
        assert!(output.status.success() && !output.stdout.is_empty(), "{}", text(&output));
    }
    // A server's certificate is nobody's who asks.
    for (name, tls) in [(name, None), (name, Some("hubble-server")), ("kubernetes", Some("hubble-relay"))] {
        let output = ask(node, name, tls);
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(1), &b""[..]),
            "{name} {tls:?}: {}",
            text(&output)
        );
    }
    // And who may ask for flows may not ask the API for anything.
    assert_eq!(api_answers(cluster, "admin.crt", "admin.key"), "200");
    assert_ne!(api_answers(cluster, "hubble-relay/tls.crt", "hubble-relay/tls.key"), "200");
    let in_clear = on_node(cluster, "worker-1", &["relay", "--lab", &cluster.name, "--listen", "127.0.0.1:4246"])
        .output()
        .unwrap();
    assert!(!in_clear.status.success() && text(&in_clear).contains("--serve-tls"), "{}", text(&in_clear));
}

/// It holds nobody up, and is named.
fn one_stands_still(cluster: &Cluster, socket: &str) {
    let pid = agent(cluster, "control-plane");
    kill("-STOP", &pid);
    let said = observe(cluster, &["--server", socket, "--all"]);
    kill("-CONT", &pid);
    assert!(said.contains("1 nodes are unavailable: control-plane"), "{said}");
    assert!(said.contains("[worker-1]: ") && said.contains("[worker-2]: "), "{said}");
    assert!(!said.contains("[control-plane]: default/"), "{said}");
}

/// Somebody who follows, and all that was told by now: flows, and how nodes are.
struct Following {
    told: Arc<Mutex<Vec<Value>>>,
    _child: Running,
}

impl Following {
    fn start(socket: &str) -> Self {
        let mut follow = Command::new(malla_path());
        follow.args(["observe", "--server", socket, "-f", "-o", "json"]).env_remove("MALLA_LAB");
        let mut child = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let told: Arc<Mutex<Vec<Value>>> = Arc::default();
        // How nodes are is told beside the flows.
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let streams: [Box<dyn BufRead + Send>; 2] = [Box::new(BufReader::new(out)), Box::new(BufReader::new(err))];
        for stream in streams {
            let told = told.clone();
            std::thread::spawn(move || {
                for line in stream.lines().map_while(Result::ok) {
                    told.lock()
                        .unwrap()
                        .push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
                }
            });
        }
        Self { told, _child: Running(child) }
    }

    fn len(&self) -> usize {
        self.told.lock().unwrap().len()
    }

    /// Where the next one after so many is, from one on.
    fn since(&self, position: usize, is: impl Fn(&Value) -> bool) -> Option<usize> {
        self.told.lock().unwrap().iter().skip(position).position(is).map(|at| position + at + 1)
    }

    /// Waits for it while this goes on.
    fn wait(&self, what: &str, position: usize, is: impl Fn(&Value) -> bool, meanwhile: impl Fn()) -> usize {
        self.wait_long(what, PATIENCE, position, is, meanwhile)
    }

    /// The same with another patience.
    fn wait_long(
        &self,
        what: &str,
        patience: Duration,
        position: usize,
        is: impl Fn(&Value) -> bool,
        meanwhile: impl Fn(),
    ) -> usize {
        let mut at = None;
        wait_until(what, patience, || {
            meanwhile();
            at = self.since(position, &is);
            at.is_some()
        });
        at.unwrap()
    }

    /// From there on nothing was told twice.
    fn has_each_once(&self, position: usize) {
        let told = self.told.lock().unwrap();
        let uuids = || told[position..].iter().filter_map(|answer| answer["flow"]["uuid"].as_str());
        let once: BTreeSet<&str> = uuids().collect();
        assert_eq!(uuids().count(), once.len(), "something was told twice");
    }
}

fn flow_of(node: &str) -> impl Fn(&Value) -> bool {
    move |answer| answer["flow"]["node_name"] == node
}

fn is_now(node: &str, state: &str) -> impl Fn(&Value) -> bool {
    move |answer| answer["node_status"]["state_change"] == state && answer["node_name"] == node
}

/// While somebody follows: the others go on, and it is heard again when it is back.
fn one_is_killed(cluster: &Cluster, following: &Following) {
    let traffic = || traffic(cluster);
    for node in ["worker-1", "worker-2"] {
        following.wait(&format!("a flow of {node}"), 0, flow_of(node), traffic);
    }
    kill("-KILL", &agent(cluster, "worker-2"));
    let at = following.wait("worker-2, missing", 0, is_now("worker-2", "NODE_UNAVAILABLE"), || {});
    for node in ["worker-1", "worker-2"] {
        following.wait(&format!("a flow of {node} after it"), at, flow_of(node), traffic);
    }
}

/// One packet to this port of Pod `server`, from a port of its own each time.
pub fn send(from: &Place, server: &Place, port: u16) {
    let to = (server.address, port);
    from.make(move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.send_to(b"x", to));
}

/// The fabric's end of worker-2's cable: `up` or `down`.
fn cable(cluster: &Cluster, state: &str) {
    let fabric = format!("{}-fabric", cluster.name);
    let output = Command::new("ip").args(["-n", &fabric, "link", "set", "node2", state]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

fn to_port(port: u16) -> impl Fn(&Value) -> bool {
    move |answer| answer["flow"]["l4"]["UDP"]["destination_port"] == port
}

fn of_worker_2(port: u16) -> impl Fn(&Value) -> bool {
    let is = to_port(port);
    move |answer| answer["flow"]["node_name"] == "worker-2" && is(answer)
}

/// The fabric's end of its cable is out, and nobody says so. Who follows is told and not held up, and hears everything once when
/// it is in again.
fn one_is_cut_off(cluster: &Cluster, following: &Following) {
    let [monolith, near, server] = ["monolith", "near", "server"].map(|pod| Place::of(cluster, pod));
    let send = |from: &Place, port: u16| send(from, &server, port);
    // Its stream is open, and what was before has been told.
    following.wait("a flow before the cut", 0, of_worker_2(9095), || send(&monolith, 9095));
    let at = following.len();
    cable(cluster, "down");
    send(&monolith, 9096);
    let others = following.wait("a flow of worker-1 meanwhile", at, to_port(9097), || send(&near, 9097));
    let away = following.wait("worker-2, cut off", at, is_now("worker-2", "NODE_UNAVAILABLE"), || {});
    assert!(others < away, "the others are held up until the node is given up");
    send(&monolith, 9098);
    following.wait("a flow of worker-1 without worker-2", away, to_port(9099), || send(&near, 9099));
    assert_eq!(following.since(away, flow_of("worker-2")), None, "heard without a cable");
    cable(cluster, "up");
    for port in [9096, 9098] {
        let what = format!("what happened at worker-2 when it was cut off, to port {port}");
        following.wait(&what, away, of_worker_2(port), || {});
    }
    following.wait("what happens at worker-2 now", away, of_worker_2(9094), || send(&monolith, 9094));
    following.has_each_once(at);
}

/// As if its power had failed: its cable is out, and all that ran there is no more, its agent and its Pods' processes, of which none
/// can say so. What the lab starts there again at once nobody hears before the cable is in, as of a machine that is booting.
fn one_dies_whole(cluster: &Cluster, following: &Following, socket: &str) {
    let [monolith, near, server] = ["monolith", "near", "server"].map(|pod| Place::of(cluster, pod));
    let send = |from: &Place, port: u16| send(from, &server, port);
    let before = following.wait("a flow before the death", 0, of_worker_2(9101), || send(&monolith, 9101));
    let seen = following.told.lock().unwrap()[before - 1]["flow"]["uuid"].clone();
    std::thread::sleep(WRITTEN);

    // The monolith is the only Pod there.
    let node = Path::new(network_namespace::NETNS_RUN_DIR).join(format!("{}-worker-2", cluster.name));
    let living = || [processes(&node), monolith.processes()].concat();
    let (all, agent) = (living(), agent(cluster, "worker-2"));
    assert!(all.iter().any(|pid| pid.to_string() == agent), "the agent {agent} is elsewhere: {all:?}");
    assert!(!monolith.processes().is_empty() && !all.contains(&std::process::id()), "{all:?}");
    let at = following.len();
    cable(cluster, "down");
    // Some end with others before it is their turn.
    let _ = Command::new("kill").arg("-KILL").args(all.iter().map(u32::to_string)).output().unwrap();
    wait_until("the end of all that ran there", PATIENCE, || living().iter().all(|pid| !all.contains(pid)));

    let others = following.wait("a flow of worker-1 meanwhile", at, to_port(9102), || send(&near, 9102));
    let away = following.wait("worker-2, dead", at, is_now("worker-2", "NODE_UNAVAILABLE"), || {});
    assert!(others < away, "the others are held up until the node is given up");
    following.wait("a flow of worker-1 without worker-2", away, to_port(9103), || send(&near, 9103));
    let ping = ["-c", "1", "-W", "1", "10.244.0.250"];
    following.wait("a flow of control-plane without worker-2", away, flow_of("control-plane"), || {
        let _ = cluster.command(From::Node("worker-1"), Path::new("/usr/bin/ping"), &ping).output();
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked = async { timeout(PATIENCE, without_worker_2(cluster)).await.expect("the answers do not end") };
    runtime.block_on(asked);
    let mut observe = Command::new(malla_path());
    let output = observe.args(["observe", "--server", socket, "--all"]).env_remove("MALLA_LAB").output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {complained}", output.status);
    assert!(complained.contains("1 nodes are unavailable: worker-2"), "{complained}");
    assert!(said.contains("[worker-1]: ") && said.contains("[control-plane]: "), "{said}");
    assert!(!said.contains("[worker-2]: "), "{said}");
    assert_eq!(following.since(away, flow_of("worker-2")), None, "heard without a cable");

    cable(cluster, "up");
    let now = || send(&monolith, 9104);
    let back = following.wait_long("what happens at worker-2 now", BOOT, away, of_worker_2(9104), now);
    let is_missing = is_now("worker-2", "NODE_UNAVAILABLE");
    let missing = following.told.lock().unwrap()[at..back].iter().filter(|answer| is_missing(answer)).count();
    assert_eq!(missing, 1, "it is told once that it is missing");
    following.has_each_once(at);

    // Its ring is that of an agent that has seen nothing of it; its log has outlived the last one.
    let asked = ["--server", socket, "--node-name", "worker-2", "--to-port", "9101"];
    let times = |asked: &[&str]| flows(cluster, asked).iter().filter(|flow| flow["uuid"] == seen).count();
    assert_eq!(times(&asked), 0, "it is still the agent that has seen it");
    let mut told = 0;
    wait_until("what was before the death", PATIENCE, || {
        told = times(&[&asked[..], &["--since", "1h"]].concat());
        told > 0
    });
    assert_eq!(told, 1, "told twice");
}

/// What a relay answers while worker-2 is dead: that of the others, and who is missing.
async fn without_worker_2(cluster: &Cluster) {
    let mut relay = ObserverClient::new(connect(&cluster.folder().join("relay.sock")).await.unwrap());
    let mut answers = relay.get_flows(GetFlowsRequest::default()).await.unwrap().into_inner();
    let (mut nodes, mut missing) = (BTreeSet::new(), Vec::new());
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.response_types {
            Some(ResponseTypes::Flow(flow)) => {
                nodes.insert(flow.node_name);
            }
            Some(ResponseTypes::NodeStatus(status)) if status.state_change() != NodeState::NodeConnected => {
                assert_eq!(status.state_change(), NodeState::NodeUnavailable, "{status:?}");
                missing.extend(status.node_names);
            }
            _ => {}
        }
    }
    assert_eq!(nodes.iter().map(String::as_str).collect::<Vec<_>>(), ["control-plane", "worker-1"]);
    assert_eq!(missing, ["worker-2"]);

    let status = relay.server_status(ServerStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.num_connected_nodes, status.num_unavailable_nodes), (Some(2), Some(1)), "{status:?}");
    assert_eq!(status.unavailable_nodes, ["worker-2"]);
    let nodes = relay.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
    let states: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.state())).collect();
    let (there, dead) = (NodeState::NodeConnected, NodeState::NodeUnavailable);
    assert_eq!(states, [("control-plane", there), ("worker-1", there), ("worker-2", dead)]);
    // Where it should be is known, and nothing else of it.
    assert_eq!((nodes[2].address.as_str(), nodes[2].version.as_str()), ("172.18.0.4:4244", ""), "{:?}", nodes[2]);
    let namespaces = relay.get_namespaces(GetNamespacesRequest {}).await.unwrap().into_inner().namespaces;
    assert!(namespaces.iter().any(|one| one.namespace == "default"), "{namespaces:?}");
}
