//! A real server process per test, and the clients that judge it.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use clap::Parser;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The server of one test, ended with it.
pub struct Server {
    pub folder: tempfile::TempDir,
    pub port: u16,
    child: Child,
}

/// Names the arguments for [`server_process`]; set only in processes that [`Server`] starts.
const ARGUMENTS: &str = "MALLA_TEST_APISERVER";

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    server: kubernetes_api::cli::ApiserverArgs,
}

/// Not a test: the body of the processes that tests start. Each test file calls it from a test named `server_process`,
/// because the test's own binary is the one program that is certainly built.
pub fn server_process() {
    let Ok(text) = std::env::var(ARGUMENTS) else { return };
    let arguments = std::iter::once("apiserver").chain(text.split('\n'));
    kubernetes_api::cli::run(Arguments::parse_from(arguments).server).expect("the server runs");
}

impl Server {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|probe| probe.local_addr()).expect("a free port").port();
        let child = spawn(folder.path(), port);
        let mut server = Self { folder, port, child };
        server.wait();
        server
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, as a crash would end it.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Starts it again over the same folder.
    pub fn restart(&mut self) {
        self.child = spawn(self.folder.path(), self.port);
        self.wait();
    }

    fn wait(&mut self) {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("wait") {
                panic!("the server ended at once: {status}");
            }
            let up = std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            if up && self.kubeconfig().exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server did not come up");
    }

    pub async fn client(&self) -> kube::Client {
        kube::Client::try_from(self.config().await).expect("a client")
    }

    pub async fn config(&self) -> kube::Config {
        let read = Kubeconfig::read_from(self.kubeconfig()).expect("a kubeconfig");
        kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("a config")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, port: u16) -> Child {
    let show = |name: &str| folder.join(name).display().to_string();
    let arguments = [
        format!("--data-dir={}", show("data")),
        format!("--pki-dir={}", show("pki")),
        format!("--listen=127.0.0.1:{port}"),
        "--advertise-address=127.0.0.1".into(),
        format!("--kubeconfig={}=https://127.0.0.1:{port}", show("kubeconfig")),
    ];
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "server_process", "--nocapture"])
        .env(ARGUMENTS, arguments.join("\n"))
        .stdout(Stdio::null())
        .spawn()
        .expect("start the server")
}

/// One kubectl, with a home of its own so that its discovery cache is.
pub struct Kubectl {
    program: PathBuf,
    home: tempfile::TempDir,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub fn new(program: PathBuf, server: &Server) -> Self {
        Self { program, home: tempfile::tempdir().expect("a folder"), kubeconfig: server.kubeconfig() }
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(line.split_whitespace()).env("KUBECONFIG", &self.kubeconfig).env("HOME", self.home.path());
        command
    }

    pub fn output(&self, line: &str) -> Output {
        self.command(line).output().unwrap_or_else(|error| panic!("{}: {error}", self.program.display()))
    }

    /// Must succeed; gives what it printed.
    pub fn ok(&self, line: &str) -> String {
        let output = self.output(line);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {line}: {stderr}", self.program.display());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Must fail; gives what it complained.
    pub fn fails(&self, line: &str) -> String {
        let output = self.output(line);
        assert!(!output.status.success(), "{} {line} succeeded", self.program.display());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// With a manifest on its standard input.
    pub fn with_input(&self, line: &str, input: &str) -> Output {
        use std::io::Write;
        let mut child = self
            .command(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("write");
        child.wait_with_output().expect("wait")
    }

    pub fn apply(&self, manifest: &str) -> String {
        let output = self.with_input("apply -f -", manifest);
        assert!(output.status.success(), "apply: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Debian's kubectl 1.20, unpacked once per machine into a folder of the tests' own.
pub fn kubectl_1_20() -> PathBuf {
    let folder = std::env::temp_dir().join("malla-tests-kubectl-1.20");
    let program = folder.join("usr/bin/kubectl");
    if program.exists() {
        return program;
    }
    let work = tempfile::tempdir_in(std::env::temp_dir()).expect("a folder");
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(work.path()).output();
        let output = output.unwrap_or_else(|error| panic!("these tests need {program}: {error}"));
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run("apt-get", &["download", "kubernetes-client"]);
    let package = std::fs::read_dir(work.path())
        .expect("readable")
        .filter_map(Result::ok)
        .find(|entry| entry.path().extension().is_some_and(|extension| extension == "deb"))
        .expect("apt-get download kubernetes-client leaves a package")
        .path();
    run("dpkg", &["-x", &package.display().to_string(), "tree"]);
    // Beside others that do the same: the first rename wins, and all are the same.
    let _ = std::fs::rename(work.path().join("tree"), &folder);
    assert!(program.exists(), "the package kubernetes-client has no usr/bin/kubectl");
    program
}

/// The kubectl of the PATH; None where there is none.
pub fn kubectl_on_the_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|program| program.exists())
}

/// Tries until it holds, or panics.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let until = Instant::now() + Duration::from_secs(15);
    while !holds().await {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
