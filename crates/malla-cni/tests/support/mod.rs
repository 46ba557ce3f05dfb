//! A container runtime and a node for tests: the real plugin binary, an agent process without eBPF, and namespaces
//! without names, which vanish with the test however it ends.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use netlink::{AddressOptions, Netlink, sysctl};
use network_namespace::NetNs;
use pod_network::{Config, NullDatapath, PodNetwork, listen, serve};
use serde_json::{Value, json};

pub const PLUGIN: &str = env!("CARGO_BIN_EXE_malla-cni");

/// The node's ranges and how long released addresses rest.
#[derive(Clone, Copy)]
pub struct Ranges {
    pub cidrs: &'static str,
    pub rest_ms: u64,
}

pub const USUAL: Ranges = Ranges { cidrs: "10.244.1.0/24,fd00:10:244:1::/64", rest_ms: 30_000 };

/// A node: its namespace, its state directory, and its agent, which may be away.
pub struct Node {
    pub netns: NetNs,
    state: tempfile::TempDir,
    ranges: Ranges,
    agent: Option<Child>,
}

impl Node {
    /// A node without an agent. It forwards, and has the addresses 172.18.0.3 and fd00:18::3.
    pub fn without_agent(ranges: Ranges) -> Self {
        let netns = NetNs::create().expect("a network namespace (root is needed)");
        let netlink = Netlink::open_in(&netns).unwrap();
        let lo = netlink.link("lo").unwrap().index;
        netlink.set_up(lo).unwrap();
        for address in ["172.18.0.3/32", "fd00:18::3/128"] {
            netlink.add_address(lo, address.parse().unwrap(), AddressOptions::default()).unwrap();
        }
        let forward: [(&[&str], &str); 2] =
            [(&["ipv4", "ip_forward"], "1"), (&["ipv6", "conf", "all", "forwarding"], "1")];
        sysctl::write_in(&netns, &forward).unwrap();
        Self { netns, state: tempfile::tempdir().unwrap(), ranges, agent: None }
    }

    pub fn new() -> Self {
        Self::with(USUAL)
    }

    pub fn with(ranges: Ranges) -> Self {
        let mut node = Self::without_agent(ranges);
        node.start_agent();
        node
    }

    /// Starts the agent: this test binary again, inside of the node's namespace (see [`agent_process`]). Returns what
    /// it said about its recovery.
    pub fn start_agent(&mut self) -> String {
        assert!(self.agent.is_none());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "agent_process", "--nocapture", "--test-threads=1"]);
        command.env(AGENT_STATE, self.state.path()).env(AGENT_CIDRS, self.ranges.cidrs);
        command.env(AGENT_REST, self.ranges.rest_ms.to_string()).stdout(Stdio::piped());
        let netns = self.netns.try_clone().unwrap();
        // SAFETY: between fork and exec there are two system calls, and neither allocates.
        unsafe {
            command.pre_exec(move || {
                // The agent ends with the test, also when that is killed.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                netns.enter_raw()
            });
        }
        let mut agent = command.spawn().unwrap();
        let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines();
        let ready = lines.find_map(|line| {
            let line = line.expect("the agent's output");
            line.split_once("agent ready: ").map(|(_, report)| report.to_owned())
        });
        // The pipe must be read on, or the agent would stop some day.
        std::thread::spawn(move || lines.for_each(drop));
        self.agent = Some(agent);
        ready.expect("the agent becomes ready")
    }

    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("an agent");
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub fn agent_pid(&self) -> i32 {
        i32::try_from(self.agent.as_ref().expect("an agent").id()).unwrap()
    }

    pub fn socket(&self) -> PathBuf {
        self.state.path().join("cni.sock")
    }

    /// A configuration as the runtime passes it.
    pub fn config(&self, version: &str) -> Value {
        json!({"cniVersion": version, "name": "malla", "type": "malla-cni", "socket": self.socket()})
    }

    pub fn netlink(&self) -> Netlink {
        Netlink::open_in(&self.netns).unwrap()
    }

    /// Host sides of Pods' links.
    pub fn pod_links(&self) -> Vec<String> {
        let links = self.netlink().links().unwrap();
        links.into_iter().map(|link| link.name).filter(|name| name.starts_with("lx")).collect()
    }

    pub fn endpoint_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state.path().join("endpoints")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub fn journal(&self) -> PathBuf {
        self.state.path().join("ipam.journal")
    }

    /// Owners of addresses by the journal, read while the agent is away.
    pub fn address_owners(&self) -> usize {
        assert!(self.agent.is_none(), "the journal is the agent's");
        let ranges: Vec<_> = self.ranges.cidrs.split(',').map(|cidr| cidr.parse().unwrap()).collect();
        let now = ipam::Timestamp::now();
        ipam::Ipam::open(&self.journal(), &ranges, Duration::ZERO, now).unwrap().owners().len()
    }

    /// Nothing is left of any Pod: no link, route, neighbour, record, and no namespace held by the agent.
    pub fn assert_clean(&self) {
        assert_eq!(self.pod_links(), Vec::<String>::new());
        assert_eq!(self.endpoint_files(), Vec::<String>::new());
        let netlink = self.netlink();
        let routes = netlink.routes(Some(254)).unwrap();
        let pod = |address: std::net::IpAddr| {
            self.ranges.cidrs.split(',').any(|cidr| cidr.parse::<ipnet::IpNet>().unwrap().contains(&address))
        };
        assert!(!routes.iter().any(|route| pod(route.destination.addr())), "{routes:?}");
        assert!(!netlink.neighbours(None).unwrap().iter().any(|neighbour| pod(neighbour.address)));
        if let Some(agent) = &self.agent {
            let own = format!("net:[{}]", self.netns.id().unwrap().inode);
            for entry in fs::read_dir(format!("/proc/{}/fd", agent.id())).unwrap() {
                let target = fs::read_link(entry.unwrap().path()).unwrap_or_default();
                let target = target.to_string_lossy();
                assert!(!target.starts_with("net:[") || target == own, "the agent holds {target}");
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.agent.is_some() {
            self.kill_agent();
        }
    }
}

/// A container: a namespace and an id.
pub struct Container {
    pub id: String,
    pub netns: NetNs,
}

impl Container {
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), netns: NetNs::create().unwrap() }
    }

    /// A path by which another process can open the namespace, as long as this value lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_fd().as_raw_fd())
    }
}

/// What the plugin did.
#[derive(Debug)]
pub struct Outcome {
    pub success: bool,
    /// Standard output as JSON; null if it was empty.
    pub output: Value,
}

impl Outcome {
    pub fn ok(self) -> Value {
        assert!(self.success, "{self:?}");
        self.output
    }

    /// The error's code; the object has all that the specification wants.
    pub fn code(&self) -> u64 {
        assert!(!self.success, "{self:?}");
        assert!(self.output["cniVersion"].is_string() && self.output["msg"].is_string(), "{self:?}");
        self.output["code"].as_u64().unwrap()
    }

    pub fn details(&self) -> String {
        format!(
            "{} {}",
            self.output["msg"].as_str().unwrap_or_default(),
            self.output["details"].as_str().unwrap_or_default()
        )
    }
}

/// Prepares the plugin as a runtime executes it: a clean environment and the configuration on standard input.
pub fn plugin(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(PLUGIN);
    command.env_clear().env("CNI_PATH", "/opt/cni/bin").envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Starts the plugin and gives it its configuration.
pub fn start(variables: &[(&str, &str)], config: &str) -> Child {
    let mut child = plugin(variables).spawn().unwrap();
    // It may fail before it reads.
    let _ = child.stdin.take().unwrap().write_all(config.as_bytes());
    child
}

pub fn run(variables: &[(&str, &str)], config: &str) -> Outcome {
    let output = start(variables, config).wait_with_output().unwrap();
    let value = if output.stdout.is_empty() { Value::Null } else { serde_json::from_slice(&output.stdout).unwrap() };
    Outcome { success: output.status.success(), output: value }
}

/// The variables of a command for one container's eth0.
pub fn variables<'a>(command: &'a str, id: &'a str, netns: &'a str) -> Vec<(&'a str, &'a str)> {
    let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=spink-0;K8S_POD_UID=u-1";
    vec![
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", id),
        ("CNI_NETNS", netns),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", args),
    ]
}

pub fn call(command: &str, container: &Container, config: &Value) -> Outcome {
    run(&variables(command, &container.id, &container.path()), &config.to_string())
}

/// Adds to a configuration.
pub fn with(mut config: Value, key: &str, value: Value) -> Value {
    config[key] = value;
    config
}

/// The body of the agent process; to be called by a test named `agent_process` in each test binary. In an ordinary
/// run of the tests it has nothing to do.
pub fn agent_process() {
    let Some(state) = std::env::var_os(AGENT_STATE) else { return };
    let state = Path::new(&state);
    let variable = |name| std::env::var(name).unwrap();
    let network = PodNetwork::new(Config {
        state_dir: state.to_owned(),
        pod_cidrs: variable(AGENT_CIDRS).split(',').map(|cidr| cidr.parse().unwrap()).collect(),
        mtu: 1450,
        rest: Duration::from_millis(variable(AGENT_REST).parse().unwrap()),
        datapath: Box::new(NullDatapath::default()),
    })
    .unwrap();
    let recovery = network.recover().unwrap();
    network.set_ready();
    let listener = listen(&state.join("cni.sock")).unwrap();
    let failed = recovery.failed.len();
    println!("agent ready: adopted {} removed {} failed {failed}", recovery.adopted.len(), recovery.removed.len());
    panic!("{}", serve(&listener, &Arc::new(network)));
}

const AGENT_STATE: &str = "MALLA_TEST_AGENT_STATE";
const AGENT_CIDRS: &str = "MALLA_TEST_AGENT_CIDRS";
const AGENT_REST: &str = "MALLA_TEST_AGENT_REST_MS";
