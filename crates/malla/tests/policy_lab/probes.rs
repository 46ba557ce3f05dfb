//! Real packets between all Pods at once. A thread lives in each Pod's namespace: it serves every port and asks everybody else's.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use network_namespace::NetNs;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto, socket_with,
};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc as asynchronous, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::pods::{Place, Pod};
use crate::table::{COLUMNS, PORTS, Port, Protocol, Table, pairs};

/// What a question met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    Answer,
    Silence,
    /// Neither: no policy answers like that.
    Odd(String),
}

/// Where one Pod's questions are put.
struct Asker {
    questions: asynchronous::UnboundedSender<Question>,
}

struct Question {
    family: usize,
    patience: Duration,
    answer: mpsc::Sender<Heards>,
}

/// Of one Pod: whom it asked, on which column, and what it heard.
type Heards = Vec<(Pod, usize, Heard)>;

pub struct Probes {
    askers: Vec<Asker>,
}

impl Probes {
    pub fn start(places: &[Place]) -> Self {
        let addresses: Arc<Vec<[IpAddr; 2]>> = Arc::new(places.iter().map(|place| place.addresses).collect());
        let askers = Pod::all().map(|pod| Asker::start(pod, &places[pod.0], addresses.clone())).collect();
        Self { askers }
    }

    /// Everybody asks everybody on everything, at once; what was not as in the table, in words.
    pub fn compare(&self, expected: &Table, family: usize, patience: Duration) -> Vec<String> {
        let wanted = |from, to, column| if expected.get(from, to, column) { Heard::Answer } else { Heard::Silence };
        let all = self.ask(family, patience).into_iter();
        let wrong = all.filter(|(from, to, column, heard)| *heard != wanted(*from, *to, *column));
        let say = |(from, to, column, heard): (Pod, Pod, usize, Heard)| {
            let Port { protocol, number } = Port::all().nth(column).unwrap();
            let wanted = wanted(from, to, column);
            format!("{} to {} on {}/{number}: {heard:?} instead of {wanted:?}", from.name(), to.name(), protocol.name())
        };
        wrong.map(say).collect()
    }

    /// What everybody hears of everybody.
    pub fn ask(&self, family: usize, patience: Duration) -> Vec<(Pod, Pod, usize, Heard)> {
        let answers: Vec<_> = self
            .askers
            .iter()
            .map(|asker| {
                let (answer, heard) = mpsc::channel();
                asker.questions.send(Question { family, patience, answer }).expect("a thread in the Pod");
                heard
            })
            .collect();
        let heard = |of: &mpsc::Receiver<Heards>| of.recv().expect("an answer of the Pod's thread");
        let all = Pod::all().zip(answers).flat_map(|(from, of)| heard(&of).into_iter().map(move |one| (from, one)));
        all.map(|(from, (to, column, heard))| (from, to, column, heard)).collect()
    }
}

impl Asker {
    fn start(pod: Pod, place: &Place, addresses: Arc<Vec<[IpAddr; 2]>>) -> Self {
        let namespace = NetNs::open(&place.netns).unwrap();
        let (questions, mut asked) = asynchronous::unbounded_channel::<Question>();
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            namespace.enter_current_thread().unwrap();
            // One thread: the runtime must not leave the namespace.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let sctp = serve().await;
                ready.send(()).unwrap();
                while let Some(question) = asked.recv().await {
                    let heard = ask(pod, &addresses, &sctp, question.family, question.patience).await;
                    // Whoever asked may be gone.
                    let _ = question.answer.send(heard);
                }
            });
        });
        is_ready.recv().expect("the Pod's servers");
        Self { questions }
    }
}

/// Serves every port, until the runtime ends.
async fn serve() -> [Arc<Sctp>; 2] {
    for port in PORTS {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let tcp = TcpListener::bind(any).await.unwrap();
        tokio::spawn(async move { while tcp.accept().await.is_ok() {} });
        let udp = UdpSocket::bind(any).await.unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                // Where the answer does not go out, the question hears nothing.
                let _ = udp.send_to(&buffer[..length], from).await;
            }
        });
    }
    [false, true].map(|v6| {
        let sctp = Arc::new(Sctp::open(v6));
        let server = sctp.clone();
        std::thread::spawn(move || server.serve());
        sctp
    })
}

async fn ask(pod: Pod, addresses: &[[IpAddr; 2]], sctp: &[Arc<Sctp>; 2], family: usize, patience: Duration) -> Heards {
    let mut asked = JoinSet::new();
    for (_, to) in pairs().filter(|(from, _)| *from == pod) {
        for (column, port) in Port::all().enumerate() {
            let (address, sctp) = (addresses[to.0][family], sctp[family].clone());
            asked.spawn(async move { (to, column, question(port, address, &sctp, patience).await) });
        }
    }
    debug_assert_eq!(asked.len() % COLUMNS, 0);
    asked.join_all().await
}

async fn question(port: Port, to: IpAddr, sctp: &Sctp, patience: Duration) -> Heard {
    let at = SocketAddr::from((to, port.number));
    let heard = match port.protocol {
        Protocol::Tcp => timeout(patience, TcpStream::connect(at)).await.map(|stream| stream.map(drop)),
        Protocol::Udp => timeout(patience, datagram(at)).await,
        Protocol::Sctp => timeout(patience, sctp.init(to, port.number)).await,
    };
    match heard {
        Ok(Ok(())) => Heard::Answer,
        Ok(Err(error)) => Heard::Odd(error.to_string()),
        Err(_) => Heard::Silence,
    }
}

/// One datagram by a flow of its own, answered.
pub async fn datagram(at: SocketAddr) -> std::io::Result<()> {
    let socket = open_datagram(at).await?;
    socket.send(b"who is there?").await?;
    let mut buffer = [0; 64];
    socket.recv(&mut buffer).await.map(drop)
}

pub async fn open_datagram(at: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if at.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(at).await?;
    Ok(socket)
}

/// SCTP by hand: an INIT is answered by an INIT ACK (RFC 9260 §3.3.2, §3.3.3). Checksums stay zero, nobody on the way looks.
struct Sctp {
    socket: OwnedFd,
    v6: bool,
    /// Who waits for an answer, by its peer and its own port.
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u16,
    by_flow: HashMap<(IpAddr, u16), oneshot::Sender<()>>,
}

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// No server's, and no flow of an earlier round's for a long time.
const FIRST_CLIENT: u16 = 1024;

impl Sctp {
    fn open(v6: bool) -> Self {
        let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::SCTP)).unwrap();
        let waiting = Mutex::new(Waiting { last: FIRST_CLIENT, ..Waiting::default() });
        Self { socket, v6, waiting }
    }

    async fn init(&self, to: IpAddr, port: u16) -> std::io::Result<()> {
        let (answer, answered) = oneshot::channel();
        let own = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.last = waiting.last.checked_add(1).unwrap_or(FIRST_CLIENT);
            let own = waiting.last;
            waiting.by_flow.insert((to, own), answer);
            own
        };
        self.send(to, &chunk(own, port, 0, INIT))?;
        answered.await.map_err(|_| std::io::Error::other("the SCTP server has ended"))
    }

    fn send(&self, to: IpAddr, packet: &[u8]) -> std::io::Result<()> {
        sendto(&self.socket, packet, SendFlags::empty(), &SocketAddr::from((to, 0)))?;
        Ok(())
    }

    /// Answers questions and hands on answers, for as long as the test runs.
    fn serve(&self) {
        let mut buffer = [0; 512];
        loop {
            let read = recvfrom(&self.socket, &mut buffer, RecvFlags::empty());
            let Ok((length, _, Some(from))) = read else { continue };
            let Ok(from) = SocketAddr::try_from(from) else { continue };
            // IPv4 raw sockets see the header too.
            let header = if self.v6 { 0 } else { usize::from(buffer[0] & 15) * 4 };
            let Some(packet) = buffer[..length].get(header..).filter(|packet| packet.len() >= 20) else { continue };
            let (theirs, ours) =
                (u16::from_be_bytes([packet[0], packet[1]]), u16::from_be_bytes([packet[2], packet[3]]));
            let tag = u32::from_be_bytes([packet[16], packet[17], packet[18], packet[19]]);
            match packet[12] {
                INIT if PORTS.contains(&ours) => drop(self.send(from.ip(), &chunk(ours, theirs, tag, INIT_ACK))),
                INIT_ACK => {
                    let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(answer) = waiting.by_flow.remove(&(from.ip(), ours)) {
                        let _ = answer.send(());
                    }
                }
                _ => {}
            }
        }
    }
}

/// A packet with one INIT or INIT ACK; `tag` is the receiver's, 0 in the first one.
fn chunk(source: u16, destination: u16, tag: u32, kind: u8) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40);
    packet.extend(source.to_be_bytes());
    packet.extend(destination.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    // Initiate tag, window, streams out and in, first number; an INIT ACK has a cookie behind them (type 7).
    let cookie: &[u8] = if kind == INIT_ACK { &[0, 7, 0, 8, 1, 2, 3, 4] } else { &[] };
    packet.extend([kind, 0]);
    packet.extend((20 + cookie.len() as u16).to_be_bytes());
    packet.extend(0x1234_5678u32.to_be_bytes());
    packet.extend(65535u32.to_be_bytes());
    packet.extend([0, 1, 0, 1]);
    packet.extend(1u32.to_be_bytes());
    packet.extend(cookie);
    packet
}
