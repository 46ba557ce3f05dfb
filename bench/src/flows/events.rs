//! How many events a core decodes and enriches.
//!
//! Events are real: the Pod's program writes them into the real ring for packets that open flows to Services by chance, and end them.
//! What is counted is the CPU time of the thread that empties the ring, for each step further: the last but one is all that an agent
//! does with an event before somebody asks for it.

use super::FlowsArgs;
use super::measure::{memory, timed};
use crate::packets::{IFINDEX, segment};
use crate::rounds::{middle, spread};
use crate::services::node::{CLIENT, NODE, Node, SERVER};
use crate::services::rules::{PORT, Services};
use crate::services::system;
use crate::worker::Worker;
use agent::events::{Clock, Hub, Names, Seeing, Sight, TcpEnds, Who, to_flow};
use agent::kernel_datapath::ClosedSockets;
use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets::NOTHING};
use datapath::{Datapath, EventReader, sys};
use datapath_layouts::{Address, Event, TcpEnd, TcpEndKey, stats};
use flow_api::server::{About, Node as Recent};
use model::{Labels, ObjectName, Workload};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Connections of a round, each of which opens and ends: together they fit into the ring.
const CONNECTIONS: u32 = 20_000;
/// More than fit.
const TOO_MANY: u32 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
enum Step {
    /// Taken out of the ring.
    Decoded,
    /// And everything looked up that is known, except from sockets.
    Named,
    /// And sockets asked what they knew of connections that ended.
    WithSockets,
    /// And kept for who asks: all that an agent does.
    Kept,
    /// Not kept, but put into Hubble's words: what he pays, once for each flow, who wants to read it.
    Told,
}

const STEPS: [Step; 5] = [Step::Decoded, Step::Named, Step::WithSockets, Step::Kept, Step::Told];

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Decoded => "decoded",
            Self::Named => "+ names looked up",
            Self::WithSockets => "+ sockets asked",
            Self::Kept => "+ kept for who asks (the reader's whole work)",
            Self::Told => "named, sockets asked, told in Hubble's words (by who reads)",
        }
    }
}

#[derive(Debug, serde::Serialize)]
pub struct Report {
    pods: u32,
    rows: Vec<Row>,
    overload: Overload,
    /// Most resident memory of the process, less what it had before the first event.
    memory_bytes: u64,
}

#[derive(Debug, serde::Serialize)]
struct Row {
    step: Step,
    /// CPU of each round, ns per event.
    ns: Vec<f64>,
}

/// Nobody reads while more is told than fits.
#[derive(Debug, serde::Serialize)]
struct Overload {
    sent: u64,
    seen: u64,
    lost: u64,
}

pub fn run(args: &FlowsArgs) -> Result<Report> {
    let pods = args.pods;
    eprintln!("making a node that knows {pods} Pods and Services …");
    let worker = Worker::start("node", move || Running::new(pods), Running::answer)?;
    let before = memory("VmRSS:")?;
    let mut rows = STEPS.map(|step| Row { step, ns: Vec::new() });
    let progress = indicatif::ProgressBar::new(u64::from(args.event_rounds));
    for _ in 0..args.event_rounds {
        for row in &mut rows {
            let Answer::Nanoseconds(ns) = worker.ask(Order::Measure(row.step))? else { continue };
            row.ns.push(ns);
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let memory_bytes = memory("VmHWM:")?.saturating_sub(before);
    let Answer::Overload(overload) = worker.ask(Order::Overload)? else { anyhow::bail!("an overload was asked") };
    ensure!(overload.sent == overload.seen + overload.lost, "events are missing: {overload:?}");
    ensure!(overload.lost > 0, "the ring was never full: {overload:?}");
    Ok(Report { pods, rows: rows.into(), overload, memory_bytes })
}

enum Order {
    Measure(Step),
    Overload,
}

enum Answer {
    Nanoseconds(f64),
    Overload(Overload),
}

struct Running {
    node: Node,
    services: Services,
    program: OwnedFd,
    ring: RefCell<EventReader>,
    datapath: Arc<Datapath>,
    names: Names,
    hub: Hub,
}

impl Running {
    fn new(pods: u32) -> Result<Self> {
        let node = Node::new()?;
        let services = Services { count: pods };
        let datapath = Arc::new(system::malla(&node, services)?);
        let hub = Hub::new("node".into()).keeping(Arc::new(Recent::new(About::default(), RECENT)));
        let ring = datapath.events()?.into();
        let program = datapath.program("from_pod")?;
        Ok(Self { node, services, program, ring, datapath, names: names(services)?, hub })
    }

    fn answer(&self, order: Order) -> Result<Answer> {
        match order {
            Order::Measure(step) => self.measure(step).map(Answer::Nanoseconds),
            Order::Overload => self.overload().map(Answer::Overload),
        }
    }

    /// Connections that open and end.
    fn fill(&self, connections: u32) -> Result<()> {
        let client = &self.node.client;
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let (mut context, mut out) = ([0_u8; 192], vec![0_u8; 256]);
        for number in 0..connections {
            // xorshift64: any sequence does that caches can't follow.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let service = self.services.address((random % u64::from(self.services.count)) as u32);
            let ports = (1024 + (number % 60_000) as u16, PORT);
            for flags in [SYN, RST] {
                let frame = segment((client.mac, client.host_mac), CLIENT, service, ports, flags);
                context[IFINDEX..IFINDEX + 4].copy_from_slice(&client.index.to_ne_bytes());
                sys::test_run(self.program.as_fd(), &frame, &mut context, &mut out).context("run from_pod")?;
            }
        }
        Ok(())
    }

    fn measure(&self, step: Step) -> Result<f64> {
        self.fill(CONNECTIONS)?;
        let mut ring = self.ring.borrow_mut();
        let (names, hub) = (&self.names, &self.hub);
        let sockets = ClosedSockets(self.datapath.clone());
        let (events, time) = timed(|| {
            let clock = Clock::now();
            let mut seeing = Seeing::new(names, &sockets, hub);
            ring.drain(|event: &Event| match step {
                Step::Decoded => drop(black_box(*event)),
                Step::Named => drop(black_box(Sight::of(event, names, &clock, &NoSockets))),
                Step::WithSockets => drop(black_box(Sight::of(event, names, &clock, &sockets))),
                Step::Kept => seeing.see(event),
                Step::Told => {
                    let sight = Sight::of(event, names, &clock, &sockets);
                    drop(black_box(sight.as_deref().map(to_flow)));
                }
            })
        })?;
        let expected = CONNECTIONS as usize * 2;
        ensure!(events == expected, "{events} events of {expected}: flows did not open and end as they should");
        Ok(time.as_nanos() as f64 / events as f64)
    }

    fn overload(&self) -> Result<Overload> {
        let lost = || self.datapath.maps().stats.read(stats::EVENTS_LOST).map(|value| value.packets);
        let before = lost()?;
        self.fill(TOO_MANY)?;
        let seen = self.ring.borrow_mut().drain(|_| ()) as u64;
        Ok(Overload { sent: u64::from(TOO_MANY) * 2, seen, lost: lost()? - before })
    }
}

/// Nobody is asked.
struct NoSockets;

impl TcpEnds for NoSockets {
    fn of(&self, _: &TcpEndKey) -> Option<TcpEnd> {
        None
    }
}

/// What a node knows that has so many Services, each with a Pod behind it.
fn names(services: Services) -> Result<Names> {
    let mut names = Names::of_node("node".into());
    let who = |number: u32| {
        let (namespace, workload) = (format!("team-{}", number % 40), format!("service-{}", number % 400));
        let pod = Some(ObjectName::new(&namespace, &format!("{workload}-{number:08x}")));
        let workload = Workload::new("Deployment", &workload).map(Arc::new);
        Arc::new(Who { pod, workload, endpoint: Some(number), ..Who::default() })
    };
    for number in 0..services.count {
        // The Pods of the node, and as many of others.
        let address = u32::from(if number < 250 { CLIENT } else { Ipv4Addr::new(10, 245, 0, 0) }) + number;
        names.who.insert(Address::from_v4(address.to_be_bytes()), who(number));
        let service = Address::from_v4(services.address(number).octets());
        names.who.insert(service, Arc::new(Who { is_service: true, ..Who::default() }));
        let name = ObjectName::new(&format!("team-{}", number % 40), &format!("service-{number}"));
        names.services.insert((service, PORT, TCP), name.into());
    }
    let node = Who { node: Some("node".into()), ..Who::default() };
    names.who.insert(Address::from_v4(NODE.octets()), node.into());
    ensure!(names.who.contains_key(&Address::from_v4(SERVER.octets())), "the server's Pod has a name");
    for number in 3000..3000 + services.count {
        let labels = [
            ("k8s:app.kubernetes.io/name".to_owned(), format!("service-{number}")),
            ("k8s:app.kubernetes.io/part-of".to_owned(), "shop".to_owned()),
            ("k8s:io.kubernetes.pod.namespace".to_owned(), format!("team-{}", number % 40)),
        ];
        names
            .labels
            .insert(number, Labels::from_map(&BTreeMap::from(labels)).map_err(|error| anyhow::anyhow!("{error:?}"))?);
    }
    Ok(names)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["an event is …", "events/s per core", "CPU ns", "A/A"]);
        for row in &self.rows {
            let (middle, spread) = (middle(row.ns.iter().copied()), spread(&row.ns));
            table.add_row([
                row.step.name().to_owned(),
                format!("{:.0}", 1e9 / middle),
                format!("{middle:.0}"),
                format!("{spread:.3}"),
            ]);
        }
        let Overload { sent, seen, lost } = self.overload;
        let memory = self.memory_bytes as f64 / 1e6;
        write!(
            f,
            "{table}\n\nof a node that knows {} Pods; {memory:.1} MB more than before, with the last {RECENT} kept\n\
             overload: {sent} sent = {seen} seen + {lost} lost",
            self.pods
        )
    }
}

/// As an agent keeps them.
const RECENT: usize = flow_api::ring::DEFAULT_CAPACITY;
const TCP: u8 = 6;
const SYN: u8 = 2;
const RST: u8 = 4;
