//! Where Pods are, and sockets in them.

use crate::cluster::Cluster;
use network_namespace::NetNs;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A Pod of the lab.
#[derive(Clone)]
pub struct Place {
    pub address: IpAddr,
    netns: PathBuf,
}

impl Place {
    pub fn of(cluster: &Cluster, name: &str) -> Self {
        let said = cluster.kubectl(&["get", "pod", name, "-o", "jsonpath={.metadata.uid} {.status.podIP}"]);
        let (uid, address) = said.split_once(' ').unwrap();
        let pods = cluster.folder().join("pods");
        // The runner's file (crates/pod-runner/src/files.rs), whichever node's folder it is in.
        let below = fs::read_dir(&pods).unwrap().map(|entry| entry.unwrap().path().join(uid).join("netns"));
        let netns = below.into_iter().chain([pods.join(uid).join("netns")]).find(|path| path.exists());
        let netns = netns.unwrap_or_else(|| panic!("no namespace of Pod {name}"));
        Self { address: address.parse().unwrap(), netns }
    }

    /// Runs it in the Pod's network.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
        let namespace = NetNs::open(&self.netns).unwrap();
        std::thread::spawn(move || {
            namespace.enter_current_thread().unwrap();
            work()
        })
    }

    /// Processes that live there.
    pub fn processes(&self) -> Vec<u32> {
        processes(&self.netns)
    }

    /// A socket that was made there.
    pub fn make<T: Send + 'static>(&self, work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> T {
        self.inside(work).join().unwrap().unwrap()
    }
}

/// Processes that live in this network: of those with threads in several, where the first one is.
pub fn processes(netns: &Path) -> Vec<u32> {
    let wanted = NetNs::open(netns).unwrap().id().unwrap();
    let lives_there = |pid: &u32| NetNs::of_process(*pid).and_then(|netns| netns.id()).is_ok_and(|id| id == wanted);
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(lives_there).collect()
}
