//! A connection of our own, from inside of a Pod: its port is known before it is opened, so that nothing of it is missed.

use super::follow::follow;
use super::journey::Gathered;
use crate::agents::{Agent, Selection};
use agent::events::End;
use agent::identities::EndpointView;
use agent::services::View;
use anyhow::{Context, bail};
use model::ObjectName;
use std::net::{IpAddr, SocketAddr};
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::process::Command;

/// Connects from the Pod to the Service and follows that.
///
/// # Errors
/// When there is no such Pod or Service, or a node can't follow.
pub async fn run(selection: &Selection, from: &str, to: &str) -> anyhow::Result<Gathered> {
    let agents = selection.agents()?;
    let pod = name(from);
    let addresses = addresses_of(&agents, &pod).await?;
    let wanted = target(&agents, to, &addresses).await?;
    let same = |address: &&IpAddr| address.is_ipv4() == wanted.is_ipv4();
    let own = *addresses.iter().find(same).with_context(|| format!("Pod {pod} has no address of that family"))?;
    // Below what the kernel hands out by itself (ip_local_port_range), so that it is free with all probability.
    let port = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    let client = SocketAddr::new(own, port);
    let followed = follow(&agents, End { address: client, protocol: TCP }).await?;

    let malla = std::env::current_exe().context("find this program")?;
    let mut exec = Command::new(&malla);
    exec.args(["lab", "exec", "--name", &selection.lab, "-n", &pod.namespace, &pod.name, "--"]);
    exec.arg(&malla).args(["trace", "--probe", &wanted.to_string(), "--source-port", &port.to_string()]);
    let output = exec.stdin(Stdio::null()).output();
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
        wanted: Some(wanted),
        forwarder: Vec::new(),
        account: followed.end().await,
        outcome: Some(failure.map_or(Ok(()), Err)),
    })
}

/// Inside of the Pod.
pub fn connect(target: SocketAddr, port: u16) -> ExitCode {
    let connecting = async {
        let (socket, own) = if target.is_ipv4() {
            (TcpSocket::new_v4()?, SocketAddr::from(([0, 0, 0, 0], port)))
        } else {
            (TcpSocket::new_v6()?, SocketAddr::from(([0_u16; 8], port)))
        };
        socket.bind(own)?;
        tokio::time::timeout(LIMIT, socket.connect(target)).await.map_err(std::io::Error::from)?
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(connecting)) {
        Ok(_) => println!("connected"),
        Err(error) => println!("failed: {error}"),
    }
    ExitCode::SUCCESS
}

fn name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    ObjectName::new(namespace, name)
}

async fn addresses_of(agents: &[Agent], pod: &ObjectName) -> anyhow::Result<Vec<IpAddr>> {
    for agent in agents {
        let all: Vec<EndpointView> = serde_json::from_slice(&agent.get("/v1/endpoints").await?)?;
        if let Some(found) = all.into_iter().find(|endpoint| endpoint.pod.as_ref() == Some(pod)) {
            return Ok(found.addresses);
        }
    }
    bail!("no node that was asked has a Pod {pod}")
}

/// `address:port`, or `namespace/name:port` of a Service.
async fn target(agents: &[Agent], to: &str, own: &[IpAddr]) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = to.parse() {
        return Ok(address);
    }
    let (service, port) = to.rsplit_once(':').with_context(|| format!("{to:?} names no port"))?;
    let port = port.parse().with_context(|| format!("{port:?} is no port"))?;
    let service = name(service);
    let agent = agents.first().context("no node to ask")?;
    let path = format!("/v1/services/{}/{}", service.namespace, service.name);
    let views: Vec<View> = serde_json::from_slice(&agent.get(&path).await?)?;
    let view = views.first().with_context(|| format!("there is no Service {service}"))?;
    let fits = |address: &&IpAddr| own.iter().any(|own| own.is_ipv4() == address.is_ipv4());
    let address = view.cluster_addresses.iter().find(fits);
    Ok(SocketAddr::new(*address.with_context(|| format!("Service {service} has no address for that Pod"))?, port))
}

/// Nodes of a lab are one hop away: who has not answered by then never will.
const LIMIT: Duration = Duration::from_secs(5);
const TCP: u8 = 6;
