//! [`Netlink`]: one socket, one request at a time.

use std::{cell::Cell, io};

use netlink_packet_core::{
    DefaultNla, ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, Nla, NlasIterator, Parseable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use network_namespace::NetNs;

use crate::error::{Error, Result};

/// An rtnetlink socket in one network namespace: that of the thread that opened it, wherever it is used later.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: Cell<u32>,
}

/// What is being done to what; only for errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub operation: &'static str,
    pub object: &'a str,
}

impl Request<'_> {
    fn socket(self, source: io::Error) -> Error {
        Error::Socket { operation: self.operation, object: self.object.to_owned(), source }
    }

    fn unreadable(self, reason: impl ToString) -> Error {
        Error::Answer { operation: self.operation, object: self.object.to_owned(), reason: reason.to_string() }
    }

    fn refused(self, message: &ErrorMessage) -> Error {
        Error::Refused {
            operation: self.operation,
            object: self.object.to_owned(),
            explanation: extended_ack(&message.header),
            source: io::Error::from_raw_os_error(message.raw_code().checked_neg().unwrap_or(libc::EIO)),
        }
    }

    pub(crate) fn invalid(self, reason: &'static str) -> Error {
        Error::Invalid { operation: self.operation, object: self.object.to_owned(), reason }
    }
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Explanations in words; kernels from 4.12 on have them, and without them errno has to do.
            let _ = socket.set_ext_ack(true);
            let _ = socket.set_cap_ack(true);
            Ok(socket)
        };
        let socket =
            open().map_err(|source| Error::Socket { operation: "open", object: "rtnetlink".to_owned(), source })?;
        Ok(Self { socket, sequence: Cell::new(1) })
    }

    /// Opens a socket in namespace `netns`.
    pub fn open_in(netns: &NetNs) -> Result<Self> {
        netns.run(Self::open)?
    }

    /// Sends a request that changes something, and waits for the kernel's verdict.
    pub(crate) fn change(&self, request: Request<'_>, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.exchange(request, message, NLM_F_REQUEST | NLM_F_ACK | flags).map(|_| ())
    }

    /// Asks for one object.
    pub(crate) fn get(&self, request: Request<'_>, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        self.exchange(request, message, NLM_F_REQUEST | NLM_F_ACK).map(|answer| answer.messages)
    }

    /// Asks for all objects. A list that changed while it was read is read again, so that it is never a mixture.
    pub(crate) fn dump(&self, request: Request<'_>, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_ATTEMPTS {
            let answer = self.exchange(request, message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            if !answer.interrupted {
                return Ok(answer.messages);
            }
        }
        Err(request.unreadable("the list kept changing while it was read"))
    }

    fn exchange(&self, request: Request<'_>, message: RouteNetlinkMessage, flags: u16) -> Result<Answer> {
        let sequence = self.sequence.get();
        self.sequence.set(sequence.wrapping_add(1).max(1));
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut buffer = vec![0; packet.buffer_len()];
        packet.serialize(&mut buffer);
        self.socket.send(&buffer, 0).map_err(|error| request.socket(error))?;

        let mut answer = Answer { messages: Vec::new(), interrupted: false };
        loop {
            let datagram = receive(&self.socket, request)?;
            if answer.read(request, sequence, &datagram)? {
                return Ok(answer);
            }
        }
    }
}

/// A socket that only listens to what the kernel tells of itself.
#[derive(Debug)]
pub(crate) struct Subscription {
    socket: Socket,
    request: Request<'static>,
}

impl Subscription {
    /// `groups`: `RTMGRP_*`.
    pub(crate) fn open(object: &'static str, groups: u32) -> Result<Self> {
        let request = Request { operation: "listen to", object };
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, groups))?;
            Ok(socket)
        };
        open().map(|socket| Self { socket, request }).map_err(|error| request.socket(error))
    }

    /// Waits for one datagram. What can't be read in it is left out: a later kernel may tell more.
    pub(crate) fn wait(&mut self) -> Result<Vec<RouteNetlinkMessage>> {
        let datagram = receive(&self.socket, self.request)?;
        let mut rest = &datagram[..];
        let mut messages = Vec::new();
        while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
            let aligned = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(aligned..).unwrap_or_default();
            if let NetlinkPayload::InnerMessage(inner) = message.payload {
                messages.push(inner);
            }
        }
        Ok(messages)
    }
}

fn receive(socket: &Socket, request: Request<'_>) -> Result<Vec<u8>> {
    loop {
        match socket.recv_from_full() {
            Ok((datagram, _)) => return Ok(datagram),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(request.socket(error)),
        }
    }
}

struct Answer {
    messages: Vec<RouteNetlinkMessage>,
    interrupted: bool,
}

impl Answer {
    /// Takes in one datagram; true when the answer is complete.
    fn read(&mut self, request: Request<'_>, sequence: u32, mut datagram: &[u8]) -> Result<bool> {
        while !datagram.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram)
                .map_err(|error| request.unreadable(error))?;
            let aligned = (message.header.length as usize).next_multiple_of(4);
            datagram = datagram.get(aligned..).unwrap_or_default();
            if message.header.sequence_number != sequence {
                continue; // the rest of an answer that an earlier error cut short
            }
            self.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
                NetlinkPayload::Error(error) => return Err(request.refused(&error)),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    let source = io::Error::from_raw_os_error(done.code.checked_neg().unwrap_or(libc::EIO));
                    return Err(request.socket(source));
                }
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Overrun(_) => return Err(request.unreadable("overrun")),
                NetlinkPayload::InnerMessage(inner) => self.messages.push(inner),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// The kernel's words from the attributes behind the echoed 16-byte header (NLMSGERR_ATTR_MSG), or nothing.
fn extended_ack(payload: &[u8]) -> String {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    const ECHOED_HEADER: usize = 16;
    let attributes = payload.get(ECHOED_HEADER..).unwrap_or_default();
    for attribute in NlasIterator::new(attributes).map_while(std::result::Result::ok) {
        if attribute.kind() == NLMSGERR_ATTR_MSG
            && let Ok(parsed) = DefaultNla::parse(&attribute)
        {
            let mut text = vec![0; parsed.value_len()];
            parsed.emit_value(&mut text);
            return String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned();
        }
    }
    String::new()
}

/// A namespace whose lists change ten times in a row while they are read is broken, not busy.
const DUMP_ATTEMPTS: usize = 10;
