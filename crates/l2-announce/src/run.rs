//! The loop: what the API, the segment and the clock tell goes in; Leases and answers come out.

use crate::{
    election::{Action, Election, Seen, Timing, Written},
    endpoints::{self, SliceView},
    leases, policy_status,
    responder::{Answer, Notice, Responder},
    wanted::{Device, Places, Policy, ServiceView, wanted},
    watch::{self, Known, Told},
};
use custom_resources::CiliumL2AnnouncementPolicy;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client, runtime::watcher};
use model::ObjectName;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::{JoinHandle, JoinSet},
};

/// What a node announces with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the own Node.
    pub node: String,
    /// Devices that can be announced on.
    pub devices: Vec<Device>,
    /// Of the Leases.
    pub timing: Timing,
}

/// Announces until dropped. While there is no policy it watches policies and nothing else.
pub async fn run(client: Client, settings: Settings) {
    let (sender, mut inputs) = mpsc::unbounded_channel();
    let (notices, mut heard) = mpsc::unbounded_channel();
    let policies = Api::<CiliumL2AnnouncementPolicy>::all(client.clone());
    let watched = watch::start(
        policies,
        watcher::Config::default(),
        sender.clone(),
        |policy| Some(policy.clone()),
        Input::Policy,
    );
    let _watched = Watch(watched);
    let mut announcer = Announcer {
        client,
        settings,
        sender,
        notices,
        policies: Known::default(),
        services: Known::default(),
        node: Known::default(),
        leases: Known::default(),
        slices: Known::default(),
        watches: Vec::new(),
        slices_watch: None,
        telling: BTreeMap::new(),
        elections: BTreeMap::new(),
        writes: JoinSet::new(),
        responders: BTreeMap::new(),
        repeats: Vec::new(),
    };
    loop {
        let next = announcer.step();
        announcer.wait(&mut inputs, &mut heard, next).await;
    }
}

/// One thing that the API told.
#[derive(Debug)]
enum Input {
    Policy(Told<CiliumL2AnnouncementPolicy>),
    Service(Told<ServiceView>),
    Node(Told<BTreeMap<String, String>>),
    Lease(Told<Seen>),
    Slice(Told<SliceView>),
}

/// A watch that ends with its owner.
struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A Service that this node stands for.
struct Candidacy {
    election: Election,
    lease: String,
    places: Places,
    writing: bool,
    answered: bool,
}

struct Announcer {
    client: Client,
    settings: Settings,
    sender: UnboundedSender<Input>,
    notices: UnboundedSender<Notice>,
    policies: Known<CiliumL2AnnouncementPolicy>,
    services: Known<ServiceView>,
    node: Known<BTreeMap<String, String>>,
    leases: Known<Seen>,
    slices: Known<SliceView>,
    /// Of Services, Leases and the own Node; only while there are policies.
    watches: Vec<Watch>,
    /// Only while a Service's policy is Local: there are many slices.
    slices_watch: Option<Watch>,
    /// Policies whose status is being written.
    telling: BTreeMap<String, Watch>,
    elections: BTreeMap<ObjectName, Candidacy>,
    writes: JoinSet<(ObjectName, Instant, Written)>,
    responders: BTreeMap<Device, Responder>,
    /// Announcements to be said again: a segment may lose the first.
    repeats: Vec<(Instant, IpAddr)>,
}

impl Announcer {
    async fn wait(
        &mut self,
        inputs: &mut UnboundedReceiver<Input>,
        heard: &mut UnboundedReceiver<Notice>,
        next: Option<Instant>,
    ) {
        let timer = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let mut portion = Vec::new();
        tokio::select! {
            _ = inputs.recv_many(&mut portion, 1024) => self.take(portion),
            Some(notice) = heard.recv() => self.hear(notice),
            Some(ended) = self.writes.join_next() => {
                // A write that panicked has told nothing, and is done again.
                if let Ok((service, began, written)) = ended
                    && let Some(candidacy) = self.elections.get_mut(&service)
                {
                    candidacy.writing = false;
                    candidacy.election.written(written, began, Instant::now());
                }
            }
            () = timer => {}
        }
    }

    fn take(&mut self, inputs: Vec<Input>) {
        let mut replan = false;
        for input in inputs {
            match input {
                Input::Policy(told) => {
                    self.policies.take(told);
                    replan = true;
                }
                Input::Service(told) => {
                    self.services.take(told);
                    replan = true;
                }
                Input::Node(told) => {
                    self.node.take(told);
                    replan = true;
                }
                Input::Lease(told) => self.take_lease(told),
                Input::Slice(told) => {
                    self.slices.take(told);
                    replan = true;
                }
            }
        }
        if replan {
            self.watch_as_needed();
            self.watch_slices_as_needed();
            self.tell_policies();
            self.plan();
        }
    }

    fn take_lease(&mut self, told: Told<Seen>) {
        let now = Instant::now();
        let of = match &told {
            Told::Set(key, _) | Told::Gone(key) => Some(key.clone()),
            Told::Begin | Told::End => None,
        };
        self.leases.take(told);
        let Some(leases) = self.leases.all() else { return };
        for candidacy in self.elections.values_mut() {
            if of.as_ref().is_none_or(|key| *key == key_of(&candidacy.lease)) {
                candidacy.election.observe(leases.get(&key_of(&candidacy.lease)).cloned(), now);
            }
        }
    }

    fn hear(&mut self, notice: Notice) {
        for candidacy in self.elections.values_mut() {
            match notice {
                Notice::Deaf => candidacy.election.unsure(),
                Notice::Claim { address, version } if candidacy.places.iter().any(|(own, _)| *own == address) => {
                    candidacy.election.contested(version);
                }
                Notice::Claim { .. } => {}
            }
        }
    }

    fn watch_as_needed(&mut self) {
        let needed = self.policies.all().is_some_and(|policies| !policies.is_empty());
        if needed != self.watches.is_empty() {
            return;
        }
        if !needed {
            self.watches.clear();
            (self.services, self.node, self.leases) = Default::default();
            return;
        }
        let (client, sender) = (&self.client, &self.sender);
        let all = watcher::Config::default;
        let own = all().fields(&format!("metadata.name={}", self.settings.node));
        let labels = |node: &Node| Some(node.metadata.labels.clone().unwrap_or_default());
        let lease = |lease: &Lease| {
            lease
                .metadata
                .name
                .as_deref()
                .is_some_and(|name| name.starts_with(leases::PREFIX))
                .then(|| leases::seen(lease))
        };
        let leases = Api::namespaced(client.clone(), leases::NAMESPACE);
        self.watches = vec![
            Watch(watch::start(
                Api::<Service>::all(client.clone()),
                all(),
                sender.clone(),
                ServiceView::of,
                Input::Service,
            )),
            Watch(watch::start(Api::<Node>::all(client.clone()), own, sender.clone(), labels, Input::Node)),
            Watch(watch::start(leases, all(), sender.clone(), lease, Input::Lease)),
        ];
    }

    fn watch_slices_as_needed(&mut self) {
        let needed = self.services.all().is_some_and(|services| services.values().any(ServiceView::is_local));
        if !needed {
            (self.slices_watch, self.slices) = Default::default();
        } else if self.slices_watch.is_none() {
            let slices = Api::<EndpointSlice>::all(self.client.clone());
            let config = watcher::Config::default();
            let watch = watch::start(slices, config, self.sender.clone(), SliceView::of, Input::Slice);
            self.slices_watch = Some(Watch(watch));
        }
    }

    /// What is wrong with a policy goes into its status, and out of it.
    fn tell_policies(&mut self) {
        let Some(policies) = self.policies.all() else { return };
        self.telling.retain(|name, task| policies.contains_key(name) && !task.0.is_finished());
        for (key, policy) in policies {
            if self.telling.contains_key(key) || policy_status::after(policy, Timestamp::now()).is_none() {
                continue;
            }
            let name = policy.metadata.name.clone().unwrap_or_default();
            let task = policy_status::tell(self.client.clone(), name, self.settings.node.clone());
            self.telling.insert(key.clone(), Watch(tokio::spawn(task)));
        }
    }

    /// Decides anew what this node stands for. Nothing before everything was told once.
    fn plan(&mut self) {
        let Some(policies) = self.policies.all() else { return };
        let wanted = if policies.is_empty() {
            BTreeMap::new()
        } else {
            let (Some(services), Some(nodes)) = (self.services.all(), self.node.all()) else { return };
            if self.slices_watch.is_some() && self.slices.all().is_none() {
                return;
            }
            let slices = || self.slices.all().into_iter().flat_map(BTreeMap::values);
            let serves = |service: &ServiceView| {
                !service.is_local() || endpoints::serves(slices(), service.name(), &self.settings.node)
            };
            let mut readable = Vec::new();
            for object in policies.values() {
                match Policy::of(object) {
                    Ok(policy) => readable.push(policy),
                    Err(why) => {
                        let name = object.metadata.name.as_deref();
                        tracing::warn!(name, ?why, "a CiliumL2AnnouncementPolicy without meaning announces nothing");
                    }
                }
            }
            wanted(&readable, services.values(), nodes.values().next(), &self.settings.devices, serves)
        };
        let now = Instant::now();
        let dropped: Vec<ObjectName> =
            self.elections.keys().filter(|name| !wanted.contains_key(name)).cloned().collect();
        for name in dropped {
            self.withdraw(&name);
        }
        for (service, places) in wanted {
            let candidacy = self.elections.entry(service).or_insert_with_key(|service| {
                let lease = leases::name(service);
                let mut election = Election::new(&self.settings.node, self.settings.timing, now);
                if let Some(leases) = self.leases.all() {
                    election.observe(leases.get(&key_of(&lease)).cloned(), now);
                }
                Candidacy { election, lease, places: Places::new(), writing: false, answered: false }
            });
            candidacy.places = places;
        }
    }

    /// Stands for a Service no longer. Answering ends before the Lease is free.
    fn withdraw(&mut self, service: &ObjectName) {
        let Some(candidacy) = self.elections.remove(service) else { return };
        self.answer();
        if candidacy.election.is_mine()
            && let Some(seen) = candidacy.election.lease()
        {
            tokio::spawn(leases::give_up(self.client.clone(), candidacy.lease.clone(), seen.version.clone()));
        }
    }

    /// Brings everything up to this moment; when to come back, if nothing happens before.
    fn step(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let mut by = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
        for (service, candidacy) in &mut self.elections {
            candidacy.election.tick(now);
            if candidacy.election.answers(now) {
                by(now + self.settings.timing.renew / 2);
            }
            if candidacy.election.is_alone() {
                for (address, device) in &candidacy.places {
                    if let Some(responder) = self.responders.get(device) {
                        responder.probe(*address, candidacy.election.version());
                    }
                }
            }
            if candidacy.writing {
                continue;
            }
            match candidacy.election.next(now) {
                Action::Wait(until) => by(until),
                Action::Write => {
                    candidacy.writing = true;
                    candidacy.election.trying(now);
                    let take = leases::take(
                        self.client.clone(),
                        candidacy.lease.clone(),
                        self.settings.node.clone(),
                        self.settings.timing,
                        candidacy.election.lease().cloned(),
                    );
                    let service = service.clone();
                    self.writes.spawn(async move { (service, now, take.await) });
                }
            }
        }
        self.answer();
        let due: Vec<IpAddr> = self.repeats.iter().filter(|(at, _)| *at <= now).map(|(_, address)| *address).collect();
        self.repeats.retain(|(at, _)| *at > now);
        for address in due {
            self.announce_again(address);
        }
        self.repeats.iter().for_each(|(at, _)| by(*at));
        next
    }

    /// Gives every responder what it answers for.
    fn answer(&mut self) {
        let now = Instant::now();
        let mut answers: BTreeMap<&Device, BTreeMap<IpAddr, Answer>> = BTreeMap::new();
        for (service, candidacy) in &mut self.elections {
            let answering = candidacy.election.answers(now);
            if std::mem::replace(&mut candidacy.answered, answering) != answering {
                let addresses: BTreeSet<IpAddr> = candidacy.places.iter().map(|(address, _)| *address).collect();
                tracing::info!(%service, ?addresses, "{}", if answering { "announcing" } else { "no longer announcing" });
                if answering {
                    let again = |address: IpAddr| REPEATS.map(|after| (now + after, address));
                    self.repeats.extend(addresses.into_iter().flat_map(again));
                }
            }
            if let Some(until) = candidacy.election.answers_until().filter(|_| answering) {
                let alone = candidacy.election.version().filter(|_| candidacy.election.is_alone());
                for (address, device) in &candidacy.places {
                    let answer = Answer { until, alone };
                    let held = answers.entry(device).or_default().entry(*address).or_insert(answer);
                    if held.until < until {
                        *held = answer;
                    }
                }
            }
        }
        // Nobody listens where nothing is answered.
        self.responders.retain(|device, _| answers.contains_key(device));
        for (device, addresses) in answers {
            if !self.responders.contains_key(device) {
                match Responder::start(device.clone(), &self.notices) {
                    Ok(responder) => {
                        self.responders.insert(device.clone(), responder);
                    }
                    Err(error) => {
                        tracing::error!(device = device.name, error = ?error, "can't announce");
                        continue;
                    }
                }
            }
            if let Some(responder) = self.responders.get(device) {
                responder.answer(addresses);
            }
        }
    }

    fn announce_again(&self, address: IpAddr) {
        let now = Instant::now();
        for candidacy in self.elections.values().filter(|candidacy| candidacy.election.answers(now)) {
            for (_, device) in candidacy.places.iter().filter(|(own, _)| *own == address) {
                if let Some(responder) = self.responders.get(device) {
                    responder.announce(address);
                }
            }
        }
    }
}

/// As the watch names it.
fn key_of(lease: &str) -> String {
    format!("{}/{lease}", leases::NAMESPACE)
}

/// After taking over, announcements are repeated.
const REPEATS: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];
