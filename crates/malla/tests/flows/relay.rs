//! `malla relay` across the nodes of a lab, over the network with certificates on both sides.

use crate::cluster::{Cluster, From, Running, malla_path, text, wait_until};
use crate::{PATIENCE, flows, observe};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

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

/// Hubble's own command, where somebody has it, is the last judge.
fn by_hubble(server: &str) {
    let hubble = |words: &[&str]| Command::new("hubble").args(words).args(["--server", server]).output();
    let Ok(version) = Command::new("hubble").arg("version").output() else {
        println!("there is no `hubble` on the PATH: {server} is asked by `malla observe` alone");
        return;
    };
    println!("{server} is asked by {}", String::from_utf8_lossy(&version.stdout).trim());
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

    who_may_ask(cluster);
    one_stands_still(cluster, &socket);
    one_is_killed(cluster, &socket);
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

/// While somebody follows: the others go on, and it is heard again when it is back.
fn one_is_killed(cluster: &Cluster, socket: &str) {
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
    let _child = Running(child);
    let since = |position: usize, is: &dyn Fn(&Value) -> bool| {
        told.lock().unwrap().iter().skip(position).position(is).map(|at| position + at + 1)
    };
    let flow_of = |node: &'static str| move |answer: &Value| answer["flow"]["node_name"] == node;
    for node in ["worker-1", "worker-2"] {
        wait_until(&format!("a flow of {node}"), PATIENCE, || {
            traffic(cluster);
            since(0, &flow_of(node)).is_some()
        });
    }
    kill("-KILL", &agent(cluster, "worker-2"));
    let away = |answer: &Value| {
        answer["node_status"]["state_change"] == "NODE_UNAVAILABLE" && answer["node_name"] == "worker-2"
    };
    let mut at = 0;
    wait_until("worker-2 is missing", PATIENCE, || {
        at = since(0, &away).unwrap_or(0);
        at > 0
    });
    for node in ["worker-1", "worker-2"] {
        wait_until(&format!("a flow of {node} after it"), PATIENCE, || {
            traffic(cluster);
            since(at, &flow_of(node)).is_some()
        });
    }
}
