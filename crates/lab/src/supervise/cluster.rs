//! The parts that make ordinary manifests come alive: the controllers, and for each node what kubelet is.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use kube::Client;

use super::{nodes, parts::Parts, tasks};
use crate::{
    apply::namespace_path,
    launch::{CLUSTER_DOMAIN, DNS_SERVICE},
};

impl Parts {
    /// The controllers, kept.
    pub fn controllers(&self, client: Client) -> impl Future<Output = ()> + Send + use<> {
        let subnets = self.state.spec.subnets;
        // Of supervisors there is one at a time, by its lock: it goes on with the Lease of the one before.
        let replica = format!("lab-{}", self.state.spec.name);
        // They were checked before they were written down.
        let labels = self.state.spec.identity_labels.iter().map(String::as_str);
        let labels = identity::Filter::with(labels).unwrap_or_default();
        tasks::keep("controllers".to_owned(), self.reporter.clone(), self.cancel.clone(), move |cancel| {
            let range = |cluster, node_prefix| controllers::NodeRange { cluster, node_prefix };
            let options = controllers::Options {
                node_ranges: vec![range(subnets.pods.v4.into(), 24), range(subnets.pods.v6.into(), 64)],
                identity_labels: labels.clone(),
                election: Some(controllers::Election::new(replica.clone())),
                ..controllers::Options::default()
            };
            controllers::run(client.clone(), options, cancel)
        })
    }

    /// The Pod runner of the node at `index`, kept.
    pub fn pod_runner(&self, client: Client, index: usize) -> impl Future<Output = ()> + Send + use<> {
        let options = self.runner_options(index);
        let name = format!("pod-runner-{}", options.node_name);
        tasks::keep(name, self.reporter.clone(), self.cancel.clone(), move |cancel| {
            pod_runner::run(options.clone(), client.clone(), cancel)
        })
    }

    fn runner_options(&self, index: usize) -> pod_runner::RunnerOptions {
        let spec = &self.state.spec;
        let node = &spec.nodes[index].name;
        let (v4, v6) = spec.subnets.node(index);
        let ranges = spec.subnets.pod_ranges(index);
        let beside_malla = self.malla.parent().map(PathBuf::from).unwrap_or_default();
        pod_runner::RunnerOptions {
            node_name: node.clone(),
            node_netns: namespace_path(&spec.name.namespace(node)),
            cni_conf_dir: self.folders.cni_config_dir(node),
            cni_path: vec![self.folders.root().join("cni/bin"), beside_malla],
            pods_dir: self.folders.pods(),
            lab_dir: self.folders.root().to_owned(),
            cgroup: Some(self.cgroup.node(node)),
            agent_sockets: spec.nodes.iter().map(|node| self.folders.node(&node.name).join("agent.sock")).collect(),
            host_ips: vec![IpAddr::V4(v4), IpAddr::V6(v6)],
            malla: self.malla.clone(),
            // One address, as kubeadm has it: with both, some resolvers would ask everything twice.
            cluster_dns: vec![spec.subnets.nth_service(DNS_SERVICE)[0]],
            cluster_domain: CLUSTER_DOMAIN.to_owned(),
            resolv_conf: self.folders.node_resolv_conf(),
            kubernetes_service: SocketAddr::new(spec.subnets.nth_service(1)[0], 443),
            node: pod_runner::NodeTemplate {
                labels: nodes::labels(spec, index),
                taints: nodes::taints(spec, index),
                pod_cidrs: ranges.both().map(|range| range.to_string()).to_vec(),
            },
        }
    }
}
