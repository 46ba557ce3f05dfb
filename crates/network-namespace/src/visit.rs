//! Threads that live only as long as one visit to a namespace.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::{io, panic, thread};

use crate::error::{Context, Error, Result};

/// Runs `visit` on a thread of its own and waits for it. `name` is for errors.
pub(crate) fn on_fresh_thread<T: Send>(name: &str, visit: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns-visit".to_owned())
            .spawn_scoped(scope, visit)
            .map_err(|source| Error::Thread { name: name.to_owned(), source })?;
        match thread.join() {
            Ok(value) => Ok(value),
            Err(panic) => panic::resume_unwind(panic),
        }
    })
}

/// Gives the calling thread a new, empty network namespace.
pub(crate) fn unshare_this_thread() -> Result<()> {
    // SAFETY: CLONE_NEWNET changes only the network namespace of the calling thread; no memory, descriptor table or
    // thread-group state that Rust relies on is unshared. `unshare` is called on threads made for one visit only.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        .context("unshare network namespace of", "/proc/thread-self")
}

/// The cookie of the calling thread's network namespace. Any socket knows it; this one needs no protocol family.
pub(crate) fn cookie_of_this_thread() -> io::Result<u64> {
    let socket = UnixDatagram::unbound()?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the descriptor is open for the whole call, and the pointers are to locals of the size that `length` says.
    let result = unsafe {
        let value = (&raw mut cookie).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, value, &raw mut length)
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// `asm-generic/socket.h`.
const SO_NETNS_COOKIE: libc::c_int = 71;
