//! The collecting thread.

use super::nodes::Nodes;
use super::plan::{self, Gone, Judge};
use crate::events::monotonic_ns;
use crate::services::Purge;
use crate::table::{Table, TableError};
use datapath_layouts::{
    Address, Backend, BackendKey, Flow, FlowKey, FragmentKey, FragmentPorts, NatKey, NatMapping, PrefixKey, Route,
    ServiceFlow, SocketReverse, SocketReverseKey,
};
use std::collections::HashSet;
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
    Present(HashSet<Address>),
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

    /// All addresses that are behind Services: after a start, translations to any other are left over from backends that
    /// went while nobody looked.
    pub fn present(&self, addresses: HashSet<Address>) {
        let _ = self.sender.send(Message::Present(addresses));
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
        let mut once_more: Option<OnceMore> = None;
        loop {
            let next = once_more.as_ref().map_or(round, |more| round.min(more.at));
            match self.receiver.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(first) => {
                    let gone = self.gather(first);
                    self.report(self.forget(&gone));
                    // The earlier one is done a little late rather than forgotten.
                    let mut again = once_more.map(|more| more.gone).unwrap_or_default();
                    again.merge(gone);
                    once_more = Some(OnceMore { at: Instant::now() + ONCE_MORE, gone: again, looks: LOOKS });
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(more) = once_more.take_if(|more| more.at <= Instant::now()) {
                        self.report(self.forget(&more.gone));
                        let looks = more.looks - 1;
                        let draining = more.gone.draining().filter(|_| looks > 0);
                        once_more = draining.map(|gone| OnceMore { at: Instant::now() + ONCE_MORE, gone, looks });
                    }
                    if Instant::now() >= round {
                        self.report(self.expire(&Judge { now: monotonic_ns() }));
                        round = Instant::now() + ROUND;
                    }
                }
            }
        }
    }

    fn gather(&self, first: Message) -> Gone {
        let mut gone = Gone::default();
        let mut take = |message| match message {
            Message::Backends(purges) => purges.into_iter().for_each(|p| gone.backend(p)),
            Message::Address(address) => gone.address(address),
            Message::Present(addresses) => self.report(self.forget_absent(&addresses)),
        };
        take(first);
        let until = Instant::now() + GATHER;
        while let Ok(message) = self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            take(message);
        }
        gone
    }

    fn forget_absent(&self, present: &HashSet<Address>) -> Result<(), TableError> {
        let count = &self.totals.service_flows;
        let nodes = self.nodes();
        remove_where(&*self.tables.service_flows, count, |_, flow| {
            if plan::is_direct(flow) {
                !nodes.serves(flow.service_id, flow.address)
            } else {
                !present.contains(&flow.address)
            }
        })
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

    fn report(&self, result: Result<(), TableError>) {
        if let Err(error) = result {
            self.totals.failures.fetch_add(1, Relaxed);
            tracing::warn!("collecting flows: {}", crate::error::chain(&error));
        }
    }

    /// Forgets what hangs on something gone.
    fn forget(&self, gone: &Gone) -> Result<(), TableError> {
        let Totals { flows, service_flows, nat, .. } = &*self.totals;
        let nodes = self.nodes();
        remove_where(&*self.tables.service_flows, service_flows, |k, v| {
            gone.has_service_flow(k, v, |k| self.is_alive(k), |row, node| nodes.serves(row, node))
        })?;
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
