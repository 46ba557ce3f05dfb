//! Carries TCP connections: bytes, half-closes and resets, in both directions.

use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use rustix::net::{Shutdown, shutdown};
use tokio::net::{TcpListener, TcpStream};

use super::{
    sockets::NamespaceSockets,
    tap::{Step as Told, Tap},
};

/// Accepts for ever. Cancel by dropping; connections that were accepted go on.
pub async fn serve(listener: TcpListener, target: SocketAddr, sockets: NamespaceSockets, tap: Tap) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let (sockets, tap) = (sockets.clone(), tap.clone());
                tokio::spawn(async move { carry(client, target, &sockets, &tap).await });
            }
            // Out of descriptors or memory: those who wait in the backlog are served when some are free again.
            Err(error) if !is_of_one_connection(&error) => {
                tracing::warn!(%target, %error, "accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Err(_) => {}
        }
    }
}

/// accept(2): these are errors of the connection that was to be accepted, the next may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

/// Carries one connection until both directions are closed or one end resets.
async fn carry(client: TcpStream, target: SocketAddr, sockets: &NamespaceSockets, tap: &Tap) {
    let Some(mut told) = tap.announce(&client, target, sockets).await else {
        if let Some(server) = connected(&client, target, sockets.connect_tcp(target)).await {
            both_ways(&client, &server).await;
        }
        return;
    };
    match connected(&client, target, told.connect()).await {
        Some(server) => {
            told.say(Told::Connected).await;
            both_ways(&client, &server).await;
            told.say(Told::Closed).await;
        }
        None => told.say(Told::Failed).await,
    }
}

/// The other half; without one, the client is reset.
async fn connected(
    client: &TcpStream,
    target: SocketAddr,
    connecting: impl Future<Output = io::Result<TcpStream>>,
) -> Option<TcpStream> {
    match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
        Ok(Ok(server)) => return Some(server),
        // Refused there is a reset here: the kernel has accepted the client already.
        Ok(Err(error)) => tracing::debug!(%target, %error, "connect"),
        Err(_) => tracing::debug!(%target, "connect: no answer"),
    }
    reset(client);
    None
}

async fn both_ways(client: &TcpStream, server: &TcpStream) {
    let _ = client.set_nodelay(true); // bytes wait for nobody; a failure only costs latency
    let _ = server.set_nodelay(true);
    if tokio::try_join!(one_way(client, server), one_way(server, client)).is_err() {
        reset(client);
        reset(server);
    }
}

/// Closing a socket with zero linger time sends RST (tcp(7), SO_LINGER).
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger(); // then it is closed by FIN, which is the second best
}

/// Carries bytes until `from` ends, and then ends that direction of `to`.
async fn one_way(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    loop {
        from.readable().await?;
        match step(from, to)? {
            Step::NothingYet | Step::Carried => {}
            Step::Left(bytes) => write_all(to, &bytes).await?,
            Step::End => {
                return match shutdown(to, Shutdown::Write) {
                    // It was reset meanwhile; the other direction learns why.
                    Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
                    Err(errno) => Err(errno.into()),
                };
            }
        }
    }
}

enum Step {
    NothingYet,
    Carried,
    /// What `to` did not take at once.
    Left(Vec<u8>),
    End,
}

/// One read and one write through the thread's buffer: an idle connection costs no buffer of its own.
fn step(from: &TcpStream, to: &TcpStream) -> io::Result<Step> {
    BUFFER.with_borrow_mut(|buffer| {
        let read = match from.try_read(buffer) {
            Ok(0) => return Ok(Step::End),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::NothingYet),
            Err(error) => return Err(error),
        };
        match to.try_write(&buffer[..read]) {
            Ok(written) if written == read => Ok(Step::Carried),
            Ok(written) => Ok(Step::Left(buffer[written..read].to_vec())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Step::Left(buffer[..read].to_vec())),
            Err(error) => Err(error),
        }
    })
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_SIZE]);
}

/// A loopback socket's usual burst; larger ones gained nothing.
const BUFFER_SIZE: usize = 128 * 1024;
/// Nodes are one hop away: who has not answered by then never will. A client would wait two minutes.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Long enough not to spin, short against a client's patience.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
