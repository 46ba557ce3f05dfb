//! Drains the ring by time: programs write without waking anybody, so that a packet never pays for its reader.

use super::judged::judged;
use super::names::Table;
use super::to_flow::time;
use super::{Clock, Hub, Names, Sight, TcpEnds, to_record};
use datapath_layouts::{Event, EventKind};
use flow_api::seen::Seen;
use prost_types::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// The ring's reading end.
pub trait Drain {
    /// Hands over all events that are there; answers how many.
    fn drain(&mut self, take: &mut dyn FnMut(&Event)) -> usize;
    /// Events that found no room since the ring was made.
    fn lost(&mut self) -> u64;
}

/// How long to sleep between two looks: short while events come, longer while none do or nobody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(Duration);

impl Pace {
    const SHORTEST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_millis(50);
    const BUSY: Duration = Duration::from_millis(5);
    /// The ring must not fill up while nobody listens, or the loss counter would cry wolf.
    const UNHEARD: Duration = Duration::from_millis(100);

    /// The first sleep.
    #[must_use]
    pub const fn start() -> Self {
        Self(Self::LONGEST)
    }

    /// The next sleep after a look that found so many.
    #[must_use]
    pub fn next(self, found: usize, listeners: usize) -> Self {
        Self(match (found, listeners) {
            (0, 0) => Self::UNHEARD,
            (0, _) => (self.0 * 2).clamp(Self::SHORTEST, Self::LONGEST),
            (1..=64, 0) => Self::LONGEST,
            // What closing sockets knew has its place only until somebody else takes it.
            (65..=4096, 0) => Self::BUSY,
            _ => Self::SHORTEST,
        })
    }

    /// How long.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

/// Reads until told to stop.
pub fn read(
    mut ring: impl Drain,
    sockets: &dyn TcpEnds,
    hub: &Arc<Hub>,
    names: &RwLock<Arc<Names>>,
    stop: &AtomicBool,
) {
    let mut pace = Pace::start();
    let mut lost = 0;
    let mut was_heard = false;
    let mut looked_at_loss = 0_u32;
    while !stop.load(Relaxed) {
        std::thread::sleep(pace.duration());
        let heard = hub.is_heard();
        if heard && !was_heard {
            lost = ring.lost(); // what was lost before anybody listened is in the statistics only
        }
        was_heard = heard;
        let names = names.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut seeing = Seeing::new(&names, sockets, hub);
        let found = ring.drain(&mut |event| {
            if heard {
                seeing.see(event);
            }
        });
        drop(seeing);
        hub.count(found as u64);
        // The counter is one system call over all CPUs: look now and then, and always after a large batch.
        looked_at_loss += 1;
        if heard && (looked_at_loss >= 20 || found > 256) {
            looked_at_loss = 0;
            let now = ring.lost();
            if now > lost {
                hub.tell_ring_loss(now - lost);
            }
            lost = now;
        }
        pace = pace.next(found, hub.listeners());
    }
}

/// Finds out what is known of events, and hands them on to who listens and who may ask later: all of them at its end at the latest.
pub struct Seeing<'a> {
    names: &'a Names,
    sockets: &'a dyn TcpEnds,
    hub: &'a Hub,
    clock: Clock,
    /// To be kept: together, so that the lock is taken, and readers are woken, once for many.
    seen: Vec<(Timestamp, Seen)>,
    /// The last event of a CPU, where a flow began with it.
    begun: Table<u16, Event>,
}

impl<'a> Seeing<'a> {
    const TOGETHER: usize = 64;

    /// Begins, with these names and the time as it is now.
    #[must_use]
    pub fn new(names: &'a Names, sockets: &'a dyn TcpEnds, hub: &'a Hub) -> Self {
        Self { names, sockets, hub, clock: Clock::now(), seen: Vec::new(), begun: Table::default() }
    }

    /// Takes the next event.
    pub fn see(&mut self, event: &Event) {
        let Some(sight) = Sight::of(event, self.names, &self.clock, self.sockets) else { return };
        if self.hub.listeners() > 0 {
            self.hub.tell(to_record(&sight));
        }
        if self.hub.recent().is_some() && !self.is_told(event) {
            let time = time(&sight);
            // Policy was asked before the packet passed or was dropped.
            self.seen.extend(judged(&sight).map(|judged| (time, Seen::later(Arc::new(judged)))));
            self.seen.push((time, Seen::later(sight)));
            if self.seen.len() >= Self::TOGETHER {
                self.keep();
            }
        }
    }

    /// While somebody traces, the datapath tells of the packet that begins a flow twice, one right after the other. Whoever counts what is
    /// kept would count it twice; who listens sees both, each under its own kind.
    fn is_told(&mut self, event: &Event) -> bool {
        let begun = self.begun.remove(&event.cpu);
        if event.kind == EventKind::NewFlow as u8 {
            self.begun.insert(event.cpu, *event);
        }
        let packet = |event: &Event| {
            let ends = (event.source, event.source_port, event.destination, event.destination_port);
            (ends, event.protocol, event.point, event.length, event.tcp_flags)
        };
        event.kind == EventKind::Trace as u8 && begun.is_some_and(|begun| packet(&begun) == packet(event))
    }

    fn keep(&mut self) {
        if let Some(recent) = self.hub.recent().filter(|_| !self.seen.is_empty()) {
            recent.saw_all(self.seen.drain(..));
        }
    }
}

impl Drop for Seeing<'_> {
    fn drop(&mut self) {
        self.keep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::sight::tests::NoSockets;

    #[test]
    fn quick_while_something_happens_and_slow_when_idle() {
        let mut pace = Pace::start().next(10, 1);
        assert_eq!(pace.duration(), Duration::from_millis(1));
        for _ in 0..8 {
            pace = pace.next(0, 1);
        }
        assert_eq!(pace.duration(), Duration::from_millis(50));
        assert_eq!(pace.next(0, 0).duration(), Duration::from_millis(100));
        assert_eq!(pace.next(5000, 0).duration(), Duration::from_millis(1), "never behind a busy ring");
        assert_eq!([64, 65].map(|found| pace.next(found, 0).duration().as_millis()), [50, 5]);
    }

    struct Fake(Vec<Event>, u64, Arc<AtomicBool>);

    impl Drain for Fake {
        fn drain(&mut self, take: &mut dyn FnMut(&Event)) -> usize {
            let events = std::mem::take(&mut self.0);
            self.2.store(true, Relaxed);
            events.iter().for_each(take);
            events.len()
        }

        fn lost(&mut self) -> u64 {
            self.1 += 5;
            self.1
        }
    }

    #[test]
    fn events_and_loss_reach_a_listener() {
        let hub = Arc::new(Hub::new("n".into()));
        let mut listener = hub.listen(false);
        let stop = Arc::new(AtomicBool::new(false));
        let events = vec![Event { kind: 2, ..Event::ZERO }; 300];
        read(Fake(events, 0, stop.clone()), &NoSockets, &hub, &RwLock::default(), &stop);
        assert_eq!(hub.seen(), 300);
        let mut lines = Vec::new();
        while let Ok(line) = listener.lines.try_recv() {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
        }
        assert_eq!(lines.len(), 301);
        assert!(lines[300].contains("\"events\":5") && lines[300].contains("ring"), "{}", lines[300]);
    }

    #[test]
    fn what_policy_said_is_kept_before_its_packet_and_a_listener_has_one_line() {
        let recent = Arc::new(flow_api::server::Node::new(flow_api::server::About::default(), 4));
        let hub = Arc::new(Hub::new("n".into()).keeping(recent.clone()));
        let mut listener = hub.listen(false);
        let mut names = Names::default();
        let pod = super::super::Who { pod: Some(model::ObjectName::new("shop", "web")), ..Default::default() };
        names.who.insert(Event::ZERO.source, Arc::new(pod));
        let sockets = NoSockets;
        let mut seeing = Seeing::new(&names, &sockets, &hub);
        // By rules at both ends, by none, and dropped: 3 and 1 and 2.
        seeing.see(&Event { kind: 2, rule: 8, egress_rule: 7, ingress_rule: 8, ..Event::ZERO });
        seeing.see(&Event { kind: 2, ..Event::ZERO });
        seeing.see(&Event { kind: 1, reason: 133, ..Event::ZERO });
        drop(seeing);
        let ring = recent.ring();
        assert_eq!((ring.flows(), ring.end(), ring.len()), (6, 6, 4));
        let batch = ring.read(0);
        let told = batch.events.iter().map(|event| match &event.what {
            flow_api::ring::What::Flow(flow) => {
                assert!(!flow.is_told(), "nobody has read it");
                assert_eq!(flow.namespaces(), ["shop"; 2]);
                (event.time, flow.event_type.unwrap().r#type, flow.verdict)
            }
            other => panic!("{other:?}"),
        });
        let told: Vec<_> = told.collect();
        assert_eq!(
            (batch.missed, told.iter().map(|one| (one.1, one.2)).collect::<Vec<_>>()),
            (2, vec![(4, 1), (4, 1), (5, 2), (1, 2)])
        );
        assert!(told[2].0 == told[3].0, "what was said of a packet is of its time");
        assert_eq!(std::iter::from_fn(|| listener.lines.try_recv().ok()).count(), 3);
    }

    #[test]
    fn the_packet_that_begins_a_flow_is_kept_once() {
        let kept = |events: &[Event]| {
            let recent = Arc::new(flow_api::server::Node::new(flow_api::server::About::default(), 100));
            let hub = Hub::new("n".into()).keeping(recent.clone());
            let names = Names::default();
            let mut seeing = Seeing::new(&names, &NoSockets, &hub);
            events.iter().for_each(|event| seeing.see(event));
            drop(seeing);
            recent.ring().flows()
        };
        let event = |kind: EventKind| Event {
            kind: kind as u8,
            point: 101,
            protocol: 6,
            source_port: 40_000,
            destination_port: 80,
            cpu: 3,
            ..Event::ZERO
        };
        let (begins, packet) = (event(EventKind::NewFlow), event(EventKind::Trace));
        let elsewhere = Event { cpu: 4, source_port: 40_001, ..begins };
        assert_eq!(kept(&[begins, packet]), 1);
        assert_eq!(kept(&[begins, packet, packet]), 2, "the next packet is another");
        assert_eq!(kept(&[begins, elsewhere, packet]), 2, "another CPU's is between them");
        let others = [
            Event { cpu: 4, ..packet },
            Event { point: 4, ..packet },
            Event { tcp_flags: 16, ..packet },
            Event { source_port: 40_001, ..packet },
            Event { source_port: 80, destination_port: 40_000, ..packet },
        ];
        for other in others {
            assert_eq!(kept(&[begins, other]), 2, "{other:?}");
        }
        assert_eq!(kept(&[begins, event(EventKind::EndOfFlow), packet]), 3);
        assert_eq!(kept(&[packet, begins]), 2);
    }

    #[test]
    fn flows_are_kept_though_nobody_listens() {
        let recent = Arc::new(flow_api::server::Node::new(flow_api::server::About::default(), 100));
        let hub = Arc::new(Hub::new("n".into()).keeping(recent.clone()));
        assert!(hub.is_heard() && hub.listeners() == 0);
        let stop = Arc::new(AtomicBool::new(false));
        let events = vec![Event { kind: 2, ..Event::ZERO }; 300];
        read(Fake(events, 0, stop.clone()), &NoSockets, &hub, &RwLock::default(), &stop);
        // The flows, and that the kernel lost some.
        assert_eq!((recent.ring().flows(), recent.ring().end(), recent.ring().len()), (300, 301, 100));
        let last = recent.ring().read(300).events.pop().unwrap();
        let flow_api::ring::What::Lost(lost) = &last.what else { panic!("{last:?}") };
        assert_eq!(lost.num_events_lost, 5);
    }
}
