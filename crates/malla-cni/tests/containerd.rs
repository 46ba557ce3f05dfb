//! Debian's containerd 1.6 as the runtime: `ctr run --cni` executes the plugin with conflist version 1.0.0, ADD before
//! the container's process runs and DEL (without a namespace: it is gone) after it ended. Needs root, and what
//! `make setup` unpacks under target/debian.
//!
//! Everything runs in mount and PID namespaces of its own, where /etc, /opt, /run and /var/lib are the test's: when
//! its first process ends, the kernel ends all others.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    os::unix::{fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use network_namespace::NetNs;
use pod_network::{Config, DEFAULT_REST, NullDatapath, PodNetwork, listen, serve};
use serde_json::{Value, json};
use support::Node;

#[test]
fn containerd_runs_a_container_in_the_pod_network() {
    let tools = target_directory().join("debian");
    let containerd = tools.join("usr/bin/containerd");
    assert!(containerd.exists(), "{} is missing: run `make setup`", containerd.display());
    let world = tempfile::tempdir().unwrap();
    for directory in ["etc/cni/net.d", "opt/cni/bin", "run", "var-lib"] {
        fs::create_dir_all(world.path().join(directory)).unwrap();
    }
    fs::copy(support::PLUGIN, world.path().join("opt/cni/bin/malla-cni")).unwrap();
    let conflist = json!({"cniVersion": "1.0.0", "name": "malla", "plugins": [{"type": "malla-cni"}]});
    fs::write(world.path().join("etc/cni/net.d/10-malla.conflist"), conflist.to_string()).unwrap();
    fs::write(world.path().join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    image(&tools.join("bin/busybox"), world.path());

    let node = Node::without_agent(support::USUAL);
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    inside.arg(std::env::current_exe().unwrap()).args(["--exact", "inside", "--nocapture", "--test-threads=1"]);
    inside.env(WORLD, world.path()).env(TOOLS, &tools);
    let netns = node.netns.try_clone().unwrap();
    // SAFETY: between fork and exec there is one system call, which allocates nothing.
    unsafe { inside.pre_exec(move || netns.enter_raw()) };
    let output = inside.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{}", said.concat());

    assert_eq!(node.pod_links(), Vec::<String>::new());
    let state = world.path().join("run/malla");
    assert_eq!(fs::read_dir(state.join("endpoints")).unwrap().count(), 0);
    let ranges = ["10.244.1.0/24".parse().unwrap()];
    let ipam = ipam::Ipam::open(&state.join("ipam.journal"), &ranges, DEFAULT_REST, ipam::Timestamp::now()).unwrap();
    assert!(ipam.owners().is_empty());
    assert_eq!(ipam.allocator().resting().count(), 2, "each of the two containers had one");
}

/// The part inside of the namespaces; in an ordinary run of the tests it has nothing to do.
#[test]
fn inside() {
    let (Some(world), Some(tools)) = (std::env::var_os(WORLD), std::env::var_os(TOOLS)) else { return };
    let (world, tools) = (PathBuf::from(world), PathBuf::from(tools));
    for (ours, theirs) in [("etc", "/etc"), ("opt", "/opt"), ("run", "/run"), ("var-lib", "/var/lib")] {
        let status = Command::new("mount").arg("--bind").arg(world.join(ours)).arg(theirs).status().unwrap();
        assert!(status.success());
    }
    let network = agent();
    let mut containerd = containerd(&tools);
    let ctr = Ctr { program: tools.join("usr/bin/ctr"), path: path(&tools) };
    ctr.run(&["image", "import", "--snapshotter", "native", &world.join("image.tar").display().to_string()]);

    speaks_and_ends(&ctr, &network);
    serves_until_killed(&ctr, &network);

    terminate(containerd.id());
    containerd.wait().unwrap();
}

/// A container that connects to the node, says what it sees, and ends.
fn speaks_and_ends(ctr: &Ctr, network: &PodNetwork) {
    let listener = TcpListener::bind("172.18.0.3:8080").unwrap();
    let script = "ip -o addr show eth0; ip route; ip -6 route; echo; exec nc 172.18.0.3 8080 < /etc/hello";
    let mut container = ctr.container("one", script);
    let (mut stream, peer) = listener.accept().unwrap();
    let mut received = String::new();
    stream.read_to_string(&mut received).unwrap();
    drop(stream);
    assert_eq!(received, "hello\n");
    assert_eq!(peer.ip(), "10.244.1.2".parse::<IpAddr>().unwrap());
    let said = finish(&mut container);
    for expected in ["10.244.1.2/32", "fd00:10:244:1::2/128", "default via 169.254.1.1", "default via fe80::1"] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    assert!(network.endpoints().is_empty(), "DEL followed");
}

/// A container that serves the node until it is killed: its DEL comes without a namespace.
fn serves_until_killed(ctr: &Ctr, network: &PodNetwork) {
    let mut container =
        ctr.container("two", "mkdir /www; echo served > /www/index.html; exec httpd -f -p 8080 -h /www");
    let deadline = Instant::now() + Duration::from_secs(20);
    for address in ["10.244.1.3", "fd00:10:244:1::3"] {
        let answer = loop {
            match get(address.parse().unwrap()) {
                Ok(answer) => break answer,
                Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
            }
            thread::sleep(Duration::from_millis(50));
        };
        assert!(answer.ends_with("served\n"), "{answer}");
    }
    let endpoints = network.endpoints();
    assert_eq!(endpoints.len(), 1);
    assert_eq!(endpoints[0].container_id, "default-two");
    ctr.run(&["task", "kill", "--signal", "SIGKILL", "two"]);
    finish(&mut container);
    assert!(network.endpoints().is_empty(), "DEL followed");
}

fn get(address: IpAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&(address, 8080).into(), Duration::from_secs(1))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The agent, at the place where the plugin looks by itself.
fn agent() -> Arc<PodNetwork> {
    let state_dir = PathBuf::from("/run/malla");
    let network = Arc::new(
        PodNetwork::new(Config {
            state_dir: state_dir.clone(),
            pod_cidrs: support::USUAL.cidrs.split(',').map(|cidr| cidr.parse().unwrap()).collect(),
            mtu: 1450,
            rest: DEFAULT_REST,
            datapath: Box::new(NullDatapath::default()),
        })
        .unwrap(),
    );
    network.recover().unwrap();
    network.set_ready();
    let listener = listen(&state_dir.join("cni.sock")).unwrap();
    let served = Arc::clone(&network);
    let node = NetNs::current().unwrap();
    thread::spawn(move || {
        node.enter_current_thread().unwrap();
        serve(&listener, &served)
    });
    network
}

fn containerd(tools: &Path) -> Child {
    let config = "version = 2\noom_score = 0\nroot = \"/var/lib/containerd\"\nstate = \"/run/containerd\"\n\
        disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.snapshotter.v1.btrfs\", \
        \"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.zfs\", \
        \"io.containerd.snapshotter.v1.devmapper\"]\n\
        [plugins.\"io.containerd.grpc.v1.cri\"]\nrestrict_oom_score_adj = true\n";
    fs::write("/etc/containerd.toml", config).unwrap();
    let mut containerd = Command::new(tools.join("usr/bin/containerd"))
        .args(["--config", "/etc/containerd.toml", "--log-level", "info"])
        .env("PATH", path(tools))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(containerd.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said = Vec::new();
    let ready = log.by_ref().any(|line| {
        said.push(line);
        said.last().is_some_and(|line| line.contains("successfully booted"))
    });
    assert!(ready, "{}", said.join("\n"));
    // Its log must be read on.
    thread::spawn(move || log.for_each(drop));
    containerd
}

struct Ctr {
    program: PathBuf,
    path: String,
}

impl Ctr {
    fn run(&self, arguments: &[&str]) {
        let output = Command::new(&self.program).args(arguments).env("PATH", &self.path).output().unwrap();
        assert!(output.status.success(), "ctr {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// `ctr run --cni` in the foreground: ADD before, DEL after.
    fn container(&self, name: &str, script: &str) -> Child {
        let mut command = Command::new(&self.program);
        command.args(["run", "--rm", "--cni", "--snapshotter", "native", "--cgroup", ""]);
        command.args([IMAGE, name, "/bin/sh", "-c", script]).env("PATH", &self.path);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// Waits for a foreground `ctr run`; returns what the container said.
fn finish(container: &mut Child) -> String {
    let (mut said, mut errors) = (String::new(), String::new());
    container.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    container.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    let status = container.wait().unwrap();
    // 137: killed by our own SIGKILL.
    assert!(status.success() || status.code() == Some(137), "{status}: {said}{errors}");
    said
}

fn path(tools: &Path) -> String {
    format!("{0}/usr/bin:{0}/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin", tools.display())
}

fn terminate(pid: u32) {
    assert!(Command::new("kill").arg(pid.to_string()).status().unwrap().success());
}

/// An image of busybox alone, in the form of `docker save` (image specification 1.2), as `image.tar` in `world`.
fn image(busybox: &Path, world: &Path) {
    let (root, parts) = (world.join("image/root"), world.join("image/parts"));
    for directory in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::create_dir_all(&parts).unwrap();
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for applet in ["sh", "ip", "nc", "httpd", "mkdir", "echo"] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
    fs::write(root.join("etc/hello"), "hello\n").unwrap();
    tar(&root, &parts.join("layer.tar"));
    let sum = Command::new("sha256sum").arg(parts.join("layer.tar")).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap().split_whitespace().next().unwrap().to_owned();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{sum}")]},
    });
    let manifest: Value = json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    fs::write(parts.join("config.json"), config.to_string()).unwrap();
    fs::write(parts.join("manifest.json"), manifest.to_string()).unwrap();
    tar(&parts, &world.join("image.tar"));
}

fn tar(directory: &Path, archive: &Path) {
    let status = Command::new("tar").arg("-C").arg(directory).arg("-cf").arg(archive).arg(".").status().unwrap();
    assert!(status.success());
}

/// The folder that cargo builds into: this program is in its `<profile>/deps`.
fn target_directory() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

const IMAGE: &str = "localhost/busybox:test";
const WORLD: &str = "MALLA_TEST_CONTAINERD_WORLD";
const TOOLS: &str = "MALLA_TEST_CONTAINERD_TOOLS";
