//! The connection to the API.

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::path::Path;
use std::time::Duration;

/// An API that takes longer to accept a connection is away; the datapath goes on without it meanwhile.
const CONNECT: Duration = Duration::from_secs(3);

/// A client by a kubeconfig file, and the port to which it speaks. Nothing is sent yet, so this works while the API is
/// away.
///
/// # Errors
/// When the file can't be read or is no kubeconfig.
pub async fn connect(kubeconfig: &Path) -> anyhow::Result<(kube::Client, u16)> {
    let file = Kubeconfig::read_from(kubeconfig).with_context(|| format!("read {}", kubeconfig.display()))?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("use {}", kubeconfig.display()))?;
    config.connect_timeout = Some(CONNECT);
    // A proxy of the environment is for the machine's own programs, not for the way to the API.
    config.proxy_url = None;
    let url = &config.cluster_url;
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 });
    let client = kube::Client::try_from(config).context("make a client for the Kubernetes API")?;
    Ok((client, port))
}
