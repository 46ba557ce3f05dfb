//! Reads the ring of the last flows as they come.

use flow_api::flow::{LostEvent, LostEventSource};
use flow_api::ring::{Event, Ring, What};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// Who does something with each event.
pub trait Keeper: Send {
    /// Takes events, in order; never empty.
    fn take(&mut self, events: &[Arc<Event>]);
}

/// Hands everything over until it is stopped, and then what is still there. Who is slower than the ring is told how many events
/// it has missed, at their place.
pub fn follow(ring: &Ring, keeper: &mut impl Keeper, stop: &CancellationToken) {
    let mut position = ring.start();
    loop {
        let is_last = stop.is_cancelled();
        let mut batch = ring.read(position);
        position = batch.next;
        if batch.missed > 0 {
            batch.events.insert(0, Arc::new(missed(batch.missed)));
        }
        if !batch.events.is_empty() {
            keeper.take(&batch.events);
            continue;
        }
        if is_last {
            return;
        }
        futures::executor::block_on(async {
            tokio::select! {
                () = ring.wait(position) => {}
                () = stop.cancelled() => {}
            }
        });
        // Events come in swarms: one waking for all of them.
        std::thread::sleep(SWARM);
    }
}

fn missed(number: u64) -> Event {
    let time = SystemTime::now().into();
    let source = LostEventSource::HubbleRingBuffer as i32;
    let lost = LostEvent { source, num_events_lost: number, last: Some(time), ..LostEvent::default() };
    Event { time, what: What::Lost(lost) }
}

/// A twentieth of what fills the ring at the rate at which one core makes flows.
const SWARM: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_api::flow::Flow;
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
            let event = || Event { time: Default::default(), what: What::Flow(Box::<Flow>::default()) };
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
}
