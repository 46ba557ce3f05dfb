//! Everybody to everybody: source × target × protocol × family × routing mode, generated, with the client's address as
//! the server saw it, payloads larger than the path's MTU, and a large body compared by checksum.

use std::{
    fmt::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use crate::cluster::{Cluster, From, Running, at, malla_path, report, unpacked, wait_until};

const PODS: &str = include_str!("matrix.yaml");
const SERVICE_PORT: u16 = 80;
const NODE_PORT: u16 = 30081;
/// What the built-in echo server opens for HTTP and UDP alike.
const POD_PORT: u16 = 8080;
/// The same server, started on nodes and on the outside host.
const HOST_PORT: u16 = 18080;
/// More than any MTU on the way: it has to be fragmented, or segmented, and put together again.
const LARGE: &str = "9000";
/// Bytes of the body that is compared by checksum.
const BODY: usize = 5_000_000;
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// Who is asked, and as whom the client has to be seen.
struct Route {
    name: String,
    from: From,
    address: String,
    port: u16,
    seen_as: String,
    /// A service's address is nobody's: there is no host behind it to answer a ping.
    is_host: bool,
}

#[test]
fn over_vxlan() {
    everybody_reaches_everybody("vxlan");
}

#[test]
fn routed_natively() {
    everybody_reaches_everybody("native");
}

fn everybody_reaches_everybody(routing: &str) {
    let cluster = Cluster::up(&["--routing", routing]);
    cluster.apply(PODS);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    let _servers = ["worker-1", "worker-2", "outside"].map(|host| host_server(&cluster, host));
    let sum = checksum();

    let mut failures = String::new();
    let mut cells = 0;
    for route in routes(&cluster) {
        let mut check = |what: &str, result: Result<(), String>| {
            cells += 1;
            if let Err(why) = result {
                let _ = writeln!(failures, "{routing}: {} by {what}: {why}", route.name);
            }
        };
        check("TCP", tcp(&cluster, &route));
        check("TCP, large body", body(&cluster, &route, &sum));
        check("UDP", udp(&cluster, &route));
        check("UDP, 9,000 bytes", udp_large(&cluster, &route));
        if route.is_host {
            check("ICMP", ping(&cluster, &route, "56"));
            check("ICMP, 9,000 bytes", ping(&cluster, &route, LARGE));
        }
    }
    assert!(failures.is_empty(), "of {cells} cells these fail:\n{failures}");
    println!("{routing}: {cells} cells");
}

/// The rows of the matrix, for both families.
fn routes(cluster: &Cluster) -> Vec<Route> {
    let client = [cluster.pod_addresses("client-1"), cluster.pod_addresses("client-2")];
    let server = cluster.pod_addresses("server-1");
    let service = cluster.cluster_ips("server");
    let mut routes = Vec::new();
    for (f, family) in FAMILIES.iter().enumerate() {
        let node = |number: usize| [["172.18.0.2", "172.18.0.3", "172.18.0.4"], NODES_IPV6][f][number].to_owned();
        let outside = ["203.0.113.2", "2001:db8:113::2"][f].to_owned();
        let (one, two) = (client[0][f].clone(), client[1][f].clone());
        let mut row = |name: &str, from, address: &str, port, seen_as: &str, is_host| {
            let (name, address, seen_as) = (format!("{name}, {family}"), address.to_owned(), seen_as.to_owned());
            routes.push(Route { name, from, address, port, seen_as, is_host });
        };
        row("Pod to Pod, same node", From::Pod("client-1"), &server[f], POD_PORT, &one, true);
        row("Pod to Pod, other node", From::Pod("client-2"), &server[f], POD_PORT, &two, true);
        row("host to own Pod", From::Node("worker-1"), &server[f], POD_PORT, &node(1), true);
        row("host to other node's Pod", From::Node("worker-2"), &server[f], POD_PORT, &node(2), true);
        row("Pod to own host", From::Pod("client-1"), &node(1), HOST_PORT, &one, true);
        row("Pod to other host", From::Pod("client-2"), &node(1), HOST_PORT, &two, true);
        row("Pod to outside", From::Pod("client-1"), &outside, HOST_PORT, &node(1), true);
        row("Pod to ClusterIP, backend on its node", From::Pod("client-1"), &service[f], SERVICE_PORT, &one, false);
        row("Pod to ClusterIP, backend elsewhere", From::Pod("client-2"), &service[f], SERVICE_PORT, &two, false);
        row("host to ClusterIP", From::Node("control-plane"), &service[f], SERVICE_PORT, &node(0), false);
        for (number, name) in ["control-plane", "worker-1", "worker-2"].into_iter().enumerate() {
            let row_name = format!("outside to NodePort of {name}");
            row(&row_name, From::Node("outside"), &node(number), NODE_PORT, &outside, false);
            let row_name = format!("Pod to NodePort of {name}");
            row(&row_name, From::Pod("client-2"), &node(number), NODE_PORT, &two, false);
        }
    }
    routes
}

const NODES_IPV6: [&str; 3] = ["fc00:f853:ccd:e793::2", "fc00:f853:ccd:e793::3", "fc00:f853:ccd:e793::4"];

fn tcp(cluster: &Cluster, route: &Route) -> Result<(), String> {
    let url = format!("http://{}/", at(&route.address, route.port));
    seen(&cluster.ask(route.from, &["http", &url, "--close", "--count", "4", "--timeout", "3s"])?, route)
}

fn udp(cluster: &Cluster, route: &Route) -> Result<(), String> {
    let address = at(&route.address, route.port);
    seen(&cluster.ask(route.from, &["udp", &address, "--whoami", "--count", "4", "--timeout", "3s"])?, route)
}

/// A path with a smaller MTU in its middle is learned by losing a datagram (RFC 8201 §3), and nobody repeats UDP: the
/// second run has to be without any loss.
fn udp_large(cluster: &Cluster, route: &Route) -> Result<(), String> {
    let address = at(&route.address, route.port);
    let ask = || cluster.ask(route.from, &["udp", &address, "--size", LARGE, "--count", "2", "--timeout", "2s"]);
    if ask()?.errors == 0 {
        return Ok(());
    }
    let report = ask()?;
    if report.errors == 0 { Ok(()) } else { Err(format!("{:?}", report.error_kinds)) }
}

fn body(cluster: &Cluster, route: &Route, sum: &str) -> Result<(), String> {
    let url = format!("http://{}/sha256", at(&route.address, route.port));
    let report = cluster.ask(route.from, &["http", &url, "--body", &BODY.to_string(), "--show", "--timeout", "20s"])?;
    let answer = report.last_answer.unwrap_or_default();
    if answer.contains(sum) { Ok(()) } else { Err(format!("{answer:?} {:?}, expected {sum}", report.error_kinds)) }
}

fn ping(cluster: &Cluster, route: &Route, size: &str) -> Result<(), String> {
    let arguments = ["ping", "-c", "2", "-W", "2", "-s", size, &route.address];
    let output = cluster.command(route.from, &unpacked("bin/busybox"), &arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains(" 0% packet loss") { Ok(()) } else { Err(crate::cluster::text(&output).replace('\n', " / ")) }
}

/// No error, and every server saw this one client.
fn seen(report: &crate::cluster::Report, route: &Route) -> Result<(), String> {
    if report.errors > 0 || report.requests == 0 {
        return Err(format!("{} of {} failed: {:?}", report.errors, report.requests, report.error_kinds));
    }
    let others: Vec<&String> = report.seen_as.keys().filter(|address| **address != route.seen_as).collect();
    if !others.is_empty() || report.seen_as.is_empty() {
        return Err(format!("seen as {:?}, expected {}", report.seen_as, route.seen_as));
    }
    Ok(())
}

/// The echo server as a process of a host's own.
fn host_server(cluster: &Cluster, host: &'static str) -> Running {
    let ports = format!("{HOST_PORT}/HTTP,{HOST_PORT}/UDP");
    let mut server = cluster.command(From::Node(host), &malla_path(), &["workload", "echo", "--ports", &ports]);
    let server = Running(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let url = format!("http://127.0.0.1:{HOST_PORT}/healthz");
    wait_until(&format!("the server on {host}"), Duration::from_secs(10), || {
        let asked = cluster.client(From::Node(host), &["http", &url]).output().unwrap();
        report(&asked).is_ok_and(|report| report.errors == 0)
    });
    server
}

/// SHA-256 of what the client posts: the bytes 0, 1, … 250, 0, …, by another program than the one under test.
fn checksum() -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    let pattern: Vec<u8> = (0..=250u8).cycle().take(BODY).collect();
    std::fs::write(file.path(), pattern).unwrap();
    let output = Command::new("sha256sum").arg(file.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}
