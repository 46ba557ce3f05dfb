//! What a Pod runner must know about its node.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use k8s_openapi::api::core::v1::Taint;

/// Options of [`crate::run`].
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// Name of the Node object.
    pub node_name: String,
    /// The node's network namespace, a file under /run/netns.
    pub node_netns: PathBuf,
    /// Where the CNI configuration lies; the first file by name counts.
    pub cni_conf_dir: PathBuf,
    /// Folders in which plugins are looked up (`CNI_PATH`).
    pub cni_path: Vec<PathBuf>,
    /// `<lab>/pods`, shared by all nodes of the lab.
    pub pods_dir: PathBuf,
    /// The lab's folder: its mounts are hidden from containers.
    pub lab_dir: PathBuf,
    /// The node's cgroup (v2); without one containers stay in the runner's.
    pub cgroup: Option<PathBuf>,
    /// `agent.sock` of every node of the lab: asked whether a Pod is still a backend anywhere.
    pub agent_sockets: Vec<PathBuf>,
    /// The node's own addresses; the first is the `hostIP`.
    pub host_ips: Vec<IpAddr>,
    /// The `malla` binary that shims and built-in images are started from.
    pub malla: PathBuf,
    /// Name servers for Pods.
    pub cluster_dns: Vec<IpAddr>,
    /// Usually `cluster.local`.
    pub cluster_domain: String,
    /// What the node itself asks: the file that Pods with `dnsPolicy: Default` take after (kubelet's `resolvConf`).
    pub resolv_conf: PathBuf,
    /// Where Pods find the API: the `kubernetes` Service.
    pub kubernetes_service: SocketAddr,
    /// The rest is for the Node object, made when it is not there yet.
    pub node: NodeTemplate,
}

/// What a node says about itself when it registers.
#[derive(Debug, Clone, Default)]
pub struct NodeTemplate {
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub pod_cidrs: Vec<String>,
}
