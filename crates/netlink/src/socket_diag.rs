//! [`SocketDiag`]: the connected sockets of one network namespace, and ending them (`sock_diag(7)`).
//!
//! Layouts and numbers: `include/uapi/linux/{netlink,sock_diag,inet_diag}.h`, `include/net/tcp_states.h`. All fields are in
//! host order but ports and addresses, which are in network order.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_SOCK_DIAG};
use network_namespace::NetNs;

use crate::error::{Error, Result};

/// Which sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP, from the first SYN until both ends have closed.
    Tcp,
    /// UDP sockets that have connected.
    Udp,
}

impl Transport {
    const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => libc::IPPROTO_TCP as u8,
            Self::Udp => libc::IPPROTO_UDP as u8,
        }
    }

    /// Bits by state. Of TCP: established, SYN sent, both FIN-WAIT and CLOSE-WAIT; in any other either nobody has
    /// connected or the application has let go. A connected UDP socket counts as established.
    const fn states(self) -> u32 {
        match self {
            Self::Tcp => 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8,
            Self::Udp => 1 << 1,
        }
    }
}

/// A socket that has a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedSocket {
    /// `SO_COOKIE`: its number, which no other socket gets until the machine is booted again.
    pub cookie: u64,
    /// Its own end, and its peer's. Of an IPv6 socket that speaks IPv4, the IPv4 addresses.
    pub local: SocketAddr,
    /// See `local`.
    pub peer: SocketAddr,
    /// By which `/proc/<pid>/fd` names it (`socket:[inode]`, proc(5)); 0 = no process has it open.
    pub inode: u32,
    transport: Transport,
    family: u8,
    /// `struct inet_diag_sockid`: what the kernel finds it by.
    id: [u8; ID],
}

/// A socket of `NETLINK_SOCK_DIAG` in one network namespace: that of the thread that opened it, wherever it is used later.
#[derive(Debug)]
pub struct SocketDiag {
    socket: Socket,
    sequence: Cell<u32>,
}

impl SocketDiag {
    /// Opens it in the calling thread's namespace.
    pub fn open() -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
            socket.bind_auto()?;
            socket.connect(&NetlinkAddress::new(0, 0))?;
            Ok(socket)
        };
        let socket = open().map_err(failed("open", "sock_diag"))?;
        Ok(Self { socket, sequence: Cell::new(1) })
    }

    /// Opens it in namespace `netns`.
    pub fn open_in(netns: &NetNs) -> Result<Self> {
        netns.run(Self::open)?
    }

    /// The sockets that have a peer, of both families. Of a list that changes meanwhile, those that stay are there.
    pub fn connected(&self, transport: Transport) -> Result<Vec<ConnectedSocket>> {
        let mut all = Vec::new();
        for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
            let request = request(family, transport, &[0; ID]);
            let sequence = self.send("list", BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, &request)?;
            while !self.receive("list", sequence, |body| all.extend(read(transport, body)))? {}
        }
        Ok(all)
    }

    /// Ends a socket: its owner gets `ECONNABORTED` from what it waits for or reads next, a TCP peer a reset. A UDP
    /// socket has no peer then, so that to send first is `EDESTADDRREQ`. False when it is gone already. A kernel without `CONFIG_INET_DIAG_DESTROY` says `EOPNOTSUPP`.
    pub fn destroy(&self, socket: &ConnectedSocket) -> Result<bool> {
        let request = request(socket.family, socket.transport, &socket.id);
        let ended = self.send("end", DESTROY, NLM_F_REQUEST | NLM_F_ACK, &request).and_then(|sequence| {
            while !self.receive("end", sequence, |_| ())? {}
            Ok(())
        });
        match ended {
            Ok(()) => Ok(true),
            // ESTALE: another socket is there now.
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ESTALE)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn send(&self, operation: &'static str, kind: u16, flags: u16, body: &[u8]) -> Result<u32> {
        let sequence = self.sequence.get();
        self.sequence.set(sequence.wrapping_add(1).max(1));
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend(body);
        self.socket.send(&message, 0).map_err(failed(operation, "sockets"))?;
        Ok(sequence)
    }

    /// Takes one datagram; true when the answer is complete.
    fn receive(&self, operation: &'static str, sequence: u32, mut take: impl FnMut(&[u8])) -> Result<bool> {
        let datagram = loop {
            match self.socket.recv_from_full() {
                Ok((datagram, _)) => break datagram,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(operation, "sockets")(error)),
            }
        };
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let length = word(rest, 0).map_or(0, |length| length as usize);
            let Some(message) = rest.get(..length).filter(|message| message.len() >= HEADER) else {
                let reason = format!("a message of {length} bytes among {}", rest.len());
                return Err(Error::Answer { operation, object: "sockets".to_owned(), reason });
            };
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            if word(message, 8) != Some(sequence) {
                continue; // the rest of an answer that an earlier error cut short
            }
            let body = &message[HEADER..];
            match u16::from_ne_bytes([message[4], message[5]]) {
                kind @ (NLMSG_ERROR | NLMSG_DONE) => {
                    // An errno, negative; of the end of a list also none.
                    let code = word(body, 0).map_or(0, u32::cast_signed);
                    if code < 0 {
                        let source = io::Error::from_raw_os_error(code.checked_neg().unwrap_or(libc::EIO));
                        return Err(failed(operation, "sockets")(source));
                    }
                    debug_assert!(kind == NLMSG_DONE || code == 0);
                    return Ok(true);
                }
                BY_FAMILY => take(body),
                _ => {}
            }
        }
        Ok(false)
    }
}

fn failed(operation: &'static str, object: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Socket { operation, object: object.to_owned(), source }
}

/// `struct inet_diag_req_v2`.
fn request(family: u8, transport: Transport, id: &[u8; ID]) -> [u8; 8 + ID] {
    let mut out = [0; 8 + ID];
    out[0] = family;
    out[1] = transport.protocol();
    out[4..8].copy_from_slice(&transport.states().to_ne_bytes());
    out[8..].copy_from_slice(id);
    out
}

/// `struct inet_diag_msg`; `None` when it is none.
fn read(transport: Transport, body: &[u8]) -> Option<ConnectedSocket> {
    let family = *body.first()?;
    // sport, dport, src, dst, interface, cookie (low word first).
    let id: [u8; ID] = body.get(4..4 + ID)?.try_into().ok()?;
    let (local, peer) =
        (end(family, id[0..2].try_into().ok()?, &id[4..20])?, end(family, id[2..4].try_into().ok()?, &id[20..36])?);
    let cookie = u64::from(word(&id, 40)?) | u64::from(word(&id, 44)?) << 32;
    // Behind the id: expires, both queues, uid, inode.
    let inode = word(body, 4 + ID + 16)?;
    Some(ConnectedSocket { cookie, local, peer, inode, transport, family, id })
}

fn end(family: u8, port: [u8; 2], address: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 16] = address.try_into().ok()?;
    let ip = match i32::from(family) {
        libc::AF_INET => IpAddr::from(Ipv4Addr::new(address[0], address[1], address[2], address[3])),
        libc::AF_INET6 => IpAddr::from(Ipv6Addr::from(address)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(port)))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Size of `struct nlmsghdr`, bytes.
const HEADER: usize = 16;
/// Size of `struct inet_diag_sockid`, bytes.
const ID: usize = 48;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`.
const DESTROY: u16 = 21;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_ipv6_that_speaks_ipv4_has_an_ipv4_peer() {
        let mut body = vec![0; 72];
        body[0] = libc::AF_INET6 as u8;
        body[4..8].copy_from_slice(&[0x9c, 0x40, 0, 80]);
        body[24..40].copy_from_slice(&Ipv4Addr::new(10, 96, 0, 7).to_ipv6_mapped().octets());
        body[44..48].copy_from_slice(&5_u32.to_ne_bytes());
        body[48..52].copy_from_slice(&1_u32.to_ne_bytes());
        body[8..24].copy_from_slice(&Ipv4Addr::new(10, 244, 1, 2).to_ipv6_mapped().octets());
        body[68..72].copy_from_slice(&4711_u32.to_ne_bytes());
        let socket = read(Transport::Udp, &body).unwrap();
        assert_eq!((socket.peer, socket.cookie), ("10.96.0.7:80".parse().unwrap(), 1 << 32 | 5));
        assert_eq!((socket.local, socket.inode), ("10.244.1.2:40000".parse().unwrap(), 4711));
        assert_eq!(
            request(socket.family, Transport::Udp, &socket.id)[8..],
            body[4..52],
            "it is found by what it was told"
        );
    }

    #[test]
    fn what_is_too_short_is_no_socket() {
        for length in 0..72 {
            let mut body = vec![0; length];
            if let Some(first) = body.first_mut() {
                *first = libc::AF_INET as u8;
            }
            assert_eq!(read(Transport::Tcp, &body), None, "{length} bytes");
        }
    }
}
