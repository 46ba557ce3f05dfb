//! What connections and throughput lose to being observed.
//!
//! Client and server Pod of one node, on one CPU. The agent's part of it is whole: the thread that reads the ring, the log on a disk, the
//! metrics. It runs on the other CPU, as a scheduler would put it, or on the same one: then whatever it costs is taken from the traffic.
//! All ways are set up first and measured round after round, every other round in the opposite order; the way without
//! observation is there twice.

use super::FlowsArgs;
use crate::policy::setup::{Measured, SINK, stream, swallow};
use crate::rounds::{middle, order, spread};
use crate::services::load::{self, CLIENT_CPU, Place, SERVER_CPU, Sample, percentile, pin};
use crate::services::node::{self, Node, TARGET_PORTS};
use crate::services::rules::Services;
use crate::services::system;
use crate::worker::Worker;
use agent::events::{self, Hub, Listener, Names, Who};
use agent::keeping::{self, FlowArgs, Keeping};
use agent::kernel_datapath::{ClosedSockets, Ring};
use agent::node_metrics::NodeMetrics;
use agent::probes::Probes;
use agent::trouble::Troubles;
use anyhow::{Context, Result, ensure};
use clap::Parser;
use comfy_table::{Table, presets::NOTHING};
use datapath::Datapath;
use datapath_layouts::{Address, NodeConfig, Observation, stats};
use flow_api::server::{About, Node as Recent};
use model::ObjectName;
use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// How traffic is observed, and where the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Off,
    Flows(usize),
    Packets(usize),
}

impl Way {
    const fn observation(self) -> Observation {
        match self {
            Self::Off => Observation::Drops,
            Self::Flows(_) => Observation::Flows,
            Self::Packets(_) => Observation::Packets,
        }
    }

    fn name(self) -> String {
        let place = |cpu| if cpu == CLIENT_CPU { ", agent on the same CPU" } else { "" };
        match self {
            Self::Off => "off".to_owned(),
            Self::Flows(cpu) => format!("flows (default){}", place(cpu)),
            Self::Packets(cpu) => format!("each packet{}", place(cpu)),
        }
    }
}

const WAYS: [Way; 6] = [
    Way::Off,
    Way::Off,
    Way::Flows(SERVER_CPU),
    Way::Flows(CLIENT_CPU),
    Way::Packets(SERVER_CPU),
    Way::Packets(CLIENT_CPU),
];

#[derive(Debug, serde::Serialize)]
pub struct Report {
    rows: Vec<Row>,
}

/// One way, all rounds.
#[derive(Debug, serde::Serialize)]
struct Row {
    way: String,
    samples: Vec<Sample>,
    /// Bytes per second by one connection, of each round.
    throughput: Vec<f64>,
    /// Events that the programs told, and those of them that nobody could take.
    told: u64,
    lost: u64,
}

pub fn run(args: &FlowsArgs) -> Result<Report> {
    let mut setups = Vec::new();
    let mut rows = Vec::new();
    for (at, way) in WAYS.into_iter().enumerate() {
        let name = if at == 1 { format!("{} (again)", way.name()) } else { way.name() };
        eprintln!("making: {name} …");
        let folder = args.out.join(format!("observed-{}-{at}", std::process::id()));
        setups.push(Worker::start("node", move || Running::new(way, folder), Running::answer)?);
        rows.push(Row { way: name, samples: Vec::new(), throughput: Vec::new(), told: 0, lost: 0 });
    }
    let progress = indicatif::ProgressBar::new(u64::from(args.rounds) * rows.len() as u64);
    for round in 0..args.rounds {
        for at in order(round, rows.len()) {
            let Answer { measured, told, lost } = setups[at].ask(Duration::from_millis(args.milliseconds))?;
            rows[at].samples.push(measured.sample);
            rows[at].throughput.push(measured.throughput);
            rows[at].told += told;
            rows[at].lost += lost;
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    ensure!(rows[0].told == 0 && rows[2].told > 0, "what is observed is not what was meant: {rows:?}");
    Ok(Report { rows })
}

struct Answer {
    measured: Measured,
    told: u64,
    lost: u64,
}

struct Running {
    node: Node,
    datapath: Arc<Datapath>,
    _agent: Option<Agent>,
}

impl Running {
    fn new(way: Way, folder: PathBuf) -> Result<Self> {
        let node = Node::new()?;
        let bound = node.server.netns.run(|| TcpListener::bind((node::SERVER, TARGET_PORTS[0])))?;
        load::serve(bound.context("listen on the server's port")?, Place::OneCpu);
        let sink = node.server.netns.run(|| TcpListener::bind((node::SERVER, SINK)))?;
        swallow(sink.context("listen on the sink's port")?);
        let datapath = Arc::new(system::malla(&node, Services { count: 10 })?);
        let config = NodeConfig { observation: way.observation() as u32, ..datapath.config() };
        datapath.reconfigure(config)?;
        let agent = match way {
            Way::Off => None,
            Way::Flows(cpu) => Some(Agent::start(&datapath, cpu, false, folder)?),
            Way::Packets(cpu) => Some(Agent::start(&datapath, cpu, true, folder)?),
        };
        Ok(Self { node, datapath, _agent: agent })
    }

    fn answer(&self, time: Duration) -> Result<Answer> {
        let read = |slot| self.datapath.maps().stats.read(slot).map(|value| value.packets);
        let before = (read(stats::EVENTS_WRITTEN)?, read(stats::EVENTS_LOST)?);
        let client = &self.node.client.netns;
        let sample = client.run(|| load::measure((node::SERVER, TARGET_PORTS[0]).into(), time * 2 / 3))??;
        let throughput = client.run(|| stream(time / 3))??;
        let told = read(stats::EVENTS_WRITTEN)? - before.0;
        let lost = read(stats::EVENTS_LOST)? - before.1;
        Ok(Answer { measured: Measured { sample, throughput }, told: told + lost, lost })
    }
}

/// All of an agent that has to do with flows. Its end is the end of its threads.
struct Agent {
    folder: PathBuf,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    keeping: Option<Keeping>,
    /// Somebody who traces, and reads what he gets.
    listening: Option<JoinHandle<()>>,
}

impl Agent {
    fn start(datapath: &Arc<Datapath>, cpu: usize, traces: bool, folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("make folder {}", folder.display()))?;
        let args = Flags::parse_from(["agent", "--hubble-metrics-port", "0"]).flows;
        let recent = Arc::new(Recent::new(About::default(), flow_api::ring::DEFAULT_CAPACITY));
        let hub = Arc::new(Hub::new("node".into()).keeping(recent.clone()));
        let names = Arc::new(RwLock::new(Arc::new(names())));
        let stop = Arc::new(AtomicBool::new(false));
        let listening = traces.then(|| {
            let (listener, stop) = (hub.listen(true), stop.clone());
            std::thread::spawn(move || {
                pin(cpu);
                swallow_lines(listener, &stop);
            })
        });
        let keeping = start_on(cpu, &args, &folder, recent.ring(), &names)?;
        let reader = {
            let (datapath, stop) = (datapath.clone(), stop.clone());
            let reader = datapath.events()?;
            std::thread::spawn(move || {
                pin(cpu);
                let sockets = ClosedSockets(datapath.clone());
                events::read(Ring { reader, datapath }, &sockets, &hub, &names, &stop);
            })
        };
        Ok(Self { folder, stop, reader: Some(reader), keeping: Some(keeping), listening })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        drop(self.keeping.take());
        for thread in [self.reader.take(), self.listening.take()].into_iter().flatten() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Its threads are where the thread is that starts them.
fn start_on(
    cpu: usize,
    args: &FlowArgs,
    folder: &Path,
    ring: &Arc<flow_api::ring::Ring>,
    names: &Arc<RwLock<Arc<Names>>>,
) -> Result<Keeping> {
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| {
            pin(cpu);
            let told = keeping::told(args, keeping::log(args, folder), Probes::default(), NodeMetrics::default());
            let own = model::Node {
                name: "node".into(),
                addresses: vec![node::NODE.into()],
                pod_ranges: Vec::new(),
                zone: None,
                labels: Default::default(),
            };
            keeping::start(told, args, folder, &own, ring, names, &Troubles::default())
        });
        let started = starting.join().map_err(|_| anyhow::anyhow!("the thread that starts the log has panicked"))?;
        Ok(started?)
    })
}

/// The flags of an agent that are about flows.
#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    flows: FlowArgs,
}

fn names() -> Names {
    let mut names = Names::of_node("node".into());
    let mut is = |address: Ipv4Addr, name: &str, number| {
        let pod = Some(ObjectName::new("shop", name));
        let who = Who { pod, endpoint: Some(number), ..Who::default() };
        names.who.insert(Address::from_v4(address.octets()), who.into());
    };
    is(node::CLIENT, "client", 10);
    is(node::SERVER, "server", 11);
    names
}

fn swallow_lines(mut listener: Listener, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        while listener.lines.try_recv().is_ok() {}
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header([
            "observed",
            "conn/s",
            "to off",
            "A/A",
            "conn p50 µs",
            "p99",
            "req p50 µs",
            "p99",
            "Gbit/s",
            "to off",
            "A/A",
            "events",
            "lost",
        ]);
        let base = &self.rows[0];
        for row in &self.rows {
            let rates: Vec<f64> = row.samples.iter().map(|s| s.connections_per_second).collect();
            // Round by round beside the first way.
            let of_rate = middle(rates.iter().zip(&base.samples).map(|(a, b)| a / b.connections_per_second));
            let of_bytes = middle(row.throughput.iter().zip(&base.throughput).map(|(a, b)| a / b));
            let micro = |what: fn(&Sample) -> u64| {
                let mut all: Vec<u64> = row.samples.iter().map(what).collect();
                format!("{:.1}", percentile(&mut all, 50) as f64 / 1000.0)
            };
            table.add_row([
                row.way.clone(),
                format!("{:.0}", middle(rates.iter().copied())),
                format!("{of_rate:.3}"),
                format!("{:.3}", spread(&rates)),
                micro(|s| s.connection_p50),
                micro(|s| s.connection_p99),
                micro(|s| s.request_p50),
                micro(|s| s.request_p99),
                format!("{:.1}", middle(row.throughput.iter().copied()) * 8.0 / 1e9),
                format!("{of_bytes:.3}"),
                format!("{:.3}", spread(&row.throughput)),
                row.told.to_string(),
                row.lost.to_string(),
            ]);
        }
        write!(f, "{table}")
    }
}
