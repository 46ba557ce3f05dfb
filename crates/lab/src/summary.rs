//! What `up` says at its end.

use std::time::Duration;

use comfy_table::{Table, presets::NOTHING};
use k8s_openapi::api::core::v1::Node;

use crate::{
    files::Folders,
    forwards::{self, Purpose},
    ready::is_ready,
    state::LabState,
};

/// Prints the nodes, the ports and what to do next.
pub fn print(state: &LabState, folders: &Folders, nodes: &[Node], waited: bool, took: Duration) {
    let spec = &state.spec;
    println!("\nLab {} is up ({:.1} s).\n", spec.name, took.as_secs_f32());
    let mut table = Table::new();
    table.load_style(NOTHING);
    let mut header = vec!["NODE", "ADDRESS", "PODS"];
    if waited {
        header.push("STATUS");
    }
    table.set_header(header);
    for (index, node) in spec.nodes.iter().enumerate() {
        let (v4, v6) = spec.subnets.node(index);
        let ranges = spec.subnets.pod_ranges(index);
        let mut row = vec![node.name.clone(), format!("{v4}, {v6}"), format!("{}, {}", ranges.v4, ranges.v6)];
        if waited {
            let ready = nodes.iter().any(|n| n.metadata.name.as_deref() == Some(&node.name) && is_ready(n));
            row.push(if ready { "Ready" } else { "not ready" }.to_owned());
        }
        table.add_row(row);
    }
    println!("{table}\n");
    for (purpose, forward) in forwards::of(state).iter().filter(|(_, forward)| forward.listen.is_ipv4()) {
        match purpose {
            Purpose::Api => println!("  https://{}  the Kubernetes API", forward.listen),
            Purpose::Mapping(node) => {
                println!("  {} {} -> {} ({node})", forward.protocol, forward.listen, forward.target)
            }
        }
    }
    let named =
        if spec.name.as_str() == crate::name::DEFAULT_NAME { String::new() } else { format!(" --name {}", spec.name) };
    println!("\nNext:\n  export KUBECONFIG={}\n  kubectl get nodes -o wide", folders.kubeconfig().display());
    println!("  malla lab status{named}\n  malla lab node-shell{named} {}", spec.nodes[spec.nodes.len() - 1].name);
    println!("  malla lab down{named}");
}
