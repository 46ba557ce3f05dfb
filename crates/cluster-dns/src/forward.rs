//! Names of others are asked elsewhere: one upstream after the other, with an end to patience and to how many wait.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, Query, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::message::{HEADER, RESPONSE, Transport};

/// Where the questions of others go.
#[derive(Debug)]
pub struct Forwarder {
    upstreams: Vec<SocketAddr>,
    slots: Arc<Semaphore>,
}

/// Why there is no answer from outside.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("no upstream answered in time")]
    Silence,
    #[error("upstream {0}")]
    Socket(SocketAddr, #[source] io::Error),
    #[error("upstream {0} answered something else")]
    Nonsense(SocketAddr),
}

impl Forwarder {
    /// Asks `upstreams` in their order.
    pub fn new(upstreams: Vec<SocketAddr>) -> Self {
        Self { upstreams, slots: Arc::new(Semaphore::new(MOST_AT_ONCE)) }
    }

    /// A place for one question; `None` when too many are under way: refusing now is better than answering too late.
    pub fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// Hands a question on as it is, and its answer back as it is, but for the number and the letters' case, which are the
    /// client's.
    pub async fn relay(&self, question: &[u8], transport: Transport) -> Result<Vec<u8>, ForwardError> {
        let mut sent = question.to_vec();
        // A number that the client does not choose, from a port of its own: what answers has seen the question.
        let id = Message::query().metadata.id.to_be_bytes();
        sent[..2].copy_from_slice(&id);
        let mut answer = self.ask(&sent, transport).await?;
        answer[..2].copy_from_slice(&question[..2]);
        let length = question_length(question).unwrap_or(HEADER);
        answer[HEADER..length].copy_from_slice(&question[HEADER..length]);
        Ok(answer)
    }

    /// Asks for a name on our own behalf, over TCP when that is what it takes.
    pub async fn lookup(&self, name: &Name, kind: RecordType) -> Result<Message, ForwardError> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name.clone(), kind));
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        message.set_edns(edns);
        let Ok(question) = message.to_vec() else { return Err(ForwardError::Silence) };
        let read = |bytes: Vec<u8>| Message::from_vec(&bytes).ok();
        let nonsense = ForwardError::Nonsense(self.upstreams[0]);
        let answer = read(self.ask(&question, Transport::Udp).await?).ok_or(nonsense)?;
        if !answer.metadata.truncation {
            return Ok(answer);
        }
        let nonsense = ForwardError::Nonsense(self.upstreams[0]);
        read(self.ask(&question, Transport::Tcp).await?).ok_or(nonsense)
    }

    async fn ask(&self, question: &[u8], transport: Transport) -> Result<Vec<u8>, ForwardError> {
        let mut last = ForwardError::Silence;
        // Each has its share of the time.
        let share = PATIENCE / (self.upstreams.len().max(1) as u32);
        for upstream in &self.upstreams {
            let asking = async {
                match transport {
                    Transport::Udp => over_udp(*upstream, question).await,
                    Transport::Tcp => over_tcp(*upstream, question).await,
                }
            };
            last = match timeout(share, asking).await {
                Ok(Ok(answer)) if answers(&answer, question) => return Ok(answer),
                Ok(Ok(_)) => ForwardError::Nonsense(*upstream),
                Ok(Err(error)) => ForwardError::Socket(*upstream, error),
                Err(_) => ForwardError::Silence,
            };
        }
        Err(last)
    }
}

async fn over_udp(upstream: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match upstream {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    let mut tries = 0;
    loop {
        // A datagram may be lost: ask again a few times while the time lasts.
        if tries < MOST_DATAGRAMS {
            socket.send(question).await?;
            tries += 1;
        }
        let received = async {
            loop {
                let length = socket.recv(&mut answer).await?;
                // Somebody who guesses is not listened to; the true answer may still come.
                if answers(&answer[..length], question) {
                    return Ok::<usize, io::Error>(length);
                }
            }
        };
        if let Ok(length) = timeout(ASK_AGAIN, received).await {
            answer.truncate(length?);
            return Ok(answer);
        }
    }
}

async fn over_tcp(upstream: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let length = u16::try_from(question.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Whether `answer` is one to `question`: its number, its kind, and the same question in it.
fn answers(answer: &[u8], question: &[u8]) -> bool {
    let Some(length) = question_length(question) else { return false };
    let (Some(said), Some(asked)) = (answer.get(..length), question.get(..length)) else { return false };
    said[..2] == asked[..2]
        && said[2] & RESPONSE != 0
        && said[4..6] == asked[4..6]
        && said[HEADER..].eq_ignore_ascii_case(&asked[HEADER..])
}

/// Where the first question of a message ends, if its name is written out. That of a question is: there is nothing
/// before it to point to.
fn question_length(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        let label = usize::from(*message.get(at)?);
        match label {
            0 => break,
            1..=63 => at += 1 + label,
            _ => return None,
        }
    }
    // The root's label, type and class.
    Some(at + 5).filter(|end| *end <= message.len())
}

/// What became of a name of others, for whoever was led there.
pub fn code(answer: &Result<Message, ForwardError>) -> ResponseCode {
    match answer {
        Ok(message) => message.metadata.response_code,
        Err(_) => ResponseCode::ServFail,
    }
}

/// A question is answered by then, if only by SERVFAIL. Clients ask again after 5 s (resolv.conf(5), `timeout`).
pub const PATIENCE: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_millis(900);
const MOST_DATAGRAMS: u32 = 3;
/// Each has a socket and a buffer of 64 KiB.
const MOST_AT_ONCE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        message.to_vec().unwrap()
    }

    #[test]
    fn only_an_answer_to_the_question_is_one() {
        let asked = question("www.example.");
        let mut answer = asked.clone();
        assert!(!answers(&answer, &asked), "the question itself");
        answer[2] |= RESPONSE;
        assert!(answers(&answer, &asked));
        let mut other_case = answer.clone();
        other_case[HEADER + 1] ^= 0x20;
        assert!(answers(&other_case, &asked));
        let mut other_number = answer.clone();
        other_number[0] ^= 1;
        assert!(!answers(&other_number, &asked));
        let mut other_name = answer.clone();
        other_name[HEADER + 1] = b'x';
        assert!(!answers(&other_name, &asked));
        for length in 0..answer.len() {
            assert!(!answers(&answer[..length], &asked), "cut to {length}");
        }
    }
}
