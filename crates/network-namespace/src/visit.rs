//! Threads that live only as long as one visit to a namespace.

use std::{panic, thread};

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
