//! `spink` goes from two replicas to five to one while everybody asks it: no request notices.

use std::{
    process::{Child, Output, Stdio},
    time::{Duration, Instant},
};

use crate::cluster::{Cluster, From, Running, report, text};

const DEPLOYMENT: &str = include_str!("../../../../examples/spink/deployment.yaml");
const SERVICE: &str = include_str!("../../../../examples/spink/service-nodeport.yaml");
/// How long everybody asks, in seconds.
const WHOLE: u64 = 60;

#[test]
fn two_five_one_under_load() {
    let cluster = Cluster::up(&[]);
    cluster.apply(DEPLOYMENT);
    cluster.apply(SERVICE);
    cluster.apply(CLIENT);
    cluster.kubectl(&["rollout", "status", "deployment/spink", "--timeout=60s"]);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    let cluster_ip = cluster.kubectl(&["get", "service", "spink", "-o", "jsonpath={.spec.clusterIP}"]);
    let node_port = "http://172.18.0.2:30080/".to_owned();
    // With its port: without one, wrk wants /etc/services to know what http is.
    let cluster_ip = format!("http://{cluster_ip}:80/");

    let started = Instant::now();
    let kept = [
        ("NodePort, kept connections", wrk(&cluster, From::Node("outside"), &node_port)),
        ("ClusterIP, kept connections", wrk(&cluster, From::Pod("client"), &cluster_ip)),
    ];
    let fresh = [
        ("NodePort, a connection per request", client(&cluster, From::Node("outside"), &node_port)),
        ("ClusterIP, a connection per request", client(&cluster, From::Pod("client"), &cluster_ip)),
    ];
    for (second, replicas) in [(10, 5), (35, 1)] {
        std::thread::sleep(Duration::from_secs(second).saturating_sub(started.elapsed()));
        cluster.kubectl(&["scale", "deployment", "spink", &format!("--replicas={replicas}")]);
    }
    for (name, running) in kept {
        let output = finish(running);
        let said = text(&output);
        // wrk speaks of errors only when there were some.
        assert!(output.status.success() && said.contains("requests in"), "{name}: {said}");
        assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{name}: {said}");
    }
    for (name, running) in fresh {
        let report = report(&finish(running)).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(report.requests > 1000, "{name}: only {} requests", report.requests);
        assert_eq!(report.errors, 0, "{name}: of {}: {:?}", report.requests, report.error_kinds);
        assert!(report.answered_by.len() >= 3, "{name}: only {:?} served", report.answered_by);
    }
    assert_eq!(cluster.kubectl(&["get", "deployment", "spink", "-o", "jsonpath={.status.replicas}"]), "1");
}

const CLIENT: &str = "
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: worker-2
  containers: [{name: client, image: malla.dev/client}]
";

fn wrk(cluster: &Cluster, from: From, url: &str) -> Running {
    let duration = format!("{WHOLE}s");
    let arguments = ["-t", "1", "-c", "8", "-d", &duration, "--timeout", "5s", url];
    spawn(cluster.command(from, "/usr/bin/wrk".as_ref(), &arguments))
}

fn client(cluster: &Cluster, from: From, url: &str) -> Running {
    let duration = format!("{WHOLE}s");
    let load = ["--duration", &duration, "--concurrency", "4", "--rate", "300", "--timeout", "5s"];
    spawn(cluster.client(from, &[&["http", url, "--close"], load.as_slice()].concat()))
}

fn spawn(mut command: std::process::Command) -> Running {
    Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

pub fn finish(mut running: Running) -> Output {
    use std::io::Read as _;
    let child: &mut Child = &mut running.0;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    Output { status: child.wait().unwrap(), stdout, stderr }
}
