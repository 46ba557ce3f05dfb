//! Load that goes on while everything changes: connections that must never break, and requests to whoever is there.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    clients::Clients,
    cluster::{Running, at, report},
    model::{ANCHOR_NODE_PORT, ANCHOR_PORT, Client, Entry, NODE_ADDRESSES, Service},
};

/// Exchanges per second of each connection.
const RATE: &str = "25";

pub struct Load {
    /// Each of them without one error.
    unbroken: Vec<(String, Running)>,
    /// These find Services gone.
    _careless: Vec<Running>,
}

impl Load {
    /// Begins it, with connections to the anchor, which has to be the only server of its Service at this moment.
    pub fn begin(clients: &Clients<'_>, anchored: &Service, duration: Duration) -> Self {
        let seconds = format!("{}s", duration.as_secs());
        let long = ["--duration", &seconds, "--timeout", "10s", "--json"];
        let start = |client, arguments: &[&str]| Running(spawn(clients.command(client, &[arguments, &long].concat())));
        let ways = [
            (Client::Socket(1), Entry::ClusterIp),
            (Client::Socket(2), Entry::ClusterIp),
            (Client::Packet(1), Entry::ClusterIp),
            (Client::Packet(2), Entry::NodePort(0)),
            (Client::Process(0), Entry::ClusterIp),
            (Client::Outside, Entry::NodePort(0)),
            (Client::Outside, Entry::NodePort(1)),
        ];
        let mut unbroken = Vec::new();
        for (number, (client, entry)) in ways.into_iter().enumerate() {
            // Turn by turn in both families, which cost a process each.
            let family = number % 2;
            let (address, port) = match entry {
                Entry::NodePort(node) => (NODE_ADDRESSES[node][family].to_owned(), ANCHOR_NODE_PORT),
                _ => (anchored.address(entry)[family].clone(), ANCHOR_PORT),
            };
            let address = at(&address, port);
            let what = format!("one connection of {client:?} by {address}");
            unbroken.push((what, start(client, &["tcp", &address, "--keep", "--rate", RATE])));
        }
        // New connections to a Service of which something always serves, on the anchor's node also when the policy is Local.
        for (client, family) in [(Client::Socket(1), 0), (Client::Packet(1), 1)] {
            let address = at(&anchored.address(Entry::ClusterIp)[family], ANCHOR_PORT);
            let what = format!("many connections of {client:?} by {address}");
            unbroken.push((what, start(client, &["tcp", &address, "--rate", RATE])));
        }
        let careless = (0..4).map(|slot| {
            let address = format!("10.96.77.{}:80", slot + 1);
            let client = [Client::Socket(1), Client::Packet(2)][slot % 2];
            match slot {
                0 | 1 => start(client, &["http", &format!("http://{address}/"), "--close", "--rate", RATE]),
                _ => start(client, &["udp", &address, "--rate", RATE]),
            }
        });
        let careless = careless.collect();
        Self { unbroken, _careless: careless }
    }

    /// Waits for its end; what broke, in words.
    pub fn finish(self) -> Vec<String> {
        let mut broken = Vec::new();
        for (what, mut running) in self.unbroken {
            let child = std::mem::replace(&mut running.0, spawn(Command::new("true")));
            match report(&child.wait_with_output().unwrap()) {
                Ok(report) if report.errors == 0 && report.requests > 0 => {}
                Ok(report) => broken.push(format!(
                    "{what}: of {} {} failed: {}, {:.3?} s after the beginning",
                    report.requests, report.errors, report.error_kinds, report.error_times
                )),
                Err(why) => broken.push(format!("{what}: {why}")),
            }
        }
        broken
    }
}

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}
