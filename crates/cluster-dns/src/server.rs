//! The sockets: a loop per UDP socket, one per TCP listener, and a task for whatever has to wait.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use crate::{
    forward::{self, Forwarder},
    message::{NoQuestion, Recursion, Request, Transport},
    resolve::{Reply, Resolved, Zones},
};

/// What answers.
#[derive(Debug)]
pub struct Server {
    pub zones: Zones,
    pub forwarder: Option<Forwarder>,
}

/// What a packet came to.
#[derive(Debug)]
pub enum Begun {
    Silence,
    Reply(Vec<u8>),
    Waits(Waiting),
}

/// A question whose answer has to come from elsewhere.
#[derive(Debug)]
pub struct Waiting {
    request: Request,
    wants: Wants,
    _slot: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Wants {
    /// The packet goes on as it is.
    Relay(Vec<u8>),
    /// What the last alias stands for.
    Target { aliases: Vec<Record>, target: Name },
}

impl Server {
    /// Answers what can be answered at once.
    pub fn begin(&self, bytes: &[u8], transport: Transport) -> Begun {
        let request = match Request::read(bytes, transport) {
            Ok(request) => request,
            Err(NoQuestion::Silence) => return Begun::Silence,
            Err(NoQuestion::Refusal(bytes)) => return Begun::Reply(bytes),
        };
        let wants = match self.zones.resolve(&request.question) {
            Resolved::Reply(reply) => return Begun::Reply(request.write(&reply, self.recursion())),
            Resolved::Outside => Wants::Relay(bytes.to_vec()),
            Resolved::Onward { aliases, target } => Wants::Target { aliases, target },
        };
        match (&self.forwarder, wants) {
            (Some(forwarder), wants) => match forwarder.slot() {
                Some(slot) => Begun::Waits(Waiting { request, wants, _slot: slot }),
                None => Begun::Reply(request.write(&Reply::only(ResponseCode::ServFail), self.recursion())),
            },
            (None, Wants::Relay(_)) => {
                Begun::Reply(request.write(&Reply::only(ResponseCode::Refused), self.recursion()))
            }
            // What we know of it is true, and all there is here.
            (None, Wants::Target { aliases, .. }) => {
                let reply = Reply { answers: aliases, authoritative: true, ..Reply::only(ResponseCode::NoError) };
                Begun::Reply(request.write(&reply, self.recursion()))
            }
        }
    }

    /// Waits for the answer from elsewhere; there is always one.
    pub async fn finish(&self, waiting: Waiting) -> Vec<u8> {
        let Waiting { request, wants, _slot } = waiting;
        let failure = || request.write(&Reply::only(ResponseCode::ServFail), self.recursion());
        let Some(forwarder) = &self.forwarder else { return failure() };
        match wants {
            Wants::Relay(bytes) => match forwarder.relay(&bytes, request.transport()).await {
                Ok(answer) if answer.len() <= request.limit() => answer,
                // An upstream that takes no notice of what the client can take.
                Ok(_) => request.write_truncated(self.recursion()),
                Err(error) => {
                    tracing::debug!(name = %request.question.name, error = chain(&error), "not answered");
                    failure()
                }
            },
            Wants::Target { aliases, target } => {
                let looked_up =
                    timeout(forward::PATIENCE, forwarder.lookup(&target, request.question.query_type)).await;
                let Ok(answer) = looked_up else { return failure() };
                let code = forward::code(&answer);
                let (found, authorities) =
                    answer.map(|message| (message.answers, message.authorities)).unwrap_or_default();
                if code == ResponseCode::ServFail {
                    return failure();
                }
                let answers = aliases.into_iter().chain(found).collect();
                request.write(&Reply { answers, authorities, ..Reply::only(code) }, self.recursion())
            }
        }
    }

    fn recursion(&self) -> Recursion {
        if self.forwarder.is_some() { Recursion::Available } else { Recursion::Unavailable }
    }
}

/// Serves one UDP socket for ever.
pub async fn serve_udp(server: Arc<Server>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut packet = vec![0; usize::from(u16::MAX)];
    loop {
        let (length, client) = match socket.recv_from(&mut packet).await {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "receive");
                sleep(AFTER_ERROR).await;
                continue;
            }
        };
        match server.begin(&packet[..length], Transport::Udp) {
            Begun::Silence => {}
            Begun::Reply(answer) => send(&socket, &answer, client).await,
            Begun::Waits(waiting) => {
                let (server, socket) = (Arc::clone(&server), Arc::clone(&socket));
                tokio::spawn(async move {
                    let answer = server.finish(waiting).await;
                    send(&socket, &answer, client).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    // A client that is gone, a port that cannot be: nobody is left to be told.
    if let Err(error) = socket.send_to(answer, client).await {
        tracing::debug!(%client, %error, "send");
    }
}

/// Serves one TCP listener for ever.
pub async fn serve_tcp(server: Arc<Server>, listener: TcpListener) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept");
                sleep(AFTER_ERROR).await;
                continue;
            }
        };
        // One too many is closed: its client tries again, and those that are here go on.
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = serve_connection(&server, stream).await {
                tracing::debug!(%error, "connection");
            }
        });
    }
}

/// One question after the other (RFC 7766 §6.2.1), until the client has no more or is silent for too long.
async fn serve_connection(server: &Server, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let read = async {
            let length = stream.read_u16().await?;
            let mut packet = vec![0; usize::from(length)];
            stream.read_exact(&mut packet).await?;
            Ok::<_, io::Error>(packet)
        };
        let packet = match timeout(IDLE, read).await {
            Ok(Ok(packet)) => packet,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        let answer = match server.begin(&packet, Transport::Tcp) {
            Begun::Silence => return Ok(()),
            Begun::Reply(answer) => answer,
            Begun::Waits(waiting) => server.finish(waiting).await,
        };
        let length = u16::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Out of descriptors, most likely: a moment to let some go.
const AFTER_ERROR: Duration = Duration::from_millis(20);
/// As CoreDNS' idle time-out.
const IDLE: Duration = Duration::from_secs(10);
const MOST_CONNECTIONS: usize = 512;
