//! Who translates services on a node: Malla's programs, or the kernel with rules of kube-proxy's shape.

use super::node::{CLIENT, NODE, Node, Pod, SERVER, TARGET_PORTS, WIRE};
use super::rules::{self, PORT, Services};
use anyhow::{Context, Result, bail};
use datapath::{Datapath, Profile, Settings};
use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::service::{BACKEND_LOCAL, FRONTEND_DSR, FRONTEND_NODE_PORT};
use datapath_layouts::{
    Address, AddressKey, Backend, BackendKey, Endpoint, Frontend, FrontendKey, NodeConfig, PrefixKey, Route, RouteKind,
    Routing, identity,
};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    Malla,
    Iptables,
    Nftables,
}

impl System {
    pub const ALL: [Self; 3] = [Self::Malla, Self::Iptables, Self::Nftables];

    pub fn name(self) -> &'static str {
        match self {
            Self::Malla => "malla",
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

/// What keeps the translation there.
pub enum Installed {
    Malla(Box<Datapath>),
    Rules,
}

/// Makes `count` services on the node; the calling thread is the node's.
pub fn install(system: System, node: &Node, services: Services) -> Result<Installed> {
    match system {
        System::Malla => Ok(Installed::Malla(Box::new(malla(node, services)?))),
        System::Iptables => feed("iptables-legacy-restore", &["-w"], &rules::iptables(services)),
        System::Nftables => feed("nft", &["-f", "-"], &rules::nftables(services)),
    }
}

fn feed(program: &str, arguments: &[&str], text: &str) -> Result<Installed> {
    // A child is in the namespaces of the thread that starts it.
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program} (Debian's packages iptables and nftables)"))?;
    child.stdin.take().context("a pipe")?.write_all(text.as_bytes()).with_context(|| format!("feed {program}"))?;
    let status = child.wait().with_context(|| format!("wait for {program}"))?;
    if !status.success() {
        bail!("{program} refused the rules ({status})");
    }
    Ok(Installed::Rules)
}

fn address(ip: Ipv4Addr) -> Address {
    Address::from_v4(ip.octets())
}

/// The node's settings.
pub fn config(network: u32) -> NodeConfig {
    NodeConfig {
        node_ipv4: address(NODE),
        tunnel_source: address(NODE),
        network_ifindex: network,
        routing: Routing::Native as u32,
        network_mtu: 1500,
        overlay_mtu: 1450,
        node_port_first: 30_000,
        node_port_last: 32_767,
        nat_port_first: 61_000,
        nat_port_last: 65_535,
        network_mac: [2, 0, 0, 0, 0, 1],
        ..NodeConfig::ZERO
    }
}

/// Malla's programs and tables on this thread's node.
pub fn malla(node: &Node, services: Services) -> Result<Datapath> {
    let datapath = Datapath::start(&Settings {
        bpf_dir: PathBuf::from("/mnt"),
        config: config(node.network),
        profile: Profile::Node,
    })?;
    let maps = datapath.maps();
    for (pod, ip, id) in [(&node.client, CLIENT, 10), (&node.server, SERVER, 11)] {
        maps.endpoints.insert(&AddressKey::local(address(ip)), &endpoint(pod, id))?;
    }
    // Whoever serves the other services is the server's interface too: a packet for it has somewhere to go.
    for number in 0..OTHER_SERVERS {
        maps.endpoints.insert(&AddressKey::local(address(other_server(number))), &endpoint(&node.server, 12))?;
    }
    let host = Endpoint { identity: identity::HOST, flags: FLAG_HOST, ..Endpoint::ZERO };
    maps.endpoints.insert(&AddressKey::local(address(NODE)), &host)?;
    let link = Route {
        identity: identity::WORLD,
        ifindex: node.network,
        mtu: 1500,
        kind: RouteKind::World as u8,
        ..Route::ZERO
    };
    for (prefix, length, route) in [
        ("10.244.0.0", 24, Route { kind: RouteKind::LocalPods as u8, ..Route::ZERO }),
        ("10.96.0.0", 12, Route { kind: RouteKind::Services as u8, ..Route::ZERO }),
        ("172.18.0.0", 16, link),
        // The rest of the world is behind a router, as on every node.
        ("0.0.0.0", 0, Route { next_hop: address(WIRE), ..link }),
    ] {
        let prefix: IpAddr = prefix.parse()?;
        maps.ipcache.insert(&PrefixKey::from_ip(prefix, length), &route)?;
    }
    fill(&datapath, services)?;
    datapath.attach_network("eth0", node.network)?;
    for pod in [&node.client, &node.server] {
        datapath.attach_pod(pod.interface, pod.index)?;
    }
    Ok(datapath)
}

fn endpoint(pod: &Pod, id: u16) -> Endpoint {
    Endpoint {
        ifindex: pod.index,
        id: id.into(),
        identity: 3000 + u32::from(id),
        mac: pod.mac,
        host_mac: pod.host_mac,
        mtu: 1500,
        ..Endpoint::ZERO
    }
}

/// Pods behind the services that nobody measures.
const OTHER_SERVERS: u32 = 200;

fn other_server(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(SERVER) + 1 + number % OTHER_SERVERS)
}

/// Every service has two backends of its own, as the planner would write them.
fn fill(datapath: &Datapath, services: Services) -> Result<()> {
    let (mut frontends, mut backends) = (Vec::new(), Vec::new());
    for number in 0..services.count {
        let service_id = number + 1;
        let frontend =
            Frontend { service_id, backends: 2, external_id: service_id, external_backends: 2, ..Frontend::ZERO };
        let key = FrontendKey { address: address(services.address(number)), port: PORT, protocol: 6, cluster: 0 };
        frontends.push((key, frontend));
        if let Some(port) = services.node_port(number) {
            let key = FrontendKey { address: Address::V4_ANY, port, protocol: 6, cluster: 0 };
            frontends.push((key, Frontend { flags: FRONTEND_NODE_PORT, ..frontend }));
        }
        for (slot, port) in (0..).zip(TARGET_PORTS) {
            let is_measured = number == services.measured();
            let target = if is_measured { SERVER } else { other_server(number) };
            let backend =
                Backend { address: address(target), id: number * 2 + slot + 1, port, flags: BACKEND_LOCAL, cluster: 0 };
            backends.push((BackendKey { service_id, slot }, backend));
        }
    }
    datapath.maps().backends.insert_all(&backends)?;
    datapath.maps().frontends.insert_all(&frontends)?;
    Ok(())
}

/// Gives the measured service so many backends: all of them the server Pod, on ports that count up.
pub fn backends_of_measured(datapath: &Datapath, services: Services, count: u32) -> Result<()> {
    let number = services.measured();
    let service_id = number + 1;
    for slot in 0..count {
        let port = TARGET_PORTS[0] + u16::try_from(slot)?;
        let id = services.count * 2 + slot + 1;
        let backend = Backend { address: address(SERVER), id, port, flags: BACKEND_LOCAL, cluster: 0 };
        datapath.maps().backends.insert(&BackendKey { service_id, slot }, &backend)?;
    }
    let key = FrontendKey { address: address(services.address(number)), port: PORT, protocol: 6, cluster: 0 };
    let frontend =
        Frontend { service_id, backends: count, external_id: service_id, external_backends: count, ..Frontend::ZERO };
    datapath.maps().frontends.insert(&key, &frontend)?;
    Ok(())
}

/// Rows for clients outside begin here.
const OUTSIDE: u32 = 1 << 24;

/// Gives every service a row for clients outside, of backends on another node and with direct server return: `count` for the
/// measured one, two for the others. What clients inside have stays.
pub fn backends_elsewhere(datapath: &Datapath, services: Services, count: u32) -> Result<()> {
    let maps = datapath.maps();
    let route = Route { tunnel: address(WIRE), kind: RouteKind::RemotePods as u8, ..Route::ZERO };
    maps.ipcache.insert(&PrefixKey::from_ip("10.245.0.0".parse()?, 16), &route)?;
    let (mut frontends, mut backends) = (Vec::new(), Vec::new());
    for number in 0..services.count {
        let key = FrontendKey { address: address(services.address(number)), port: PORT, protocol: 6, cluster: 0 };
        let inside = maps.frontends.get(&key)?.context("a frontend of every service")?;
        let external_backends = if number == services.measured() { count } else { 2 };
        let external_id = OUTSIDE + number + 1;
        frontends.push((key, Frontend { external_id, external_backends, flags: FRONTEND_DSR, ..inside }));
        for slot in 0..external_backends {
            let id = OUTSIDE + number * 2 + slot + 1;
            let at = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 245, 0, 1)) + (number + slot) % 60_000);
            let backend = Backend { address: address(at), id, port: TARGET_PORTS[0], flags: 0, cluster: 0 };
            backends.push((BackendKey { service_id: external_id, slot }, backend));
        }
    }
    maps.backends.insert_all(&backends)?;
    maps.frontends.insert_all(&frontends)?;
    Ok(())
}
