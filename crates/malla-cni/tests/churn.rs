//! 200 containers made and removed, twice, while plugin and agent are killed at random moments: no address is given
//! twice and nothing is left over. Needs root.

mod support;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use support::{Container, Node, Outcome, Ranges, run, start, variables, with};

const CONTAINERS: usize = 200;
/// Requests at the same time.
const WORKERS: usize = 8;
const RANGES: Ranges = Ranges { cidrs: "10.244.2.0/24,fd00:10:244:2::/64", rest_ms: 300 };

#[test]
fn agent_process() {
    support::agent_process();
}

#[test]
fn two_hundred_containers_twice_with_the_plugin_killed() {
    churn(false);
}

#[test]
fn two_hundred_containers_twice_with_plugin_and_agent_killed() {
    churn(true);
}

/// Uniform enough, and repeatable from its seed.
struct Random(AtomicU64);

impl Random {
    fn below(&self, limit: u64) -> u64 {
        // SplitMix64.
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn churn(kill_agent: bool) {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let random = Random(AtomicU64::new(seed));
    let node = Mutex::new(Node::with(RANGES));
    let config = node.lock().unwrap().config("1.1.0");
    let (done, kills, deaths) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        if kill_agent {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(150 + random.below(300)));
                    let mut node = node.lock().unwrap();
                    node.kill_agent();
                    let report = node.start_agent();
                    assert!(report.ends_with("failed 0"), "{report}");
                    deaths.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..2 {
            let containers: Vec<_> = (0..CONTAINERS).map(|i| Container::new(&format!("r{round}-c{i}"))).collect();
            let up = parallel(&containers, |container| add(container, &config, &random, &kills));
            // All at once have addresses of their own, and no other than the kernel has given them.
            let results: HashMap<&str, Value> = up.into_iter().collect();
            let all: Vec<IpAddr> = results.values().flat_map(addresses).collect();
            assert_eq!(all.len(), 2 * CONTAINERS);
            assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "an address was given twice");
            parallel(&containers, |container| {
                let checked = with(config.clone(), "prevResult", results[container.id.as_str()].clone());
                patient(|| support::call("CHECK", container, &checked));
            });
            parallel(&containers, |container| del(container, &config, &random, &kills));
            // What the runtime does now and then; here it must find nothing.
            let gc = with(config.clone(), "cni.dev/valid-attachments", json!([]));
            patient(|| run(&[("CNI_COMMAND", "GC")], &gc.to_string()));
        }
        done.store(true, Ordering::Relaxed);
    });
    let mut node = node.into_inner().unwrap();
    node.assert_clean();
    node.kill_agent();
    assert_eq!(node.address_owners(), 0, "no address is lost");
    let (kills, deaths) = (kills.load(Ordering::Relaxed), deaths.load(Ordering::Relaxed));
    println!("plugins killed: {kills}, agents killed: {deaths}");
    assert!(kills > 50, "only {kills} plugins were killed: this tested nothing");
    assert!(!kill_agent || deaths > 3, "only {deaths} agents were killed");
}

fn parallel<'a, T: Send>(containers: &'a [Container], work: impl Fn(&'a Container) -> T + Sync) -> Vec<T> {
    let (next, results) = (AtomicU32::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(container) = containers.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let result = work(container);
                    results.lock().unwrap().push(result);
                }
            });
        }
    });
    results.into_inner().unwrap()
}

/// ADD as a runtime does it whose plugin dies: sometimes it just calls again, sometimes DEL comes first.
fn add<'a>(container: &'a Container, config: &Value, random: &Random, kills: &AtomicU32) -> (&'a str, Value) {
    while let Some(killed) = attempt("ADD", container, config, random) {
        if killed {
            kills.fetch_add(1, Ordering::Relaxed);
            if random.below(2) == 0 {
                del(container, config, random, kills);
            }
        } else {
            break;
        }
    }
    (&container.id, patient(|| support::call("ADD", container, config)))
}

fn del(container: &Container, config: &Value, random: &Random, kills: &AtomicU32) {
    while attempt("DEL", container, config, random) == Some(true) {
        kills.fetch_add(1, Ordering::Relaxed);
    }
    patient(|| support::call("DEL", container, config));
}

/// Two times of three the plugin gets a few milliseconds to live; `Some(true)` if that was too short.
fn attempt(verb: &str, container: &Container, config: &Value, random: &Random) -> Option<bool> {
    if random.below(3) == 0 {
        return None;
    }
    let path = container.path();
    let mut child = start(&variables(verb, &container.id, &path), &config.to_string());
    thread::sleep(Duration::from_micros(random.below(12_000)));
    let alive = child.try_wait().unwrap().is_none();
    let _ = child.kill();
    child.wait().unwrap();
    Some(alive)
}

/// Calls until it is done, as the runtime does on code 11 (the agent is away, or addresses rest).
fn patient(mut call: impl FnMut() -> Outcome) -> Value {
    let start = Instant::now();
    loop {
        let outcome = call();
        if outcome.success {
            return outcome.output;
        }
        assert_eq!(outcome.code(), 11, "{outcome:?}");
        assert!(start.elapsed() < Duration::from_secs(30), "{outcome:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().unwrap();
    ips.iter().map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap()).collect()
}
