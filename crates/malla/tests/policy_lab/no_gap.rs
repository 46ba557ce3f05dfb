//! One policy becomes another in one apply, again and again, while everybody goes on asking: what both of them allow is never
//! blocked, and what both deny never passes. In between, everything is exactly as the one that stands says.
//!
//! Only x/a is governed, and by objects of three dialects at once. A replacement is in force when the epochs of its entries have
//! moved; so of every question it is known which policies it can have met.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use datapath::maps::Maps;
use datapath_layouts::policy::Direction;
use datapath_layouts::{AddressKey, PolicyKey};
use network_namespace::NetNs;
use serde_json::Value;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::api::Api;
use crate::catalogue;
use crate::cluster::Cluster;
use crate::pods::{self, Place, Pod};
use crate::probes::{Probes, datagram, open_datagram};
use crate::random::Random;
use crate::table::{Port, Protocol, Table, pairs};
use crate::{objects, reference};

/// Between two questions of one kind.
const PERIOD: Duration = Duration::from_millis(40);
/// Below the second after which a SYN is sent again: that would hide that the first one was lost.
const PATIENCE: Duration = Duration::from_millis(800);
/// A question on an open flow waits less, for the next one waits for it.
const PATIENCE_OF_FLOWS: Duration = Duration::from_millis(300);
/// How long after it was sent a packet may still be on its way to where it is judged.
const ON_THE_WAY: Duration = Duration::from_millis(150);
/// A loaded machine's agent needs some time.
const IN_FORCE: Duration = Duration::from_secs(10);
const NOTHING_MOVES: Duration = Duration::from_millis(1500);

/// A question and what it met.
struct Asked {
    pair: (Pod, Pod),
    column: usize,
    how: &'static str,
    sent: Instant,
    answered: Option<Instant>,
}

/// A policy that stands.
struct Standing {
    what: String,
    /// The sender's ends and the receiver's, of each family.
    ends: [[Table; 2]; 2],
    /// From when on it may be in force, and from when on it is.
    applied: Instant,
    in_force: Instant,
}

/// Single objects about x/a, by dialect: each replaces another of its kind.
fn candidates() -> [Vec<(String, Value)>; 3] {
    let mut all = [const { Vec::new() }; 3];
    for case in catalogue::all() {
        let mut objects = objects::read(&case.yaml);
        let Some(object) = objects.pop().filter(|object| objects.is_empty() && objects::name(object) == "p") else {
            continue;
        };
        let only_a = case.yaml.contains("atchLabels: {pod: a}}") || case.name.starts_with("tiers:");
        let dialect = match object["kind"].as_str().unwrap() {
            // Left out, the API would keep those that it has filled in for the one before.
            "NetworkPolicy" if object["spec"]["policyTypes"].is_null() => continue,
            "NetworkPolicy" => 0,
            "CiliumNetworkPolicy" => 1,
            "ClusterNetworkPolicy" => 2,
            _ => continue,
        };
        if only_a {
            all[dialect].push((case.name, object));
        }
    }
    all
}

/// IPv4 for every second pair.
fn family((from, to): (Pod, Pod)) -> usize {
    (from.0 + to.0) % 2
}

/// Asks until told to stop: each pair with x/a in it, new connections and new and old flows of datagrams.
fn ask(pod: Pod, places: &[Place], stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<Asked>> {
    let namespace = NetNs::open(&places[pod.0].netns).unwrap();
    let mine: Vec<_> = pairs().filter(|(from, to)| *from == pod && (from.0 == 0 || to.0 == 0)).collect();
    let addresses: Vec<IpAddr> = mine.iter().map(|pair| places[pair.1.0].addresses[family(*pair)]).collect();
    let stop = stop.clone();
    std::thread::spawn(move || {
        namespace.enter_current_thread().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for (pair, address) in mine.into_iter().zip(addresses) {
                for (column, port) in Port::all().enumerate() {
                    let to = SocketAddr::from((address, port.number));
                    match port.protocol {
                        Protocol::Tcp if port.number == 80 => {
                            tasks.spawn(new_flows(pair, column, to, true, stop.clone()));
                        }
                        Protocol::Udp => {
                            tasks.spawn(new_flows(pair, column, to, false, stop.clone()));
                            tasks.spawn(old_flow(pair, column, to, stop.clone()));
                        }
                        _ => {}
                    }
                }
            }
            tasks.join_all().await.into_iter().flatten().collect()
        })
    })
}

/// A new flow for each question; the next one does not wait for the answer.
async fn new_flows(pair: (Pod, Pod), column: usize, to: SocketAddr, tcp: bool, stop: Arc<AtomicBool>) -> Vec<Asked> {
    let mut asked = tokio::task::JoinSet::new();
    let mut done = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        asked.spawn(async move {
            let sent = Instant::now();
            let answered = if tcp {
                matches!(timeout(PATIENCE, TcpStream::connect(to)).await, Ok(Ok(_)))
            } else {
                matches!(timeout(PATIENCE, datagram(to)).await, Ok(Ok(())))
            };
            let how = if tcp { "a new connection" } else { "a new flow" };
            Asked { pair, column, how, sent, answered: answered.then(Instant::now) }
        });
        tokio::time::sleep(PERIOD).await;
        while let Some(one) = asked.try_join_next() {
            done.push(one.unwrap());
        }
    }
    done.extend(asked.join_all().await);
    done
}

/// One flow for all of them.
async fn old_flow(pair: (Pod, Pod), column: usize, to: SocketAddr, stop: Arc<AtomicBool>) -> Vec<Asked> {
    let socket = open_datagram(to).await.unwrap();
    let mut done = Vec::new();
    for number in 0u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let sent = Instant::now();
        socket.send(&number.to_be_bytes()).await.unwrap();
        let answered = timeout(PATIENCE_OF_FLOWS, its_answer(&socket, number)).await.is_ok();
        done.push(Asked { pair, column, how: "an open flow", sent, answered: answered.then(Instant::now) });
        tokio::time::sleep(PERIOD).await;
    }
    done
}

async fn its_answer(socket: &UdpSocket, number: u32) {
    let mut buffer = [0; 64];
    loop {
        if matches!(socket.recv(&mut buffer).await, Ok(4) if buffer[..4] == number.to_be_bytes()) {
            return;
        }
    }
}

/// What is wrong with what this question met, given what may have been in force.
fn wrong(asked: &Asked, standing: &[Standing]) -> Option<String> {
    // What was answered was answered by then; what was not, was judged soon after it was sent.
    let last = asked.answered.unwrap_or(asked.sent + ON_THE_WAY);
    let first = standing.iter().rposition(|one| one.in_force <= asked.sent).unwrap_or(0);
    let met: Vec<&Standing> = standing[first..].iter().take_while(|one| one.applied <= last).collect();
    let says =
        |one: &Standing, end: usize| one.ends[family(asked.pair)][end].get(asked.pair.0, asked.pair.1, asked.column);
    let all_allow = met.iter().all(|one| says(one, 0) && says(one, 1));
    let all_deny = (0..2).any(|end| met.iter().all(|one| !says(one, end)));
    let what = match (asked.answered, all_allow, all_deny) {
        (None, true, _) => "was blocked, which all allow",
        (Some(_), _, true) => "passed, which all deny",
        _ => return None,
    };
    let port = Port::all().nth(asked.column).unwrap();
    let names: Vec<&str> = met.iter().map(|one| one.what.as_str()).collect();
    let since = met.last().map_or(0, |one| asked.sent.saturating_duration_since(one.applied).as_millis());
    Some(format!(
        "{} {} to {} on {}/{} {what}, {since} ms after the last of: {}",
        asked.how,
        asked.pair.0.name(),
        asked.pair.1.name(),
        port.protocol.name(),
        port.number,
        names.join(" → ")
    ))
}

/// The entries of x/a in the map of policies: whatever changes for it gives one of them a new epoch, last of all.
struct Entries {
    maps: Maps,
    keys: [PolicyKey; 2],
}

impl Entries {
    fn of(cluster: &Cluster, address: IpAddr) -> Self {
        let maps = Maps::open(&cluster.folder().join("bpf").join(Pod(0).node())).unwrap();
        let endpoint = maps.endpoints.get(&AddressKey::local(address.into())).unwrap().expect("the Pod's endpoint");
        let keys = [Direction::Ingress, Direction::Egress].map(|way| PolicyKey::new(endpoint.policy_id, way));
        Self { maps, keys }
    }

    fn epochs(&self) -> [Option<u32>; 2] {
        self.keys.map(|key| self.maps.policies.get(&key).unwrap().map(|policy| policy.epoch))
    }

    /// Waits until they have moved from here, and stand again: one direction comes after the other. Where the new policy
    /// means the same as the old one, maybe nothing moves.
    fn wait(&self, before: [Option<u32>; 2], means_the_same: bool) {
        let started = Instant::now();
        while self.epochs() == before {
            if means_the_same && started.elapsed() > NOTHING_MOVES {
                return;
            }
            assert!(started.elapsed() < IN_FORCE, "a replaced policy is not in force");
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut last = (self.epochs(), Instant::now());
        while last.1.elapsed() < Duration::from_millis(30) {
            std::thread::sleep(Duration::from_millis(1));
            let now = self.epochs();
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
    }
}

fn replace_again_and_again(arguments: &[&str], times: usize, seed: u64) {
    println!("seed {seed}");
    let cluster = Cluster::up(arguments);
    let places = pods::start(&cluster);
    let _servers = Probes::start(&places);
    let api = Api::of(&cluster);
    let entries = Entries::of(&cluster, places[0].addresses[0]);
    let candidates = candidates();
    assert!(candidates.iter().all(|some| some.len() > 20), "{:?}", candidates.each_ref().map(Vec::len));
    let mut random = Random::new(seed);
    let mut now: [Option<usize>; 3] = [None; 3];
    let mut standing: Vec<Standing> = Vec::new();
    let stop = Arc::new(AtomicBool::new(false));
    let mut askers = Vec::new();
    for time in 0..=times {
        let dialect = random.below(3);
        let chosen = loop {
            let chosen = random.below(candidates[dialect].len());
            if now[dialect] != Some(chosen) {
                break chosen;
            }
        };
        now[dialect] = Some(chosen);
        let (what, object) = &candidates[dialect][chosen];
        let objects: Vec<Value> =
            now.iter().zip(&candidates).filter_map(|(at, all)| at.map(|at| all[at].1.clone())).collect();
        let ends = [0, 1].map(|family| reference::ends(&objects, |pod| places[pod.0].addresses[family]));
        let before = entries.epochs();
        let applied = Instant::now();
        api.apply(&objects::folder(object), "p", object);
        let means_the_same = standing.last().is_some_and(|last| last.ends == ends);
        entries.wait(before, means_the_same);
        standing.push(Standing { what: what.clone(), ends, applied, in_force: Instant::now() });
        if time == 0 {
            // From here on: the first one is in force.
            askers.extend(Pod::all().map(|pod| ask(pod, &places, &stop)));
        }
        std::thread::sleep(Duration::from_millis(60));
    }
    stop.store(true, Ordering::Relaxed);
    let asked: Vec<Asked> = askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect();
    let wrong: Vec<String> = asked.iter().filter_map(|one| wrong(one, &standing)).collect();
    let moving = |one: &&Asked| standing.iter().any(|s| s.applied <= one.sent && one.sent < s.in_force);
    let answered = asked.iter().filter(|one| one.answered.is_some()).count();
    println!(
        "{times} replacements, {} questions, {answered} answered, {} of them while a policy changed",
        asked.len(),
        asked.iter().filter(moving).count()
    );
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), asked.len(), wrong[..wrong.len().min(40)].join("\n"));
    assert!(asked.len() > times * 20 && answered > asked.len() / 20 && answered < asked.len() * 19 / 20);
}

#[test]
fn no_gap_between_two_policies() {
    replace_again_and_again(&[], 80, 4);
}

#[test]
#[ignore = "minutes; part of `make test-all`"]
fn no_gap_in_a_thousand_replacements() {
    let seed = std::env::var("MALLA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2);
    replace_again_and_again(&["--routing", "native"], 1000, seed);
}
