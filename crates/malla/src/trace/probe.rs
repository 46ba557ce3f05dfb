//! A connection or a datagram of our own, from inside of a Pod: its port is known before, so that nothing of it is missed.

use super::follow::follow;
use super::journey::Gathered;
use crate::agents::{Agent, Selection};
use crate::policy::cluster;
use agent::events::End;
use agent::identities::EndpointView;
use anyhow::{Context, bail};
use model::ObjectName;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::process::{ExitCode, Stdio};
use std::str::FromStr;
use std::time::Duration;
use tokio::net::{TcpSocket, UdpSocket};
use tokio::process::Command;

/// Whom to ask, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub address: SocketAddr,
    /// A datagram rather than a connection.
    pub udp: bool,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, udp) = transport(text);
        Ok(Self { address: address.parse().map_err(|_| format!("{address:?} is no address with a port"))?, udp })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, if self.udp { "udp" } else { "tcp" })
    }
}

/// Asks the Service from the Pod and follows that.
///
/// # Errors
/// When there is no such Pod or Service, or a node can't follow.
pub async fn run(selection: &Selection, from: &str, to: &str, data: Option<&str>) -> anyhow::Result<Gathered> {
    let agents = selection.agents()?;
    let pod = name(from);
    let addresses = addresses_of(&agents, &pod).await?;
    let wanted = target(&agents, to, &addresses).await?;
    let same = |address: &&IpAddr| address.is_ipv4() == wanted.address.is_ipv4();
    let own = *addresses.iter().find(same).with_context(|| format!("Pod {pod} has no address of that family"))?;
    // Below what the kernel hands out by itself (ip_local_port_range), so that it is free with all probability.
    let port = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    let client = SocketAddr::new(own, port);
    let followed = follow(&agents, End { address: client, protocol: if wanted.udp { UDP } else { TCP } }).await?;

    let malla = std::env::current_exe().context("find this program")?;
    let mut exec = Command::new(&malla);
    exec.args(["lab", "exec", "--name", &selection.lab, "-n", &pod.namespace, &pod.name, "--"]);
    exec.arg(&malla).args(["trace", "--probe", &wanted.to_string(), "--source-port", &port.to_string()]);
    exec.args(data.iter().flat_map(|data| ["--data", data]));
    let output = exec.stdin(Stdio::null()).kill_on_drop(true).output();
    let output =
        tokio::time::timeout(LIMIT * 2, output).await.context("the probe did not end")?.context("enter the Pod")?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if said.is_empty() {
        bail!("the probe could not run in Pod {pod}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let failure = said.strip_prefix("failed: ").map(str::to_owned);
    Ok(Gathered {
        who: format!("Pod {pod}"),
        client: Some(client),
        wanted: Some(wanted.address),
        account: followed.end().await,
        outcome: Some(failure.map_or(Ok(()), Err)),
        ..Gathered::default()
    })
}

/// Inside of the Pod.
pub fn ask(target: Target, port: u16, data: Option<&str>) -> ExitCode {
    let any: IpAddr = if target.address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let own = SocketAddr::new(any, port);
    let usual: &[u8] = if target.address.port() == 53 { &DNS_QUESTION } else { b"malla trace\n" };
    let data = data.map_or(usual, str::as_bytes);
    let asking = async {
        let answer = async {
            if target.udp { datagram(target.address, own, data).await } else { connect(target.address, own).await }
        };
        tokio::time::timeout(LIMIT, answer).await.map_err(std::io::Error::from)?
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(asking)) {
        Ok(()) => println!("answered"),
        Err(error) => println!("failed: {error}"),
    }
    ExitCode::SUCCESS
}

async fn connect(target: SocketAddr, own: SocketAddr) -> std::io::Result<()> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(own)?;
    socket.connect(target).await.map(drop)
}

/// There and back; what the answer says is not looked at.
async fn datagram(target: SocketAddr, own: SocketAddr, data: &[u8]) -> std::io::Result<()> {
    let socket = UdpSocket::bind(own).await?;
    socket.connect(target).await?;
    socket.send(data).await?;
    socket.recv(&mut [0; 1]).await.map(drop)
}

fn name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    ObjectName::new(namespace, name)
}

async fn addresses_of(agents: &[Agent], pod: &ObjectName) -> anyhow::Result<Vec<IpAddr>> {
    let mut silent = Vec::new();
    for agent in agents {
        let all: Vec<EndpointView> = match agent.get("/v1/endpoints").await {
            Ok(body) => serde_json::from_slice(&body)?,
            Err(error) => {
                silent.push(format!("; node {} can't be asked: {error:#}", agent.name));
                continue;
            }
        };
        if let Some(found) = all.into_iter().find(|endpoint| endpoint.pod.as_ref() == Some(pod)) {
            return Ok(found.addresses);
        }
    }
    bail!("no node that was asked has a Pod {pod}{}", silent.concat())
}

/// What is asked, and whether by a datagram.
fn transport(text: &str) -> (&str, bool) {
    match text.rsplit_once('/') {
        Some((rest, "udp")) => (rest, true),
        Some((rest, "tcp")) => (rest, false),
        _ => (text, false),
    }
}

/// `address:port`, or `namespace/name:port` of a Service; `/udp` or `/tcp` behind it.
async fn target(agents: &[Agent], to: &str, own: &[IpAddr]) -> anyhow::Result<Target> {
    if let Ok(target) = to.parse() {
        return Ok(target);
    }
    let (to, udp) = transport(to);
    let (service, port) = to.rsplit_once(':').with_context(|| format!("{to:?} names no port"))?;
    let port = port.parse().with_context(|| format!("{port:?} is no port"))?;
    let service = name(service);
    let view = cluster::ask_service(agents, &service.namespace, &service.name).await?;
    let view = view.with_context(|| format!("there is no Service {service}"))?;
    let fits = |address: &&IpAddr| own.iter().any(|own| own.is_ipv4() == address.is_ipv4());
    let address = view.cluster_addresses.iter().find(fits);
    let address = *address.with_context(|| format!("Service {service} has no address for that Pod"))?;
    Ok(Target { address: SocketAddr::new(address, port), udp })
}

/// Nodes of a lab are one hop away: who has not answered by then never will.
const LIMIT: Duration = Duration::from_secs(5);
/// Who serves the root (RFC 1035 §4.1): every server says something to that. Number `ma`, recursion wanted, one question.
const DNS_QUESTION: [u8; 17] = [b'm', b'a', 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
const TCP: u8 = 6;
const UDP: u8 = 17;
