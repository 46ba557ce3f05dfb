//! The lab's processes: what each is started with. Pure.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use crate::{
    cgroup::LabCgroup,
    files::Folders,
    name::{CONTROL_PLANE, OUTSIDE},
    plan::DEVICE,
    state::LabState,
    subnets::outside_host,
};

/// One process that the supervisor starts and keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// What it is called in files and reports.
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// The network namespace it runs in, by name.
    pub namespace: String,
}

/// Port of the Kubernetes API at the control plane's addresses.
pub const API_PORT: u16 = 6443;

/// The embedded API, in the control plane's namespace.
#[must_use]
pub fn apiserver(state: &LabState, folders: &Folders, malla: &Path) -> Launch {
    let spec = &state.spec;
    let (v4, v6) = spec.subnets.node(0);
    let mut arguments = Arguments::of("apiserver");
    arguments
        .option("--data-dir", folders.api())
        .option("--pki-dir", folders.pki())
        .option("--listen", format!("0.0.0.0:{API_PORT}"))
        .option("--listen", format!("[::]:{API_PORT}"))
        .option("--advertise-address", v4.to_string())
        .option("--service-cidr", spec.subnets.services.comma_separated())
        .option("--node-port-range", NODE_PORTS);
    for name in
        [v4.to_string(), v6.to_string(), "127.0.0.1".into(), "::1".into(), "localhost".into(), CONTROL_PLANE.into()]
    {
        arguments.option("--san", name);
    }
    arguments
        .kubeconfig(&folders.kubeconfig(), format!("https://127.0.0.1:{}", state.api_port))
        .kubeconfig(&folders.node_kubeconfig(), format!("https://{v4}:{API_PORT}"));
    Launch {
        name: "apiserver".to_owned(),
        program: malla.to_owned(),
        arguments: arguments.0,
        namespace: spec.name.namespace(CONTROL_PLANE),
    }
}

/// A node's agent, in the node's namespace.
///
/// It is *not* put into the node's cgroup: what runs there goes through the node's own service table, and the agent
/// must reach the API whatever that table says.
#[must_use]
pub fn agent(state: &LabState, folders: &Folders, cgroup: &LabCgroup, malla: &Path, node: &str) -> Launch {
    let mut arguments = Arguments::of("agent");
    arguments
        .option("--node-name", node)
        .option("--kubeconfig", folders.node_kubeconfig())
        .option("--state-dir", folders.node(node))
        .option("--bpf-dir", folders.node_bpf(node))
        .option("--cgroup", cgroup.node(node))
        .option("--device", DEVICE)
        .option("--routing", state.spec.routing.as_str())
        .option("--service-cidr", state.spec.subnets.services.comma_separated())
        .option("--hubble-tls", folders.hubble_server())
        // All nodes of a lab share one machine, and `/run` is often its memory.
        .option("--flow-log-size-mb", "128");
    Launch {
        name: agent_name(node),
        program: malla.to_owned(),
        arguments: arguments.0,
        namespace: state.spec.name.namespace(node),
    }
}

/// What a node's agent is called in files and reports.
#[must_use]
pub fn agent_name(node: &str) -> String {
    format!("agent-{node}")
}

/// The cluster's DNS, at the control plane's own addresses; Service `kube-dns` leads there.
///
/// Like the agents it is in no node's cgroup, and it reaches the API by the node's address: no service table between.
#[must_use]
pub fn cluster_dns(state: &LabState, folders: &Folders, malla: &Path) -> Launch {
    let subnets = &state.spec.subnets;
    let (v4, v6) = subnets.node(0);
    let mut arguments = Arguments::of("dns");
    arguments
        .listen([v4.into(), v6.into()])
        .option("--kubeconfig", folders.node_kubeconfig())
        .option("--domain", CLUSTER_DOMAIN)
        .option("--server-address", comma_separated(subnets.nth_service(DNS_SERVICE)))
        .option("--reverse-range", format!("{},{}", subnets.services.comma_separated(), subnets.pods.comma_separated()))
        .option("--upstream", comma_separated(outside_host().map(at_dns_port)));
    Launch {
        name: CLUSTER_DNS.to_owned(),
        program: malla.to_owned(),
        arguments: arguments.0,
        namespace: state.spec.name.namespace(CONTROL_PLANE),
    }
}

/// The outside host's DNS: what the Internet's names are in a lab. Knows what is in a file, and denies all else.
#[must_use]
pub fn outside_dns(state: &LabState, folders: &Folders, malla: &Path) -> Launch {
    let mut arguments = Arguments::of("dns");
    arguments.listen(outside_host()).option("--zone-file", folders.outside_zone());
    Launch {
        name: OUTSIDE_DNS.to_owned(),
        program: malla.to_owned(),
        arguments: arguments.0,
        namespace: state.spec.name.namespace(OUTSIDE),
    }
}

/// The CNI configuration of a node, as a container runtime reads it (CNI 1.1, "Configuration format").
#[must_use]
pub fn cni_config(folders: &Folders, node: &str) -> serde_json::Value {
    serde_json::json!({
        "cniVersion": "1.1.0",
        "name": "malla",
        "plugins": [{
            "type": "malla-cni",
            "socket": folders.node(node).join("cni.sock"),
            "capabilities": { "portMappings": true },
        }],
    })
}

fn at_dns_port(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, DNS_PORT)
}

fn comma_separated<T: ToString>(all: [T; 2]) -> String {
    all.map(|one| one.to_string()).join(",")
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn of(subcommand: &str) -> Self {
        Self(vec![subcommand.into()])
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.push(name.into());
        self.0.push(value.into());
        self
    }

    fn listen(&mut self, addresses: [IpAddr; 2]) -> &mut Self {
        addresses
            .into_iter()
            .fold(self, |arguments, address| arguments.option("--listen", at_dns_port(address).to_string()))
    }

    fn kubeconfig(&mut self, file: &Path, url: String) -> &mut Self {
        let mut value = file.as_os_str().to_owned();
        value.push("=");
        value.push(url);
        self.option("--kubeconfig", value)
    }
}

/// What the DNS processes are called in files and reports.
pub const CLUSTER_DNS: &str = "cluster-dns";
pub const OUTSIDE_DNS: &str = "outside-dns";
pub const CLUSTER_DOMAIN: &str = "cluster.local";
pub const DNS_PORT: u16 = 53;
/// Which address of the Service ranges is the DNS' (kubeadm).
pub const DNS_SERVICE: u32 = 10;
/// Kubernetes' default.
const NODE_PORTS: &str = "30000-32767";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Requested;

    fn text(launch: &Launch) -> String {
        let arguments: Vec<_> = launch.arguments.iter().map(|a| a.to_string_lossy().into_owned()).collect();
        format!("{} in {}", arguments.join(" "), launch.namespace)
    }

    #[test]
    fn command_lines_are_what_the_other_side_expects() {
        let state = LabState::new(Requested::default().resolve().unwrap().0, 6443);
        let folders = Folders::of(&state.spec.name);
        let api = text(&apiserver(&state, &folders, Path::new("/bin/malla")));
        for part in [
            "apiserver --data-dir /run/malla/malla/api --pki-dir /run/malla/malla/pki --listen 0.0.0.0:6443 --listen [::]:6443",
            "--advertise-address 172.18.0.2 --service-cidr 10.96.0.0/12,fd00:10:96::/112 --node-port-range 30000-32767",
            "--kubeconfig /run/malla/malla/kubeconfig=https://127.0.0.1:6443",
            "--kubeconfig /run/malla/malla/kubeconfig.node=https://172.18.0.2:6443 in malla-control-plane",
        ] {
            assert!(api.contains(part), "{api}");
        }
        let dns = text(&cluster_dns(&state, &folders, Path::new("/bin/malla")));
        for part in [
            "dns --listen 172.18.0.2:53 --listen [fc00:f853:ccd:e793::2]:53 --kubeconfig /run/malla/malla/kubeconfig.node",
            "--domain cluster.local --server-address 10.96.0.10,fd00:10:96::a --reverse-range 10.96.0.0/12,fd00:10:96::/112,10.244.0.0/16,fd00:10:244::/56",
            "--upstream 203.0.113.2:53,[2001:db8:113::2]:53 in malla-control-plane",
        ] {
            assert!(dns.contains(part), "{dns}");
        }
        let outside = text(&outside_dns(&state, &folders, Path::new("/bin/malla")));
        assert_eq!(
            outside,
            "dns --listen 203.0.113.2:53 --listen [2001:db8:113::2]:53 --zone-file /run/malla/malla/outside.zone in malla-outside"
        );
        if let Ok(cgroup) = LabCgroup::of(&state.spec.name) {
            let agent = text(&agent(&state, &folders, &cgroup, Path::new("/bin/malla"), "worker-1"));
            assert!(agent.starts_with("agent --node-name worker-1 --kubeconfig /run/malla/malla/kubeconfig.node --state-dir /run/malla/malla/nodes/worker-1 --bpf-dir /run/malla/malla/bpf/worker-1 --cgroup "), "{agent}");
            assert!(
                agent.ends_with("/malla-malla/worker-1 --device eth0 --routing vxlan --service-cidr 10.96.0.0/12,fd00:10:96::/112 --hubble-tls /run/malla/malla/pki/hubble-server --flow-log-size-mb 128 in malla-worker-1"),
                "{agent}"
            );
        }
    }
}
