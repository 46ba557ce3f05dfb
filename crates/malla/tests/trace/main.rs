//! The journey of `curl http://localhost:30080` to a Pod and back, told by `malla trace` in a real lab: over VXLAN and with
//! native routing, to the node of the Pod and to another one, allowed, denied by policy, and without a backend; by IPv6, out of the
//! cluster, and by every way to die that a connection of one's own can take.
//!
//! Times, ports that the kernel chose and the Pods' addresses are masked; everything else, its order included, is in
//! `golden/`, which a run with `MALLA_GOLDEN=write` writes anew. Needs root, `malla-cni` beside `malla`, kubectl and curl.
#![forbid(unsafe_code)]

mod capture;
#[path = "../lab/commands.rs"]
#[allow(dead_code, reason = "the lab's own tests use the rest")]
mod commands;
mod forms;
mod mask;
mod rules;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use commands::{Lab, malla_path, text};
use datapath::maps::Maps;
use datapath_layouts::Followed;
use serde_json::Value;

/// NodePorts on both workers; those of the machine are whatever is free.
const KIND: &str = include_str!("kind.yaml");
const PODS: &str = include_str!("pods.yaml");
const DENY: &str = include_str!("deny.yaml");
/// The lab's outside host: its DNS answers there, and it sees nodes only.
const OUTSIDE: [&str; 2] = ["203.0.113.2:53", "[2001:db8:113::2]:53"];
/// Of worker-1's range, and no Pod's.
const NO_POD: &str = "10.244.1.250:80";
const NODES: [&str; 3] = ["control-plane", "worker-1", "worker-2"];

struct World {
    lab: Lab,
    folder: tempfile::TempDir,
}

impl World {
    fn up(routing: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kind = folder.path().join("kind.yaml");
        std::fs::write(&kind, KIND).unwrap();
        let lab = Lab::up(&["--config", kind.to_str().unwrap(), "--routing", routing]);
        let world = Self { lab, folder };
        world.apply(PODS);
        world.lab.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
        world
    }

    fn apply(&self, manifests: &str) {
        self.kubectl("apply", manifests);
    }

    fn kubectl(&self, verb: &str, manifests: &str) {
        let file = self.folder.path().join("manifests.yaml");
        std::fs::write(&file, manifests).unwrap();
        self.lab.kubectl(&[verb, "-f", file.to_str().unwrap()]);
    }

    /// While these are there.
    fn with(&self, manifests: &str, act: impl FnOnce()) {
        self.apply(manifests);
        act();
        self.kubectl("delete", manifests);
    }

    /// The machine's port that leads to this port of the node.
    fn port(&self, node: &str, target: u16) -> u16 {
        let status = self.lab.status();
        let forwards = status["forwards"].as_array().unwrap();
        let leads = |f: &&Value| f["what"] == node && f["target"].as_str().unwrap().ends_with(&format!(":{target}"));
        let listen = forwards.iter().find(leads).unwrap()["listen"].as_str().unwrap();
        listen.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    fn trace(&self, arguments: &[&str]) -> Output {
        let mut trace = Command::new(malla_path());
        trace.args(["trace", "--lab", &self.lab.name]).args(arguments).stdin(Stdio::null());
        trace.output().unwrap()
    }

    /// `malla trace -- curl` to a NodePort, until it is told as the golden text has it: the API's news take a moment.
    fn curl(&self, node: &str, port: u16, golden: &str) {
        let url = format!("http://127.0.0.1:{}/", self.port(node, port));
        self.is_golden(&["--", "curl", "-s", "--noproxy", "*", "-m", "3", &url], golden);
    }

    fn is_golden(&self, arguments: &[&str], golden: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trace/golden").join(golden).with_extension("txt");
        if std::env::var_os("MALLA_GOLDEN").is_some() {
            std::thread::sleep(Duration::from_secs(3));
            let output = self.trace(arguments);
            let told = mask::masked(&String::from_utf8_lossy(&output.stdout), &self.addresses());
            std::fs::write(&file, told).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let output = self.trace(arguments);
            let told = mask::masked(&String::from_utf8_lossy(&output.stdout), &self.addresses());
            let answered = golden.contains("\nend: answered");
            if told == golden && output.status.code() == Some(if answered { 0 } else { 3 }) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{arguments:?}\n--- told ---\n{told}--- instead of ---\n{golden}--- whole ---\n{}",
                text(&output)
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What stands for which address.
    fn addresses(&self) -> Vec<(String, &'static str)> {
        let of = |kind, name: &str, path| self.lab.kubectl(&["get", kind, name, "-o", path]).trim().to_owned();
        vec![
            (of("pod", "spink", "jsonpath={.status.podIP}"), "SPINK"),
            (of("pod", "client", "jsonpath={.status.podIP}"), "CLIENT"),
            (of("pod", "neighbour", "jsonpath={.status.podIP}"), "NEIGHBOUR"),
            (of("service", "spink", "jsonpath={.spec.clusterIP}"), "SERVICE"),
            (of("service", "nobody", "jsonpath={.spec.clusterIP}"), "NOBODY"),
            (of("pod", "spink", "jsonpath={.status.podIPs[1].ip}"), "SPINK6"),
            (of("pod", "client", "jsonpath={.status.podIPs[1].ip}"), "CLIENT6"),
            (of("service", "six", "jsonpath={.spec.clusterIP}"), "SERVICE6"),
        ]
    }

    /// Nobody is followed any more, on any node.
    fn is_left_alone(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        for node in NODES {
            let maps = Maps::open(&self.lab.folder().join("bpf").join(node)).unwrap();
            while maps.followed.get(&0).unwrap() != Some(Followed::ZERO) {
                assert!(Instant::now() < deadline, "{node} goes on following somebody");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

#[test]
fn the_journey_over_vxlan() {
    let world = World::up("vxlan");
    world.curl("worker-1", 30080, "same-node");
    world.curl("worker-2", 30080, "vxlan-other-node");
    world.is_golden(&["--from", "client", "--to", "default/spink:80"], "vxlan-pod");
    ipv6(&world, "vxlan");
    outside(&world);
    forms::are_the_same(&world);
    nobody_else_pays(&world);
    each_tells_its_own(&world);
    more_than_can_be_followed(&world);
    world.is_golden(&["--from", "client", "--to", "kube-system/kube-dns:53/udp"], "vxlan-datagram");
    let file = capture::taken(&world, &["--from", "client", "--to", "kube-system/kube-dns:53/udp"]);
    capture::is_read(&file, &[("worker-2", "out of Pod"), ("worker-2", "into Pod")]);
    what_others_send(&world);
    rules::decide(&world, "vxlan");
    other_deaths(&world);
    deaths(&world);
    world.is_left_alone();
}

#[test]
fn the_journey_with_native_routing() {
    let world = World::up("native");
    world.curl("worker-1", 30080, "same-node");
    // A client from outside goes through the tunnel with native routing too: the way back must be known.
    world.curl("worker-2", 30080, "vxlan-other-node");
    world.is_golden(&["--from", "client", "--to", "default/spink:80"], "native-pod");
    ipv6(&world, "native");
    outside(&world);
    rules::decide(&world, "native");
    deaths(&world);
    world.is_left_alone();
}

/// By IPv6, of which the socket hook makes a backend too.
fn ipv6(world: &World, routing: &str) {
    world.is_golden(&["--from", "client", "--to", "default/six:80"], &format!("{routing}-pod-ipv6"));
}

/// What leaves the cluster leaves under the node's address, and the answer finds back to the Pod.
fn outside(world: &World) {
    world.is_golden(&["--from", "client", "--to", OUTSIDE[0]], "outside");
    world.is_golden(&["--from", "client", "--to", OUTSIDE[1]], "outside-ipv6");
}

/// Without a policy: nobody listens, the Service has no such port, its backends are elsewhere, nobody has the address.
fn other_deaths(world: &World) {
    let of = |kind, name, path| world.lab.kubectl(&["get", kind, name, "-o", path]).trim().to_owned();
    let spink = of("pod", "spink", "jsonpath={.status.podIP}");
    world.is_golden(&["--from", "client", "--to", &format!("{spink}:9")], "refused-by-pod");
    world.is_golden(&["--from", "client", "--to", "default/spink:81"], "no-such-port");
    world.curl("worker-2", 30082, "no-local-backend");
    world.is_golden(&["--from", "client", "--to", NO_POD], "no-such-pod");
}

/// Denied by policy, on the Pod's node and coming from another; and a Service without a backend.
fn deaths(world: &World) {
    world.curl("worker-2", 30081, "no-backend");
    world.is_golden(&["--from", "client", "--to", "default/nobody:80"], "no-backend-pod");
    world.apply(DENY);
    world.curl("worker-1", 30080, "denied-same-node");
    world.curl("worker-2", 30080, "denied-other-node");
    let url = format!("http://127.0.0.1:{}/", world.port("worker-2", 30080));
    let file = capture::taken(world, &["--", "curl", "-s", "--noproxy", "*", "-m", "3", &url]);
    capture::is_read(&file, &[("worker-1", "POLICY_DENIED by default deny of NetworkPolicy default/shut")]);
}

/// While one connection is followed, others are not told, and no program is replaced for it.
fn nobody_else_pays(world: &World) {
    let url = format!("http://127.0.0.1:{}/", world.port("worker-2", 30080));
    let mut other = Command::new("sh")
        .args(["-c", "while curl -s --noproxy '*' -m 3 \"$0\"; do :; done", &url])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Written whenever programs are replaced by some with other settings.
    let settings = || {
        let file = |node: &str| world.lab.folder().join("nodes").join(node).join("config.json");
        NODES.map(|node| std::fs::metadata(file(node)).unwrap().modified().unwrap())
    };
    let before = settings();
    let output = world.trace(&["-o", "json", "--", "curl", "-s", "--noproxy", "*", "-m", "3", &url]);
    other.kill().unwrap();
    other.wait().unwrap();
    let journeys: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    assert_eq!(journeys.as_array().unwrap().len(), 1, "only the command's own: {journeys}");
    assert_eq!(clients(&journeys[0]).len(), 1, "and only its packets: {journeys}");
    assert_eq!(settings(), before, "programs were replaced");
}

/// The forwarder's ends that a journey speaks of.
fn clients(journey: &Value) -> BTreeSet<String> {
    let text = journey.to_string();
    let port = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect();
    text.split("172.18.0.1:").skip(1).map(port).collect()
}

/// Two traces at once, each of two connections at once, all to the same port: each journey is about its own packets alone.
fn each_tells_its_own(world: &World) {
    let url = format!("http://127.0.0.1:{}/", world.port("worker-2", 30080));
    let both = "curl -s --noproxy '*' -m 3 \"$0\" & curl -s --noproxy '*' -m 3 \"$0\" & wait";
    let arguments = ["-o", "json", "--", "sh", "-c", both, &url];
    let outputs = std::thread::scope(|scope| {
        let traces = [(); 2].map(|()| scope.spawn(|| world.trace(&arguments)));
        traces.map(|trace| trace.join().unwrap())
    });
    let mut seen = BTreeSet::new();
    for output in outputs {
        let journeys: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
        assert_eq!(journeys.as_array().unwrap().len(), 2, "{journeys}");
        for journey in journeys.as_array().unwrap() {
            assert_eq!((clients(journey).len(), &journey["end"]["answered"]), (1, &Value::Bool(true)), "{journey}");
            let first = |reply: bool| journey["ways"].as_array().unwrap().iter().find(|way| way["reply"] == reply);
            assert_eq!(
                (&first(false).unwrap()["packet"], &first(true).unwrap()["packet"]),
                (&"TCP SYN".into(), &"TCP SYN ACK".into())
            );
            seen.extend(clients(journey));
        }
    }
    assert_eq!(seen.len(), 4, "four connections, told once each");
}

/// A five-tuple, whoever speaks: that flow is told, and what the same end says to others is not.
fn what_others_send(world: &World) {
    let of = |path: &[&str]| world.lab.kubectl(path).trim().to_owned();
    let client = of(&["get", "pod", "client", "-o", "jsonpath={.status.podIP}"]);
    let spink = of(&["get", "pod", "spink", "-o", "jsonpath={.status.podIP}"]);
    let server = of(&["get", "node", "control-plane", "-o", "jsonpath={.status.addresses[0].address}"]);
    let flow = format!("udp,{client}:4500,{server}:53");
    let output = std::thread::scope(|scope| {
        let trace = scope.spawn(|| world.trace(&["-o", "json", "--time", "5s", "--flow", &flow]));
        let maps = Maps::open(&world.lab.folder().join("bpf").join("worker-2")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while maps.followed.get(&0).unwrap() == Some(Followed::ZERO) && !trace.is_finished() {
            assert!(Instant::now() < deadline, "nobody is followed");
            std::thread::sleep(Duration::from_millis(20));
        }
        for (target, said) in [(format!("{server}:53/udp"), "answered"), (format!("{spink}:9/udp"), "failed: ")] {
            let malla = malla_path();
            let mut exec = Command::new(&malla);
            exec.args(["lab", "exec", "--name", &world.lab.name, "client", "--"]).arg(&malla);
            exec.args(["trace", "--probe", &target, "--source-port", "4500"]);
            let output = exec.stdin(Stdio::null()).output().unwrap();
            assert!(String::from_utf8_lossy(&output.stdout).starts_with(said), "{target}: {}", text(&output));
        }
        trace.join().unwrap()
    });
    // Nobody listens there: the Pod's kernel says so, and that is no answer.
    let refused = world.trace(&["--from", "client", "--to", &format!("{spink}:9/udp")]);
    let end =
        String::from_utf8_lossy(&refused.stdout).lines().find(|line| line.starts_with("end: ")).map(str::to_owned);
    assert!(refused.status.code() == Some(3) && end.is_some_and(|end| end.contains("refused")), "{}", text(&refused));

    let journeys: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    let journey = &journeys[0];
    let (ways, notes) = (journey["ways"].as_array().unwrap(), journey["notes"].to_string());
    assert_eq!((&journey["end"]["answered"], output.status.code()), (&Value::Bool(true), Some(0)), "{journey}");
    let told: Vec<_> =
        ways.iter().map(|way| (way["packet"].as_str().unwrap(), way["reply"].as_bool().unwrap())).collect();
    assert_eq!(told, [("UDP", false), ("UDP", true)], "{journey}");
    for way in ways {
        let nodes: BTreeSet<_> =
            way["hops"].as_array().unwrap().iter().map(|hop| hop["node"].as_str().unwrap()).collect();
        assert_eq!(nodes, BTreeSet::from(["control-plane", "worker-2"]), "{way}");
    }
    assert!(!ways.iter().any(|way| way.to_string().contains(&spink)) && notes.contains(&spink), "{journey}");
}

/// More at once than there are places: each is told from its first packet, or it is said who could not follow; none stops the
/// others or the command.
fn more_than_can_be_followed(world: &World) {
    let url = format!("http://127.0.0.1:{}/", world.port("worker-2", 30080));
    let many = "for i in $(seq 24); do curl -s --noproxy '*' -m 3 \"$0\" & done; wait";
    let output = world.trace(&["-o", "json", "--", "sh", "-c", many, &url]);
    let journeys: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    let journeys = journeys.as_array().unwrap();
    for journey in journeys {
        let first = journey["ways"].as_array().unwrap().iter().find(|way| way["reply"] == false);
        let is_told = first.is_some_and(|way| way["packet"] == "TCP SYN");
        let notes = journey["notes"].as_array().unwrap().iter().filter_map(Value::as_str);
        let is_noted = notes.into_iter().any(|note| note.contains("tells nothing") || note.contains("not followed"));
        assert!(is_told || is_noted, "{journey}");
    }
    let answered = journeys.iter().filter(|journey| journey["end"]["answered"] == true).count();
    assert_eq!((journeys.len(), answered, output.status.code()), (24, 24, Some(0)), "{}", text(&output));
}
