//! `bench packets`: what one packet costs in a program, by `BPF_PROG_TEST_RUN`.
//!
//! Each run is one fresh packet (a repeated test run would see its own translated packet the second time), so that every
//! figure holds the kernel's two clock readings: differences between figures are the datapath's, the figures
//! themselves are not. Rounds alternate between all set-ups.

use crate::rounds::order;
use crate::services::load::percentile;
use crate::services::node::{CLIENT, Node, SERVER, TARGET_PORTS, WORLD};
use crate::services::rules::{PORT, Services};
use crate::services::system;
use crate::worker::Worker;
use crate::written;
use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets::NOTHING};
use datapath::{Datapath, sys};
use datapath_layouts::{Address, Followed, FollowedEnd};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct PacketsArgs {
    /// Numbers of Services
    #[arg(long, value_delimiter = ',', default_values_t = [10, 50_000])]
    sizes: Vec<u32>,
    /// Numbers of backends of the Service that is asked
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 1000])]
    backends: Vec<u32>,
    /// How often each is measured
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Packets of each round
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    packets: u32,
    /// Folder for packets.json
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
enum Way {
    /// A SYN to the server Pod itself, always the same.
    Direct,
    /// The same while somebody else is followed (`malla trace`), none of whose ports looks like this packet's.
    DirectBeside,
    /// The same while somebody else is followed whose port looks like this packet's, so that all ends are compared.
    DirectAlike,
    /// A SYN to the Service, always the same: a known flow after the first.
    Same,
    /// A SYN to the Service from another port each time: a new flow each time.
    NewFlows,
    /// A SYN to a Service by chance, from another port each time: new flows, and nothing in the caches.
    RandomServices,
    /// A SYN from outside to nothing of ours: XDP leaves it to tc.
    XdpPassed,
    /// From outside to the Service with direct server return, always the same: XDP sends it on to another node.
    XdpSame,
    /// The same from another port each time.
    XdpNewFlows,
    /// From outside to a Service by chance, from another port each time.
    XdpRandomServices,
}

const WAYS: [Way; 10] = [
    Way::Direct,
    Way::DirectBeside,
    Way::DirectAlike,
    Way::Same,
    Way::NewFlows,
    Way::RandomServices,
    Way::XdpPassed,
    Way::XdpSame,
    Way::XdpNewFlows,
    Way::XdpRandomServices,
];

impl Way {
    const fn is_xdp(self) -> bool {
        matches!(self, Self::XdpPassed | Self::XdpSame | Self::XdpNewFlows | Self::XdpRandomServices)
    }

    /// What it is compared with: the same program with a packet for no service.
    const fn base(self) -> Self {
        if self.is_xdp() { Self::XdpPassed } else { Self::Direct }
    }

    /// Who is followed meanwhile: an end that is in none of the packets.
    fn followed(self) -> Followed {
        let port = match self {
            // Neither 1000 nor 8080, modulo 64 (see `Followed`).
            Self::DirectBeside => 1001,
            Self::DirectAlike => 1000 + 64,
            _ => return Followed::ZERO,
        };
        Followed::of(&[FollowedEnd::new(Address::from_v4(WORLD.octets()), port, 6)])
    }

    /// `XDP_PASS`, `XDP_TX` (`linux/bpf.h`): a figure for something else than was meant would be worse than none.
    const fn xdp_verdict(self) -> u32 {
        if matches!(self, Self::XdpPassed) { 2 } else { 3 }
    }
}

#[derive(Debug, serde::Serialize)]
struct Row {
    services: u32,
    backends: u32,
    way: Way,
    /// Median of each round, ns.
    medians: Vec<u64>,
}

pub fn run(args: &PacketsArgs) -> Result<()> {
    let mut setups = Vec::new();
    let mut rows = Vec::new();
    for &count in &args.sizes {
        for &backends in &args.backends {
            eprintln!("making {count} services, {backends} backends …");
            let services = Services { count };
            setups.push(Worker::start(
                "node",
                move || Running::new(services, backends),
                |running, (way, packets)| running.measure(way, packets),
            )?);
            rows.extend(WAYS.map(|way| Row { services: count, backends, way, medians: Vec::new() }));
        }
    }
    let progress = indicatif::ProgressBar::new(u64::from(args.rounds) * rows.len() as u64);
    for round in 0..args.rounds {
        for at in order(round, rows.len()) {
            let median = setups[at / WAYS.len()].ask((rows[at].way, args.packets))?;
            rows[at].medians.push(median);
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    print(&rows);
    let json = written::json(&args.out, "packets", &rows)?;
    println!("\nwritten: {}", json.display());
    Ok(())
}

fn print(rows: &[Row]) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["services", "backends", "packet", "ns (median)", "A/A", "over no service"]);
    let middle = |row: &Row| percentile(&mut row.medians.clone(), 50);
    for row in rows {
        let base =
            rows.iter().find(|r| r.way == row.way.base() && r.services == row.services && r.backends == row.backends);
        let spread = row.medians.iter().max().unwrap_or(&0) - row.medians.iter().min().unwrap_or(&0);
        let name = match row.way {
            Way::Direct => "direct to the Pod",
            Way::DirectBeside => "direct, another is traced",
            Way::DirectAlike => "direct, another of like port is traced",
            Way::Same => "to the Service, the same",
            Way::NewFlows => "to the Service, new flows",
            Way::RandomServices => "to random Services, new flows",
            Way::XdpPassed => "XDP: to no Service",
            Way::XdpSame => "XDP: to the Service, the same",
            Way::XdpNewFlows => "XDP: to the Service, new flows",
            Way::XdpRandomServices => "XDP: to random Services, new flows",
        };
        table.add_row([
            row.services.to_string(),
            row.backends.to_string(),
            name.to_owned(),
            middle(row).to_string(),
            spread.to_string(),
            base.map_or_else(String::new, |b| format!("{:+}", middle(row).cast_signed() - middle(b).cast_signed())),
        ]);
    }
    println!("{table}");
}

struct Running {
    node: Node,
    services: Services,
    program: OwnedFd,
    xdp: OwnedFd,
    datapath: Datapath,
}

impl Running {
    fn new(services: Services, backends: u32) -> Result<Self> {
        let node = Node::new()?;
        let datapath = system::malla(&node, services)?;
        system::backends_of_measured(&datapath, services, backends)?;
        system::backends_elsewhere(&datapath, services, backends)?;
        let (program, xdp) = (datapath.program("from_pod")?, datapath.program("xdp_from_network")?);
        Ok(Self { node, services, program, xdp, datapath })
    }

    /// Median duration, ns.
    fn measure(&self, way: Way, packets: u32) -> Result<u64> {
        self.datapath.maps().followed.insert(&0, &way.followed())?;
        let mut durations = Vec::with_capacity(packets as usize);
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut out = vec![0u8; 256];
        for number in 0..packets {
            // xorshift64: any sequence does that caches can't follow.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let fresh = 1024 + (number % 60_000) as u16;
            let measured = self.services.address(self.services.measured());
            let (to, to_port, from_port) = match way {
                Way::Direct | Way::DirectBeside | Way::DirectAlike => (SERVER, TARGET_PORTS[0], 1000),
                Way::XdpPassed => (WORLD, PORT, 1000),
                Way::Same | Way::XdpSame => (measured, PORT, 1000),
                Way::NewFlows | Way::XdpNewFlows => (measured, PORT, fresh),
                Way::RandomServices | Way::XdpRandomServices => {
                    (self.services.address((random % u64::from(self.services.count)) as u32), PORT, fresh)
                }
            };
            let run = if way.is_xdp() {
                let frame = syn((OUTSIDE_MAC, NODE_MAC), WORLD, to, (from_port, to_port));
                let run = sys::test_run(self.xdp.as_fd(), &frame, &mut [], &mut out).context("run xdp_from_network")?;
                ensure!(run.verdict == way.xdp_verdict(), "{way:?}: the program said {}", run.verdict);
                run
            } else {
                let client = &self.node.client;
                let frame = syn((client.mac, client.host_mac), CLIENT, to, (from_port, to_port));
                let mut context = [0u8; 192];
                context[IFINDEX..IFINDEX + 4].copy_from_slice(&client.index.to_ne_bytes());
                sys::test_run(self.program.as_fd(), &frame, &mut context, &mut out).context("run from_pod")?
            };
            durations.push(u64::from(run.duration_ns));
        }
        Ok(percentile(&mut durations, 50))
    }
}

/// Offset in `struct __sk_buff` (`include/uapi/linux/bpf.h`).
pub const IFINDEX: usize = 40;

/// MAC addresses of a frame from outside.
const OUTSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xee];
const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A SYN; MAC addresses and ports: source, then destination.
fn syn(macs: ([u8; 6], [u8; 6]), from: Ipv4Addr, to: Ipv4Addr, ports: (u16, u16)) -> Vec<u8> {
    segment(macs, from, to, ports, 2)
}

/// A TCP segment without data; flags as in RFC 9293 §3.1.
pub fn segment(
    macs: ([u8; 6], [u8; 6]),
    from: Ipv4Addr,
    to: Ipv4Addr,
    (from_port, to_port): (u16, u16),
    flags: u8,
) -> Vec<u8> {
    let mut frame = Vec::with_capacity(54);
    frame.extend(macs.1);
    frame.extend(macs.0);
    frame.extend([8, 0]);
    let mut ip = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    ip[12..16].copy_from_slice(&from.octets());
    ip[16..20].copy_from_slice(&to.octets());
    let check = !sum(&ip);
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    let mut tcp = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    tcp[0..2].copy_from_slice(&from_port.to_be_bytes());
    tcp[2..4].copy_from_slice(&to_port.to_be_bytes());
    let pseudo = [&ip[12..20], &[0, 6, 0, 20], &tcp].concat();
    let check = !sum(&pseudo);
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
    frame.extend(ip);
    frame.extend(tcp);
    frame
}

/// One's complement sum (RFC 1071) of an even number of bytes.
fn sum(bytes: &[u8]) -> u16 {
    let total: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (total & 0xffff) + (total >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}
