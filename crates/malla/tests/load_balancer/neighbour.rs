//! A machine beside the nodes: a namespace of the test's own, on the fabric's bridge. It ends with its process, at the
//! latest after some minutes, whatever becomes of the test.

use l2_announce::{
    frames::{self, Heard, Mac},
    packet_socket::{Listen, PacketSocket},
};
use network_namespace::NetNs;
use std::{
    collections::BTreeSet,
    net::IpAddr,
    process::{Command, Stdio},
    time::Duration,
};

use crate::cluster::{Running, at, text};

/// Its addresses.
pub const OWN: [&str; 2] = ["172.18.200.9", "fc00:f853:ccd:e793::c8:9"];
const MAC: Mac = [0x02, 0x6d, 0x6c, 0xff, 0, 9];
const MAC_TEXT: &str = "02:6d:6c:ff:00:09";

pub struct Neighbour {
    process: Running,
    index: u32,
}

impl Neighbour {
    pub fn beside(lab: &str) -> Self {
        let mut sleep = Command::new("unshare");
        let process = Running(sleep.args(["--net", "sleep", "300"]).stdin(Stdio::null()).spawn().unwrap());
        let pid = process.0.id().to_string();
        // `unshare` becomes `sleep` once it is in its own namespace.
        let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        crate::cluster::wait_until("a namespace", Duration::from_secs(5), || name(&pid).trim() == "sleep");
        let fabric = format!("{lab}-fabric");
        must(
            Command::new("ip")
                .args(["-n", &fabric, "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", &pid]),
        );
        must(Command::new("ip").args(["-n", &fabric, "link", "set", "lan", "master", "br0", "up"]));
        let mut neighbour = Self { process, index: 0 };
        must(&mut neighbour.inside(&["ip", "link", "set", "eth0", "address", MAC_TEXT, "up"]));
        must(&mut neighbour.inside(&["ip", "address", "add", &format!("{}/16", OWN[0]), "dev", "eth0"]));
        must(&mut neighbour.inside(&["ip", "address", "add", &format!("{}/64", OWN[1]), "dev", "eth0", "nodad"]));
        let said = neighbour.inside(&["ip", "-o", "link", "show", "eth0"]).output().unwrap();
        neighbour.index = text(&said).split(':').next().and_then(|number| number.parse().ok()).expect("an index");
        neighbour
    }

    /// A page's text, when there is an answer within a second.
    pub fn curl(&self, host: &str) -> Option<String> {
        let host = if host.parse::<IpAddr>().is_ok() { at(host, 80) } else { host.to_owned() };
        let url = format!("http://{host}");
        let said = self.inside(&["curl", "-sS", "--noproxy", "*", "--max-time", "1", "-f", &url]).output().unwrap();
        said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
    }

    /// Every Ethernet address that answers for the address within half a second.
    pub fn who_has(&self, address: &str) -> BTreeSet<Mac> {
        self.who_has_within(address, Duration::from_millis(500))
    }

    pub fn who_has_within(&self, address: &str, time: Duration) -> BTreeSet<Mac> {
        let address: IpAddr = address.parse().unwrap();
        let namespace = NetNs::of_process(self.process.0.id()).unwrap();
        let index = self.index;
        namespace.run(move || asked(address, index, time)).unwrap()
    }

    /// Where the neighbour's own kernel believes the address to be.
    pub fn known(&self, address: &str) -> Option<String> {
        let said = text(&self.inside(&["ip", "neigh", "show", address]).output().unwrap());
        said.split_once("lladdr ").and_then(|(_, rest)| rest.split(' ').next()).map(str::to_owned)
    }

    fn inside(&self, command: &[&str]) -> Command {
        let mut all = Command::new("nsenter");
        all.args(["--net", "--target", &self.process.0.id().to_string()]).args(command).stdin(Stdio::null());
        all
    }
}

fn asked(address: IpAddr, index: u32, time: Duration) -> BTreeSet<Mac> {
    let (listen, own) = match address {
        IpAddr::V4(_) => (Listen::Arp, OWN[0]),
        IpAddr::V6(_) => (Listen::NeighbourDiscovery, OWN[1]),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = PacketSocket::open(listen, index).unwrap();
        let question = frames::question(address, MAC, own.parse().unwrap()).unwrap();
        let mut macs = BTreeSet::new();
        socket.send(&question).unwrap();
        let _ = tokio::time::timeout(time, async {
            let mut frame = [0; 1024];
            loop {
                let length = socket.receive(&mut frame).await.unwrap();
                if let Some(Heard::Claim { address: claimed, mac }) = frames::read(&frame[..length])
                    && claimed == address
                {
                    macs.insert(mac);
                }
            }
        })
        .await;
        macs
    })
}

/// Runs a command that has to succeed.
pub fn must(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
}
