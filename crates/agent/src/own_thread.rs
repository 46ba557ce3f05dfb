//! A thread with a runtime of its own: for what must not hold the agent's loop up, and not wait for it.

use crate::error::Error;
use std::future::Future;
use std::sync::mpsc::channel;
use tokio::runtime::{Builder, Runtime};

/// Begins it here, where an error can still be told, and goes on with it there until the process ends. What `begin` opens belongs to
/// the new thread's runtime.
///
/// # Errors
/// Those of `begin`; the kernel gives no thread.
pub fn start<F>(name: &str, begin: impl FnOnce() -> Result<F, Error>) -> Result<(), Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    start_with(name, STACK, begin)
}

fn start_with<F>(name: &str, stack: usize, begin: impl FnOnce() -> Result<F, Error>) -> Result<(), Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    let system = |source| Error::System { operation: "start a thread", source };
    // The thread comes first and waits for its work: without one there must be no runtime yet, for it could not be dropped here, where
    // the caller may be a task itself.
    let (hand, handed) = channel::<(Runtime, F)>();
    let body = move || {
        if let Ok((runtime, body)) = handed.recv() {
            runtime.block_on(body);
        }
    };
    std::thread::Builder::new().name(name.to_owned()).stack_size(stack).spawn(body).map(drop).map_err(system)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(system)?;
    let begun = {
        let _inside = runtime.enter();
        begin()
    };
    match begun {
        Ok(body) => {
            // It waits for nothing else.
            let _ = hand.send((runtime, body));
            Ok(())
        }
        Err(error) => {
            // Whoever calls may not wait, for it may be a task itself.
            runtime.shutdown_background();
            Err(error)
        }
    }
}

/// Bytes: TLS, JSON and the flows' filters go deeper than the agent's other threads.
const STACK: usize = 2 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_the_kernel_does_not_give_is_an_error_and_nothing_is_begun() {
        // More than there are addresses.
        let refused = start_with("large", usize::MAX / 16, || -> Result<std::future::Ready<()>, Error> {
            panic!("it has no thread")
        });
        assert!(matches!(refused, Err(Error::System { operation: "start a thread", .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn what_is_begun_runs_and_what_fails_to_begin_is_told() {
        let (tell, told) = tokio::sync::oneshot::channel();
        start("begun", || {
            // It is in the new runtime already.
            let sleep = tokio::time::sleep(std::time::Duration::from_millis(1));
            Ok(async move {
                sleep.await;
                let _ = tell.send(std::thread::current().name().map(str::to_owned));
            })
        })
        .unwrap();
        assert_eq!(told.await.unwrap().as_deref(), Some("begun"));
        let fails = || -> Result<std::future::Ready<()>, Error> {
            Err(Error::System { operation: "begin", source: std::io::ErrorKind::PermissionDenied.into() })
        };
        assert!(matches!(start("fails", fails), Err(Error::System { operation: "begin", .. })));
    }
}
