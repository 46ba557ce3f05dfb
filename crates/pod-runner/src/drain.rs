//! When is a terminating Pod no longer anybody's backend? Every node's agent is asked what its own maps still say.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};

/// Returns when no agent's maps name any of `addresses` any more. An agent that cannot be asked counts as one that
/// still does: its maps live on without it. The caller bounds the wait.
pub async fn forgotten_everywhere(agents: &[PathBuf], addresses: &[IpAddr]) {
    let mut quiet = 0;
    while quiet < CONFIRMATIONS {
        let questions =
            agents.iter().flat_map(|agent| addresses.iter().map(move |address| references(agent, *address)));
        let answers = futures::future::join_all(questions).await;
        quiet = if answers.iter().all(|answer| *answer == Some(0)) { quiet + 1 } else { 0 };
        sleep(POLL).await;
    }
}

#[derive(Deserialize)]
struct Backends {
    references: u64,
}

async fn references(agent: &Path, address: IpAddr) -> Option<u64> {
    let ask = async {
        let stream = UnixStream::connect(agent).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = Request::get(format!("/v1/backends/{address}"))
            .header("host", "agent")
            .header("connection", "close")
            .body(Empty::<Bytes>::new())
            .ok()?;
        let response = sender.send_request(request).await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        let body = response.into_body().collect().await.ok()?.to_bytes();
        serde_json::from_slice::<Backends>(&body).ok().map(|backends| backends.references)
    };
    timeout(ANSWER, ask).await.ok().flatten()
}

const POLL: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(1);
/// Asked twice, so that an agent that was just about to write its maps is not believed too early.
const CONFIRMATIONS: u32 = 2;
