//! Services, endpoints, Pods and agents come, change and go at random, under load, and at every quiet point real clients
//! everywhere see what the model says: who answers is in the set, everybody in the set answers, nobody else does.
//! Connections to what stays never break, and at the end nothing is left in any map.
//!
//! A run that fails tells its seed and what was done; `MALLA_CHAOS_SEED` repeats it.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the tests of traffic use the rest")]
mod api;
mod clients;
#[path = "../traffic/cluster.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod cluster;
mod load;
mod manifests;
mod maps;
mod model;
mod operations;
mod random;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::{
    api::Api,
    clients::Clients,
    cluster::{Cluster, From, text},
    load::Load,
    maps::Kernel,
    model::{BALANCER_ENTRY, EXTERNAL_ENTRY, NODE_ADDRESSES},
    operations::World,
};

const SHORT: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(300);
/// What happens between two quiet points, and how many ways are asked at one.
const STEPS: usize = 30;
const PROBES: usize = 240;
/// The collector looks again for ended connections of what goes away (`agent::collector`, ONCE_MORE and ROUND).
const COLLECTED: Duration = Duration::from_secs(40);
/// What a node has taken is acted upon by its collector (`agent::collector`, GATHER), with room for a busy machine.
const GATHERED: Duration = Duration::from_millis(300);

#[test]
fn half_a_minute() {
    chaos("vxlan", SHORT);
}

#[test]
#[ignore = "six minutes: `make test-all`"]
fn five_minutes() {
    chaos("vxlan", LONG);
}

#[test]
#[ignore = "six minutes: `make test-all`"]
fn five_minutes_routed_natively() {
    chaos("native", LONG);
}

fn chaos(routing: &str, duration: Duration) {
    let seed = match std::env::var("MALLA_CHAOS_SEED") {
        Ok(seed) => seed.parse().expect("MALLA_CHAOS_SEED is a number"),
        Err(_) => u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap(),
    };
    println!("seed {seed}");
    let cluster = Cluster::up(&["--routing", routing]);
    cluster.apply(include_str!("pods.yaml"));
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=90s"]);
    lead_to_nodes(&cluster);
    let api = Api::of(&cluster);
    let clients = Clients::new(&cluster);
    let kernel = Kernel::of(&cluster);
    let backend = cluster.pod_addresses("s0")[0].clone();
    kernel.settle(&api, 0, &backend);
    let before = kernel.census();

    let mut world = World::new(&cluster, &api, seed);
    kernel.settle(&api, 1, &backend);
    let load = Load::begin(&clients, world.anchored(), duration);
    world.log.add("load begins".to_owned());
    let begin = Instant::now();
    let (mut round, mut asked) = (1, 0);
    while begin.elapsed() < duration {
        round += 1;
        (0..STEPS).for_each(|_| world.step());
        world.rest();
        kernel.settle(&api, round, &backend);
        std::thread::sleep(GATHERED);
        let probes = world.probes(PROBES);
        asked += probes.len();
        world.log.add(format!("quiet point {round}"));
        let wrong = clients.compare(&probes);
        assert!(wrong.is_empty(), "at quiet point {round} of {} these are wrong:\n{}", probes.len(), wrong.join("\n"));
    }
    let broken = load.finish();
    assert!(broken.is_empty(), "these must not break:\n{}", broken.join("\n"));

    println!("{} quiet points, {asked} ways asked; {}", round - 1, kernel.remembered());
    world.remove_all();
    world.rest();
    kernel.settle(&api, round + 1, &backend);
    let mut after = kernel.census();
    let begin = Instant::now();
    while after != before && begin.elapsed() < COLLECTED {
        std::thread::sleep(Duration::from_millis(100));
        after = kernel.census();
    }
    assert_eq!(after, before, "what is left in the maps, by node, and what there was before");
    let begin = Instant::now();
    loop {
        let orphans = kernel.orphans();
        if orphans.is_empty() {
            break;
        }
        let told = || orphans.iter().map(|(table, all)| format!("{} of {table}, such as {}", all.len(), all[0]));
        assert!(
            begin.elapsed() < COLLECTED,
            "remembered of backends that are gone:\n{}",
            told().collect::<Vec<_>>().join("\n")
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Nobody announces the addresses that the test gives: the fabric gets routes, as a router in front of the nodes has them.
fn lead_to_nodes(cluster: &Cluster) {
    for (prefixes, node) in [
        (["192.0.2.0/24", "2001:db8:2::/64"], BALANCER_ENTRY),
        (["198.51.100.0/24", "2001:db8:51::/64"], EXTERNAL_ENTRY),
    ] {
        for (prefix, via) in prefixes.iter().zip(NODE_ADDRESSES[node]) {
            let arguments = ["route", "add", prefix, "via", via];
            let output = cluster.command(From::Node("fabric"), "/usr/sbin/ip".as_ref(), &arguments).output().unwrap();
            assert!(output.status.success(), "{}", text(&output));
        }
    }
}
