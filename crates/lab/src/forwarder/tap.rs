//! Telling `malla trace` of connections, before they begin: each waits until whoever listens has made ready to follow it.
//!
//! One unix socket in the lab's folder. The forwarder writes [`Said`] as lines of JSON; a line with `"waits":true` is to be
//! answered by any line. While nobody listens, a connection pays for one atomic read.

use std::{
    fs::Permissions,
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::sockets::NamespaceSockets;

/// One step of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The connection, counted since the forwarder's start.
    pub connection: u64,
    /// Microseconds since 1970-01-01 UTC.
    pub time_us: u64,
    pub step: Step,
    /// The client's end on the machine.
    pub client: SocketAddr,
    /// What it connected to.
    pub listen: SocketAddr,
    /// The end that the forwarder's own connection has in the fabric.
    pub from: SocketAddr,
    /// Where that leads.
    pub target: SocketAddr,
    /// Whether the connection waits for an answer to this line.
    pub waits: bool,
}

/// What happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The client was accepted; nothing has been sent into the fabric.
    Accepted,
    /// Whoever listens has made ready: it connects to the target now.
    Begun,
    /// The target has accepted too.
    Connected,
    /// The target has refused, or did not answer in time.
    Failed,
    /// Both directions have ended.
    Closed,
}

/// Who listens. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Tap(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    number: AtomicUsize,
    connections: AtomicU64,
    listeners: Mutex<Vec<mpsc::Sender<Call>>>,
}

#[derive(Debug)]
struct Call(Said, oneshot::Sender<()>);

/// Somebody who listens, until this is dropped.
#[derive(Debug)]
struct Listener {
    tap: Tap,
    calls: mpsc::Receiver<Call>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.calls.close();
        self.tap.0.number.fetch_sub(1, Relaxed);
        lock(&self.tap.0.listeners).retain(|sender| !sender.is_closed());
    }
}

/// A connection that somebody was told of.
#[derive(Debug)]
pub struct Told {
    tap: Tap,
    said: Said,
    /// Bound, and not connected yet.
    socket: Option<tokio::net::TcpSocket>,
}

impl Tap {
    /// Listens at the path, for root alone (mode 0600). A socket that an earlier forwarder left is replaced in one step.
    pub fn listen(path: &Path) -> io::Result<UnixListener> {
        let beside = path.with_extension("new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&beside)?;
        std::fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
        std::fs::rename(&beside, path)?;
        Ok(listener)
    }

    /// Serves whoever connects, for ever. Cancel by dropping: those who listen are let go then.
    pub async fn serve(self, listener: UnixListener) {
        let mut tells = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let tap = self.clone();
                        tells.spawn(async move { tap.tell(stream).await });
                    }
                    // Out of descriptors or memory, or the client's own: the next may be fine.
                    Err(error) => {
                        tracing::warn!(%error, "accept a listener of the forwarder's");
                        tokio::time::sleep(super::tcp::ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = tells.join_next() => {}
            }
        }
    }

    async fn tell(&self, stream: UnixStream) {
        let mut listener = self.listener();
        let (answers, mut lines) = stream.into_split();
        let mut answers = BufReader::new(answers).lines();
        // Its first line says that it is registered: whoever waits for it misses nothing.
        let mut alive = lines.write_all(b"\n").await.is_ok();
        while alive {
            tokio::select! {
                call = listener.calls.recv() => {
                    let Some(Call(said, answer)) = call else { break };
                    let Ok(mut line) = serde_json::to_vec(&said) else { break };
                    line.push(b'\n');
                    alive = lines.write_all(&line).await.is_ok();
                    if said.waits && alive {
                        alive = matches!(timeout(PATIENCE, answers.next_line()).await, Ok(Ok(Some(_))));
                    }
                    let _ = answer.send(()); // the connection may have gone
                }
                // Nobody speaks unasked: this is the end.
                _ = answers.next_line() => alive = false,
            }
        }
    }

    fn listener(&self) -> Listener {
        let (sender, calls) = mpsc::channel::<Call>(CALLS);
        lock(&self.0.listeners).push(sender);
        self.0.number.fetch_add(1, Relaxed);
        Listener { tap: self.clone(), calls }
    }

    /// Tells of a client that was accepted and waits until it may go on. `None`: nobody listens.
    pub async fn announce(&self, client: &TcpStream, target: SocketAddr, sockets: &NamespaceSockets) -> Option<Told> {
        if self.0.number.load(Relaxed) == 0 {
            return None;
        }
        // Which of its addresses the fabric would take: what a datagram's socket has after connecting.
        let own = sockets.connect_udp(target).await.and_then(|socket| socket.local_addr()).ok()?.ip();
        let socket = sockets.bind_tcp(SocketAddr::new(own, 0)).await.ok()?;
        let said = Said {
            connection: self.0.connections.fetch_add(1, Relaxed),
            time_us: now_us(),
            step: Step::Accepted,
            client: client.peer_addr().ok()?,
            listen: client.local_addr().ok()?,
            from: socket.local_addr().ok()?,
            target,
            waits: true,
        };
        self.say(&said).await;
        let told = Told { tap: self.clone(), said, socket: Some(socket) };
        told.say(Step::Begun).await;
        Some(told)
    }

    async fn say(&self, said: &Said) {
        let listeners = lock(&self.0.listeners).clone();
        for listener in listeners {
            let (answer, answered) = oneshot::channel();
            // One that does not read is left behind: it holds up nobody.
            if listener.try_send(Call(said.clone(), answer)).is_ok() && said.waits {
                let _ = timeout(PATIENCE, answered).await;
            }
        }
    }
}

impl Told {
    /// Connects from the announced end.
    pub async fn connect(&mut self) -> io::Result<TcpStream> {
        let socket = self.socket.take().ok_or_else(|| io::Error::other("connected before"))?;
        socket.connect(self.said.target).await
    }

    /// Tells what became of it.
    pub async fn say(&self, step: Step) {
        let said = Said { step, time_us: now_us(), waits: false, ..self.said.clone() };
        self.tap.say(&said).await;
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A listener that needs longer to make ready is not waited for.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Steps that wait for one listener.
const CALLS: usize = 256;
