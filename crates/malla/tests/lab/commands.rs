//! A lab of a test, driven by `malla lab …`, gone at the test's end however it ends.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::Value;

/// The lab, and the right to be the only one.
pub struct Lab {
    pub name: String,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Lab {
    /// Reserves a name; nothing is made yet.
    pub fn reserve() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            malla_path().with_file_name("malla-cni").exists(),
            "malla-cni is not beside malla: `cargo xtask build` puts it there"
        );
        Self { name: unique_name(), _alone: alone }
    }

    /// Makes it and waits until it is ready.
    pub fn up(arguments: &[&str]) -> Self {
        let lab = Self::reserve();
        lab.run_up(arguments);
        lab
    }

    pub fn run_up(&self, arguments: &[&str]) -> String {
        let output = malla(&[&["lab", "up", "--name", &self.name, "--wait"], arguments].concat());
        assert!(output.status.success(), "{}\n{}", text(&output), self.logs());
        text(&output)
    }

    /// `malla lab <command> --name … <arguments>`.
    pub fn lab(&self, command: &str, arguments: &[&str]) -> Output {
        malla(&[&["lab", command, "--name", &self.name], arguments].concat())
    }

    /// kubectl against this lab; it must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = Command::new(kubectl_path())
            .arg("--kubeconfig")
            .arg(self.folder().join("kubeconfig"))
            .args(arguments)
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .output()
            .expect("run kubectl");
        assert!(output.status.success(), "kubectl {arguments:?}: {}\n{}", text(&output), self.logs());
        text(&output)
    }

    pub fn status(&self) -> Value {
        let output = self.lab("status", &["-o", "json"]);
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn folder(&self) -> PathBuf {
        Path::new("/run/malla").join(&self.name)
    }

    /// The end of every log, for a failure's text.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for entry in fs::read_dir(self.folder().join("logs")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(15)..];
            all.push_str(&format!("--- {}\n{}\n", entry.path().display(), tail.join("\n")));
        }
        all
    }

    /// Everything that carries the lab's name.
    pub fn traces(&self) -> Vec<String> {
        let prefix = format!("{}-", self.name);
        let mut found = Vec::new();
        for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                found.push(format!("namespace {}", entry.path().display()));
            }
        }
        if self.folder().exists() {
            found.push(format!("folder {}", self.folder().display()));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let cgroup2 = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap().split(' ').nth(4).unwrap();
        let cgroup = Path::new(cgroup2).join(format!("malla-{}", self.name));
        if cgroup.exists() {
            found.push(format!("cgroup {}", cgroup.display()));
        }
        let in_mounts = mounts.lines().filter(|line| line.contains(&self.name)).map(|line| format!("mount {line}"));
        found.extend(in_mounts);
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let is_ours =
                command.contains(&format!("--name {} ", self.name)) || command.contains(&format!("/{}/", self.name));
            if is_ours && !command.contains("lab down") {
                found.push(format!("process {} {command}", entry.file_name().to_string_lossy()));
            }
        }
        found
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let output = self.lab("down", &[]);
        if !std::thread::panicking() {
            assert!(output.status.success(), "{}", text(&output));
        }
    }
}

/// Runs malla.
pub fn malla(arguments: &[&str]) -> Output {
    Command::new(malla_path()).args(arguments).env_remove("MALLA_LAB").output().unwrap()
}

/// Runs a copy of malla as nobody: the build folder may be closed to them.
pub fn malla_as_nobody(arguments: &[&str]) -> Output {
    let folder =
        tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir().unwrap();
    let copy = folder.path().join("malla");
    fs::copy(malla_path(), &copy).unwrap();
    Command::new(copy).args(arguments).uid(65_534).gid(65_534).output().unwrap()
}

/// The machine's kubectl, or the one that `make setup` unpacks.
fn kubectl_path() -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&paths).map(|folder| folder.join("kubectl")).find(|program| program.is_file());
    let target = malla_path().parent().and_then(Path::parent).unwrap().to_owned();
    let program = on_path.unwrap_or_else(|| target.join("debian/usr/bin/kubectl"));
    assert!(program.is_file(), "{} is missing: run `make setup`", program.display());
    program
}

pub fn malla_path() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_malla"))
}

/// Both streams.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn unique_name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("e{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}
