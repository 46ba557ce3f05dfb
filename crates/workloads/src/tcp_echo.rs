//! Raw TCP: every byte comes back, and the end of the client's stream ends ours.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::lifecycle::{Lifecycle, Phase};

/// Echoes until the client half-closes, or until a leaving server finds the connection idle.
pub async fn serve(mut stream: TcpStream, lifecycle: Lifecycle) -> io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut buffer = vec![0u8; 64 * 1024];
    let mut recently_used = Some(lifecycle.busy());
    loop {
        let read = match timeout(RAW_QUIET, stream.read(&mut buffer)).await {
            Ok(read) => read?,
            // Idle: it no longer holds a leaving server back. The process's end closes it without a reset, because
            // nothing unread is left in it.
            Err(_) => {
                recently_used = None;
                if lifecycle.phase() < Phase::Leaving {
                    tokio::select! {
                        () = lifecycle.reached(Phase::Leaving) => continue,
                        ready = stream.readable() => ready?,
                    }
                }
                continue;
            }
        };
        if read == 0 {
            return stream.shutdown().await;
        }
        if recently_used.is_none() {
            recently_used = Some(lifecycle.busy());
        }
        stream.write_all(&buffer[..read]).await?;
    }
}

/// A raw connection counts as in use for this long after its last byte: there is no protocol to tell us more.
const RAW_QUIET: Duration = Duration::from_secs(1);
