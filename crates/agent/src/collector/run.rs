//! The collecting thread.

use super::nodes::Nodes;
use super::plan::{self, Gone, Judge, Present};
use crate::error::Error;
use crate::events::{self, Forgotten, monotonic_ns};
use crate::services::Purge;
use crate::status::TableUse;
use crate::table::{Table, TableError};
use datapath_layouts::event::end;
use datapath_layouts::{
    Address, Affinity, AffinityKey, Backend, BackendKey, Flow, FlowKey, FragmentKey, FragmentPorts, NatKey, NatMapping,
    PrefixKey, Route, ServiceFlow, SocketReverse, SocketReverseKey,
};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks for what has expired.
const ROUND: Duration = Duration::from_secs(15);
/// What is gone is collected this long before it is acted upon, so that a burst costs one look.
const GATHER: Duration = Duration::from_millis(50);
/// A packet that was on its way while a backend was removed may have written its flow after the look: look once more.
/// And while a Pod ends its connections, look again for those that have ended.
const ONCE_MORE: Duration = Duration::from_secs(1);
/// Looks for ended connections of one Pod: as long as a usual grace period.
const LOOKS: u32 = 30;
/// Removals between two pauses: one CPU is never taken for long.
const SLICE: usize = 512;

/// The tables to look through.
pub struct Tables {
    /// Flows that both ends have spoken in.
    pub conntrack: Box<dyn Table<FlowKey, Flow>>,
    /// Flows of one voice.
    pub half_open: Box<dyn Table<FlowKey, Flow>>,
    /// Translations.
    pub service_flows: Box<dyn Table<FlowKey, ServiceFlow>>,
    /// Clients that come back to the same backend.
    pub affinity: Box<dyn Table<AffinityKey, Affinity>>,
    /// Masquerades.
    pub nat: Box<dyn Table<NatKey, NatMapping>>,
    /// Fragments.
    pub fragments: Box<dyn Table<FragmentKey, FragmentPorts>>,
    /// Translations of sockets.
    pub socket_reverse: Box<dyn Table<SocketReverseKey, SocketReverse>>,
    /// Rows of backends, to read.
    pub backends: Box<dyn Table<BackendKey, Backend>>,
    /// Where addresses are, to read: by longest prefix.
    pub routes: Box<dyn Table<PrefixKey, Route>>,
    /// The sockets themselves.
    pub sockets: Box<dyn Sockets>,
}

/// The sockets of a node.
pub trait Sockets: Send {
    /// Ends those that are connected as a key says, and says which it has ended.
    ///
    /// # Errors
    /// The kernel's; everything was tried nevertheless.
    fn end(&self, bound: &HashSet<SocketReverseKey>, ended: &mut HashSet<SocketReverseKey>) -> Result<(), Error>;
}

/// What was removed since the start, for status.
#[derive(Debug, Default)]
pub struct Totals {
    flows: AtomicU64,
    service_flows: AtomicU64,
    nat: AtomicU64,
    sockets: AtomicU64,
    failures: AtomicU64,
    /// Of each table at the last look for what has expired.
    entries: Mutex<BTreeMap<&'static str, usize>>,
}

/// [`Totals`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Collected {
    /// Tracked flows.
    pub flows: u64,
    /// Translations.
    pub service_flows: u64,
    /// Masquerades.
    pub nat: u64,
    /// Sockets that were ended because their backend was gone.
    #[serde(default)]
    pub sockets: u64,
    /// Looks that a map refused.
    pub failures: u64,
}

impl Totals {
    /// The counts now.
    #[must_use]
    pub fn now(&self) -> Collected {
        Collected {
            flows: self.flows.load(Relaxed),
            service_flows: self.service_flows.load(Relaxed),
            nat: self.nat.load(Relaxed),
            sockets: self.sockets.load(Relaxed),
            failures: self.failures.load(Relaxed),
        }
    }

    /// A table has so many entries.
    pub fn saw(&self, table: &'static str, entries: usize) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).insert(table, entries);
    }

    /// Entries of each table at the last look.
    #[must_use]
    pub fn entries(&self) -> Vec<TableUse> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|(name, used)| TableUse { name: (*name).to_owned(), used: *used, room: 0 }).collect()
    }
}

/// At the first look a socket may be about to connect: what it believes is kept for the second.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    First,
    Again,
}

/// What to look for again, when, and how often.
struct OnceMore {
    at: Instant,
    gone: Gone,
    looks: u32,
}

enum Message {
    Backends(Vec<Purge>),
    Address(Address),
    Elsewhere(HashSet<Address>),
    Present(Present),
}

/// Tells the collector what is gone. When the last handle is dropped, the collector ends.
#[derive(Clone, Debug)]
pub struct Handle {
    sender: Sender<Message>,
}

impl Handle {
    /// Backends that are gone.
    pub fn backends(&self, purges: Vec<Purge>) {
        if !purges.is_empty() {
            // The receiver outlives every handle, except while the process ends.
            let _ = self.sender.send(Message::Backends(purges));
        }
    }

    /// Everybody behind Services: after a start, what leads to anybody else is left over from backends that went while nobody
    /// looked.
    pub fn present(&self, present: Present) {
        let _ = self.sender.send(Message::Present(present));
    }

    /// A Pod's address that is gone.
    pub fn address(&self, address: Address) {
        let _ = self.sender.send(Message::Address(address));
    }

    /// Addresses of other nodes' Pods that are gone: their flows end. What leads to them as backends is a matter of Services.
    pub fn elsewhere(&self, addresses: HashSet<Address>) {
        if !addresses.is_empty() {
            let _ = self.sender.send(Message::Elsewhere(addresses));
        }
    }
}

/// The collecting thread's state.
pub struct Collector {
    tables: Tables,
    receiver: Receiver<Message>,
    totals: Arc<Totals>,
    forgotten: Option<Forgotten>,
}

impl Collector {
    /// A collector over these tables.
    #[must_use]
    pub fn new(tables: Tables) -> (Self, Handle, Arc<Totals>) {
        let (sender, receiver) = channel();
        let totals = Arc::new(Totals::default());
        (Self { tables, receiver, totals: totals.clone(), forgotten: None }, Handle { sender }, totals)
    }

    /// One that also tells how the flows ended that it forgets.
    #[must_use]
    pub fn telling(self, forgotten: Forgotten) -> Self {
        Self { forgotten: Some(forgotten), ..self }
    }

    /// Collects until every [`Handle`] is gone.
    pub fn run(self) {
        let mut round = Instant::now() + ROUND;
        // In the order of their time.
        let mut once_more: VecDeque<OnceMore> = VecDeque::new();
        loop {
            let next = once_more.front().map_or(round, |more| round.min(more.at));
            match self.receiver.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(first) => {
                    let gone = self.gather(first);
                    self.report(self.forget(&gone, Look::First));
                    once_more.push_back(OnceMore { at: Instant::now() + ONCE_MORE, gone, looks: LOOKS });
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // Also when there is always something new: what comes often must not put off what is due.
            self.look_once_more(&mut once_more);
            if Instant::now() >= round {
                self.report(self.expire(&Judge { now: monotonic_ns() }));
                round = Instant::now() + ROUND;
            }
        }
    }

    /// One look for all that is due.
    fn look_once_more(&self, once_more: &mut VecDeque<OnceMore>) {
        let now = Instant::now();
        let (mut due, mut looks) = (Gone::default(), 0);
        while let Some(more) = once_more.pop_front_if(|more| more.at <= now) {
            due.merge(more.gone);
            looks = looks.max(more.looks);
        }
        if looks == 0 {
            return;
        }
        self.report(self.forget(&due, Look::Again));
        let looks = looks - 1;
        if let Some(gone) = due.draining().filter(|_| looks > 0) {
            once_more.push_back(OnceMore { at: Instant::now() + ONCE_MORE, gone, looks });
        }
    }

    fn gather(&self, first: Message) -> Gone {
        let mut gone = Gone::default();
        let mut take = |message| match message {
            Message::Backends(purges) => purges.into_iter().for_each(|p| gone.backend(p)),
            Message::Address(address) => gone.address(address),
            Message::Elsewhere(addresses) => {
                let mut elsewhere = Gone::default();
                addresses.into_iter().for_each(|address| elsewhere.address(address));
                self.report(self.end_flows(&elsewhere));
            }
            Message::Present(present) => self.report(self.forget_absent(&present)),
        };
        take(first);
        let until = Instant::now() + GATHER;
        while let Ok(message) = self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            take(message);
        }
        gone
    }

    fn forget_absent(&self, present: &Present) -> Result<(), Error> {
        let nodes = self.nodes();
        remove_where(&*self.tables.service_flows, &self.totals.service_flows, |key, flow| {
            if plan::is_direct(flow) {
                !nodes.serves(flow.service_id, flow.address)
            } else {
                present.lacks_service_flow(key, flow, |key| self.is_alive(key))
            }
        })?;
        remove_where(&*self.tables.affinity, &AtomicU64::new(0), |key, had| present.lacks_affinity(key, had))?;
        self.end_sockets(Look::Again, |key, _| !present.addresses.contains(&key.address))
    }

    /// Ends the sockets whose backend is gone, and forgets what they believed. One that serves again keeps its sockets:
    /// they may have been bound to it since.
    fn end_sockets(&self, look: Look, gone: impl Fn(&SocketReverseKey, &SocketReverse) -> bool) -> Result<(), Error> {
        let mut serving = HashMap::new();
        let mut bound = HashSet::new();
        for (key, service) in self.tables.socket_reverse.entries()?.into_iter().filter(|(k, v)| gone(k, v)) {
            let backend = (service.service_id, key.address, key.port);
            let serves = match serving.get(&backend) {
                Some(serves) => *serves,
                None => *serving.entry(backend).or_insert(self.serves(backend)?),
            };
            if !serves {
                bound.insert(key);
            }
        }
        if bound.is_empty() {
            return Ok(());
        }
        let mut ended = HashSet::new();
        let result = self.tables.sockets.end(&bound, &mut ended);
        self.totals.sockets.fetch_add(ended.len() as u64, Relaxed);
        for (index, key) in if look == Look::Again { &bound } else { &ended }.iter().enumerate() {
            pause_after_slice(index);
            self.tables.socket_reverse.remove(key)?;
        }
        result
    }

    /// Whether a row has a backend. Its slots are without gaps.
    fn serves(&self, (service_id, address, port): (u32, Address, u16)) -> Result<bool, TableError> {
        for slot in 0.. {
            match self.tables.backends.get(&BackendKey { service_id, slot })? {
                Some(backend) if backend.address == address && backend.port == port => return Ok(true),
                Some(_) => {}
                None => break,
            }
        }
        Ok(false)
    }

    fn nodes(&self) -> Nodes<'_> {
        Nodes::new(&*self.tables.backends, &*self.tables.routes)
    }

    /// Whether a tracked connection goes on. One that can't be looked up is not cut.
    fn is_alive(&self, key: &FlowKey) -> bool {
        [&*self.tables.conntrack, &*self.tables.half_open]
            .into_iter()
            .any(|table| table.get(key).map_or(true, |flow| flow.is_some_and(|flow| plan::is_alive(&flow))))
    }

    fn tell(&self, key: &FlowKey, flow: &Flow, why: u8) {
        if let Some(forgotten) = &self.forgotten
            && let Some(event) = events::forgotten(key, flow, monotonic_ns(), why)
        {
            forgotten.tell(event);
        }
    }

    fn report(&self, result: Result<(), impl std::error::Error>) {
        if let Err(error) = result {
            self.totals.failures.fetch_add(1, Relaxed);
            tracing::warn!("collecting flows: {}", crate::error::chain(&error));
        }
    }

    /// Forgets what hangs on something gone.
    fn forget(&self, gone: &Gone, look: Look) -> Result<(), Error> {
        let Totals { service_flows, nat, .. } = &*self.totals;
        let nodes = self.nodes();
        remove_where(&*self.tables.service_flows, service_flows, |k, v| {
            gone.has_service_flow(k, v, |k| self.is_alive(k), |row, node| nodes.serves(row, node))
        })?;
        remove_where(&*self.tables.affinity, &AtomicU64::new(0), |k, v| gone.has_affinity(k, v))?;
        if gone.has_addresses() {
            self.end_flows(gone)?;
            remove_where(&*self.tables.nat, nat, |k, v| gone.has_nat(k, v))?;
        }
        if gone.ends_sockets() {
            self.end_sockets(look, |key, service| gone.has_socket(key, service))?;
        }
        Ok(())
    }

    /// Ends the flows of addresses that are gone.
    fn end_flows(&self, gone: &Gone) -> Result<(), TableError> {
        for table in [&*self.tables.conntrack, &*self.tables.half_open] {
            let tell = |key: &FlowKey, flow: &Flow| self.tell(key, flow, end::GONE);
            remove_telling(table, &self.totals.flows, |key, _| gone.has_flow(key), tell)?;
        }
        Ok(())
    }

    /// Forgets what has expired: flows with their translation and masquerade, then what has no flow.
    fn expire(&self, judge: &Judge) -> Result<(), TableError> {
        let Totals { flows, service_flows, nat, .. } = &*self.totals;
        for (name, table) in [("conntrack", &*self.tables.conntrack), ("half_open", &*self.tables.half_open)] {
            let entries = table.entries()?;
            self.totals.saw(name, entries.len());
            for (index, (key, _)) in entries.iter().filter(|(k, v)| judge.flow(k, v)).enumerate() {
                pause_after_slice(index);
                // It may have moved since the list was made.
                let Some(flow) = table.get(key)?.filter(|now| judge.flow(key, now)) else { continue };
                table.remove(key)?;
                flows.fetch_add(1, Relaxed);
                // A flow that moved to the main table lives on there, and what hangs on it too.
                if self.tables.conntrack.get(key)?.is_some() {
                    continue;
                }
                self.tell(key, &flow, end::SILENT);
                if let Some(translation) = plan::service_flow_of(key, &flow)
                    && self.tables.service_flows.remove(&translation)?
                {
                    service_flows.fetch_add(1, Relaxed);
                }
                let outward = plan::nat_of(key, &flow);
                if let Some(mapping) = self.tables.nat.get(&outward)? {
                    self.tables.nat.remove(&outward)?;
                    self.tables.nat.remove(&plan::inward(&outward, &mapping))?;
                    nat.fetch_add(2, Relaxed);
                }
            }
        }
        let saw = |name| move |entries| self.totals.saw(name, entries);
        let left = remove_where(&*self.tables.service_flows, service_flows, |k, v| judge.service_flow(k, v));
        left.map(saw("service_flows"))?;
        remove_where(&*self.tables.nat, nat, |k, v| judge.nat(k, v)).map(saw("nat"))?;
        remove_where(&*self.tables.fragments, &AtomicU64::new(0), |_, v| judge.fragment(v)).map(saw("fragments"))
    }
}

/// Answers with the entries that there were.
fn remove_where<K, V>(
    table: &dyn Table<K, V>,
    count: &AtomicU64,
    over: impl Fn(&K, &V) -> bool,
) -> Result<usize, TableError> {
    remove_telling(table, count, over, |_, _| {})
}

/// And hands each that was removed to `tell`.
fn remove_telling<K, V>(
    table: &dyn Table<K, V>,
    count: &AtomicU64,
    over: impl Fn(&K, &V) -> bool,
    tell: impl Fn(&K, &V),
) -> Result<usize, TableError> {
    let entries = table.entries()?;
    for (index, (key, _)) in entries.iter().filter(|(k, v)| over(k, v)).enumerate() {
        pause_after_slice(index);
        // What was renewed since the list was made stays.
        let Some(last) = table.get(key)?.filter(|now| over(key, now)) else { continue };
        if table.remove(key)? {
            count.fetch_add(1, Relaxed);
            tell(key, &last);
        }
    }
    Ok(entries.len())
}

fn pause_after_slice(index: usize) {
    if index % SLICE == SLICE - 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod socket_tests;
#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
