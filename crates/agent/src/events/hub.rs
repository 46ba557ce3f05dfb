//! Who listens, and what each has missed.

use super::follow::End;
use super::record::{Line, Loss, Record};
use crate::deeds::Deed;
use bytes::Bytes;
use datapath_layouts::Observation;
use flow_api::seen::Seen;
use flow_api::server::Node;
use model::NodeName;
use std::cell::LazyCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Lines that wait for one listener; about 4 MB when all are used.
pub const BUFFER: usize = 4096;

/// Hands every event to all listeners. A slow listener loses lines, never anybody's time.
#[derive(Debug)]
pub struct Hub {
    node: NodeName,
    listeners: Mutex<Vec<Outlet>>,
    number: AtomicUsize,
    /// Of these, who wants to know of all flows.
    plain: AtomicUsize,
    tracing: AtomicUsize,
    seen: AtomicU64,
    missed: AtomicU64,
    recent: Option<Arc<Node>>,
    of_packets: bool,
}

#[derive(Debug)]
struct Outlet {
    sender: mpsc::Sender<Bytes>,
    missed: u64,
    traces: bool,
    /// Only what is about this end, or bears this bit of [`Record::followed`].
    follows: Option<(End, u16)>,
}

impl Outlet {
    fn wants(&self, line: &Line) -> bool {
        match (line, self.follows) {
            (Line::Lost(_), _) => true,
            // Where its address is translated, the program has said that the packet is followed.
            (Line::Flow(record), Some((end, bit))) => {
                let is = |party| end.is(party, &record.protocol);
                record.followed & bit != 0 || is(&record.source) || is(&record.destination)
            }
            (Line::Flow(record), None) => self.traces || record.kind != super::Kind::Trace,
        }
    }
}

/// One listener's end. Dropping it ends the listening.
#[derive(Debug)]
pub struct Listener {
    hub: Arc<Hub>,
    /// Lines of JSON, each ended by a newline.
    pub lines: mpsc::Receiver<Bytes>,
    traces: bool,
    is_plain: bool,
}

impl Hub {
    /// A hub without listeners.
    #[must_use]
    pub fn new(node: NodeName) -> Self {
        Self {
            node,
            listeners: Mutex::default(),
            number: AtomicUsize::new(0),
            plain: AtomicUsize::new(0),
            tracing: AtomicUsize::new(0),
            seen: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            recent: None,
            of_packets: false,
        }
    }

    /// One that also keeps the last flows, for those who ask later.
    #[must_use]
    pub fn keeping(self, recent: Arc<Node>) -> Self {
        Self { recent: Some(recent), ..self }
    }

    /// One that keeps each packet, and not only how flows begin and end.
    #[must_use]
    pub fn of_packets(self, of_packets: bool) -> Self {
        Self { of_packets, ..self }
    }

    /// Where the last flows are kept.
    #[must_use]
    pub fn recent(&self) -> Option<&Arc<Node>> {
        self.recent.as_ref()
    }

    /// Whether anybody is told of an event, now or later.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.recent.is_some() || self.listeners() > 0
    }

    /// Listens; with `traces`, single packets are told too.
    #[must_use]
    pub fn listen(self: &Arc<Self>, traces: bool) -> Listener {
        self.outlet(traces, None)
    }

    /// Listens to what is told about one end, packets included; `bit` is [`super::Following::bit`]. Asking the programs for
    /// them is somebody else's task.
    #[must_use]
    pub fn follow(self: &Arc<Self>, end: End, bit: u16) -> Listener {
        self.outlet(false, Some((end, bit)))
    }

    fn outlet(self: &Arc<Self>, traces: bool, follows: Option<(End, u16)>) -> Listener {
        let (sender, lines) = mpsc::channel(BUFFER);
        self.lock().push(Outlet { sender, missed: 0, traces, follows });
        let is_plain = follows.is_none();
        self.number.fetch_add(1, Relaxed);
        self.plain.fetch_add(usize::from(is_plain), Relaxed);
        self.tracing.fetch_add(usize::from(traces), Relaxed);
        Listener { hub: self.clone(), lines, traces, is_plain }
    }

    /// Listeners now.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.number.load(Relaxed)
    }

    /// Listeners that want single packets.
    #[must_use]
    pub fn tracers(&self) -> usize {
        self.tracing.load(Relaxed)
    }

    /// What the programs have to tell. Of whom somebody follows they tell in any case.
    #[must_use]
    pub fn observation(&self) -> Observation {
        let (is_kept, is_told) = (self.recent.is_some(), self.plain.load(Relaxed) > 0);
        if self.tracers() > 0 || is_kept && self.of_packets {
            Observation::Packets
        } else if is_kept || is_told {
            Observation::Flows
        } else {
            Observation::Drops
        }
    }

    /// Events taken from the ring.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Relaxed)
    }

    /// Lines that listeners did not get, over all of them.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    /// Counts events taken from the ring.
    pub fn count(&self, events: u64) {
        self.seen.fetch_add(events, Relaxed);
    }

    /// The agent did something: told to those who ask later, where flows are kept for them.
    pub fn did(&self, deed: impl FnOnce() -> Deed) {
        if let Some(recent) = &self.recent {
            recent.did(Seen::later(Arc::new(deed())));
        }
    }

    /// Tells an event to those who listen now.
    pub fn tell(&self, record: Record) {
        self.send(&Line::Flow(Box::new(record)));
    }

    /// Tells that the kernel's ring was full.
    pub fn tell_ring_loss(&self, events: u64) {
        if let Some(recent) = &self.recent {
            recent.lost(events, None);
        }
        self.send(&Line::Lost(Loss { node: self.node.clone(), events, place: "ring".to_owned() }));
    }

    fn send(&self, line: &Line) {
        // Written once, and only if anybody wants it.
        let encoded = LazyCell::new(|| encode(line));
        self.lock().retain_mut(|outlet| {
            if !outlet.wants(line) {
                return !outlet.sender.is_closed();
            }
            let Some(bytes) = encoded.as_ref() else { return true };
            self.confess(outlet);
            match outlet.sender.try_send(bytes.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    outlet.missed += 1;
                    self.missed.fetch_add(1, Relaxed);
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
    }

    /// Before the next line, a listener learns how many it has missed.
    fn confess(&self, outlet: &mut Outlet) {
        // Two places are needed: one for this, one for the line.
        if outlet.missed == 0 || outlet.sender.capacity() < 2 {
            return;
        }
        let loss = Loss { node: self.node.clone(), events: outlet.missed, place: "listener".to_owned() };
        if encode(&Line::Lost(loss)).is_some_and(|bytes| outlet.sender.try_send(bytes).is_ok()) {
            outlet.missed = 0;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Outlet>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.lines.close();
        self.hub.number.fetch_sub(1, Relaxed);
        self.hub.plain.fetch_sub(usize::from(self.is_plain), Relaxed);
        self.hub.tracing.fetch_sub(usize::from(self.traces), Relaxed);
    }
}

fn encode(line: &Line) -> Option<Bytes> {
    let mut bytes = serde_json::to_vec(line).ok()?;
    bytes.push(b'\n');
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::sight::tests::seen;
    use crate::events::{Names, to_record};
    use datapath_layouts::{Event, EventKind};

    fn record(kind: EventKind) -> Record {
        to_record(&seen(&Event { kind: kind as u8, ..Event::ZERO }, &Names::default()))
    }

    fn read(listener: &mut Listener) -> Option<Line> {
        listener.lines.try_recv().ok().map(|bytes| serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn a_slow_listener_learns_exactly_what_it_missed() {
        let hub = Arc::new(Hub::new("n".into()));
        let mut listener = hub.listen(false);
        for _ in 0..BUFFER + 7 {
            hub.tell(record(EventKind::NewFlow));
        }
        for _ in 0..BUFFER {
            assert!(matches!(read(&mut listener), Some(Line::Flow(_))));
        }
        assert_eq!(read(&mut listener), None);
        hub.tell(record(EventKind::NewFlow));
        assert_eq!(
            read(&mut listener),
            Some(Line::Lost(Loss { node: "n".into(), events: 7, place: "listener".into() }))
        );
        assert!(matches!(read(&mut listener), Some(Line::Flow(_))));
        assert_eq!(hub.missed(), 7);
    }

    #[test]
    fn who_follows_gets_what_is_about_that_end_and_nothing_else() {
        let hub = Arc::new(Hub::new("n".into()));
        let follow = |end: &str, bit| hub.follow(end.parse().unwrap(), bit);
        let (mut plain, mut one, mut two) =
            (hub.listen(false), follow("tcp,10.0.0.1:7", 1 << 3), follow("tcp,10.0.0.1:8", 1 << 4));
        let about = |port, protocol: &str| {
            let mut record = record(EventKind::Drop);
            (record.destination.address, record.destination.port) = ([10, 0, 0, 1].into(), port);
            Record { protocol: protocol.into(), ..record }
        };
        let seen = |listener: &mut Listener| std::iter::from_fn(|| read(listener)).count();
        hub.tell(about(7, "TCP"));
        assert_eq!((seen(&mut one), seen(&mut two)), (1, 0));
        hub.tell(about(7, "UDP"));
        assert_eq!((seen(&mut one), seen(&mut two)), (0, 0), "another protocol is another end");
        // Where addresses are translated, only the bit says whose packet it is.
        hub.tell(Record { followed: 1 << 4, ..record(EventKind::Trace) });
        assert_eq!((seen(&mut one), seen(&mut two)), (0, 1));
        hub.tell(Record { followed: 1 << 4 | 1 << 3, ..record(EventKind::Trace) });
        assert_eq!((seen(&mut one), seen(&mut two)), (1, 1), "one packet may be both's");
        hub.tell(record(EventKind::Trace));
        assert_eq!((seen(&mut one), seen(&mut two), seen(&mut plain)), (0, 0, 2));
        assert_eq!((hub.tracers(), hub.observation()), (0, Observation::Flows), "for the plain one");
        drop(plain);
        assert_eq!((hub.listeners(), hub.observation()), (2, Observation::Drops), "no program is replaced for it");
    }

    #[test]
    fn who_keeps_each_packet_is_told_of_it() {
        let recent = || Arc::new(Node::new(flow_api::server::About::default(), 1));
        let hub = |of_packets: bool| Hub::new("n".into()).of_packets(of_packets);
        assert_eq!(hub(true).observation(), Observation::Drops, "it keeps nothing");
        assert_eq!(hub(true).keeping(recent()).observation(), Observation::Packets);
        assert_eq!(hub(false).keeping(recent()).observation(), Observation::Flows);
    }

    #[test]
    fn traces_go_to_those_who_trace_and_leaving_ends_it() {
        let hub = Arc::new(Hub::new("n".into()));
        let (mut plain, mut tracer) = (hub.listen(false), hub.listen(true));
        hub.tell(record(EventKind::Trace));
        assert!(read(&mut plain).is_none() && read(&mut tracer).is_some());
        assert_eq!((hub.listeners(), hub.tracers()), (2, 1));
        drop(tracer);
        hub.tell(record(EventKind::Drop));
        assert_eq!((hub.listeners(), hub.tracers()), (1, 0));
        assert!(read(&mut plain).is_some());
    }
}
