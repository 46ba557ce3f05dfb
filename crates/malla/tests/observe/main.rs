//! What `malla status`, `malla monitor` and `malla bpf` tell about a real lab, and what completion and help print.
//!
//! Needs root, `malla-cni` beside `malla`, and kubectl.

#[path = "../lab/commands.rs"]
#[allow(dead_code, reason = "the lab's own tests use the rest")]
mod commands;

use commands::{Lab, malla, malla_path, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Idle agents stay below this (resident, bytes).
const AGENT_BUDGET: u64 = 50_000_000;
const NODES: [&str; 3] = ["control-plane", "worker-1", "worker-2"];

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

fn until(what: &str, mut attempt: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !attempt() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A monitor that ends after one event, once its agents know that it listens.
fn monitor(lab: &Lab, node: &str, arguments: &[&str]) -> Child {
    let child = Command::new(malla_path())
        .args(["monitor", "--lab", &lab.name, "--node", node, "--number", "1", "-o", "json"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until("the agent knows of its listener", || {
        let status = json(&malla(&["status", "--lab", &lab.name, "--node", node, "-o", "json"]));
        status["nodes"][0]["status"]["events"]["listeners"].as_u64() == Some(1)
    });
    child
}

/// The event of a monitor; `traffic` is made again until it has one.
fn event(mut child: Child, mut traffic: impl FnMut()) -> Value {
    until("an event", || {
        traffic();
        child.try_wait().unwrap().is_some()
    });
    json(&child.wait_with_output().unwrap())["flow"].clone()
}

fn in_namespace(lab: &Lab, place: &str, command: &[&str]) -> Output {
    let namespace = format!("{}-{place}", lab.name);
    let output = Command::new("ip").args(["netns", "exec", &namespace]).args(command).output().unwrap();
    assert_ne!(output.status.code(), Some(255), "{command:?} does not run: {}", text(&output));
    output
}

#[test]
fn an_idle_lab_is_told_whole_and_costs_little() {
    let lab = Lab::up(&[]);
    let output = malla(&["status", "--lab", &lab.name, "-o", "json"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let status = json(&output);
    assert_eq!(status["state"], "ok");
    for (node, name) in status["nodes"].as_array().unwrap().iter().zip(NODES) {
        let told = &node["status"];
        assert_eq!(node["node"], name);
        let resident = told["memory"]["agent_resident"].as_u64().unwrap();
        assert!((1_000_000..AGENT_BUDGET).contains(&resident), "{name}: {resident} bytes");
        let maps = told["memory"]["maps"].as_array().unwrap();
        let sum: u64 = maps.iter().map(|m| m["memory_bytes"].as_u64().unwrap()).sum();
        assert_eq!((maps.len(), Some(sum)), (27, told["memory"]["maps_total"].as_u64()));
        assert!(sum > 1_000_000, "{name}: the kernel says {sum} bytes");
        assert!(told["watches"].as_array().unwrap().iter().all(|w| w["synced"] == true), "{told}");
    }
    let table = text(&malla(&["status", "--lab", &lab.name, "-v"]));
    for part in ["control-plane", "conntrack", "lru_hash", "in sync", "KERNEL MEMORY", "adopted"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    let yaml = text(&malla(&["status", "--lab", &lab.name, "-o", "yaml"]));
    assert!(yaml.contains("state: ok"), "{yaml}");

    // An agent that does not answer is a degraded cluster for a script.
    let socket = lab.folder().join("nowhere.sock");
    let away = malla(&["status", "--socket", socket.to_str().unwrap(), "-o", "json"]);
    assert_eq!((code(&away), json(&away)["state"].as_str()), (3, Some("degraded")));

    maps_are_read_while_an_agent_stands_still(&lab);
}

/// Stopped, it can't help: what is told comes from the pins.
fn maps_are_read_while_an_agent_stands_still(lab: &Lab) {
    let status = json(&malla(&["status", "--lab", &lab.name, "--node", "worker-1", "-o", "json"]));
    let pid = status["nodes"][0]["status"]["pid"].as_u64().unwrap().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    signal("-STOP");
    let mut seen = Vec::new();
    for what in ["conntrack", "services", "endpoints", "ipcache", "config", "stats"] {
        let arguments = ["bpf", what, "--lab", &lab.name, "--node", "worker-1"];
        let table = malla(&arguments);
        let listed = malla(&[&arguments[..], &["-o", "json"]].concat());
        seen.push((what, code(&table), text(&table), json(&listed)));
    }
    signal("-CONT");
    for (what, code, table, listed) in &seen {
        assert_eq!(*code, 0, "{what}: {table}");
        let entries = listed.as_array().unwrap();
        assert!(entries.iter().all(|e| e["node"] == "worker-1"), "{what}: {listed}");
        assert!(*what == "conntrack" || !entries.is_empty(), "{what} is empty");
    }
    let of = |wanted: &str| seen.iter().find(|(what, ..)| *what == wanted).map(|(.., listed)| listed.clone()).unwrap();
    assert!(of("services").as_array().unwrap().iter().any(|f| f["address"] == "10.96.0.1" && f["port"] == 443));
    let kinds: BTreeSet<String> =
        of("ipcache").as_array().unwrap().iter().map(|r| r["kind"].as_str().unwrap().to_owned()).collect();
    for kind in ["local-pods", "remote-node", "remote-pods", "services", "world"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    assert_eq!(of("config")[0]["routing"], "vxlan");
    assert!(of("endpoints").as_array().unwrap().iter().all(|e| e["kind"] == "host"), "no Pod runs yet");
}

#[test]
fn a_flow_and_a_drop_are_told_with_names() {
    let lab = Lab::up(&[]);
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/spink");
    for file in ["deployment.yaml", "service-nodeport.yaml"] {
        lab.kubectl(&["apply", "-f", examples.join(file).to_str().unwrap()]);
    }
    lab.kubectl(&["rollout", "status", "deployment/spink", "--timeout=60s"]);

    let listening = monitor(&lab, "worker-1", &["--type", "flow", "--to", "default/spink"]);
    let flow = event(listening, || {
        in_namespace(&lab, "fabric", &["curl", "-s", "-m", "2", "http://172.18.0.3:30080/"]);
    });
    assert_eq!((flow["verdict"].as_str(), flow["node"].as_str()), (Some("FORWARDED"), Some("worker-1")), "{flow}");
    assert_eq!(
        (flow["service"]["name"]["name"].as_str(), flow["service"]["port"].as_u64()),
        (Some("spink"), Some(30080))
    );
    let pod = flow["destination"]["pod"]["name"].as_str().unwrap();
    assert!(pod.starts_with("spink-"), "{flow}");
    assert_eq!(flow["tcp_flags"], serde_json::json!(["SYN"]));

    // Nobody has this address.
    let listening = monitor(&lab, "worker-2", &["--type", "drop", "--to", "10.244.2.250"]);
    let drop = event(listening, || {
        in_namespace(&lab, "worker-1", &["ping", "-c", "1", "-W", "1", "10.244.2.250"]);
    });
    assert_eq!(drop["drop_reason"], "NO_MATCHING_LOCAL_CONTAINER_FOUND", "{drop}");
    assert_eq!(drop["protocol"], "ICMPv4");

    // Single packets, only while somebody asks for them.
    let listening = monitor(&lab, "worker-1", &["--type", "trace"]);
    let trace = event(listening, || {
        in_namespace(&lab, "fabric", &["curl", "-s", "-m", "2", "http://172.18.0.3:30080/"]);
    });
    assert_eq!(trace["verdict"], "TRACED");
    until("tracing is off again", || {
        let settings = json(&malla(&["bpf", "config", "--lab", &lab.name, "--node", "worker-1", "-o", "json"]));
        settings[0]["observation"] == "flows"
    });
}

/// Nobody listened when it happened.
#[test]
fn flows_are_asked_for_afterwards_with_hubbles_flags() {
    let lab = Lab::up(&[]);
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/spink");
    for file in ["deployment.yaml", "service-nodeport.yaml"] {
        lab.kubectl(&["apply", "-f", examples.join(file).to_str().unwrap()]);
    }
    lab.kubectl(&["rollout", "status", "deployment/spink", "--timeout=60s"]);
    let observe = |arguments: &[&str]| malla(&[&["observe", "--lab", &lab.name], arguments].concat());

    let mut told = String::new();
    until("a flow to the Service", || {
        in_namespace(&lab, "fabric", &["curl", "-s", "-m", "2", "http://172.18.0.3:30080/"]);
        let asked = [
            "--to-service",
            "default/spink",
            "--verdict",
            "forwarded",
            "--protocol",
            "tcp",
            "--last",
            "1",
            "-o",
            "json",
        ];
        told = text(&observe(&asked));
        !told.is_empty()
    });
    let answer: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    let flow = &answer["flow"];
    assert_eq!(flow["destination_service"], serde_json::json!({"name": "spink", "namespace": "default"}), "{flow}");
    assert_eq!(
        (&flow["verdict"], &flow["Type"], &flow["emitter"]["name"]),
        (&"FORWARDED".into(), &"L3_L4".into(), &"malla".into())
    );
    assert_eq!(answer["node_name"], flow["node_name"]);
    until("a flow to a Pod with its labels", || {
        in_namespace(&lab, "fabric", &["curl", "-s", "-m", "2", "http://172.18.0.3:30080/"]);
        let asked = ["--to-pod", "default/spink-", "--to-label", "app=spink", "--node-name", "worker-*"];
        told = text(&observe(&asked));
        told.lines().any(|line| line.contains("-> default/spink") && line.contains(" FORWARDED (TCP"))
    });

    // Nobody has this address, and the next one was never asked for.
    until("the drop", || {
        in_namespace(&lab, "worker-1", &["ping", "-c", "1", "-W", "1", "10.244.2.250"]);
        told = text(&observe(&["--node", "worker-2", "--verdict", "dropped", "--to-ip", "10.244.2.250"]));
        told.contains("No matching local container found DROPPED (ICMPv4 EchoRequest)")
    });
    assert_eq!(text(&observe(&["--to-ip", "10.244.2.251"])), "");
    let rest =
        text(&observe(&["--node", "worker-2", "--all", "--not", "--verdict", "dropped", "--to-ip", "10.244.2.250"]));
    assert!(!rest.contains("DROPPED"), "{rest}");

    let cel =
        "_flow.verdict == Verdict.DROPPED && _flow.IP.destination.startsWith('10.244.2.25') && has(_flow.l4.ICMPv4)";
    let told = text(&observe(&["--node", "worker-2", "--cel-expression", cel]));
    assert!(
        told.lines().count() > 0 && told.lines().all(|line| line.contains(" DROPPED (ICMPv4 EchoRequest)")),
        "{told}"
    );
    let refused = observe(&["--cel-expression", "_flow.verdikt == 2"]);
    assert_eq!(code(&refused), 1);
    let place = "whitelist[0].experimental.cel_expression[0]";
    assert!(text(&refused).contains(place) && text(&refused).contains("no field verdikt"), "{}", text(&refused));

    let refused = observe(&["--from-ip", "300.0.0.1"]);
    assert_eq!(code(&refused), 1);
    assert!(text(&refused).contains("whitelist[0].source_ip"), "{}", text(&refused));
    use std::os::unix::fs::PermissionsExt;
    let socket = lab.folder().join("nodes/worker-1/hubble.sock");
    assert_eq!(std::fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);

    flows_go_into_a_file_and_come_back(&lab);
    a_server_is_named_as_hubble_names_it(&lab);
    nodes_and_namespaces_are_listed(&lab);
}

/// With its filters and its output; and nodes send no more of a flow than is asked for.
fn flows_go_into_a_file_and_come_back(lab: &Lab) {
    let observe =
        |arguments: &[&str]| malla(&[&["observe", "--lab", &lab.name, "--node", "worker-2"], arguments].concat());
    let (told, file) = (observe(&["--all", "-o", "jsonpb"]), lab.folder().join("flows.json"));
    std::fs::write(&file, &told.stdout).unwrap();
    let read = |arguments: &[&str]| observe(&[&["--input-file", file.to_str().unwrap()], arguments].concat());
    let lines = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(lines(&read(&["-o", "jsonpb"])), lines(&told));
    let dropped = lines(&read(&["--verdict", "dropped", "--to-ip", "10.244.2.250", "--time-format", "RFC3339Nano"]));
    assert!(dropped.lines().count() > 0 && dropped.lines().all(|line| line.contains(" DROPPED (ICMPv4 EchoRequest)")));
    assert_eq!(lines(&read(&["--to-ip", "10.244.2.251"])), "");
    let last = ["--verdict", "dropped", "--to-ip", "10.244.2.250", "--last", "1", "--time-format", "RFC3339Nano"];
    assert_eq!(lines(&read(&last)).lines().last(), dropped.lines().last());
    std::fs::write(&file, [&told.stdout[..], b"no JSON\n"].concat()).unwrap();
    let refused = read(&["-o", "jsonpb"]);
    let place = format!("flows.json: line {}:", lines(&told).lines().count() + 1);
    assert!(code(&refused) == 1 && text(&refused).contains(&place), "{}", text(&refused));

    let masked = lines(&observe(&["--all", "-o", "json", "--field-mask", "IP.destination,verdict"]));
    let flows: Vec<Value> =
        masked.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["flow"].clone()).collect();
    assert!(flows.iter().any(|flow| flow["IP"]["destination"] == "10.244.2.250" && flow["verdict"] == "DROPPED"));
    for flow in flows.iter().filter_map(Value::as_object) {
        assert!(flow.keys().all(|key| key == "IP" || key == "verdict"), "{flow:?}");
        assert!(flow.get("IP").is_none_or(|ip| ip.get("source").is_none()), "{flow:?}");
    }
    let compact = ["--all", "--verdict", "dropped", "--to-ip", "10.244.2.250"];
    let part = lines(&observe(&[&compact[..], &["--use-default-field-masks"]].concat()));
    assert!(
        part.lines().count() > 0 && part.lines().all(|line| line.contains(" DROPPED (ICMPv4 EchoRequest)")),
        "{part}"
    );
    let refused = observe(&["--field-mask", "verdict"]);
    assert!(code(&refused) == 1 && text(&refused).contains("--output jsonpb"), "{}", text(&refused));

    let raw = observe(&["--print-raw-filters", "--to-pod", "default/spink", "--not", "--to-port", "53"]);
    assert_eq!(
        lines(&raw),
        "allowlist:\n    - '{\"destination_pod\":[\"default/spink\"]}'\ndenylist:\n    - '{\"destination_port\":[\"53\"]}'\n"
    );
}

/// A node, over the network: who asks and whom it believes is in files.
fn a_server_is_named_as_hubble_names_it(lab: &Lab) {
    let file = |name: &str| lab.folder().join("pki/hubble-relay").join(name).to_str().unwrap().to_owned();
    let (own, key, authority) = (file("tls.crt"), file("tls.key"), file("ca.crt"));
    let binary = malla_path();
    let ask = |arguments: &[&str]| {
        let command = [binary.to_str().unwrap(), "observe", "--server", "172.18.0.3:4244", "--tls", "--last", "1"];
        in_namespace(lab, "worker-2", &[&command, arguments].concat())
    };
    let mine = ["--tls-client-cert-file", &own, "--tls-client-key-file", &key];
    let believed = ["--tls-ca-cert-files", &authority];
    let name = ["--tls-server-name", "worker-1.default.hubble-grpc.cilium.io"];
    for answered in
        [[&mine[..], &believed, &name].concat(), [&mine[..], &["--tls-allow-insecure", "--timeout", "4s"]].concat()]
    {
        let output = ask(&answered);
        assert!(code(&output) == 0 && !output.stdout.is_empty(), "{answered:?}: {}", text(&output));
    }
    let nobody = [&believed[..], &name].concat();
    let other = [&mine[..], &believed, &["--tls-server-name", "kubernetes"]].concat();
    let of_the_machine = [&mine[..], &name].concat();
    let half = [&mine[..2], &believed, &name].concat();
    for refused in [nobody, other, of_the_machine, half] {
        let output = ask(&refused);
        assert_eq!((code(&output), output.stdout.as_slice()), (1, &b""[..]), "{refused:?}: {}", text(&output));
    }
    let elsewhere = malla(&["observe", "-P"]);
    assert!(code(&elsewhere) == 2 && text(&elsewhere).contains("--server"), "{}", text(&elsewhere));
}

fn nodes_and_namespaces_are_listed(lab: &Lab) {
    let list = |what: &str, output: &str| malla(&["list", what, "--lab", &lab.name, "-o", output]);
    let nodes = json(&list("nodes", "json"));
    let names: Vec<&str> = nodes.as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert_eq!(names, NODES);
    assert!(nodes.as_array().unwrap().iter().all(|node| node["state"] == "NODE_CONNECTED"), "{nodes}");
    let table = text(&list("nodes", "wide"));
    assert!(table.starts_with("NAME  ") && table.contains("worker-1        Connected   "), "{table}");
    let namespaces = text(&list("namespaces", "table"));
    assert!(namespaces.lines().any(|line| line == "default"), "{namespaces}");
    let events = malla(&["observe", "agent-events", "--lab", &lab.name, "--all", "-o", "json"]);
    assert_eq!(code(&events), 0, "{}", text(&events));
    let told = String::from_utf8_lossy(&events.stdout);
    for node in NODES {
        let started = |line: &str| line.contains("AGENT_STARTED") && line.contains(node);
        assert!(told.lines().any(started), "{node}: {told}");
    }
}

#[test]
fn scripts_complete_and_mistakes_end_with_their_codes() {
    for (shell, part) in [("bash", "complete -F _malla"), ("zsh", "#compdef malla"), ("fish", "complete -c malla")] {
        let output = malla(&["completion", shell]);
        assert!(code(&output) == 0 && text(&output).contains(part), "{shell}");
    }
    assert_eq!(code(&malla(&["completion", "csh"])), 2);
    assert_eq!(code(&malla(&["status", "--nonsense"])), 2);
    let nowhere = malla(&["status", "--lab", "no-such-lab"]);
    assert_eq!(code(&nowhere), 1);
    assert!(text(&nowhere).contains("malla lab up"), "{}", text(&nowhere));
    assert_eq!(code(&malla(&["bpf", "services", "--bpf-dir", "/nonexistent"])), 1);
    for command in ["status", "monitor", "observe", "list", "trace", "bpf", "completion"] {
        let help = text(&malla(&[command, "--help"]));
        assert!(help.contains("Examples:"), "{command}: {help}");
    }
}
