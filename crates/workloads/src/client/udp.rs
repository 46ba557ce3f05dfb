//! Datagrams: send, expect the same payload back (or ask `whoami`).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use tokio::net::{UdpSocket, lookup_host};

use super::{
    arguments::UdpArgs,
    report::{self, Report, Success},
};

/// Makes the exchanges.
pub async fn run(args: &UdpArgs) -> anyhow::Result<Report> {
    let address = lookup_host(&args.address)
        .await
        .with_context(|| format!("look up {}", args.address))?
        .next()
        .with_context(|| format!("{} has no address", args.address))?;
    let payload = if args.whoami {
        b"whoami".to_vec()
    } else {
        (0..args.size).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect()
    };
    let (whoami, keep) = (args.whoami, args.keep);
    Ok(report::run(
        &args.load,
        || None,
        move |kept| {
            let payload = payload.clone();
            async move {
                match exchange(address, &payload, whoami, kept).await {
                    Ok((socket, success)) => (Some(keep.then_some(socket)), Ok(success)),
                    Err(error) => (None, Err(error)),
                }
            }
        },
    )
    .await)
}

async fn exchange(
    address: SocketAddr,
    payload: &[u8],
    whoami: bool,
    kept: Option<UdpSocket>,
) -> Result<(UdpSocket, Success), String> {
    let socket = match kept {
        Some(socket) => socket,
        None => open(address).await.map_err(|error| format!("open: {}", error.kind()))?,
    };
    socket.send(payload).await.map_err(|error| format!("send: {}", error.kind()))?;
    let mut answer = vec![0u8; 65_535];
    let length = socket.recv(&mut answer).await.map_err(|error| format!("receive: {}", error.kind()))?;
    let answer = &answer[..length];
    let mut success = Success { bytes: length as u64, answered_by: Some(address.to_string()), ..Success::default() };
    if whoami {
        let about: serde_json::Value = serde_json::from_slice(answer).map_err(|_| "whoami was not answered in JSON")?;
        let field = |name: &str| about.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        success.answered_by = field("pod");
        success.seen_as = field("peer");
        success.answer = Some(about.to_string());
    } else if answer != payload {
        return Err("another payload came back".into());
    }
    Ok((socket, success))
}

/// A connected socket: it takes answers only from where it sent to, and learns of ICMP errors.
async fn open(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await?,
    };
    socket.connect(address).await?;
    Ok(socket)
}
