//! Programs that other people wrote, as servers and as clients, by a Service, in both families, from a Pod with and without
//! the socket hook, from a process of a node, and from outside.

use std::process::Output;

use serde_json::Value;

use crate::{
    clients::Clients,
    cluster::{Cluster, at, text, unpacked, wait_until},
    model::{Client, NODE_ADDRESSES},
};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
/// What nginx gives, more than any buffer on the way holds.
const PAGE: usize = 3_000_000;
const PLACES: [Client; 4] = [Client::Socket(2), Client::Packet(2), Client::Process(0), Client::Outside];
const NODE_PORTS: [(&str, u16); 3] = [("nginx", 30_310), ("iperf3", 30_311), ("socat", 30_312)];

#[test]
fn curl_nginx_iperf3_dig_and_socat() {
    let cluster = Cluster::up(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    std::fs::write(folder.path().join("page"), vec![b'x'; PAGE]).unwrap();
    std::fs::write(folder.path().join("nginx.conf"), nginx_conf(path)).unwrap();
    cluster.apply(&format!("{}\n---\n{}", include_str!("../chaos/pods.yaml"), servers(path)));
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=90s"]);
    let clients = Clients::new(&cluster);
    for (name, port) in [("nginx", 80), ("socat", 7), ("iperf3", 5201)] {
        // A connection that asks nothing; iperf3 takes it for a client that left.
        let address = at(&cluster.cluster_ips(name)[1], port);
        wait_until(&format!("{name} that listens"), PATIENCE, || {
            let to = format!("TCP6:{address}");
            clients
                .tool(Client::Socket(2), "/usr/bin/socat", &["-u", "OPEN:/dev/null", &to])
                .output()
                .unwrap()
                .status
                .success()
        });
    }
    for (family, node) in NODE_ADDRESSES[0].iter().enumerate() {
        for client in PLACES {
            let by = |name: &str, port: u16| match client {
                Client::Outside => {
                    let node_port = NODE_PORTS.iter().find(|(of, _)| *of == name).unwrap().1;
                    ((*node).to_owned(), node_port)
                }
                _ => (cluster.cluster_ips(name)[family].clone(), port),
            };
            let run = |program: &str, arguments: &[&str]| clients.tool(client, program, arguments).output().unwrap();
            curl(&run, by("nginx", 80));
            iperf3(&run, by("iperf3", 5201));
            socat(&run, by("socat", 7));
        }
        let dns =
            cluster.kubectl(&["-n", "kube-system", "get", "service", "kube-dns", "-o", "jsonpath={.spec.clusterIPs}"]);
        let dns: Vec<String> = serde_json::from_str(&dns).unwrap();
        for client in &PLACES[..3] {
            let server = format!("@{}", dns.iter().find(|ip| ip.contains(':') == (family == 1)).unwrap());
            for transport in ["+notcp", "+tcp"] {
                let arguments = [&server, transport, "+short", "+time=3", "nginx.default.svc.cluster.local", "A"];
                let said = text(&clients.tool(*client, "/usr/bin/dig", &arguments).output().unwrap());
                assert_eq!(said.trim(), cluster.cluster_ips("nginx")[0], "dig {transport} of {client:?}");
            }
        }
    }
    // What must not be: with its only server gone, nobody answers, and curl is told so at once.
    cluster.kubectl(&["delete", "pod", "nginx"]);
    for (client, address) in [
        (Client::Socket(2), at(&cluster.cluster_ips("nginx")[0], 80)),
        (Client::Packet(2), at(&cluster.cluster_ips("nginx")[1], 80)),
        (Client::Outside, at(NODE_ADDRESSES[0][0], 30_310)),
    ] {
        wait_until(&format!("a refusal of {client:?} by {address}"), PATIENCE, || {
            let url = format!("http://{address}/page");
            let output =
                clients.tool(client, "/usr/bin/curl", &["-sSgv", "-m", "5", "--noproxy", "*", &url]).output().unwrap();
            // curl(1), EXIT CODES: failed to connect. Why, it only says when asked to say more.
            output.status.code() == Some(7) && text(&output).contains("refused")
        });
    }
}

type Run<'a> = &'a dyn Fn(&str, &[&str]) -> Output;

fn curl(run: Run<'_>, (address, port): (String, u16)) {
    let url = format!("http://{}/page", at(&address, port));
    let arguments =
        ["-sSg", "-m", "20", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", &url];
    let output = run("/usr/bin/curl", &arguments);
    assert_eq!(text(&output), format!("200 {PAGE}"), "curl {url}");
}

fn iperf3(run: Run<'_>, (address, port): (String, u16)) {
    let port = port.to_string();
    for direction in [&[][..], &["-R"]] {
        let arguments = ["-c", &address, "-p", &port, "-n", "4M", "-J", "--connect-timeout", "5000"];
        let output = run("/usr/bin/iperf3", &[&arguments, direction].concat());
        let said: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("iperf3: {}", text(&output)));
        // The receiver stops counting when the sender says that it has sent all, whatever is still on its way.
        let bytes = |side: &str| said["end"][side]["bytes"].as_u64().unwrap_or_default();
        let whole = bytes("sum_sent") >= 4_000_000 && bytes("sum_received") >= 1_000_000;
        assert!(whole, "iperf3 {address} {port} {direction:?}: {said}");
    }
}

/// A line comes back over TCP, and so does a datagram.
fn socat(run: Run<'_>, (address, port): (String, u16)) {
    let to = at(&address, port);
    let version = if address.contains(':') { 6 } else { 4 };
    for transport in ["TCP", "UDP"] {
        let script = format!("echo to-{transport}{version} | socat -t 3 -T 3 - {transport}{version}:{to}");
        let output = run("/bin/sh", &["-c", &script]);
        assert_eq!(text(&output), format!("to-{transport}{version}\n"), "{script}");
    }
}

fn nginx_conf(folder: &str) -> String {
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {folder}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\npid {folder}/pid;\nerror_log stderr;\nuser root;\nevents {{}}\nhttp {{\n  access_log off;\n{paths}  \
         server {{ listen [::]:8080 ipv6only=off; root {folder}; }}\n}}\n"
    )
}

/// A Pod and a Service for each server.
fn servers(folder: &str) -> String {
    let nginx = unpacked("usr/sbin/nginx");
    let nginx = nginx.to_str().unwrap();
    let echo =
        "socat TCP6-LISTEN:7007,ipv6only=0,fork,reuseaddr PIPE & exec socat UDP6-RECVFROM:7007,ipv6only=0,fork PIPE";
    [
        ("nginx", 8080, 80, format!("[{nginx:?}, -e, stderr, -p, {folder:?}, -c, {:?}]", format!("{folder}/nginx.conf"))),
        ("iperf3", 5201, 5201, "[iperf3, -s]".to_owned()),
        ("socat", 7007, 7, format!("[sh, -c, {echo:?}]")),
    ]
    .iter()
    .zip(NODE_PORTS)
    .map(|((name, target, port, command), (_, node_port))| {
        let both = *name == "socat";
        let udp = if both {
            format!("\n    - {{name: udp, protocol: UDP, port: {port}, targetPort: {target}, nodePort: {node_port}}}")
        } else {
            String::new()
        };
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  nodeName: worker-1\n  \
             containers:\n    - name: server\n      image: malla.dev/host\n      command: {command}\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: \
             {name}}}\nspec:\n  type: NodePort\n  ipFamilyPolicy: RequireDualStack\n  selector: {{app: {name}}}\n  ports:\n    \
             - {{name: tcp, port: {port}, targetPort: {target}, nodePort: {node_port}}}{udp}\n"
        )
    })
    .collect::<Vec<_>>()
    .join("---\n")
}
