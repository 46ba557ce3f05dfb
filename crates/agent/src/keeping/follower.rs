//! Reads the ring of the last flows as they come.

use flow_api::flow::LostEventSource;
use flow_api::moment::now;
use flow_api::ring::{Event, Ring, What};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Who does something with each event.
pub trait Keeper: Send {
    /// Takes events, in order; never empty.
    fn take(&mut self, events: &[Arc<Event>]);

    /// Nothing comes just now: does what is due, and says when there will be something, though nothing comes.
    fn rest(&mut self) -> Option<Instant> {
        None
    }

    /// Nothing comes any more: what waits is told now.
    fn finish(&mut self) {}
}

/// Hands everything over, from the first event that there ever was, until it is stopped, and then what was there at that moment: what comes
/// later would keep it for ever. Who is slower than the ring, or comes late, is told how many events it has missed, at their place.
pub fn follow(ring: &Ring, keeper: &mut impl Keeper, stop: &CancellationToken) {
    let mut position = 0;
    let mut end = None;
    loop {
        if end.is_none() && stop.is_cancelled() {
            end = Some(ring.end());
        }
        if end.is_some_and(|end| position >= end) {
            return keeper.finish();
        }
        let mut batch = ring.read(position);
        position = batch.next;
        if batch.missed > 0 {
            batch.events.insert(0, Arc::new(Event::missed(batch.missed, now())));
        }
        if !batch.events.is_empty() {
            keeper.take(&batch.events);
            continue;
        }
        let due = keeper.rest();
        let something = async {
            tokio::select! {
                () = ring.wait(position) => {}
                () = stop.cancelled() => {}
            }
        };
        wait(something, due);
        // Events come in swarms: one waking for all of them.
        std::thread::sleep(SWARM);
    }
}

/// Events that came faster than this follower could take them; all other losses were the ring's already.
pub fn missed(event: &Event) -> u64 {
    match &event.what {
        What::Lost(lost) if lost.source == LostEventSource::HubbleRingBuffer as i32 => lost.num_events_lost,
        _ => 0,
    }
}

/// Until it is so, or the time has come. This thread has no runtime, and needs none.
fn wait(until: impl Future<Output = ()>, due: Option<Instant>) {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let (mut until, mut context) = (pin!(until), Context::from_waker(&waker));
    while until.as_mut().poll(&mut context).is_pending() {
        match due.map(|due| due.saturating_duration_since(Instant::now())) {
            None => std::thread::park(),
            Some(Duration::ZERO) => return,
            Some(left) => std::thread::park_timeout(left),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A twentieth of what fills the ring at the rate at which one core makes flows.
const SWARM: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_api::flow::Flow;
    use flow_api::ring::What;
    use std::sync::mpsc::{Receiver, Sender, channel};

    struct Slow(Sender<u64>, Receiver<()>);

    impl Keeper for Slow {
        fn take(&mut self, events: &[Arc<Event>]) {
            let number = |event: &Arc<Event>| match &event.what {
                What::Lost(lost) => lost.num_events_lost,
                _ => 1,
            };
            self.0.send(events.iter().map(number).sum()).unwrap();
            let _ = self.1.recv();
        }
    }

    #[test]
    fn who_is_slow_learns_what_it_missed_and_the_end_is_told_to_the_last() {
        let (ring, stop) = (Ring::new(300), CancellationToken::new());
        let write = |number: u64| {
            let event = || Event { time: Default::default(), what: What::flow(Flow::default()) };
            (0..number).for_each(|_| ring.write(event()));
        };
        let (told, taken) = channel();
        let (go, gone) = channel();
        std::thread::scope(|scope| {
            let (ring, stop) = (&ring, &stop);
            scope.spawn(move || follow(ring, &mut Slow(told, gone), stop));
            write(1);
            let mut sum = taken.recv().unwrap();
            // It stands still while the ring turns three times.
            write(1000);
            stop.cancel();
            drop(go);
            sum += taken.iter().sum::<u64>();
            assert_eq!(sum, 1001);
        });
    }

    #[test]
    fn who_comes_late_learns_what_it_missed() {
        let (ring, stop, (told, taken)) = (Ring::new(3), CancellationToken::new(), channel());
        (0..8).for_each(|_| ring.write(Event { time: Default::default(), what: What::flow(Flow::default()) }));
        stop.cancel();
        // The other end has gone: it does not wait.
        let (_, gone) = channel();
        follow(&ring, &mut Slow(told, gone), &stop);
        assert_eq!(taken.iter().collect::<Vec<_>>(), [8]);
    }

    /// Has something to do soon after each event, and at the end.
    struct Later(Sender<&'static str>, Option<Instant>);

    impl Keeper for Later {
        fn take(&mut self, _: &[Arc<Event>]) {
            self.0.send("taken").unwrap();
            self.1 = Some(Instant::now() + Duration::from_millis(5));
        }

        fn rest(&mut self) -> Option<Instant> {
            if self.1.is_some_and(|due| due <= Instant::now()) {
                self.1 = None;
                self.0.send("done").unwrap();
            }
            self.1
        }

        fn finish(&mut self) {
            self.0.send("finished").unwrap();
        }
    }

    #[test]
    fn what_is_due_is_done_though_nothing_comes_and_the_end_is_told() {
        let (ring, stop, (tell, told)) = (Ring::new(3), CancellationToken::new(), channel());
        let write = || ring.write(Event { time: Default::default(), what: What::flow(Flow::default()) });
        std::thread::scope(|scope| {
            let (ring, stop) = (&ring, &stop);
            scope.spawn(move || follow(ring, &mut Later(tell, None), stop));
            for _ in 0..2 {
                write();
                assert_eq!([told.recv().unwrap(), told.recv().unwrap()], ["taken", "done"]);
            }
            stop.cancel();
            assert_eq!(told.iter().collect::<Vec<_>>(), ["finished"]);
        });
    }

    /// For each event that it takes, another one comes.
    struct Echo<'a>(&'a Ring, &'a CancellationToken, u64);

    impl Keeper for Echo<'_> {
        fn take(&mut self, events: &[Arc<Event>]) {
            self.2 += events.len() as u64;
            assert!(self.2 < 100_000, "it goes on for ever");
            events.iter().for_each(|event| self.0.write(Event::clone(event)));
            self.1.cancel();
        }
    }

    #[test]
    fn what_comes_after_the_end_keeps_it_from_ending_no_more() {
        let (ring, stop) = (Ring::new(300), CancellationToken::new());
        (0..7).for_each(|_| ring.write(Event { time: Default::default(), what: What::flow(Flow::default()) }));
        let mut echo = Echo(&ring, &stop, 0);
        follow(&ring, &mut echo, &stop);
        assert_eq!((echo.2, ring.end()), (14, 21), "seven, and those that were there when it was stopped");
    }
}
