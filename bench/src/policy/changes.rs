//! What a change costs, from an object's JSON (or a Pod's identity) to the last write of the maps and the clock's move, after
//! which the next packet is judged by it. Without the network between API and agent.

use super::rows::{pod, reserved};
use crate::services::load::percentile;
use crate::services::node::Node;
use crate::services::system;
use agent::kernel_datapath::policy_maps;
use agent::policies::{Maps, apply};
use anyhow::{Context, Result, bail, ensure};
use datapath::{Datapath, Profile, Settings};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use policy::dialect::network_policy::convert;
use policy::plan::{Capacity, Planner};
use serde_json::json;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

pub const POLICIES: u32 = 1000;
pub const IDENTITIES: u32 = 10_000;
const NAMESPACES: u32 = 100;
/// Pods of this node: one of each namespace.
const SUBJECTS: u32 = NAMESPACES;
/// Different apps in a namespace; ten identities are of each.
const APPS: u32 = 10;
const PORTS: u32 = 5;
const FIRST: u32 = 1000;
/// New identities, and policies about whole namespaces under which they arrive.
const ARRIVALS: u32 = 1000;
const WIDE: u32 = 250;
/// An LPM node with an 8-byte key and an 8-byte value: `struct lpm_trie_node` of 40 bytes and both, from a slab of 64
/// (`kernel/bpf/lpm_trie.c`); the nodes in between, up to as many again, are not counted.
const LPM_ENTRY: u64 = 64;

#[derive(Default, serde::Serialize)]
pub struct Times {
    p50: u64,
    p99: u64,
    max: u64,
    writes: f64,
}

#[derive(Default, serde::Serialize)]
pub struct Changes {
    /// From nothing to the whole state, seconds.
    first_seconds: f64,
    first_writes: usize,
    /// ns.
    policy: Times,
    pod: Times,
    /// Of all new identities together.
    arrivals_seconds: f64,
    arrivals_writes: usize,
    /// Bytes of the maps of policy, as the kernel accounts them.
    memory: u64,
    /// One LPM entry for each endpoint, peer and port, and what they would take.
    lpm_entries: u64,
    lpm_memory: u64,
}

/// On a thread of its own, with whose namespaces maps and mounts go.
pub fn measure(changes: u32) -> Result<Changes> {
    let worker = std::thread::spawn(move || -> Result<Changes> {
        let _node = Node::new()?;
        let settings = Settings { bpf_dir: PathBuf::from("/mnt"), config: system::config(0), profile: Profile::Node };
        let datapath = Arc::new(Datapath::start(&settings)?);
        let empty = memory(&datapath)?;
        let maps = policy_maps(&datapath);
        let mut done = Changes::default();
        let mut planner = whole(&maps, &mut done)?;
        done.memory = memory(&datapath)?.saturating_sub(empty);
        (done.lpm_entries, done.lpm_memory) = (lpm_entries(), lpm_entries() * LPM_ENTRY);
        done.policy = policies(&mut planner, &maps, changes)?;
        done.pod = pods(&mut planner, &maps, changes)?;
        drop(planner);
        arrivals(&mut done)?;
        Ok(done)
    });
    worker.join().unwrap_or_else(|_| bail!("the measuring thread panicked"))
}

fn namespace(number: u32) -> String {
    format!("n{number}")
}

/// Half of them let a whole namespace in, half of them one app; `turn` is another port.
fn object(number: u32, turn: u32) -> String {
    let who = if number.is_multiple_of(2) {
        json!({ "podSelector": {} })
    } else {
        json!({ "podSelector": { "matchLabels": { "app": format!("a{}", number % APPS) } } })
    };
    let first = 1000 + number * PORTS + turn % 2;
    let ports: Vec<_> = (0..PORTS).map(|port| json!({ "port": first + port })).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": format!("p{number}"), "namespace": namespace(number % NAMESPACES), "uid": number.to_string(),
            "resourceVersion": "1", "labels": { "team": "a" } },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{ "from": [who], "ports": ports }] },
    })
    .to_string()
}

fn take(planner: &mut Planner, object: &str) -> Result<()> {
    let object: NetworkPolicy = serde_json::from_str(object)?;
    let policy = convert(&object).ok().context("a policy of ours")?;
    planner.set_policy(policy);
    Ok(())
}

fn identity(number: u32) -> policy::subject::IdentityFacts {
    let app = format!("a{}", number / NAMESPACES % APPS);
    pod(FIRST + number, &namespace(number % NAMESPACES), &app)
}

fn whole(maps: &Maps, done: &mut Changes) -> Result<Planner> {
    let begin = Instant::now();
    let mut planner = Planner::new(Capacity::node());
    reserved().for_each(|facts| planner.set_identity(facts));
    (0..IDENTITIES).for_each(|number| planner.set_identity(identity(number)));
    for number in 0..POLICIES {
        take(&mut planner, &object(number, 0))?;
    }
    (0..SUBJECTS).for_each(|number| planner.add_subject(FIRST + number));
    done.first_writes = settle(&mut planner, maps)?;
    done.first_seconds = begin.elapsed().as_secs_f64();
    ensure!(planner.problems().next().is_none(), "it does not fit: {:?}", planner.problems().next());
    Ok(planner)
}

fn settle(planner: &mut Planner, maps: &Maps) -> Result<usize> {
    let changes = planner.plan();
    apply(maps, &changes)?;
    Ok(changes.len())
}

fn times(durations: &mut [u64], writes: usize) -> Times {
    Times {
        p50: percentile(durations, 50),
        p99: percentile(durations, 99),
        max: durations.last().copied().unwrap_or(0),
        writes: writes as f64 / durations.len().max(1) as f64,
    }
}

/// A policy's ports change.
fn policies(planner: &mut Planner, maps: &Maps, count: u32) -> Result<Times> {
    let (mut durations, mut writes) = (Vec::new(), 0);
    for number in 0..count {
        let event = object(number.wrapping_mul(7919) % POLICIES, number / POLICIES + 1);
        let begin = Instant::now();
        take(planner, &event)?;
        writes += settle(planner, maps)?;
        durations.push(u64::try_from(begin.elapsed().as_nanos())?);
        apply(maps, &planner.sweep())?;
    }
    Ok(times(&mut durations, writes))
}

/// A Pod comes, whose identity is known and nobody's here yet.
fn pods(planner: &mut Planner, maps: &Maps, count: u32) -> Result<Times> {
    let (mut durations, mut writes) = (Vec::new(), 0);
    for number in 0..count {
        let identity = FIRST + SUBJECTS + number % (IDENTITIES - SUBJECTS);
        let begin = Instant::now();
        planner.add_subject(identity);
        writes += settle(planner, maps)?;
        durations.push(u64::try_from(begin.elapsed().as_nanos())?);
        planner.remove_subject(identity);
        settle(planner, maps)?;
        apply(maps, &planner.sweep())?;
    }
    Ok(times(&mut durations, writes))
}

/// New identities in namespaces that are known, each of which several policies are about as a whole.
fn arrivals(done: &mut Changes) -> Result<()> {
    let settings = Settings { bpf_dir: PathBuf::from("/mnt"), config: system::config(0), profile: Profile::Node };
    let datapath = Arc::new(Datapath::start(&settings)?);
    let maps = policy_maps(&datapath);
    let mut planner = Planner::recover(maps.tables()?, Capacity::node());
    reserved().for_each(|facts| planner.set_identity(facts));
    for number in 0..WIDE {
        // Even ones are about whole namespaces.
        take(&mut planner, &object(number * 2, 0))?;
    }
    for number in 0..NAMESPACES {
        planner.set_identity(identity(number));
        planner.add_subject(FIRST + number);
    }
    settle(&mut planner, &maps)?;
    apply(&maps, &planner.sweep())?;
    let begin = Instant::now();
    for number in 0..ARRIVALS {
        planner.set_identity(identity(NAMESPACES + number));
    }
    done.arrivals_writes = settle(&mut planner, &maps)?;
    done.arrivals_seconds = begin.elapsed().as_secs_f64();
    Ok(())
}

/// Of the maps of policy, bytes.
fn memory(datapath: &Datapath) -> Result<u64> {
    let usages = datapath.maps().usages()?;
    let mine = |name: &str| name.starts_with("polic") || name == "identities";
    Ok(usages.iter().filter(|usage| mine(&usage.name)).map(|usage| usage.memory_bytes).sum())
}

/// For each subject: the peers that each of its policies lets in × its ports.
fn lpm_entries() -> u64 {
    let members = u64::from(IDENTITIES / NAMESPACES);
    let of_policy = |number: u32| if number.is_multiple_of(2) { members } else { members / u64::from(APPS) };
    let all: u64 = (0..POLICIES).map(|number| of_policy(number) * u64::from(PORTS)).sum();
    // One subject of each namespace.
    all * u64::from(SUBJECTS / NAMESPACES)
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micro = |ns: u64| ns as f64 / 1000.0;
        writeln!(
            f,
            "{POLICIES} policies, {IDENTITIES} identities, {SUBJECTS} Pods here: {:.2} s and {} writes from nothing",
            self.first_seconds, self.first_writes
        )?;
        for (what, times) in [("a policy's change", &self.policy), ("a Pod's arrival", &self.pod)] {
            writeln!(
                f,
                "{what}: p50 {:.0} µs, p99 {:.0} µs, at most {:.0} µs; {:.1} writes",
                micro(times.p50),
                micro(times.p99),
                micro(times.max),
                times.writes
            )?;
        }
        writeln!(
            f,
            "{ARRIVALS} new identities under {WIDE} policies about whole namespaces: {:.3} s, {} writes",
            self.arrivals_seconds, self.arrivals_writes
        )?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "maps of policy: {:.1} MiB; an LPM entry for each endpoint, peer and port: {} of them, {:.1} MiB",
            mib(self.memory),
            self.lpm_entries,
            mib(self.lpm_memory)
        )
    }
}
