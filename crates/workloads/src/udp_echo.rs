//! UDP: every datagram comes back to its sender; `whoami` is answered with what the server knows about itself.

use std::io;

use tokio::net::UdpSocket;

use crate::{
    lifecycle::Lifecycle,
    pages::{Ends, about},
    whoami::{Identity, canonical},
};

/// Echoes until the process ends.
pub async fn serve(socket: UdpSocket, identity: &Identity, lifecycle: Lifecycle) -> io::Result<()> {
    let local = socket.local_addr()?;
    let mut buffer = vec![0u8; LARGEST_DATAGRAM];
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An ICMP error about an earlier answer: that client is gone, the others are not.
            Err(error) if is_about_a_peer(&error) => continue,
            Err(error) => return Err(error),
        };
        lifecycle.touch();
        let payload = &buffer[..length];
        let answer = if payload.trim_ascii() == b"whoami" {
            let ends = Ends { peer: canonical(peer), local: canonical(local) };
            format!("{}\n", about(identity, ends)).into_bytes()
        } else {
            payload.to_vec()
        };
        // A datagram that cannot be sent is a lost datagram; UDP's clients expect those.
        let _ = socket.send_to(&answer, peer).await;
    }
}

fn is_about_a_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::Interrupted
    ) || error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// The largest UDP payload over IPv4 is 65,507 bytes, over IPv6 65,527 (RFC 768, RFC 8200).
const LARGEST_DATAGRAM: usize = 65_535;
