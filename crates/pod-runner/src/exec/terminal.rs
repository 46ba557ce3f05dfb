//! An interactive command: a pseudo-terminal between the user's terminal and the container.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    process::Stdio,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize},
};

use super::{ExecError, code, command};
use crate::find::Target;

/// Runs `argv` with a terminal of its own until it ends.
pub fn run(target: &Target, argv: &[String]) -> Result<i32, ExecError> {
    let terminal = |errno: rustix::io::Errno| ExecError::Terminal(errno.into());
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(terminal)?;
    grantpt(&ours).and_then(|()| unlockpt(&ours)).map_err(terminal)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let theirs = ioctl_tiocgptpeer(&ours, flags).map_err(terminal)?;
    copy_size(&ours);
    let end = || theirs.try_clone().map_err(ExecError::Terminal);
    let stdio = [Stdio::from(end()?), Stdio::from(end()?), Stdio::from(end()?)];
    let mut child = command::spawn(target, argv, stdio, Some(end()?))?;
    // From here on only the child holds the other side, so that its end is seen.
    drop(theirs);
    let raw = RawMode::enter();
    let copied = copy(&ours, child.id());
    drop(raw);
    copied.map_err(ExecError::Terminal)?;
    Ok(code(child.wait().map_err(ExecError::Wait)?))
}

fn copy(pty: &OwnedFd, pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let child = pidfd_open(pid, PidfdFlags::empty())?;
    let mut pty_file = File::from(pty.try_clone()?);
    let (mut stdin, mut stdout) = (File::from(io::stdin().as_fd().try_clone_to_owned()?), io::stdout());
    let mut buffer = [0u8; 16 * 1024];
    let mut input_open = true;
    loop {
        let input_flags = if input_open { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = [
            PollFd::from_borrowed_fd(pty.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stdin.as_fd(), input_flags),
            PollFd::from_borrowed_fd(child.as_fd(), PollFlags::IN),
        ];
        // A changed window size is noticed at the next look: that needs no signal handler.
        match poll(&mut fds, Some(&LOOK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let [from_child, from_user, ended] = fds.map(|fd| fd.revents());
        copy_size(pty);
        if !from_child.is_empty() {
            match pty_file.read(&mut buffer) {
                // EIO: nobody holds the other side any more.
                Ok(0) | Err(_) => return Ok(()),
                Ok(length) => {
                    stdout.write_all(&buffer[..length])?;
                    stdout.flush()?;
                }
            }
        } else if !ended.is_empty() {
            return Ok(());
        }
        if input_open && !from_user.is_empty() {
            match stdin.read(&mut buffer)? {
                0 => input_open = false,
                length => pty_file.write_all(&buffer[..length])?,
            }
        }
    }
}

fn copy_size(pty: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(io::stdin()) {
        let _ = tcsetwinsize(pty, size);
    }
}

/// The user's terminal without line editing and signals, until dropped.
struct RawMode(Option<Termios>);

impl RawMode {
    fn enter() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(mut raw) = before.clone() {
            raw.make_raw();
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &raw);
        }
        Self(before)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}

const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: Duration::from_millis(250).as_nanos() as i64 };
