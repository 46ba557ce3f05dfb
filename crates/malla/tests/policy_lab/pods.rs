//! The nine Pods.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::table::{Port, Protocol};

/// How many there are.
pub const PODS: usize = 9;
pub const NAMESPACES: [&str; 3] = ["x", "y", "z"];

/// One of them, by its place in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pod(pub usize);

const NAMES: [&str; PODS] = ["x/a", "x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c"];

impl Pod {
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PODS).map(Self)
    }

    /// `namespace/name`.
    pub fn name(self) -> &'static str {
        NAMES[self.0]
    }

    pub fn namespace(self) -> &'static str {
        &self.name()[..1]
    }

    pub fn own_name(self) -> &'static str {
        &self.name()[2..]
    }

    /// Pods of one name are on one node: so each pair of names is asked on one node and between two.
    pub fn node(self) -> &'static str {
        ["control-plane", "worker-1", "worker-2"][self.0 % 3]
    }

    /// The port that is called `web`: another one in z.
    pub fn web(self) -> Port {
        Port { protocol: Protocol::Tcp, number: if self.namespace() == "z" { 81 } else { 80 } }
    }

    /// Named ports beside `web`.
    pub const NAMED: [(&'static str, Port); 2] = [
        ("dns", Port { protocol: Protocol::Udp, number: 81 }),
        ("signals", Port { protocol: Protocol::Sctp, number: 82 }),
    ];

    /// Labels beside `pod`: those that the examples of the seeds name.
    pub fn labels(self) -> &'static [(&'static str, &'static str)] {
        match self.name() {
            "x/a" => &[("app", "banking-middleware"), ("env", "production")],
            "x/b" => &[("app", "shop"), ("env", "production")],
            "x/c" => &[("app", "frontend"), ("env", "production")],
            "y/a" => &[("app", "frontend")],
            "y/b" => &[("app", "database")],
            _ => &[],
        }
    }
}

/// Labels of a namespace beside `ns` and its name.
pub fn namespace_labels(namespace: &str) -> &'static [(&'static str, &'static str)] {
    if namespace == "y" { &[("kind", "tenant")] } else { &[] }
}

/// Namespaces and Pods, for kubectl, to whom a bare `y` is a truth.
pub fn manifests() -> String {
    let mut all = String::new();
    for namespace in NAMESPACES {
        let more: String = namespace_labels(namespace).iter().map(|(k, v)| format!(", {k}: {v}")).collect();
        all += &format!(
            "---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: '{namespace}', labels: {{ns: '{namespace}'{more}}}}}}}\n"
        );
    }
    for pod in Pod::all() {
        let more: String = pod.labels().iter().map(|(k, v)| format!(", {k}: {v}")).collect();
        let named = [("web", pod.web())].into_iter().chain(Pod::NAMED);
        let ports: Vec<String> = named
            .map(|(name, port)| {
                let protocol = port.protocol.name().to_uppercase();
                format!("{{name: {name}, containerPort: {}, protocol: {protocol}}}", port.number)
            })
            .collect();
        all += &format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: '{namespace}', labels: {{pod: {name}{more}}}}}, \
             spec: {{nodeName: {node}, terminationGracePeriodSeconds: 0, \
             containers: [{{name: c, image: malla.dev/client, ports: [{ports}]}}]}}}}\n",
            name = pod.own_name(),
            namespace = pod.namespace(),
            node = pod.node(),
            ports = ports.join(", "),
        );
    }
    all
}

/// Where the Pods are in a running lab.
#[derive(Clone)]
pub struct Place {
    /// IPv4, IPv6.
    pub addresses: [IpAddr; 2],
    /// Its network namespace.
    pub netns: PathBuf,
}

/// Makes the Pods and waits for them.
pub fn start(cluster: &Cluster) -> Vec<Place> {
    cluster.apply(&manifests());
    for namespace in NAMESPACES {
        cluster.kubectl(&["wait", "-n", namespace, "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    }
    Pod::all().map(|pod| place(cluster, pod.namespace(), pod.own_name())).collect()
}

pub fn place(cluster: &Cluster, namespace: &str, name: &str) -> Place {
    let said = cluster.kubectl(&[
        "get",
        "pod",
        "-n",
        namespace,
        name,
        "-o",
        "jsonpath={.metadata.uid} {.status.podIPs[*].ip}",
    ]);
    let mut words = said.split_whitespace();
    let uid = words.next().expect("a uid");
    let mut addresses: Vec<IpAddr> = words.map(|word| word.parse().unwrap()).collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    Place { addresses: addresses.try_into().expect("an address of each family"), netns: netns(cluster, uid) }
}

/// The runner's file (crates/pod-runner/src/files.rs), whichever node's folder it is in.
fn netns(cluster: &Cluster, uid: &str) -> PathBuf {
    let pods = cluster.folder().join("pods");
    let below = fs::read_dir(&pods).unwrap().map(|entry| entry.unwrap().path());
    let candidates = below.map(|folder| folder.join(uid).join("netns")).chain([pods.join(uid).join("netns")]);
    candidates.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no namespace of Pod {uid}"))
}
