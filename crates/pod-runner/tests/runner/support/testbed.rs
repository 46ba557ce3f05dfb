//! A node of the test's own: namespaces, folders, cgroup, plugin, fake agent, and a runner to start and stop.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use network_namespace::NetNs;
use pod_runner::{NodeTemplate, RunnerOptions};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::fake_api::{FakeApi, pod_path};

pub struct Testbed {
    pub api: FakeApi,
    pub root: PathBuf,
    pub options: RunnerOptions,
    /// What the fake agent says: how often its maps still name a Pod.
    pub references: Arc<AtomicU64>,
    runner: Option<(CancellationToken, JoinHandle<()>)>,
    agent: JoinHandle<()>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Testbed {
    pub fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test makes namespaces and needs root");
        sweep_crashed_tests();
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(&name);
        let folder = |part: &str| {
            let path = root.join(part);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (conf, pods, plugin) = (folder("net.d"), folder("pods"), folder("plugin"));
        let netns_path = Path::new("/run/netns").join(&name);
        let netns = NetNs::create_named(&netns_path).unwrap();
        let host_ip = Ipv4Addr::new(10, 99, 255, 1);
        netns
            .run(|| {
                let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
                assert!(up.success());
                // The address that the node speaks to its Pods from.
                assert!(
                    Command::new("ip")
                        .args(["address", "add", "10.99.255.1/32", "dev", "lo"])
                        .status()
                        .unwrap()
                        .success()
                );
            })
            .unwrap();
        let config =
            json!({"cniVersion": "1.1.0", "name": "test", "plugins": [{"type": "test-cni", "folder": plugin}]});
        fs::write(conf.join("10-test.conflist"), config.to_string()).unwrap();
        let references = Arc::new(AtomicU64::new(0));
        let socket = root.join("agent.sock");
        let agent = tokio::spawn(fake_agent(socket.clone(), references.clone()));
        let options = RunnerOptions {
            node_name: "node-1".into(),
            node_netns: netns_path,
            cni_conf_dir: conf,
            cni_path: vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugin")],
            pods_dir: pods,
            lab_dir: root.clone(),
            cgroup: cgroup2().map(|mount| mount.join(&name)),
            agent_sockets: vec![socket],
            host_ips: vec![host_ip.into()],
            malla: env!("CARGO_BIN_EXE_malla-pod").into(),
            cluster_dns: vec!["10.96.0.10".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            kubernetes_service: "10.96.0.1:443".parse().unwrap(),
            node: NodeTemplate { pod_cidrs: vec!["10.99.0.0/24".into()], ..NodeTemplate::default() },
        };
        Self { api: FakeApi::new(), root, options, references, runner: None, agent }
    }

    pub fn start_runner(&mut self) {
        self.start_runner_with(self.api.client());
    }

    /// With another API than the one in memory.
    pub fn start_runner_with(&mut self, client: kube::Client) {
        let cancel = CancellationToken::new();
        let running = pod_runner::run(self.options.clone(), client, cancel.clone());
        let task = tokio::spawn(async move { running.await.unwrap() });
        self.runner = Some((cancel, task));
    }

    /// Ends the runner as a crash would: its Pods know nothing of it.
    pub async fn stop_runner(&mut self) {
        if let Some((cancel, task)) = self.runner.take() {
            cancel.cancel();
            task.await.unwrap();
        }
    }

    /// Creates a Pod on the node; `spec` is merged over an echo container named `c`.
    pub fn create(&self, name: &str, spec: Value) -> String {
        let mut whole = json!({"nodeName": "node-1", "restartPolicy": "Always", "terminationGracePeriodSeconds": 20,
            "containers": [{"name": "c", "image": "malla.dev/echo"}]});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": whole});
        self.api.put(&pod_path(name), pod)["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    pub fn pod(&self, name: &str) -> Value {
        self.api.get(&pod_path(name)).unwrap_or(Value::Null)
    }

    /// Waits until `enough` holds for the Pod; shows it when that takes too long.
    pub async fn until(&self, name: &str, what: &str, enough: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let pod = self.pod(name);
            if enough(&pod) {
                return pod;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "{what} did not happen\n{:#}\n{:#?}",
                pod["status"],
                self.api.events()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn ready(&self, name: &str) -> Value {
        self.until(name, "readiness", |pod| condition(pod, "Ready") == "True").await
    }

    /// Waits until `enough` holds.
    pub async fn eventually(&self, what: &str, enough: impl Fn() -> bool) {
        let begin = Instant::now();
        while !enough() {
            assert!(begin.elapsed() < Duration::from_secs(30), "{what} did not happen\n{:#?}", self.api.events());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// GET from the node, as kubelet or any host process would.
    pub fn get(&self, address: &str, path: &str) -> Result<String, String> {
        let netns = NetNs::open(&self.options.node_netns).unwrap();
        netns
            .run(|| {
                use std::io::{Read, Write};
                let mut stream = std::net::TcpStream::connect((address, 8080)).map_err(|error| error.to_string())?;
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                    .map_err(|error| error.to_string())?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
                Ok(answer)
            })
            .unwrap()
    }

    pub fn diary(&self) -> String {
        fs::read_to_string(self.root.join("plugin/diary")).unwrap_or_default()
    }

    pub fn pod_folders(&self) -> usize {
        fs::read_dir(&self.options.pods_dir).map_or(0, Iterator::count)
    }

    /// Ends everything and shows that nothing is left.
    pub async fn finish(mut self) {
        self.stop_runner().await;
        self.agent.abort();
        let problems = pod_runner::remove_all(&self.options.pods_dir).await;
        assert!(problems.is_empty(), "{problems:?}");
        if let Some(cgroup) = &self.options.cgroup {
            remove_cgroup(cgroup);
        }
        NetNs::remove(&self.options.node_netns).unwrap();
        fs::remove_dir_all(&self.root).unwrap();
    }
}

pub fn condition<'a>(pod: &'a Value, kind: &str) -> &'a str {
    let conditions = pod["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or("")
}

pub fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

/// Answers `GET /v1/backends/<ip>` for as long as it is asked.
async fn fake_agent(socket: PathBuf, references: Arc<AtomicU64>) {
    let listener = UnixListener::bind(socket).unwrap();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0u8; 4096];
        let length = stream.read(&mut request).await.unwrap_or(0);
        assert!(request[..length].starts_with(b"GET /v1/backends/10.99.0."));
        let body = json!({"references": references.load(Ordering::Relaxed)}).to_string();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

/// What a test that was killed has left: its name holds its pid.
fn sweep_crashed_tests() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        for entry in fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split('-').next())
                .and_then(|pid| pid.parse::<u32>().ok());
            let Some(pid) = pid.filter(|pid| !Path::new(&format!("/proc/{pid}")).exists()) else { continue };
            eprintln!("sweeping after crashed test {pid}");
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(pod_runner::remove_all(&entry.path().join("pods")))
                });
            });
            if let Some(mount) = cgroup2() {
                remove_cgroup(&mount.join(&name));
            }
            let _ = NetNs::remove(Path::new("/run/netns").join(&name));
            let _ = fs::remove_dir_all(entry.path());
        }
    });
}

fn remove_cgroup(cgroup: &Path) {
    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    for _ in 0..100 {
        if try_remove(cgroup) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("cgroup {} stays", cgroup.display());
}

fn try_remove(cgroup: &Path) -> bool {
    for child in fs::read_dir(cgroup).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        try_remove(&child.path());
    }
    fs::remove_dir(cgroup).is_ok() || !cgroup.exists()
}

/// Where cgroup version 2 is mounted.
fn cgroup2() -> Option<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = table.lines().find(|line| line.contains(" - cgroup2 "))?;
    Some(line.split(' ').nth(4)?.into())
}

const PREFIX: &str = "malla-runner-test-";
