//! One node with a client's and a server's Pod, judged in one way.

use super::rows::{CLIENT, Policed, SERVER, planner};
use crate::services::load::{self, Place, Sample};
use crate::services::node::{self, Node, TARGET_PORTS};
use crate::services::rules::Services;
use crate::services::system;
use crate::worker::Worker;
use agent::kernel_datapath::policy_maps;
use agent::policies::apply;
use anyhow::{Context, Result, ensure};
use datapath::Datapath;
use datapath_layouts::{AddressKey, Endpoint};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The port that takes whatever comes.
pub const SINK: u16 = 9090;

pub struct Measured {
    pub sample: Sample,
    /// Bytes per second.
    pub throughput: f64,
}

pub struct Setup {
    /// In the map `policy_rows`.
    pub rows: usize,
    worker: Worker<Order, Answer>,
}

enum Order {
    Rows,
    Measure(Duration),
}

enum Answer {
    Rows(usize),
    Measured(Measured),
}

impl Setup {
    pub fn new(policed: Policed) -> Result<Self> {
        let worker = Worker::start("node", move || Running::new(policed), Running::answer)?;
        let Answer::Rows(rows) = worker.ask(Order::Rows)? else { anyhow::bail!("the number of rows was asked") };
        Ok(Self { rows, worker })
    }

    pub fn measure(&self, time: Duration) -> Result<Measured> {
        match self.worker.ask(Order::Measure(time))? {
            Answer::Measured(measured) => Ok(measured),
            Answer::Rows(_) => anyhow::bail!("a measurement was asked"),
        }
    }
}

struct Running {
    node: Node,
    rows: usize,
    /// Keeps the maps.
    _datapath: Arc<Datapath>,
}

impl Running {
    fn new(policed: Policed) -> Result<Self> {
        let node = Node::new()?;
        let bound = node.server.netns.run(|| TcpListener::bind((node::SERVER, TARGET_PORTS[0])))?;
        load::serve(bound.context("listen on the server's port")?, Place::OneCpu);
        swallow(
            node.server.netns.run(|| TcpListener::bind((node::SERVER, SINK)))?.context("listen on the sink's port")?,
        );
        let datapath = Arc::new(system::malla(&node, Services { count: 10 })?);
        let mut planner = planner(policed);
        let changes = planner.plan();
        ensure!(planner.problems().next().is_none(), "the policies do not fit: {:?}", planner.problems().next());
        apply(&policy_maps(&datapath), &changes)?;
        if !matches!(policed, Policed::Not) {
            judge(&datapath, node::CLIENT, CLIENT)?;
            judge(&datapath, node::SERVER, SERVER)?;
            // Without this a way that judges nothing would look cheap.
            let open = node.client.netns.run(|| answers(SINK + 1))?;
            ensure!(!open, "the policy allows a port that it does not name");
        }
        Ok(Self { node, rows: planner.tables().rows.len(), _datapath: datapath })
    }

    fn answer(&self, order: Order) -> Result<Answer> {
        match order {
            Order::Rows => Ok(Answer::Rows(self.rows)),
            Order::Measure(time) => {
                let client = &self.node.client.netns;
                let sample = client.run(|| load::measure((node::SERVER, TARGET_PORTS[0]).into(), time * 2 / 3))??;
                let throughput = client.run(|| stream(time / 3))??;
                Ok(Answer::Measured(Measured { sample, throughput }))
            }
        }
    }
}

/// The Pod at this address is judged as who it is.
fn judge(datapath: &Datapath, address: Ipv4Addr, identity: u32) -> Result<()> {
    let key = AddressKey::local(IpAddr::from(address).into());
    let endpoint = datapath.maps().endpoints.get(&key)?.context("an endpoint")?;
    datapath.maps().endpoints.insert(&key, &Endpoint { identity, policy_id: identity, ..endpoint })?;
    Ok(())
}

/// Whether the server's Pod answers on this port at all, be it by a refusal.
fn answers(port: u16) -> bool {
    let tried = TcpStream::connect_timeout(&(node::SERVER, port).into(), Duration::from_millis(200));
    tried.is_ok() || tried.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

pub fn swallow(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut buffer = vec![0; 1 << 18];
            while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
        }
    });
}

/// Bytes per second over one connection.
pub fn stream(time: Duration) -> Result<f64> {
    let mut stream = TcpStream::connect((node::SERVER, SINK)).context("connect to the sink")?;
    let buffer = vec![0; 1 << 17];
    let begin = Instant::now();
    let mut sent = 0usize;
    while begin.elapsed() < time {
        sent += stream.write(&buffer)?;
    }
    Ok(sent as f64 / begin.elapsed().as_secs_f64())
}
