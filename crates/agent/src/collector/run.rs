//! The collecting thread.

use super::plan::{self, Gone, Judge, Present};
use crate::events::monotonic_ns;
use crate::services::Purge;
use crate::table::{Table, TableError};
use datapath_layouts::{
    Address, Affinity, AffinityKey, Flow, FlowKey, FragmentKey, FragmentPorts, NatKey, NatMapping, ServiceFlow,
    SocketReverse, SocketReverseKey,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
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
}

/// What was removed since the start, for status.
#[derive(Debug, Default)]
pub struct Totals {
    flows: AtomicU64,
    service_flows: AtomicU64,
    nat: AtomicU64,
    failures: AtomicU64,
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
            failures: self.failures.load(Relaxed),
        }
    }
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
}

/// The collecting thread's state.
pub struct Collector {
    tables: Tables,
    receiver: Receiver<Message>,
    totals: Arc<Totals>,
}

impl Collector {
    /// A collector over these tables.
    #[must_use]
    pub fn new(tables: Tables) -> (Self, Handle, Arc<Totals>) {
        let (sender, receiver) = channel();
        let totals = Arc::new(Totals::default());
        (Self { tables, receiver, totals: totals.clone() }, Handle { sender }, totals)
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
                    self.report(self.forget(&gone));
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
        self.report(self.forget(&due));
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
            Message::Present(present) => self.report(self.forget_absent(&present)),
        };
        take(first);
        let until = Instant::now() + GATHER;
        while let Ok(message) = self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            take(message);
        }
        gone
    }

    fn forget_absent(&self, present: &Present) -> Result<(), TableError> {
        remove_where(&*self.tables.service_flows, &self.totals.service_flows, |key, flow| {
            present.lacks_service_flow(key, flow, |key| self.is_alive(key))
        })?;
        remove_where(&*self.tables.affinity, &AtomicU64::new(0), |key, had| present.lacks_affinity(key, had))
    }

    /// Whether a tracked connection goes on. One that can't be looked up is not cut.
    fn is_alive(&self, key: &FlowKey) -> bool {
        [&*self.tables.conntrack, &*self.tables.half_open]
            .into_iter()
            .any(|table| table.get(key).map_or(true, |flow| flow.is_some_and(|flow| plan::is_alive(&flow))))
    }

    fn report(&self, result: Result<(), TableError>) {
        if let Err(error) = result {
            self.totals.failures.fetch_add(1, Relaxed);
            tracing::warn!("collecting flows: {}", crate::error::chain(&error));
        }
    }

    /// Forgets what hangs on something gone.
    fn forget(&self, gone: &Gone) -> Result<(), TableError> {
        let Totals { flows, service_flows, nat, .. } = &*self.totals;
        remove_where(&*self.tables.service_flows, service_flows, |k, v| {
            gone.has_service_flow(k, v, |k| self.is_alive(k))
        })?;
        remove_where(&*self.tables.affinity, &AtomicU64::new(0), |k, v| gone.has_affinity(k, v))?;
        if gone.has_addresses() {
            remove_where(&*self.tables.conntrack, flows, |k, _| gone.has_flow(k))?;
            remove_where(&*self.tables.half_open, flows, |k, _| gone.has_flow(k))?;
            remove_where(&*self.tables.nat, nat, |k, v| gone.has_nat(k, v))?;
            remove_where(&*self.tables.socket_reverse, service_flows, |k, _| gone.has_address(k.address))?;
        }
        Ok(())
    }

    /// Forgets what has expired: flows with their translation and masquerade, then what has no flow.
    fn expire(&self, judge: &Judge) -> Result<(), TableError> {
        let Totals { flows, service_flows, nat, .. } = &*self.totals;
        for table in [&*self.tables.conntrack, &*self.tables.half_open] {
            for (index, (key, flow)) in table.entries()?.iter().filter(|(k, v)| judge.flow(k, v)).enumerate() {
                pause_after_slice(index);
                // It may have moved since the list was made.
                if !table.get(key)?.is_some_and(|now| judge.flow(key, &now)) {
                    continue;
                }
                table.remove(key)?;
                flows.fetch_add(1, Relaxed);
                // A flow that moved to the main table lives on there, and what hangs on it too.
                if self.tables.conntrack.get(key)?.is_some() {
                    continue;
                }
                if let Some(translation) = plan::service_flow_of(key, flow)
                    && self.tables.service_flows.remove(&translation)?
                {
                    service_flows.fetch_add(1, Relaxed);
                }
                let outward = plan::nat_of(key, flow);
                if let Some(mapping) = self.tables.nat.get(&outward)? {
                    self.tables.nat.remove(&outward)?;
                    self.tables.nat.remove(&plan::inward(&outward, &mapping))?;
                    nat.fetch_add(2, Relaxed);
                }
            }
        }
        remove_where(&*self.tables.service_flows, service_flows, |k, v| judge.service_flow(k, v))?;
        remove_where(&*self.tables.nat, nat, |k, v| judge.nat(k, v))?;
        remove_where(&*self.tables.fragments, &AtomicU64::new(0), |_, v| judge.fragment(v))
    }
}

fn remove_where<K, V>(
    table: &dyn Table<K, V>,
    count: &AtomicU64,
    over: impl Fn(&K, &V) -> bool,
) -> Result<(), TableError> {
    for (index, (key, _)) in table.entries()?.iter().filter(|(k, v)| over(k, v)).enumerate() {
        pause_after_slice(index);
        // What was renewed since the list was made stays.
        if table.get(key)?.is_some_and(|now| over(key, &now)) && table.remove(key)? {
            count.fetch_add(1, Relaxed);
        }
    }
    Ok(())
}

fn pause_after_slice(index: usize) {
    if index % SLICE == SLICE - 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
