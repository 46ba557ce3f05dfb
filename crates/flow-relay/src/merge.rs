//! Several streams as one, by time. Pure: arrivals and the clock in, the next answer out.
//!
//! The oldest head goes first when every lane that is open has one. Nobody is waited for longer than the patience: neither a
//! lane that has been empty for so long, nor on account of an answer that is here for so long already. Such an answer waits only
//! [`GRACE`] for a lane that was just emptied: one that has more to tell has it by then.
//!
//! Where somebody follows, a node whose clock is behind always has what looks older. What happens now waits for it no longer than
//! [`OVERDUE`] times the patience.

use flow_api::moment::{Moment, moment};
use flow_api::observer::GetFlowsResponse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A node that is telling its past fills its lane faster than this.
pub const GRACE: Duration = Duration::from_millis(100);

/// Clocks of a cluster are seldom apart by as many seconds.
pub const OVERDUE: u32 = 10;

/// An answer, and when it came.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// What.
    pub answer: GetFlowsResponse,
    /// When.
    pub at: Instant,
}

/// One head per lane.
#[derive(Debug)]
pub struct Merge {
    lanes: BTreeMap<usize, Lane>,
    patience: Duration,
    /// From when on things happen now, in the time of flows; `None`: all is past.
    live: Option<Moment>,
}

#[derive(Debug)]
struct Lane {
    head: Option<Arrived>,
    empty_since: Instant,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The head of this lane is to be told.
    Tell(usize),
    /// Something must come, or this time.
    WaitUntil(Instant),
    /// Something must come.
    Wait,
}

impl Merge {
    /// No lane yet.
    #[must_use]
    pub fn new(patience: Duration, live: Option<Moment>) -> Self {
        Self { lanes: BTreeMap::new(), patience, live }
    }

    /// A lane opens.
    pub fn open(&mut self, lane: usize, now: Instant) {
        self.lanes.insert(lane, Lane { head: None, empty_since: now });
    }

    /// It has ended. What it told last was its head, and taken.
    pub fn close(&mut self, lane: usize) {
        self.lanes.remove(&lane);
    }

    /// Whether the lane's next answer is wanted: there is no head.
    #[must_use]
    pub fn wants(&self, lane: usize) -> bool {
        self.lanes.get(&lane).is_some_and(|lane| lane.head.is_none())
    }

    /// The lane's next answer.
    pub fn arrive(&mut self, lane: usize, arrived: Arrived) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.head = Some(arrived);
        }
    }

    /// Whose turn it is.
    #[must_use]
    pub fn next(&self, now: Instant) -> Next {
        let heads = self.lanes.iter().filter_map(|(number, lane)| Some((*number, lane.head.as_ref()?)));
        let overdue = heads.clone().filter(|(_, head)| self.is_live(head) && head.at + self.patience * OVERDUE <= now);
        if let Some((lane, _)) = overdue.min_by_key(|(number, head)| (head.at, *number)) {
            return Next::Tell(lane);
        }
        let Some((oldest, head)) = heads.min_by_key(|(number, head)| (time(&head.answer), *number)) else {
            return Next::Wait;
        };
        let (patience, longest) = match head.at + self.patience {
            until if until > now => (self.patience, until),
            _ => (GRACE, now + GRACE),
        };
        let waited_for = self.lanes.values().filter(|lane| lane.head.is_none()).map(|lane| lane.empty_since + patience);
        // The last of those that may still be waited for, but no longer than the head can wait.
        match waited_for.filter(|until| *until > now).max() {
            Some(until) => Next::WaitUntil(until.min(longest)),
            None => Next::Tell(oldest),
        }
    }

    /// Takes a head; the lane's next one is wanted from now on.
    pub fn take(&mut self, lane: usize, now: Instant) -> Option<GetFlowsResponse> {
        let lane = self.lanes.get_mut(&lane)?;
        lane.empty_since = now;
        lane.head.take().map(|head| head.answer)
    }

    /// Nobody looked for so long what had come, as a client took its time: that a lane was empty meanwhile says nothing.
    pub fn pause(&mut self, long: Duration) {
        self.lanes.values_mut().filter(|lane| lane.head.is_none()).for_each(|lane| lane.empty_since += long);
    }

    fn is_live(&self, head: &Arrived) -> bool {
        self.live.is_some_and(|live| time(&head.answer) >= live)
    }
}

fn time(answer: &GetFlowsResponse) -> Moment {
    answer.time.as_ref().map_or((0, 0), moment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Timestamp;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn arrived(seconds: i64, at: Instant) -> Arrived {
        let time = Some(Timestamp { seconds, nanos: 0 });
        Arrived { answer: GetFlowsResponse { time, ..GetFlowsResponse::default() }, at }
    }

    fn opened(lanes: usize, now: Instant) -> Merge {
        let mut merge = Merge::new(PATIENCE, None);
        (0..lanes).for_each(|lane| merge.open(lane, now));
        merge
    }

    #[test]
    fn several_lanes_are_told_in_the_order_of_time() {
        let now = Instant::now();
        let mut merge = opened(3, now);
        let mut lanes = [vec![1, 4, 9], vec![2, 3, 10, 11], vec![5]].map(Vec::into_iter);
        let mut told = Vec::new();
        loop {
            for (number, lane) in
                lanes.iter_mut().enumerate().filter(|(number, _)| merge.wants(*number)).collect::<Vec<_>>()
            {
                match lane.next() {
                    Some(second) => merge.arrive(number, arrived(second, now)),
                    None => merge.close(number),
                }
            }
            match merge.next(now) {
                Next::Tell(lane) => told.push(merge.take(lane, now).unwrap().time.unwrap().seconds),
                Next::Wait => break,
                Next::WaitUntil(_) => unreachable!("all have a head or are closed"),
            }
        }
        assert_eq!(told, [1, 2, 3, 4, 5, 9, 10, 11]);
    }

    #[test]
    fn a_slow_lane_is_waited_for_once_and_then_not_at_all() {
        let start = Instant::now();
        let mut merge = opened(2, start);
        merge.arrive(0, arrived(7, start));
        assert_eq!(merge.next(start), Next::WaitUntil(start + PATIENCE));
        let late = start + PATIENCE;
        assert_eq!(merge.next(late), Next::Tell(0));
        merge.take(0, late);
        // It stays late until it says something: no second wait for the next answer of the other.
        merge.arrive(0, arrived(8, late));
        assert_eq!(merge.next(late), Next::Tell(0));
        // What it says then takes its place by time, and it is waited for again.
        merge.arrive(1, arrived(6, late));
        assert_eq!(merge.next(late), Next::Tell(1));
        merge.take(1, late);
        assert_eq!(merge.next(late), Next::WaitUntil(late + PATIENCE));
    }

    #[test]
    fn what_happens_now_is_not_held_up_for_ever_by_a_clock_that_is_behind() {
        let start = Instant::now();
        let behind = |live: Option<Moment>| {
            let mut merge = Merge::new(PATIENCE, live);
            (0..2).for_each(|lane| merge.open(lane, start));
            merge.arrive(1, arrived(5000, start));
            // The one that is behind has something new whenever it is looked at.
            let told = (0..100_u32).map(|tenth| {
                let now = start + tenth * Duration::from_millis(200);
                merge.arrive(0, arrived(i64::from(tenth), now));
                let Next::Tell(lane) = merge.next(now) else { panic!("both have something") };
                merge.take(lane, now);
                if lane == 1 {
                    merge.arrive(1, arrived(5001, now));
                }
                lane
            });
            told.collect::<Vec<_>>()
        };
        let told = behind(Some((5000, 0)));
        assert_eq!(told.iter().position(|lane| *lane == 1), Some(50), "ten seconds: {told:?}");
        assert_eq!(told.iter().filter(|lane| **lane == 1).count(), 1, "what came later waits for as long: {told:?}");
        // What is past waits for its turn.
        for past in [Some((6000, 0)), None] {
            assert_eq!(behind(past), [0; 100]);
        }
    }

    #[test]
    fn while_a_client_takes_its_time_no_lane_is_late() {
        let start = Instant::now();
        let late = start + 60 * PATIENCE;
        let mut merge = opened(2, start);
        merge.arrive(0, arrived(1, start));
        merge.arrive(1, arrived(2, start));
        merge.take(0, start);
        merge.pause(late - start);
        assert_eq!(merge.next(late), Next::WaitUntil(late + GRACE), "what has come for it was not looked at");
        // Who was late before still is.
        let mut merge = opened(2, start);
        merge.arrive(1, arrived(2, late));
        merge.pause(PATIENCE);
        assert_eq!(merge.next(late + PATIENCE), Next::Tell(1));
    }

    #[test]
    fn what_has_waited_in_its_lane_waits_for_a_moment_only() {
        let start = Instant::now();
        let mut merge = opened(2, start);
        let now = start + PATIENCE;
        merge.open(1, now);
        merge.arrive(0, arrived(7, start));
        assert_eq!(merge.next(now), Next::WaitUntil(now + GRACE), "the other lane was emptied just now");
        assert_eq!(merge.next(now + GRACE), Next::Tell(0));
        assert_eq!(opened(2, start).next(now), Next::Wait, "nothing to tell");
    }
}
