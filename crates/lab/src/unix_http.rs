//! GET over a unix socket: how the agents tell about themselves.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};

/// The body of `GET path`, JSON.
pub async fn get_json(socket: &Path, path: &str) -> anyhow::Result<serde_json::Value> {
    timeout(LIMIT, get(socket, path)).await.context("no answer in time")?
}

async fn get(socket: &Path, path: &str) -> anyhow::Result<serde_json::Value> {
    let stream = UnixStream::connect(socket).await.context("connect")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header("host", "agent").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(anyhow::Error::from_boxed)?;
    connection.abort();
    if !status.is_success() {
        bail!("the agent answered {status}");
    }
    Ok(serde_json::from_slice(&body.to_bytes())?)
}

/// An agent that needs longer is as good as silent for a status.
const LIMIT: Duration = Duration::from_secs(2);
/// In bytes.
const LARGEST: usize = 16 << 20;
