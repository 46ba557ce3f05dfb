//! Asks for many services from everywhere at once, and compares what is seen with the model.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use crate::{
    cluster::{Cluster, From, Report, at, malla_path, text},
    model::{Client, Expect, NODES, Path, Service, tries},
};

/// Long enough for a SYN that is sent once more, so that what times out is dropped and not slow.
const PATIENCE_FOR_SILENCE: &str = "1300ms";
/// What has to be answered may wait for a machine that has much to do.
const PATIENCE_FOR_ANSWERS: &str = "8s";

pub struct Clients<'a> {
    cluster: &'a Cluster,
}

/// The Pods that ask, by node: with the socket hooks, and without (annotation `service.malla.dev/socket-translation`).
const CLIENT_PODS: [&str; 3] = ["client-0", "client-1", "client-2"];
const PLAIN_PODS: [&str; 3] = ["plain-0", "plain-1", "plain-2"];

impl<'a> Clients<'a> {
    pub fn new(cluster: &'a Cluster) -> Self {
        Self { cluster }
    }

    /// The built-in client there.
    pub fn command(&self, client: Client, arguments: &[&str]) -> Command {
        self.tool(client, malla_path().to_str().unwrap(), &[&["workload", "client"], arguments].concat())
    }

    /// A program there.
    pub fn tool(&self, client: Client, program: &str, arguments: &[&str]) -> Command {
        let from = match client {
            Client::Socket(node) => From::Pod(CLIENT_PODS[node]),
            Client::Packet(node) => From::Pod(PLAIN_PODS[node]),
            Client::Process(node) => From::Node(NODES[node]),
            Client::Outside => From::Node("outside"),
        };
        self.cluster.command(from, program.as_ref(), arguments)
    }

    /// Reports in the order of the lines.
    fn ask(&self, client: Client, lines: &[String]) -> Vec<Report> {
        let mut command = self.command(client, &["batch"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let reports: Vec<Report> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(reports.len(), lines.len(), "{client:?}: {}", text(&output));
        reports
    }

    /// Asks on all of these paths at once; what is not as the model has it, in words. Who is not seen may be bad luck, and
    /// a client's port may belong to a flow that goes on to the same backend (ARCHITECTURE.md, known limits): so what is
    /// wrong is asked once more, with other ports.
    pub fn compare(&self, probes: &[Probe]) -> Vec<String> {
        let first = self.compare_once(probes);
        let again: Vec<Probe> = first.iter().map(|(number, _)| probes[*number].clone()).collect();
        first.iter().for_each(|(number, why)| println!("asked once more: {}: {why}", probes[*number].what()));
        let second = self.compare_once(&again);
        second
            .into_iter()
            .map(|(number, why)| format!("{}: {why}; before: {}", again[number].what(), first[number].1))
            .collect()
    }

    fn compare_once(&self, probes: &[Probe]) -> Vec<(usize, String)> {
        let mut clients: Vec<Client> = Vec::new();
        for probe in probes {
            if !clients.contains(&probe.path.client) {
                clients.push(probe.path.client);
            }
        }
        let mut wrong: Vec<(usize, String)> = std::thread::scope(|scope| {
            let runs: Vec<_> = clients
                .into_iter()
                .map(|client| {
                    scope.spawn(move || {
                        let mine: Vec<_> =
                            probes.iter().enumerate().filter(|(_, probe)| probe.path.client == client).collect();
                        let lines: Vec<String> = mine.iter().map(|(_, probe)| probe.line()).collect();
                        let reports = self.ask(client, &lines);
                        let judged = mine.into_iter().zip(reports);
                        judged
                            .filter_map(|((number, probe), report)| Some((number, judge(&report, &probe.expect)?)))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
        });
        wrong.sort();
        wrong
    }
}

/// One path, with what must be seen there.
#[derive(Clone, Debug)]
pub struct Probe {
    pub service: String,
    pub path: Path,
    pub address: String,
    pub expect: Expect,
}

impl Probe {
    pub fn new(service: &Service, path: Path) -> Self {
        let address = at(&service.address(path.entry)[path.family], service.target_port(path.entry));
        Self { service: service.name(), path, address, expect: service.expect(path) }
    }

    fn line(&self) -> String {
        let (count, patience) = match &self.expect {
            Expect::By { one: true, .. } => (6, PATIENCE_FOR_ANSWERS),
            Expect::By { servers, .. } => (tries(servers.len()), PATIENCE_FOR_ANSWERS),
            Expect::Refused => (2, PATIENCE_FOR_ANSWERS),
            Expect::Silence | Expect::Nobody => (1, PATIENCE_FOR_SILENCE),
        };
        let address = &self.address;
        if self.path.datagram {
            format!("udp {address} --whoami --count {count} --timeout {patience}")
        } else {
            format!("http http://{address}/ --close --count {count} --timeout {patience}")
        }
    }

    pub fn what(&self) -> String {
        format!("{} {} by {:?}", self.service, self.address, self.path)
    }
}

/// What is wrong, if anything.
fn judge(report: &Report, expect: &Expect) -> Option<String> {
    let kinds = report.error_kinds.to_string();
    let all_failed = report.errors == report.requests;
    let right = match expect {
        Expect::By { servers, one } => {
            let seen: BTreeSet<&str> = report.answered_by.keys().map(String::as_str).collect();
            let whole = if *one { seen.len() == 1 && seen.is_subset(servers) } else { seen == *servers };
            report.errors == 0 && whole
        }
        Expect::Refused => {
            all_failed
                && report.error_kinds.as_object().unwrap().keys().all(|kind| kind.to_lowercase().contains("refused"))
        }
        Expect::Silence => {
            all_failed && report.error_kinds.as_object().unwrap().keys().all(|kind| kind.contains("timed out"))
        }
        Expect::Nobody => all_failed,
    };
    let what = || {
        format!(
            "answered by {:?}, {} of {} failed: {kinds}; expected {expect:?}",
            report.answered_by, report.errors, report.requests
        )
    };
    (!right).then(what)
}
