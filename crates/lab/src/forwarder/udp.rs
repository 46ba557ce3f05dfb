//! Carries UDP: each client gets a socket of its own inside the namespace, so that replies find their way back.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{net::UdpSocket, time::Instant};

use super::sockets::NamespaceSockets;

/// One client's conversation.
struct Conversation {
    server: UdpSocket,
    last_used: Mutex<Instant>,
}

type Conversations = Arc<Mutex<HashMap<SocketAddr, Arc<Conversation>>>>;

/// Carries datagrams for ever. Cancel by dropping; conversations end by themselves when idle.
pub async fn serve(listener: UdpSocket, target: SocketAddr, sockets: NamespaceSockets) {
    let listener = Arc::new(listener);
    let conversations = Conversations::default();
    let mut datagram = vec![0; LARGEST];
    loop {
        let (length, client) = match listener.recv_from(&mut datagram).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error of an earlier reply (the client is gone): nothing that concerns the next datagram.
                tracing::debug!(%target, %error, "receive");
                continue;
            }
        };
        let conversation = match conversation_with(client, target, &listener, &conversations, &sockets).await {
            Ok(conversation) => conversation,
            Err(error) => {
                tracing::warn!(%target, %error, "open a conversation");
                continue;
            }
        };
        *lock(&conversation.last_used) = Instant::now();
        // Refused there (ICMP port unreachable) is silence here, as UDP allows.
        let _ = conversation.server.send(&datagram[..length]).await;
    }
}

async fn conversation_with(
    client: SocketAddr,
    target: SocketAddr,
    listener: &Arc<UdpSocket>,
    conversations: &Conversations,
    sockets: &NamespaceSockets,
) -> io::Result<Arc<Conversation>> {
    if let Some(known) = lock(conversations).get(&client) {
        return Ok(Arc::clone(known));
    }
    let server = sockets.connect_udp(target).await?;
    let conversation = Arc::new(Conversation { server, last_used: Mutex::new(Instant::now()) });
    {
        let mut all = lock(conversations);
        if all.len() >= MOST_CONVERSATIONS {
            let longest_idle = all.iter().min_by_key(|(_, c)| *lock(&c.last_used)).map(|(client, _)| *client);
            if let Some(client) = longest_idle {
                all.remove(&client);
            }
        }
        all.insert(client, Arc::clone(&conversation));
    }
    tokio::spawn(replies(client, Arc::clone(&conversation), Arc::clone(listener), Arc::clone(conversations)));
    Ok(conversation)
}

/// Carries replies until the conversation has been idle for [`IDLE`].
async fn replies(
    client: SocketAddr,
    conversation: Arc<Conversation>,
    listener: Arc<UdpSocket>,
    conversations: Conversations,
) {
    let mut datagram = vec![0; LARGEST];
    loop {
        let idle_at = *lock(&conversation.last_used) + IDLE;
        match tokio::time::timeout_at(idle_at, conversation.server.recv(&mut datagram)).await {
            Ok(Ok(length)) => {
                *lock(&conversation.last_used) = Instant::now();
                let _ = listener.send_to(&datagram[..length], client).await; // the client may be gone
            }
            Ok(Err(_)) => {} // an ICMP error, told once; the server may come back
            Err(_) if *lock(&conversation.last_used) + IDLE <= Instant::now() => break,
            Err(_) => {} // the client spoke meanwhile
        }
        let evicted = !lock(&conversations).get(&client).is_some_and(|known| Arc::ptr_eq(known, &conversation));
        if evicted {
            return;
        }
    }
    let mut all = lock(&conversations);
    if all.get(&client).is_some_and(|known| Arc::ptr_eq(known, &conversation)) {
        all.remove(&client);
    }
}

/// Nothing here can leave these values half changed, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The largest UDP payload (RFC 768: 16 bits of length, header included).
const LARGEST: usize = 65_535;
/// As long as RFC 4787 §4.3 asks of a NAT for UDP.
const IDLE: Duration = Duration::from_secs(120);
/// A socket and a buffer each: a lab's machine bears that many, and who floods evicts only the idle.
const MOST_CONVERSATIONS: usize = 1024;
