//! The API server as a process of its own, so that it can be killed.

use clap::Parser;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use std::{
    fs::File,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A running API server; ended when dropped.
pub struct ApiServer {
    child: Child,
    dir: TempDir,
    port: u16,
}

impl ApiServer {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        // Somebody else could take the port in between; then the server says so and the test fails loudly.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let child = spawn(&dir, port);
        let server = Self { child, dir, port };
        server.client().await;
        server
    }

    /// A client, as soon as the server is ready.
    pub async fn client(&self) -> Client {
        let start = Instant::now();
        loop {
            if let Some(client) = self.try_client().await {
                return client;
            }
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(20), "the API server does not start:\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn try_client(&self) -> Option<Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).ok()?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.ok()?;
        let client = Client::try_from(config).ok()?;
        let ready = http::Request::get("/readyz").body(Vec::new()).ok()?;
        client.request_text(ready).await.ok()?;
        Some(client)
    }

    /// Path of the kubeconfig.
    pub fn kubeconfig(&self) -> std::path::PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Starts it again on the same data and port.
    pub fn restart(&mut self) {
        self.child = spawn(&self.dir, self.port);
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &TempDir, port: u16) -> Child {
    let path = |name: &str| dir.path().join(name).display().to_string();
    let arguments = [
        "apiserver".to_owned(),
        "--data-dir".to_owned(),
        path("data"),
        "--pki-dir".to_owned(),
        path("pki"),
        "--listen".to_owned(),
        format!("127.0.0.1:{port}"),
        "--advertise-address".to_owned(),
        "127.0.0.1".to_owned(),
        "--service-cidr".to_owned(),
        "10.96.0.0/12,fd00:10:96::/112".to_owned(),
        "--kubeconfig".to_owned(),
        format!("{}=https://127.0.0.1:{port}", path("kubeconfig")),
    ];
    let log = File::options().create(true).append(true).open(path("log")).expect("a log");
    let same_log = log.try_clone().expect("a log");
    Command::new(std::env::current_exe().expect("this test"))
        .args(["cluster::api_server::process", "--exact", "--nocapture"])
        .env(ARGUMENTS, arguments.join("\n"))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(same_log)
        .spawn()
        .expect("start the API server")
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    api_server: kubernetes_api::cli::ApiserverArgs,
}

/// Not a test: the body of the API server's process, which is this very program called with its arguments in the
/// environment. Without them it does nothing.
#[test]
fn process() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let arguments = Arguments::parse_from(arguments.lines());
    kubernetes_api::cli::run(arguments.api_server).expect("the API server runs");
}

const ARGUMENTS: &str = "CONTROLLERS_TEST_APISERVER";
