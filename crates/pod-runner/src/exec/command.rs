//! Starting a process inside the namespaces of a running container.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    io::write,
    process::{Signal, chdir, chroot, fchdir, ioctl_tiocsctty, setsid},
    thread::{ThreadNameSpaceType, move_into_thread_name_spaces},
};
use tokio::{io::AsyncReadExt, time::timeout};

use super::{ExecError, code, working_dir};
use crate::{find::Target, process::ProcessId};

/// Starts `argv` in the container. `controlling` is the terminal, already among `stdio`, that the process shall have.
pub fn spawn(
    target: &Target,
    argv: &[String],
    stdio: [Stdio; 3],
    controlling: Option<OwnedFd>,
) -> Result<Child, ExecError> {
    let (program, arguments) = argv.split_first().ok_or(ExecError::Empty)?;
    let failed = |step, source| ExecError::Enter { container: target.container.clone(), step, source };
    let pidfd = target
        .running
        .container
        .open()
        .map_err(|source| failed("open its process", source))?
        .ok_or_else(|| ExecError::NotRunning(target.container.clone()))?;
    let procs = match &target.config.cgroup {
        Some(cgroup) => {
            let file = std::fs::OpenOptions::new().write(true).open(cgroup.join("cgroup.procs"));
            Some(OwnedFd::from(file.map_err(|source| failed("open its cgroup", source))?))
        }
        None => None,
    };
    let folder = CString::new(working_dir(target).as_os_str().as_bytes())
        .map_err(|_| failed("name its working directory", io::ErrorKind::InvalidInput.into()))?;
    // A mount namespace is entered at its own root, which is not the container's where the lab itself lives in a chroot.
    let root = PathBuf::from(format!("/proc/{}/root", target.running.container.pid));
    let root = rustix::fs::open(&root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed("open its root", errno.into()))?;
    let inner = pidfd.try_clone().map_err(|source| failed("duplicate its process", source))?;

    let mut command = Command::new(program);
    let [stdin, stdout, stderr] = stdio;
    command.args(arguments).env_clear().envs(&target.config.env).stdin(stdin).stdout(stdout).stderr(stderr);
    if controlling.is_some() {
        command.env("TERM", std::env::var("TERM").unwrap_or_else(|_| "xterm".into()));
    }
    let enter = move || -> io::Result<()> {
        setsid()?;
        if let Some(terminal) = &controlling {
            ioctl_tiocsctty(terminal)?;
        }
        if let Some(procs) = &procs {
            write(procs, b"0")?;
        }
        let spaces = ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::NETWORK
            | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
        move_into_thread_name_spaces(inner.as_fd(), spaces)?;
        fchdir(&root)?;
        chroot(c".")?;
        chdir(folder.as_c_str())?;
        Ok(())
    };
    // SAFETY: the closure makes system calls on descriptors and a string prepared before; it allocates nothing.
    unsafe { command.pre_exec(enter) };

    // The pid namespace takes effect for children of the thread that enters it: a thread of its own, which ends here.
    std::thread::scope(|scope| {
        let spawned = scope.spawn(|| {
            move_into_thread_name_spaces(pidfd.as_fd(), ThreadNameSpaceType::PROCESS_ID)
                .map_err(|errno| failed("enter its pid namespace", errno.into()))?;
            command.spawn().map_err(|source| ExecError::Start {
                program: program.clone(),
                container: target.container.clone(),
                source,
            })
        });
        spawned.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What a command said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    pub exit_code: i32,
    /// Standard output and error, at most 10 KiB each, as kubelet keeps of a probe.
    pub output: String,
}

/// Runs a command in the container to its end; `None` when it had to be killed because `limit` was over.
pub async fn capture(target: &Target, argv: &[String], limit: Duration) -> Result<Option<Captured>, ExecError> {
    let mut child = spawn(target, argv, [Stdio::null(), Stdio::piped(), Stdio::piped()], None)?;
    let process = ProcessId::of(child.id());
    let stdout = child.stdout.take().map(tokio::process::ChildStdout::from_std).transpose().map_err(ExecError::Wait)?;
    let stderr = child.stderr.take().map(tokio::process::ChildStderr::from_std).transpose().map_err(ExecError::Wait)?;
    let whole = async {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let read_out = async {
            if let Some(stdout) = stdout {
                let _ = stdout.take(LONGEST_OUTPUT).read_to_end(&mut out).await;
            }
        };
        let read_err = async {
            if let Some(stderr) = stderr {
                let _ = stderr.take(LONGEST_OUTPUT).read_to_end(&mut err).await;
            }
        };
        tokio::join!(read_out, read_err);
        if let Ok(process) = &process {
            let _ = process.ended().await;
        }
        out.extend_from_slice(&err);
        String::from_utf8_lossy(&out).into_owned()
    };
    let output = timeout(limit, whole).await.ok();
    if output.is_none()
        && let Ok(process) = &process
    {
        let _ = process.signal(Signal::KILL);
        let _ = process.ended().await;
    }
    // It has ended: this reaps it and does not wait.
    let status = child.wait().map_err(ExecError::Wait)?;
    Ok(output.map(|output| Captured { exit_code: code(status), output }))
}

const LONGEST_OUTPUT: u64 = 10 * 1024;
