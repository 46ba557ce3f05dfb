//! Bytes of a question in, bytes of an answer out (RFC 1035 §4, RFC 6891). No I/O.

use hickory_proto::{
    ProtoError,
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, RecordType},
    serialize::binary::{BinEncodable, BinEncoder},
};

use crate::resolve::Reply;

/// How a question came, and how its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// A question that can be answered.
#[derive(Debug)]
pub struct Request {
    id: u16,
    recursion_desired: bool,
    checking_disabled: bool,
    pub question: Query,
    /// The payload that the client takes, if it speaks EDNS.
    edns: Option<u16>,
    transport: Transport,
}

/// Why a packet is no such question.
#[derive(Debug, PartialEq, Eq)]
pub enum NoQuestion {
    /// An answer to it could go round for ever, or to somebody who asked nothing.
    Silence,
    /// The error to answer with.
    Refusal(Vec<u8>),
}

impl Request {
    /// Reads a packet.
    pub fn read(bytes: &[u8], transport: Transport) -> Result<Self, NoQuestion> {
        let Some(header) = bytes.first_chunk::<HEADER>() else { return Err(NoQuestion::Silence) };
        if header[2] & RESPONSE != 0 {
            return Err(NoQuestion::Silence);
        }
        let refuse = |code| Err(NoQuestion::Refusal(refusal(header, code)));
        if OpCode::from_u8((header[2] >> 3) & 0xf) != OpCode::Query {
            return refuse(ResponseCode::NotImp);
        }
        // Before anything is allocated for as many as it claims to hold; two questions have no answer (RFC 9619).
        if u16::from_be_bytes([header[4], header[5]]) != 1 {
            return refuse(ResponseCode::FormErr);
        }
        let Ok(mut message) = Message::from_vec(bytes) else { return refuse(ResponseCode::FormErr) };
        let Some(question) = message.queries.pop() else { return refuse(ResponseCode::FormErr) };
        let request = Self {
            id: message.metadata.id,
            recursion_desired: message.metadata.recursion_desired,
            checking_disabled: message.metadata.checking_disabled,
            question,
            edns: message.edns.as_ref().map(Edns::max_payload),
            transport,
        };
        if message.edns.is_some_and(|edns| edns.version() > 0) {
            return Err(request.refuse(ResponseCode::BADVERS));
        }
        let class = request.question.query_class;
        if !matches!(class, DNSClass::IN | DNSClass::ANY)
            || matches!(request.question.query_type, RecordType::AXFR | RecordType::IXFR)
        {
            return Err(request.refuse(ResponseCode::Refused));
        }
        Ok(request)
    }

    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Bytes that the answer may have. Over UDP never so many that it would have to be cut into fragments on any of our
    /// paths (the 1232 of DNS flag day 2020).
    pub fn limit(&self) -> usize {
        match self.transport {
            Transport::Tcp => usize::from(u16::MAX),
            Transport::Udp => usize::from(self.edns.unwrap_or(PLAIN_UDP).clamp(PLAIN_UDP, LARGEST_UDP)),
        }
    }

    fn refuse(&self, code: ResponseCode) -> NoQuestion {
        NoQuestion::Refusal(self.write(&Reply::only(code), Recursion::Unavailable))
    }

    /// The answer's bytes. What is too long loses its additional records first; then as many answers as fit are told, and
    /// that there are more (TC), so that who can asks again over TCP.
    pub fn write(&self, reply: &Reply, recursion: Recursion) -> Vec<u8> {
        let mut message = Message::response(self.id, OpCode::Query);
        message.metadata.message_type = MessageType::Response;
        message.metadata.authoritative = reply.authoritative;
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.recursion_available = recursion == Recursion::Available;
        message.metadata.checking_disabled = self.checking_disabled;
        message.metadata.response_code = reply.code;
        // As it was asked, letter by letter: clients that mix cases compare (draft-vixie-dnsext-dns0x20).
        message.queries = vec![self.question.clone()];
        message.answers = reply.answers.clone();
        // Another client, another first address. The number is the client's own choice.
        let sorted = message.answers.iter().all(|record| record.record_type() == self.question.query_type);
        if sorted && !message.answers.is_empty() {
            let first = usize::from(self.id) % message.answers.len();
            message.answers.rotate_left(first);
        }
        message.authorities = reply.authorities.clone();
        message.additionals = reply.additionals.clone();
        if self.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(LARGEST_UDP);
            message.edns = Some(edns);
        }
        let limit = self.limit();
        match encode(&message, limit) {
            Ok(Encoded { bytes, whole: true, .. }) => return bytes,
            Ok(_) => message.additionals.clear(),
            Err(error) => return self.failed(&error),
        }
        loop {
            match encode(&message, limit) {
                Ok(Encoded { bytes, whole: true, .. }) => return bytes,
                Ok(Encoded { answers, .. }) => {
                    message.metadata.truncation = true;
                    message.authorities.clear();
                    // The EDNS record comes last and needs its place: one answer less each time, until it fits.
                    let fewer = usize::from(answers).min(message.answers.len().saturating_sub(1));
                    if message.answers.is_empty() {
                        return self.failed(&"a question that fills the answer alone");
                    }
                    message.answers.truncate(fewer);
                }
                Err(error) => return self.failed(&error),
            }
        }
    }

    /// Nothing but that there is more.
    pub fn write_truncated(&self, recursion: Recursion) -> Vec<u8> {
        let mut bytes = self.write(&Reply::only(ResponseCode::NoError), recursion);
        if let Some(flags) = bytes.get_mut(2) {
            *flags |= TRUNCATED;
        }
        bytes
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Vec<u8> {
        tracing::warn!(name = %self.question.name, %error, "an answer cannot be written");
        let mut header = [0; HEADER];
        header[..2].copy_from_slice(&self.id.to_be_bytes());
        refusal(&header, ResponseCode::ServFail)
    }
}

/// Whether other people's names can be asked for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recursion {
    Available,
    Unavailable,
}

struct Encoded {
    bytes: Vec<u8>,
    /// Everything is in it.
    whole: bool,
    /// How many answers are.
    answers: u16,
}

fn encode(message: &Message, limit: usize) -> Result<Encoded, ProtoError> {
    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(u16::try_from(limit).unwrap_or(u16::MAX));
    message.emit(&mut encoder)?;
    let count = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let additionals = message.additionals.len() + usize::from(message.edns.is_some());
    let wanted = [message.answers.len(), message.authorities.len(), additionals];
    let whole = [6, 8, 10].map(|at| usize::from(count(at))) == wanted;
    let answers = count(6);
    Ok(Encoded { bytes, whole, answers })
}

/// An error for a packet of which nothing but its header can be trusted.
fn refusal(header: &[u8; HEADER], code: ResponseCode) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..2].copy_from_slice(&header[..2]);
    bytes[2] = RESPONSE | (header[2] & OPCODE_AND_RD);
    bytes[3] = code.low();
    bytes
}

/// RFC 1035 §4.1.1, in bytes.
pub const HEADER: usize = 12;
/// QR, in the third byte.
pub const RESPONSE: u8 = 0x80;
/// TC, in the same byte.
const TRUNCATED: u8 = 0x02;
const OPCODE_AND_RD: u8 = 0x79;
/// RFC 1035 §4.2.1.
const PLAIN_UDP: u16 = 512;
const LARGEST_UDP: u16 = 1232;

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
