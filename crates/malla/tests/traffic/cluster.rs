//! A lab of a test: kubectl to change it, and the built-in client to ask from anywhere in it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::Value;

/// One lab at a time: each is a cluster, and the machine is small.
static ALONE: Mutex<()> = Mutex::new(());

pub struct Cluster {
    pub name: String,
    _alone: MutexGuard<'static, ()>,
}

/// Where a command runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// A node, or `outside`.
    Node(&'static str),
    Pod(&'static str),
}

/// What the built-in client reports.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub requests: u64,
    pub errors: u64,
    pub error_kinds: Value,
    /// Seconds since its beginning.
    #[serde(default)]
    pub error_times: Vec<f64>,
    pub answered_by: std::collections::BTreeMap<String, u64>,
    pub seen_as: std::collections::BTreeMap<String, u64>,
    pub last_answer: Option<String>,
}

impl Cluster {
    /// Brings up a lab and waits until it is ready.
    pub fn up(arguments: &[&str]) -> Self {
        Self::up_with(&[], arguments)
    }

    /// The same, with variables that its agents see.
    pub fn up_with(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("t{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let cluster = Self { name, _alone: alone };
        let mut up = cluster.malla(&["lab", "up", "--wait"], arguments);
        let up = up.envs(environment.iter().copied()).output().unwrap();
        assert!(up.status.success(), "malla lab up: {}", text(&up));
        cluster
    }

    /// `malla lab <command> --name … <arguments>`.
    fn malla(&self, command: &[&str], arguments: &[&str]) -> Command {
        let mut malla = Command::new(malla_path());
        malla.args(command).args(["--name", &self.name]).args(arguments).env_remove("MALLA_LAB").stdin(Stdio::null());
        malla
    }

    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.kubectl_command(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "kubectl {}: {}", arguments.join(" "), text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut kubectl = Command::new(unpacked("usr/bin/kubectl"));
        kubectl.args(arguments).env("KUBECONFIG", self.folder().join("kubeconfig"));
        kubectl
    }

    pub fn apply(&self, manifests: &str) {
        let mut kubectl = self.kubectl_command(&["apply", "-f", "-"]);
        let mut child = kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(manifests.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "kubectl apply: {}", text(&output));
    }

    /// Addresses of a Pod, IPv4 first.
    pub fn pod_addresses(&self, pod: &str) -> [String; 2] {
        let all = self.kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.podIPs[*].ip}"]);
        by_family(all.split_whitespace())
    }

    pub fn cluster_ips(&self, service: &str) -> [String; 2] {
        let all = self.kubectl(&["get", "service", service, "-o", "jsonpath={.spec.clusterIPs[*]}"]);
        by_family(all.split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != ':').filter(|w| !w.is_empty()))
    }

    pub fn status(&self) -> Value {
        let output = self.malla(&["lab", "status"], &["-o", "json"]).output().unwrap();
        assert!(output.status.success(), "malla lab status: {}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A command somewhere in the lab.
    pub fn command(&self, from: From, program: &Path, arguments: &[&str]) -> Command {
        let program = program.to_str().unwrap();
        let (place, command) = match from {
            From::Node(node) => (node, "node-shell"),
            From::Pod(pod) => (pod, "exec"),
        };
        let mut all = vec![place, "--", program];
        all.extend(arguments);
        self.malla(&["lab", command], &all)
    }

    /// The built-in client: `http`, `tcp` or `udp` with its arguments.
    pub fn client(&self, from: From, arguments: &[&str]) -> Command {
        self.command(from, &malla_path(), &[&["workload", "client"], arguments, &["--json"]].concat())
    }

    /// Runs the client to its end.
    pub fn ask(&self, from: From, arguments: &[&str]) -> Result<Report, String> {
        report(&self.client(from, arguments).output().map_err(|error| error.to_string())?)
    }

    pub fn folder(&self) -> PathBuf {
        Path::new("/run/malla").join(&self.name)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", logs(&self.folder()));
        }
        let down = self.malla(&["lab", "down"], &[]).output().unwrap();
        if !std::thread::panicking() {
            assert!(down.status.success(), "malla lab down: {}", text(&down));
        }
    }
}

/// A process of the test, gone when the test ends.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads the client's JSON: the last line, since a failing exec may say more.
pub fn report(output: &Output) -> Result<Report, String> {
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().rfind(|line| line.starts_with('{')).ok_or_else(|| text(output))?;
    serde_json::from_str(line).map_err(|error| format!("{error}: {}", text(output)))
}

/// Tries until it holds.
pub fn wait_until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < patience, "{what} did not come within {} s", patience.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub fn malla_path() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_malla"))
}

/// A file of a Debian package that `make setup` unpacked.
pub fn unpacked(path: &str) -> PathBuf {
    let target = malla_path().parent().and_then(Path::parent).unwrap().to_owned();
    let file = target.join("debian").join(path);
    assert!(file.exists(), "{} is missing: run `make setup`", file.display());
    file
}

/// `host:port`, with brackets where IPv6 wants them.
pub fn at(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn by_family<'a>(addresses: impl Iterator<Item = &'a str>) -> [String; 2] {
    let mut addresses: Vec<String> = addresses.map(str::to_owned).collect();
    addresses.sort_by_key(|address| address.contains(':'));
    addresses.try_into().unwrap_or_else(|found| panic!("an address of each family was expected, not {found:?}"))
}

fn logs(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder.join("logs")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        all.push_str(&format!(
            "--- {}\n{}\n",
            entry.path().display(),
            lines[lines.len().saturating_sub(20)..].join("\n")
        ));
    }
    all
}
