//! A packet socket for one protocol on one device (packet(7)).
#![expect(unsafe_code, reason = "std has no packet sockets; addresses and filters are C structures")]

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Which frames arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// ARP.
    Arp,
    /// Neighbour solicitations and advertisements, and nothing else of IPv6.
    NeighbourDiscovery,
}

/// Reads and writes whole frames.
pub struct PacketSocket(AsyncFd<OwnedFd>);

impl PacketSocket {
    /// Opens a socket on the device of this index, in the caller's network namespace. Needs CAP_NET_RAW.
    pub fn open(listen: Listen, device: u32) -> io::Result<Self> {
        // No protocol yet: nothing arrives before the filter is in place and the device is chosen.
        // SAFETY: a plain system call with constants.
        let raw =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `raw` was just opened and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let protocol = match listen {
            Listen::Arp => libc::ETH_P_ARP,
            Listen::NeighbourDiscovery => {
                filter_neighbours(&fd)?;
                libc::ETH_P_IPV6
            }
        };
        bind(&fd, (protocol as u16).to_be(), device)?;
        // SAFETY: an OwnedFd stays open, and the same, until it is dropped; and it is dropped with the AsyncFd.
        Ok(Self(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?))
    }

    /// The next frame; its length.
    pub async fn receive(&self, frame: &mut [u8]) -> io::Result<usize> {
        self.0
            .async_io(Interest::READABLE, |fd| {
                // SAFETY: the pointer and the length are those of `frame`, which the kernel may write.
                let got = unsafe { libc::recv(fd.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
                usize::try_from(got).map_err(|_| io::Error::last_os_error())
            })
            .await
    }

    /// Sends a frame as it is. It is not waited for: what the device can't take now is lost, as on any segment.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let fd = self.0.get_ref().as_raw_fd();
        // SAFETY: the pointer and the length are those of `frame`, which the kernel only reads.
        let sent = unsafe { libc::send(fd, frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn bind(fd: &OwnedFd, protocol: u16, device: u32) -> io::Result<()> {
    // SAFETY: sockaddr_ll is made of integers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = i32::try_from(device).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `address` lives through the call and is as long as is said.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets only ICMPv6 types 135 and 136 in, so that the device's other traffic costs next to nothing.
fn filter_neighbours(fd: &OwnedFd) -> io::Result<()> {
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        step(LOAD_BYTE, 0, 0, 14 + 6),
        step(JUMP_EQUAL, 0, 4, 58),
        step(LOAD_BYTE, 0, 0, 14 + 40),
        step(JUMP_EQUAL, 1, 0, 135),
        step(JUMP_EQUAL, 0, 1, 136),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: `program` names `steps`; both live through the call, and the kernel copies them.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
