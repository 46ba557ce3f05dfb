//! Raw TCP exchanges: connect, send, expect the same bytes back.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, lookup_host},
};

use super::{
    arguments::TcpArgs,
    report::{self, Report, Success},
};

/// Makes the exchanges.
pub async fn run(args: &TcpArgs) -> anyhow::Result<Report> {
    let address = lookup_host(&args.address)
        .await
        .with_context(|| format!("look up {}", args.address))?
        .next()
        .with_context(|| format!("{} has no address", args.address))?;
    let (size, keep) = (args.size, args.keep);
    Ok(report::run(
        &args.load,
        || None,
        move |kept| async move {
            match exchange(address, size, keep, kept).await {
                Ok(stream) => (Some(stream), Ok(success(address, size))),
                Err(error) => (None, Err(error)),
            }
        },
    )
    .await)
}

fn success(address: SocketAddr, size: usize) -> Success {
    Success { answered_by: Some(address.to_string()), bytes: size as u64, ..Success::default() }
}

async fn exchange(
    address: SocketAddr,
    size: usize,
    keep: bool,
    kept: Option<TcpStream>,
) -> Result<Option<TcpStream>, String> {
    let mut stream = match kept {
        Some(stream) => stream,
        None => TcpStream::connect(address).await.map_err(|error| format!("connect: {}", error.kind()))?,
    };
    let _ = stream.set_nodelay(true);
    let payload: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
    let mut answer = vec![0u8; size];
    // Both at once: more bytes than the socket buffers hold would otherwise wait for each other.
    let (mut reader, mut writer) = stream.split();
    let (sent, received) = tokio::join!(writer.write_all(&payload), reader.read_exact(&mut answer));
    sent.map_err(|error| format!("send: {}", error.kind()))?;
    received.map_err(|error| format!("receive: {}", error.kind()))?;
    if answer != payload {
        return Err("other bytes came back".into());
    }
    if keep {
        return Ok(Some(stream));
    }
    stream.shutdown().await.map_err(|error| format!("close: {}", error.kind()))?;
    let rest = stream.read(&mut [0u8; 1]).await.map_err(|error| format!("close: {}", error.kind()))?;
    if rest == 0 { Ok(None) } else { Err("more bytes came back".into()) }
}
