//! Services as people read them.

use super::NodeServices;
use agent::services::{EndpointView, PortView, View};
use comfy_table::{Table, presets::NOTHING};
use std::fmt::Write;
use std::net::SocketAddr;

/// One line per Service.
pub fn list(services: &[View]) -> String {
    let mut table = table(&["SERVICE", "TYPE", "ADDRESSES", "PORTS", "ENDPOINTS", "PROBLEM"]);
    for view in services {
        let addresses = view.cluster_addresses.iter().chain(&view.balancer_addresses).chain(&view.external_addresses);
        // Ports are the same in both families, and so are endpoints.
        let first = view.ports.first().map(|port| port.family);
        let ports = view.ports.iter().filter(|port| Some(port.family) == first);
        let endpoints = ports.clone().next().map_or(&[][..], |port| &port.endpoints);
        table.add_row([
            view.service.to_string(),
            view.kind.clone(),
            addresses.map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            ports.map(port_text).collect::<Vec<_>>().join("\n"),
            format!("{} of {}", endpoints.iter().filter(|e| e.cluster.serves()).count(), endpoints.len()),
            view.problem.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    text(&table)
}

/// One Service as each node has it.
pub fn get(nodes: &[NodeServices]) -> String {
    let mut out = String::new();
    for view in nodes.first().iter().flat_map(|node| &node.services) {
        head(&mut out, view);
    }
    let mut table = table(&["NODE", "PORT", "ENDPOINT", "POD", "ON", "WEIGHT", "STATE"]);
    for (node, view) in each(nodes) {
        for port in &view.ports {
            for endpoint in &port.endpoints {
                table.add_row([
                    node.to_owned(),
                    port_text(port),
                    socket(endpoint),
                    pod(endpoint),
                    on(endpoint),
                    endpoint.weight.to_string(),
                    state(view, endpoint),
                ]);
            }
        }
    }
    out.push('\n');
    out + &text(&table)
}

/// Every endpoint of every Service on every node.
pub fn backends(nodes: &[NodeServices]) -> String {
    let mut table = table(&["NODE", "SERVICE", "PORT", "ENDPOINT", "POD", "ON", "WEIGHT", "STATE"]);
    for (node, view) in each(nodes) {
        for port in &view.ports {
            for endpoint in &port.endpoints {
                table.add_row([
                    node.to_owned(),
                    view.service.to_string(),
                    port_text(port),
                    socket(endpoint),
                    pod(endpoint),
                    on(endpoint),
                    endpoint.weight.to_string(),
                    state(view, endpoint),
                ]);
            }
        }
    }
    text(&table)
}

fn each(nodes: &[NodeServices]) -> impl Iterator<Item = (&str, &View)> {
    nodes.iter().flat_map(|node| node.services.iter().map(move |view| (node.node.as_str(), view)))
}

fn head(out: &mut String, view: &View) {
    let mut line = |name: &str, value: &str| {
        // A String takes everything.
        let _ = writeln!(out, "{name:<18}{value}");
    };
    let joined = |all: &[std::net::IpAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    line("Service", &view.service.to_string());
    line("Type", &view.kind);
    line("Cluster addresses", &joined(&view.cluster_addresses));
    for (name, addresses) in [("Load balancer", &view.balancer_addresses), ("External", &view.external_addresses)] {
        if !addresses.is_empty() {
            line(name, &joined(addresses));
        }
    }
    line("Internal policy", &view.internal_policy);
    line("External policy", &view.external_policy);
    line("Algorithm", &view.algorithm);
    if !view.weights.is_empty() {
        line("Weights", &view.weights);
    }
    line("Forwarding", forwarding(view));
    if view.affinity_seconds > 0 {
        line("Affinity", &format!("ClientIP, {} s", view.affinity_seconds));
    }
    if !view.source_ranges.is_empty() {
        let ranges: Vec<String> = view.source_ranges.iter().map(ToString::to_string).collect();
        line("Source ranges", &ranges.join(", "));
    }
    if let Some(port) = view.health_check_port {
        line("Health check", &format!("http://NODE:{port}/"));
    }
    if let Some(problem) = &view.problem {
        line("Problem", problem);
    }
}

/// Which way answers take from the endpoints of other nodes.
fn forwarding(view: &View) -> &'static str {
    match (view.forwarding.as_str(), view.external_policy.as_str()) {
        ("dsr", "Local") => "dsr asked for, but with the policy Local nothing goes to another node",
        ("dsr", _) => "dsr: from outside, another node's endpoints answer straight from there",
        _ => "entry: from outside, answers go back through the node at which the client entered",
    }
}

fn port_text(port: &PortView) -> String {
    let node = port.node_port.map_or(String::new(), |node| format!(":{node}"));
    format!("{}{node}/{}", port.port, port.protocol)
}

fn socket(endpoint: &EndpointView) -> String {
    SocketAddr::new(endpoint.address, endpoint.port).to_string()
}

fn pod(endpoint: &EndpointView) -> String {
    endpoint.pod.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn on(endpoint: &EndpointView) -> String {
    endpoint.node.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// For everybody, and besides for those whom a policy Local keeps to the node.
fn state(view: &View, endpoint: &EndpointView) -> String {
    let (cluster, here) = (endpoint.cluster.text(), endpoint.here.text());
    match (view.internal_policy.as_str(), view.external_policy.as_str()) {
        _ if cluster == here => cluster.to_owned(),
        ("Local", "Local") => format!("{here} (by its external addresses from inside: {cluster})"),
        ("Local", _) => format!("{cluster} (by the ClusterIP: {here})"),
        (_, "Local") => format!("{cluster} (from outside: {here})"),
        _ => cluster.to_owned(),
    }
}

pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(header);
    table
}

pub fn text(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
