//! The socket on which the plugin speaks to the agent.

use std::{
    fs,
    io::{self, Read},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use cni_protocol::{
    CniError, ErrorCode,
    socket::{Request, Response, read_message, write_message},
};

use crate::network::PodNetwork;

/// Listens at `path`, for root alone (mode 0600). A socket that a predecessor left is replaced; there is no moment
/// at which the path leads nowhere or is open to others.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let temporary = path.with_added_extension(format!("{}.new", std::process::id()));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&temporary)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))?;
    fs::rename(&temporary, path)?;
    Ok(listener)
}

/// Serves requests until the listener fails; never returns otherwise. At most [`MAX_THREADS`] at a time: the others
/// wait in the listener's queue.
pub fn serve(listener: &UnixListener, network: &Arc<PodNetwork>) -> io::Error {
    let slots = Arc::new(Slots::default());
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if is_passing(&error) => {
                // Out of descriptors, for example: give others time to close some.
                thread::sleep(Duration::from_millis(50));
                continue;
            }
            Err(error) => return error,
        };
        let slot = Slots::take(&slots);
        let network = Arc::clone(network);
        let spawned = thread::Builder::new().name("cni-request".to_owned()).spawn(move || {
            if let Err(error) = answer(&stream, &network) {
                tracing::debug!(%error, "CNI connection ended early");
            }
            drop(slot);
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for a CNI request"); // the plugin sees the connection close
        }
    }
}

fn answer(mut stream: &UnixStream, network: &PodNetwork) -> Result<(), CniError> {
    let io = |source: io::Error| CniError::new(ErrorCode::IO_FAILURE, source.to_string());
    stream.set_read_timeout(Some(PEER_TIMEOUT)).map_err(io)?;
    stream.set_write_timeout(Some(PEER_TIMEOUT)).map_err(io)?;
    let response = match read_message::<Request>(&mut stream) {
        Ok(request) => {
            catch_unwind(AssertUnwindSafe(|| network.handle(request, &|| is_there(stream)))).unwrap_or_else(|_| {
                Response::Error(CniError::new(ErrorCode::IO_FAILURE, "the agent failed while it handled the request"))
            })
        }
        Err(error) => Response::Error(error.into()),
    };
    write_message(&mut stream, &response).map_err(CniError::from)
}

/// Whether the peer still holds its end: after its request it says nothing more, so whatever can be read is its end.
fn is_there(mut stream: &UnixStream) -> bool {
    let look = |stream: &mut &UnixStream| {
        stream.set_nonblocking(true)?;
        let read = stream.read(&mut [0]);
        stream.set_nonblocking(false)?;
        read
    };
    matches!(look(&mut stream), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn is_passing(error: &io::Error) -> bool {
    let passing = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ECONNABORTED, libc::EINTR];
    error.raw_os_error().is_some_and(|errno| passing.contains(&errno))
}

/// Counts the threads under way.
#[derive(Default)]
struct Slots {
    taken: Mutex<usize>,
    freed: Condvar,
}

struct Slot(Arc<Slots>);

impl Slots {
    fn take(slots: &Arc<Self>) -> Slot {
        let taken = slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut usize| *taken >= MAX_THREADS;
        *slots.freed.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner) += 1;
        Slot(Arc::clone(slots))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.freed.notify_one();
    }
}

/// More than any runtime starts at once, and small enough to bound memory.
const MAX_THREADS: usize = 64;

/// The plugin writes its request at once and reads at once.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);
