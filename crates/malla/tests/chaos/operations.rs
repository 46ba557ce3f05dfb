//! What happens at random: Services, endpoints and Pods come, change and go; agents are killed and stand still.

use std::{
    collections::BTreeMap,
    process::Command,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    api::{Api, PODS, SERVICES, SLICES},
    clients::Probe,
    cluster::{Cluster, wait_until},
    manifests,
    model::{ANCHOR, Client, Entry, Kind, LASTING, NODES, Path, Policy, Ranges, SERVERS, Service, Slices, State},
    random::Random,
};

/// Services at most; of the last two one has an anchor and one is for Pods that come and go.
const SLOTS: usize = 10;
const ANCHORED: usize = SLOTS - 2;
const SELECTED: usize = SLOTS - 1;
const AGENT_PATIENCE: Duration = Duration::from_secs(30);
/// An agent that stands still for so long.
const FREEZE: Duration = Duration::from_secs(1);

pub struct World<'a> {
    cluster: &'a Cluster,
    pub api: &'a Api,
    random: Random,
    /// What is in each slot, or was the last that there was.
    services: Vec<(bool, Service)>,
    addresses: Vec<[String; 2]>,
    frozen: Vec<JoinHandle<()>>,
    pub log: Log,
}

/// What was done, told when the test fails.
pub struct Log {
    seed: u64,
    begin: Instant,
    lines: Vec<String>,
}

impl Log {
    pub fn add(&mut self, line: String) {
        self.lines.push(format!("{:7.3} {line}", self.begin.elapsed().as_secs_f64()));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}; what was done:\n{}", self.seed, self.lines.join("\n"));
        }
    }
}

impl<'a> World<'a> {
    pub fn new(cluster: &'a Cluster, api: &'a Api, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut services: Vec<_> = (0..SLOTS).map(|slot| (false, any_service(&mut random, slot))).collect();
        let plain = |slot, slices| Service {
            slot,
            kind: Kind::NodePort,
            families: [true, true],
            port: 80,
            internal: Policy::Cluster,
            external: Policy::Cluster,
            affinity: false,
            algorithm: None,
            external_ip: false,
            ranges: Ranges::Everybody,
            endpoints: BTreeMap::new(),
            slices,
        };
        services[ANCHORED].1 = plain(ANCHORED, Slices::Anchored);
        services[ANCHORED].1.endpoints.insert(ANCHOR, State::Ready);
        services[SELECTED].1 = plain(SELECTED, Slices::Selected);
        let addresses = SERVERS[..LASTING].iter().map(|(pod, _)| cluster.pod_addresses(pod)).collect();
        let log = Log { seed, begin: Instant::now(), lines: Vec::new() };
        let mut world = Self { cluster, api, random, services, addresses, frozen: Vec::new(), log };
        world.write(ANCHORED);
        world.write(SELECTED);
        world
    }

    pub fn anchored(&self) -> &Service {
        &self.services[ANCHORED].1
    }

    /// Something happens.
    pub fn step(&mut self) {
        match self.random.below(40) {
            0..=7 => self.come_or_go(),
            8..=19 => self.change_endpoint(),
            20..=31 => self.change_service(),
            32..=35 => self.change_pod(),
            36..=37 => self.kill_agent(),
            _ => self.freeze_agent(),
        }
        std::thread::sleep(Duration::from_millis(self.random.below(80) as u64));
    }

    fn come_or_go(&mut self) {
        let slot = self.random.below(ANCHORED);
        if self.services[slot].0 && self.random.one_in(2) {
            self.remove(slot);
        } else if !self.services[slot].0 {
            self.services[slot].1 = any_service(&mut self.random, slot);
            self.write(slot);
        }
    }

    fn change_endpoint(&mut self) {
        let slot = self.random.below(SELECTED);
        let server = self.random.below(LASTING);
        if !self.services[slot].0 || slot == ANCHORED && server == ANCHOR {
            return;
        }
        let state = any_state(&mut self.random);
        let endpoints = &mut self.services[slot].1.endpoints;
        match state {
            Some(state) => drop(endpoints.insert(server, state)),
            None => drop(endpoints.remove(&server)),
        }
        self.log.add(format!("chaos-{slot}: {} is {state:?}", SERVERS[server].0));
        self.write_slices(slot);
    }

    fn change_service(&mut self) {
        let slot = self.random.below(SLOTS);
        if !self.services[slot].0 {
            return;
        }
        let random = &mut self.random;
        let service = &mut self.services[slot].1;
        match random.below(8) {
            0 if service.slices == Slices::ByHand => service.kind = any_kind(random),
            1 => service.port = random.of(&[80, 81]),
            2 => service.internal = any_policy(random),
            3 => service.external = any_policy(random),
            4 => service.affinity = !service.affinity,
            5 => service.algorithm = random.of(&[None, Some("maglev"), Some("random")]),
            6 => service.external_ip = !service.external_ip,
            _ => service.ranges = random.of(&[Ranges::Everybody, Ranges::Outside, Ranges::Pods]),
        }
        // A ClusterIP has no external policy.
        if service.kind == Kind::ClusterIp {
            service.external = Policy::Cluster;
        }
        self.write(slot);
    }

    fn change_pod(&mut self) {
        let server = LASTING + self.random.below(SERVERS.len() - LASTING);
        let name = SERVERS[server].0;
        let endpoints = &mut self.services[SELECTED].1.endpoints;
        if endpoints.remove(&server).is_some() {
            self.log.add(format!("Pod {name} goes"));
            self.api.delete(PODS, name);
        } else if self.api.get(PODS)["items"].as_array().unwrap().iter().all(|pod| pod["metadata"]["name"] != name) {
            endpoints.insert(server, State::Ready);
            self.log.add(format!("Pod {name} comes"));
            self.api.apply(PODS, name, &manifests::pod(server));
        }
    }

    fn kill_agent(&mut self) {
        let node = self.random.below(NODES.len());
        let pid = agent(self.cluster, node);
        self.log.add(format!("the agent of {} is killed ({pid:?})", NODES[node]));
        // One that is just being started again can't be killed.
        if let Some(pid) = pid {
            signal("-KILL", pid);
        }
    }

    fn freeze_agent(&mut self) {
        let node = self.random.below(NODES.len());
        let pid = agent(self.cluster, node);
        self.log.add(format!("the agent of {} stands still ({pid:?})", NODES[node]));
        if let Some(pid) = pid {
            signal("-STOP", pid);
            self.frozen.push(std::thread::spawn(move || {
                std::thread::sleep(FREEZE);
                signal("-CONT", pid);
            }));
        }
    }

    fn write(&mut self, slot: usize) {
        self.services[slot].0 = true;
        let service = self.services[slot].1.clone();
        self.log.add(format!("write {service:?}"));
        self.api.apply(SERVICES, &service.name(), &manifests::service(&service));
        self.api.write_status(SERVICES, &service.name(), &manifests::status(&service));
        self.write_slices(slot);
    }

    fn write_slices(&self, slot: usize) {
        let service = &self.services[slot].1;
        if service.slices != Slices::Selected {
            for (name, slice) in manifests::slices(service, &self.addresses) {
                self.api.apply(SLICES, &name, &slice);
            }
        }
    }

    fn remove(&mut self, slot: usize) {
        self.services[slot].0 = false;
        let service = &self.services[slot].1;
        self.log.add(format!("delete {}", service.name()));
        self.api.delete(SERVICES, &service.name());
        if service.slices != Slices::Selected {
            manifests::slices(service, &self.addresses).iter().for_each(|(name, _)| self.api.delete(SLICES, name));
        }
    }

    /// Everything that was written here goes again.
    pub fn remove_all(&mut self) {
        for slot in 0..SLOTS {
            if self.services[slot].0 {
                self.remove(slot);
            }
        }
        let endpoints = std::mem::take(&mut self.services[SELECTED].1.endpoints);
        endpoints.keys().for_each(|server| self.api.delete(PODS, SERVERS[*server].0));
    }

    /// Waits until nothing moves: agents run, and the Pods that come and go have come or gone.
    pub fn rest(&mut self) {
        self.frozen.drain(..).for_each(|thawing| thawing.join().unwrap());
        for node in 0..NODES.len() {
            wait_until("a running agent", AGENT_PATIENCE, || agent(self.cluster, node).is_some());
        }
        let wanted: Vec<&str> = self.services[SELECTED].1.endpoints.keys().map(|server| SERVERS[*server].0).collect();
        wait_until(&format!("only {wanted:?} of the Pods that come and go"), AGENT_PATIENCE, || {
            let pods = self.api.get(&format!("{PODS}?labelSelector=app%3Dlive"));
            let ready = |pod: &serde_json::Value| {
                pod["metadata"]["deletionTimestamp"].is_null()
                    && pod["status"]["conditions"].as_array().is_some_and(|all| {
                        all.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
                    })
            };
            let pods = pods["items"].as_array().unwrap();
            pods.len() == wanted.len() && pods.iter().all(ready)
        });
        if !self.services[SELECTED].0 {
            return;
        }
        wait_until("slices of the Pods that come and go", AGENT_PATIENCE, || {
            let slices =
                self.api.get(&format!("{SLICES}?labelSelector=kubernetes.io%2Fservice-name%3Dchaos-{SELECTED}"));
            let listed = slices["items"].as_array().unwrap().iter().flat_map(|slice| slice["endpoints"].as_array());
            let ready: Vec<bool> = listed.flatten().map(|one| one["conditions"]["ready"] == true).collect();
            ready.len() == 2 * wanted.len() && ready.iter().all(|ready| *ready)
        });
    }

    /// So many of all the ways to ask, chosen at random.
    pub fn probes(&mut self, count: usize) -> Vec<Probe> {
        let one = |_| {
            let (exists, service) = &self.services[self.random.below(SLOTS)];
            let client = self.random.of(&CLIENTS);
            let entry = self.random.of(&ENTRIES);
            let path = Path { client, entry, family: self.random.below(2), datagram: self.random.one_in(3) };
            // The fabric has no way to ClusterIPs.
            if client == Client::Outside && matches!(entry, Entry::ClusterIp | Entry::Unused) {
                return None;
            }
            let service = if *exists { service.clone() } else { service.gone() };
            Some(Probe::new(&service, path))
        };
        (0..count).filter_map(one).collect()
    }
}

const CLIENTS: [Client; 8] = [
    Client::Socket(1),
    Client::Socket(2),
    Client::Packet(1),
    Client::Packet(2),
    Client::Process(0),
    Client::Process(1),
    Client::Outside,
    Client::Outside,
];
const ENTRIES: [Entry; 9] = [
    Entry::ClusterIp,
    Entry::ClusterIp,
    Entry::ClusterIp,
    Entry::Unused,
    Entry::NodePort(0),
    Entry::NodePort(1),
    Entry::NodePort(2),
    Entry::Balancer,
    Entry::External,
];

fn any_service(random: &mut Random, slot: usize) -> Service {
    let kind = any_kind(random);
    let external = any_policy(random);
    Service {
        slot,
        kind,
        families: random.of(&[[true, true], [true, true], [true, false], [false, true]]),
        port: random.of(&[80, 81]),
        internal: any_policy(random),
        external: if kind == Kind::ClusterIp { Policy::Cluster } else { external },
        affinity: random.one_in(4),
        algorithm: random.of(&[None, Some("maglev"), Some("random")]),
        external_ip: random.one_in(3),
        ranges: random.of(&[Ranges::Everybody, Ranges::Everybody, Ranges::Outside, Ranges::Pods]),
        endpoints: (0..LASTING).filter_map(|server| Some((server, any_state(random)?))).collect(),
        slices: Slices::ByHand,
    }
}

fn any_kind(random: &mut Random) -> Kind {
    random.of(&[Kind::ClusterIp, Kind::NodePort, Kind::LoadBalancer])
}

/// Local one time in three.
fn any_policy(random: &mut Random) -> Policy {
    random.of(&[Policy::Cluster, Policy::Cluster, Policy::Local])
}

fn any_state(random: &mut Random) -> Option<State> {
    random.of(&[None, None, Some(State::Ready), Some(State::Ready), Some(State::Terminating), Some(State::NotReady)])
}

/// Its process, while it runs.
fn agent(cluster: &Cluster, node: usize) -> Option<i64> {
    let agent = &cluster.status()["nodes"][node]["agent"];
    agent["pid"].as_i64().filter(|_| agent["running"] == true)
}

/// It may have ended meanwhile.
fn signal(signal: &str, pid: i64) {
    let _ = Command::new("kill").args([signal, &pid.to_string()]).output().unwrap();
}
