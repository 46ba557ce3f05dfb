//! The processes of a test: this very program, called again with a role in its environment.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use tempfile::TempDir;

/// A process that is ended when this is dropped.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A DNS server on both loopback addresses.
pub struct Dns {
    pub port: u16,
    pub folder: TempDir,
    process: Running,
}

/// What `dig` printed.
#[derive(Debug)]
pub struct Answer {
    /// `NOERROR`, `NXDOMAIN`, …; empty without an answer.
    pub status: String,
    /// `aa`, `tc`, `ra`, …
    pub flags: Vec<String>,
    /// Lines of the answer section, without the time to live, sorted.
    pub records: Vec<String>,
    pub whole: String,
}

impl Dns {
    /// Starts one with these arguments besides its addresses, and waits until it answers.
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut all = vec!["dns".to_owned()];
        for address in loopback() {
            all.extend(["--listen".to_owned(), SocketAddr::new(address, port).to_string()]);
        }
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let process = spawn(&folder, "dns", &all);
        let dns = Self { port, folder, process };
        dns.until("it answers", &["+tcp", "anything.", "A"], |answer| !answer.status.is_empty());
        dns
    }

    /// One whose only zone is this file's text.
    pub fn with_zone(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("zone");
        std::fs::write(&file, text).unwrap();
        Self::start(&["--zone-file", file.to_str().unwrap()])
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Asks at the IPv4 address.
    pub fn dig(&self, arguments: &[&str]) -> Answer {
        self.dig_at("127.0.0.1", arguments)
    }

    /// Asks once, without search list and configuration of the machine.
    pub fn dig_at(&self, address: &str, arguments: &[&str]) -> Answer {
        let output = Command::new("dig")
            .args(["-r", "+tries=1", "+time=8", "+nosearch", "-p", &self.port.to_string(), &format!("@{address}")])
            .args(arguments)
            .output()
            .expect("dig: `make setup` installs bind9-dnsutils");
        parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Whether the process that was started is still the one that runs.
    pub fn is_the_same_process(&mut self) -> bool {
        self.process.0.try_wait().unwrap().is_none()
    }

    pub fn until(&self, what: &str, arguments: &[&str], holds: impl Fn(&Answer) -> bool) -> Answer {
        let started = Instant::now();
        loop {
            let answer = self.dig(arguments);
            if holds(&answer) {
                return answer;
            }
            if started.elapsed() > Duration::from_secs(20) {
                let log = std::fs::read_to_string(self.folder.path().join("dns.log")).unwrap_or_default();
                panic!("{what} did not come; the last answer was\n{}\nand the log is\n{log}", answer.whole);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Answer {
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|have| have == flag)
    }
}

fn parse(said: &str) -> Answer {
    let after = |mark: &str| said.split_once(mark).map_or("", |(_, rest)| rest.lines().next().unwrap_or_default());
    let section = said.split_once(";; ANSWER SECTION:\n").map_or("", |(_, rest)| rest);
    let lines = section.lines().take_while(|line| !line.is_empty() && !line.starts_with(';'));
    let record = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
    };
    let mut records: Vec<String> = lines.map(record).collect();
    records.sort();
    Answer {
        status: after("status: ").split(',').next().unwrap_or_default().to_owned(),
        flags: after(";; flags: ")
            .split(';')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        records,
        whole: said.to_owned(),
    }
}

/// An API server with an admin's kubeconfig.
pub struct ApiServer {
    folder: TempDir,
    _process: Running,
}

impl ApiServer {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap().port();
        let path = |name: &str| folder.path().join(name).display().to_string();
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
        let process = spawn(&folder, "apiserver", &arguments);
        let server = Self { folder, _process: process };
        server.client().await;
        server
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// A client, as soon as the server answers.
    pub async fn client(&self) -> kube::Client {
        let started = Instant::now();
        loop {
            if let Ok(file) = kube::config::Kubeconfig::read_from(self.kubeconfig())
                && let Ok(config) = kube::Config::from_custom_kubeconfig(file, &Default::default()).await
                && let Ok(client) = kube::Client::try_from(config)
                && client.apiserver_version().await.is_ok()
            {
                return client;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "the API server does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn loopback() -> [IpAddr; 2] {
    [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
}

/// A port that nobody has in either family and protocol.
fn free_port() -> u16 {
    loop {
        let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap().port();
        let is_free =
            |address: IpAddr| TcpListener::bind((address, port)).is_ok() && UdpSocket::bind((address, port)).is_ok();
        if loopback().into_iter().all(is_free) {
            return port;
        }
    }
}

fn spawn(folder: &TempDir, name: &str, arguments: &[String]) -> Running {
    let log = File::create(folder.path().join(format!("{name}.log"))).unwrap();
    let same_log = log.try_clone().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["processes::process", "--exact", "--nocapture"])
        .env(ARGUMENTS, arguments.join("\n"))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(same_log)
        .spawn()
        .unwrap();
    Running(child)
}

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    Apiserver(kubernetes_api::cli::ApiserverArgs),
    Dns(cluster_dns::cli::DnsArgs),
}

/// Not a test: the body of the processes. Without arguments in the environment it does nothing.
#[test]
fn process() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let arguments = std::iter::once("malla").chain(arguments.lines());
    match Arguments::parse_from(arguments).role {
        Role::Apiserver(args) => kubernetes_api::cli::run(args).unwrap(),
        Role::Dns(args) => cluster_dns::cli::run(args).unwrap(),
    }
}

const ARGUMENTS: &str = "CLUSTER_DNS_TEST_PROCESS";
