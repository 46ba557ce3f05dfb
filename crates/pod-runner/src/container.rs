//! One run of a container, from the runner's side: start its shim, know how it goes, take it over after a crash.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::Stdio,
    time::Duration,
};

use jiff::Timestamp;
use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    sync::watch,
    time::sleep,
};

use crate::{
    files::{AttemptDir, read_json, write_json},
    shim::{Exit, Running, ShimConfig, StartFailure, Told},
};

/// What is known about a run. It only ever moves forward.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    pub running: Option<Running>,
    /// The workload has said that it listens.
    pub ready: bool,
    pub exit: Option<Exit>,
}

/// A run of a container; cheap to clone. Dropping it leaves the container alone.
#[derive(Debug, Clone)]
pub struct Container {
    pub id: String,
    pub dir: AttemptDir,
    progress: watch::Receiver<Progress>,
}

impl Container {
    /// Starts a shim for `config` in `dir`.
    pub fn start(malla: &Path, dir: AttemptDir, config: &ShimConfig) -> io::Result<Self> {
        fs::create_dir_all(&dir.0)?;
        write_json(&dir.config(), config)?;
        let mut command = std::process::Command::new(malla);
        command.arg("container-shim").arg(&dir.0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(dir.shim_log())?);
        // A session of its own: what ends the runner's terminal or process group must not end the Pods. Its own
        // process group (`process_group(0)`) would do for signals, but not for the terminal.
        // SAFETY: setsid is one system call without arguments, allowed between fork and exec.
        unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into)) };
        let child = Command::from(command).spawn()?;
        let (tell, progress) = watch::channel(Progress::default());
        tokio::spawn(follow(child, dir.clone(), tell));
        Ok(Self { id: config.id.clone(), dir, progress })
    }

    /// Takes over what a runner before this one started; `None` when nothing was ever started in `dir`.
    pub fn adopt(dir: AttemptDir) -> io::Result<Option<Self>> {
        let Some(config) = read_json::<ShimConfig>(&dir.config())? else { return Ok(None) };
        let (tell, progress) = watch::channel(Progress::default());
        tokio::spawn(follow_adopted(dir.clone(), config.reports_ready, tell));
        Ok(Some(Self { id: config.id, dir, progress }))
    }

    /// What is known now.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until the container runs (or has ended without ever running).
    pub async fn started(&self) -> Progress {
        self.wait_for(|progress| progress.running.is_some() || progress.exit.is_some()).await
    }

    /// Waits until the workload listens (or has ended).
    pub async fn ready(&self) -> Progress {
        self.wait_for(|progress| progress.ready || progress.exit.is_some()).await
    }

    /// Waits for the end.
    pub async fn ended(&self) -> Exit {
        self.wait_for(|progress| progress.exit.is_some()).await.exit.unwrap_or_else(|| lost(Timestamp::now()))
    }

    /// Sends a signal to the container's first process; one that has ended needs none.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.progress().running.map_or(Ok(()), |running| running.container.signal(signal))
    }

    async fn wait_for(&self, enough: impl FnMut(&Progress) -> bool) -> Progress {
        let mut progress = self.progress.clone();
        match progress.wait_for(enough).await {
            Ok(progress) => progress.clone(),
            // The follower ends only after it has told the exit.
            Err(_) => self.progress(),
        }
    }
}

/// Listens to the shim that this runner has started.
async fn follow(mut child: tokio::process::Child, dir: AttemptDir, tell: watch::Sender<Progress>) {
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match serde_json::from_str(&line) {
                Ok(Told::Started(running)) => tell.send_modify(|progress| progress.running = Some(running)),
                Ok(Told::Ready) => tell.send_modify(|progress| progress.ready = true),
                Ok(Told::Ended(exit)) => tell.send_modify(|progress| progress.exit = Some(exit)),
                Err(error) => tracing::warn!(%error, line, "a shim says something unknown"),
            }
        }
    }
    let _ = child.wait().await;
    finish(&dir, &tell);
}

/// Watches the files of a shim that somebody else has started.
async fn follow_adopted(dir: AttemptDir, reports_ready: bool, tell: watch::Sender<Progress>) {
    loop {
        // Asked before the files are read: what a shim wrote before it let go of the lock is there to be read.
        let alive = is_locked(&dir.lock()) || (!dir.lock().exists() && just_made(&dir.config()));
        let running = read_json::<Running>(&dir.running()).ok().flatten();
        if let Some(running) = running {
            let ready = dir.ready().exists();
            tell.send_if_modified(|progress| {
                let before = progress.clone();
                progress.running = Some(running);
                progress.ready = ready;
                *progress != before
            });
            if alive && (ready || !reports_ready) && running.shim.ended().await.is_ok() {
                break;
            }
        }
        if !alive {
            break;
        }
        sleep(LOOK_AGAIN).await;
    }
    finish(&dir, &tell);
}

fn finish(dir: &AttemptDir, tell: &watch::Sender<Progress>) {
    let exit = match read_json::<Exit>(&dir.exit()) {
        Ok(Some(exit)) => exit,
        // Its shim was killed, and the kernel killed the container with it.
        _ => {
            let began = tell.borrow().running.map_or_else(Timestamp::now, |running| running.started_at);
            let mut exit = lost(began);
            if tell.borrow().running.is_none() {
                let said = fs::read_to_string(dir.shim_log()).unwrap_or_default();
                exit.failure = Some(StartFailure { message: format!("the container's shim ended: {}", said.trim()) });
            }
            let _ = write_json(&dir.exit(), &exit);
            exit
        }
    };
    tell.send_modify(|progress| {
        progress.exit.get_or_insert(exit);
    });
}

fn lost(started_at: Timestamp) -> Exit {
    Exit { exit_code: 137, signal: Some(9), started_at, finished_at: Timestamp::now(), failure: None }
}

fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => false,
        Err(errno) => errno == rustix::io::Errno::WOULDBLOCK,
    }
}

fn just_made(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age < Duration::from_secs(1))
}

const LOOK_AGAIN: Duration = Duration::from_millis(20);
