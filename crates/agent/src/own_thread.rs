//! A thread with a runtime of its own: for what must not hold the agent's loop up, and not wait for it.

use crate::error::Error;
use std::future::Future;

/// Begins it here, where an error can still be told, and goes on with it there until the process ends. What `begin` opens belongs to
/// the new thread's runtime.
///
/// # Errors
/// Those of `begin`; the kernel gives no thread.
pub fn start<F>(name: &str, begin: impl FnOnce() -> Result<F, Error>) -> Result<(), Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    let system = |source| Error::System { operation: "start a thread", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    let begun = {
        let _inside = runtime.enter();
        begin()
    };
    let body = match begun {
        Ok(body) => body,
        Err(error) => {
            // Whoever calls may not wait, for it may be a task itself.
            runtime.shutdown_background();
            return Err(error);
        }
    };
    let spawned = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    spawned.spawn(move || runtime.block_on(body)).map(drop).map_err(system)
}

/// Bytes: TLS, JSON and the flows' filters go deeper than the agent's other threads.
const STACK: usize = 2 * 1024 * 1024;
