//! `bench updates`: how long it takes from what the API serves to what the kernel's maps hold.
//!
//! The agent's own code over real maps: lists and events are decoded from JSON as a watch delivers them, planned, and written.
//! Three things are measured per size: the first list, a restart over maps that are right already (it must write
//! nothing), and changes of one endpoint, one after the other.

mod objects;

use crate::services::load::percentile;
use crate::services::node::Node as Namespaces;
use crate::services::system;
use crate::written;
use agent::kernel_datapath::loop_maps;
use agent::services::{Services, apply};
use agent::watched::Told;
use anyhow::{Context, Result, bail, ensure};
use comfy_table::{Table, presets::NOTHING};
use datapath::{Datapath, Profile, Settings};
use datapath_layouts::maps as sizes;
use load_balancer::{Capacity, from_kubernetes};
use model::Node;
use objects::Size;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

#[derive(clap::Args)]
pub struct UpdatesArgs {
    /// Services and endpoints of each, as SERVICESxENDPOINTS
    #[arg(long, value_delimiter = ',', default_value = "10000x10,50000x3")]
    sizes: Vec<Size>,
    /// Changes of one endpoint to measure
    #[arg(long, default_value_t = 5000)]
    changes: u32,
    /// Folder for updates.json
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

#[derive(serde::Serialize)]
struct Outcome {
    services: u32,
    endpoints: u32,
    /// From the lists' JSON to the last write, seconds.
    first_seconds: f64,
    first_writes: usize,
    /// The same by a new agent over the maps of the old one.
    restart_seconds: f64,
    restart_writes: usize,
    /// From a watch event's JSON to the last write, ns.
    change_p50: u64,
    change_p99: u64,
    change_max: u64,
    writes_per_change: f64,
}

pub fn run(args: &UpdatesArgs) -> Result<()> {
    let mut outcomes = Vec::new();
    for &size in &args.sizes {
        eprintln!("{} services with {} endpoints each …", size.services, size.endpoints);
        // On a thread of its own, with whose namespaces maps and mounts go.
        let changes = args.changes;
        let worker = std::thread::spawn(move || measure(size, changes));
        match worker.join() {
            Ok(outcome) => outcomes.push(outcome?),
            Err(_) => bail!("the measuring thread panicked"),
        }
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "services",
        "endpoints",
        "lists to maps s",
        "writes",
        "restart s",
        "writes",
        "one change p50 µs",
        "p99",
        "max",
        "writes",
    ]);
    let micro = |ns: u64| format!("{:.0}", ns as f64 / 1000.0);
    for o in &outcomes {
        table.add_row([
            o.services.to_string(),
            o.endpoints.to_string(),
            format!("{:.2}", o.first_seconds),
            o.first_writes.to_string(),
            format!("{:.2}", o.restart_seconds),
            o.restart_writes.to_string(),
            micro(o.change_p50),
            micro(o.change_p99),
            micro(o.change_max),
            format!("{:.2}", o.writes_per_change),
        ]);
    }
    println!("{table}");
    let json = written::json(&args.out, "updates", &outcomes)?;
    println!("\nwritten: {}", json.display());
    Ok(())
}

fn measure(size: Size, changes: u32) -> Result<Outcome> {
    // Only for the namespaces and the bpffs.
    let _node = Namespaces::new()?;
    let settings = Settings { bpf_dir: PathBuf::from("/mnt"), config: system::config(0), profile: Profile::Node };
    let datapath = Arc::new(Datapath::start(&settings)?);
    let maps = loop_maps(&datapath).services;
    let own = Node {
        name: "worker-1".into(),
        addresses: vec!["172.18.0.3".parse()?],
        pod_ranges: vec!["10.128.0.0/24".parse()?],
        zone: None,
        labels: std::collections::BTreeMap::new(),
    };
    let capacity = Capacity {
        frontends: sizes::FRONTENDS.node as usize,
        backends: sizes::BACKENDS.node as usize,
        ..Capacity::each(sizes::MAGLEV.node as usize)
    };
    let lists = size.lists();

    let begin = Instant::now();
    let mut services = Services::new(maps.balancer(capacity)?);
    take_lists(&mut services, &lists)?;
    let first_writes = settle(&mut services, &own, &maps)?;
    let first_seconds = begin.elapsed().as_secs_f64();
    ensure!(services.problems().is_empty(), "some services have problems: {:?}", services.problems().iter().next());

    let begin = Instant::now();
    let mut services = Services::new(maps.balancer(capacity)?);
    take_lists(&mut services, &lists)?;
    let restart_writes = settle(&mut services, &own, &maps)?;
    let restart_seconds = begin.elapsed().as_secs_f64();

    let mut times = Vec::with_capacity(changes as usize);
    let mut writes = 0;
    for number in 0..changes {
        // Spread over all services; each loses its last endpoint in one round and gets it back in the next.
        let service = number.wrapping_mul(7919) % size.services;
        let event = size.slice(service, number / size.services % 2 == 1);
        let begin = Instant::now();
        let slice = serde_json::from_str(&event)?;
        take_slice(&mut services, &slice)?;
        writes += settle(&mut services, &own, &maps)?;
        times.push(u64::try_from(begin.elapsed().as_nanos())?);
    }
    Ok(Outcome {
        services: size.services,
        endpoints: size.endpoints,
        first_seconds,
        first_writes,
        restart_seconds,
        restart_writes,
        change_p50: percentile(&mut times, 50),
        change_p99: percentile(&mut times, 99),
        change_max: times.last().copied().unwrap_or(0),
        writes_per_change: writes as f64 / f64::from(changes.max(1)),
    })
}

fn take_lists(services: &mut Services, lists: &objects::Lists) -> Result<()> {
    services.take_service(Told::Begin);
    for page in &lists.services {
        let list: objects::List<k8s_openapi::api::core::v1::Service> = serde_json::from_str(page)?;
        for object in &list.items {
            let service = from_kubernetes::service(object).context("a service of ours")?;
            services.take_service(Told::Set(service.name.clone(), Some(service)));
        }
    }
    services.take_service(Told::End);
    services.take_slice(Told::Begin);
    for page in &lists.slices {
        let list: objects::List<k8s_openapi::api::discovery::v1::EndpointSlice> = serde_json::from_str(page)?;
        for object in &list.items {
            take_slice(services, object)?;
        }
    }
    services.take_slice(Told::End);
    Ok(())
}

fn take_slice(services: &mut Services, object: &k8s_openapi::api::discovery::v1::EndpointSlice) -> Result<()> {
    let slice = from_kubernetes::endpoint_slice(object).context("a slice of ours")?;
    services.take_slice(Told::Set(slice.name.clone(), Some(slice)));
    Ok(())
}

/// Plans and writes until nothing waits; the number of writes.
fn settle(services: &mut Services, own: &Node, maps: &agent::services::Maps) -> Result<usize> {
    let mut writes = 0;
    while let Some((plan, _)) = services.next(own) {
        apply(maps, &plan)?;
        writes += plan.changes.len();
    }
    Ok(writes)
}
