//! Which of the events a request gets: since, until, first, last and follow.
//!
//! Of the events in the ring that fit (filters, and `since` ≤ time ≤ `until`), in the ring's order:
//! - with `first` or `since`, the first `number`; otherwise the last `number`; all of them where `number` is 0;
//! - with `follow`, then all that come after, until `until`; with `follow` alone none of those that are there already.
//!
//! Losses that the ring holds are told among them and not counted. All this is Hubble's, but for two things: `until`
//! bounds which events are the last ones, and events of several CPUs that lie in the ring a little out of order are not
//! the end of the answer.

use crate::Invalid;
use crate::moment::{Moment, moment};
use crate::ring::{Event, What};
use prost_types::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a request wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// How many; 0: all.
    number: u64,
    from: From,
    follow: bool,
    since: Option<Moment>,
    until: Option<Moment>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum From {
    First,
    #[default]
    Last,
}

/// The fields that all three requests have.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// How many.
    pub number: u64,
    /// The first of them, not the last.
    pub first: bool,
    /// Go on.
    pub follow: bool,
    /// Not older.
    pub since: Option<Timestamp>,
    /// Not newer.
    pub until: Option<Timestamp>,
}

impl Query {
    /// Reads a request.
    ///
    /// # Errors
    /// `first` together with `follow`; a time that is none.
    pub fn new(wanted: &Wanted) -> Result<Self, Invalid> {
        if wanted.first && wanted.follow {
            return Err(Invalid::new("first", "first cannot be specified with follow"));
        }
        let since = wanted.since.as_ref().map(|time| valid("since", time)).transpose()?;
        let until = wanted.until.as_ref().map(|time| valid("until", time)).transpose()?;
        let from = if wanted.first || since.is_some() { From::First } else { From::Last };
        Ok(Self { number: wanted.number, from, follow: wanted.follow, since, until })
    }

    /// Whether it goes on with what is to come.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.follow
    }

    /// Whether what is in the ring already matters.
    #[must_use]
    pub fn looks_back(&self) -> bool {
        !self.follow || self.number > 0 || self.since.is_some()
    }

    /// How many; 0: all.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether they are the last of those that fit, not the first.
    #[must_use]
    pub fn takes_last(&self) -> bool {
        self.from == From::Last
    }

    /// Before what nothing is wanted.
    #[must_use]
    pub fn since(&self) -> Option<Moment> {
        self.since
    }

    /// When nothing more can come.
    #[must_use]
    pub fn until(&self) -> Option<Moment> {
        self.until
    }

    /// Whether the event is of the wanted time. Losses are of all times.
    #[must_use]
    pub fn is_in_time(&self, event: &Event) -> bool {
        if matches!(event.what, What::Lost(_)) {
            return true;
        }
        let time = moment(&event.time);
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }
}

/// Of the events that are there, those that are told.
#[derive(Debug)]
pub struct Past<'a> {
    query: &'a Query,
    told: VecDeque<Arc<Event>>,
    /// Of them, those that are no losses.
    counted: u64,
}

impl<'a> Past<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new(query: &'a Query) -> Self {
        Self { query, told: VecDeque::new(), counted: 0 }
    }

    /// The next event that fits, from the oldest on. `false`: no more are needed.
    pub fn offer(&mut self, event: Arc<Event>) -> bool {
        let number = self.query.number;
        // When following, `number` says where to begin, never where to end.
        let from_first = self.query.from == From::First;
        let is_full = number > 0 && self.counted == number;
        if from_first && is_full && !self.query.follow {
            return false;
        }
        let counts = counts(&event);
        self.told.push_back(event);
        self.counted += u64::from(counts);
        if !from_first && is_full && counts {
            self.forget_the_first();
        }
        !(from_first && !self.query.follow && number > 0 && self.counted == number)
    }

    /// What is told.
    #[must_use]
    pub fn finish(self) -> VecDeque<Arc<Event>> {
        self.told
    }

    /// And the losses before the next one: they are about a time that nobody asked for.
    fn forget_the_first(&mut self) {
        while self.told.pop_front().is_some_and(|event| !counts(&event)) {}
        self.counted -= 1;
        while self.told.front().is_some_and(|event| !counts(event)) {
            self.told.pop_front();
        }
    }
}

/// Losses don't.
pub(crate) fn counts(event: &Event) -> bool {
    !matches!(event.what, What::Lost(_))
}

/// A `google.protobuf.Timestamp`: from year 1 to year 9999.
fn valid(field: &str, time: &Timestamp) -> Result<Moment, Invalid> {
    let is_valid =
        (-62_135_596_800..=253_402_300_799).contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos);
    is_valid
        .then(|| moment(time))
        .ok_or_else(|| Invalid::new(field, format!("{} s and {} ns are no time", time.seconds, time.nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event((seconds, lost): (i64, bool)) -> Arc<Event> {
        let what = if lost { What::Lost(Default::default()) } else { What::flow(Default::default()) };
        Arc::new(Event { time: Timestamp { seconds, nanos: 0 }, what })
    }

    fn told(query: &Query, events: &[Arc<Event>]) -> Vec<i64> {
        let mut past = Past::new(query);
        for event in events.iter().filter(|event| query.is_in_time(event)) {
            if !past.offer(event.clone()) {
                break;
            }
        }
        past.finish().iter().filter(|event| counts(event)).map(|event| event.time.seconds).collect()
    }

    fn time(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8192))]
        /// The module's first sentences, word by word.
        #[test]
        fn first_and_last_are_what_they_say(
            events in proptest::collection::vec((0_i64..40, proptest::bool::weighted(0.2)), 0..40),
            number in 0_u64..12,
            first: bool,
            since in proptest::option::of(0_i64..40),
            until in proptest::option::of(0_i64..40),
        ) {
            let events: Vec<_> = events.into_iter().map(event).collect();
            let wanted = Wanted { number, first, follow: false, since: since.map(time), until: until.map(time) };
            let fitting: Vec<i64> = events.iter().filter(|e| counts(e)).map(|e| e.time.seconds)
                .filter(|t| since.is_none_or(|s| *t >= s) && until.is_none_or(|u| *t <= u)).collect();
            let number = if number == 0 { fitting.len() } else { fitting.len().min(number as usize) };
            let expected = if first || since.is_some() { &fitting[..number] } else { &fitting[fitting.len() - number..] };
            prop_assert_eq!(told(&Query::new(&wanted).unwrap(), &events), expected);
        }

        /// Following begins at the last `number` or at `since`, and leaves nothing out after it.
        #[test]
        fn following_begins_where_it_should(
            events in proptest::collection::vec((0_i64..40, proptest::bool::weighted(0.2)), 0..40),
            number in 1_u64..12,
            since in proptest::option::of(0_i64..40),
        ) {
            let events: Vec<_> = events.into_iter().map(event).collect();
            let wanted = Wanted { number, follow: true, since: since.map(time), ..Wanted::default() };
            let fitting: Vec<i64> = events.iter().filter(|e| counts(e)).map(|e| e.time.seconds)
                .filter(|t| since.is_none_or(|s| *t >= s)).collect();
            let start = if since.is_some() { 0 } else { fitting.len().saturating_sub(number as usize) };
            prop_assert_eq!(told(&Query::new(&wanted).unwrap(), &events), &fitting[start..]);
        }
    }

    #[test]
    fn losses_are_told_among_the_last_and_not_before_them() {
        let events: Vec<_> = [(1, false), (2, true), (3, false), (4, true), (5, false)].map(event).into();
        let query = Query::new(&Wanted { number: 2, ..Wanted::default() }).unwrap();
        let mut past = Past::new(&query);
        events.iter().for_each(|event| assert!(past.offer(event.clone())));
        let seconds: Vec<i64> = past.finish().iter().map(|event| event.time.seconds).collect();
        assert_eq!(seconds, [3, 4, 5]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let refused = |wanted: Wanted| Query::new(&wanted).unwrap_err().field;
        assert_eq!(refused(Wanted { first: true, follow: true, ..Wanted::default() }), "first");
        for wrong in [Timestamp { seconds: 0, nanos: -1 }, Timestamp { seconds: i64::MAX, nanos: 0 }] {
            assert_eq!(refused(Wanted { since: Some(wrong), ..Wanted::default() }), "since");
            assert_eq!(refused(Wanted { until: Some(wrong), ..Wanted::default() }), "until");
        }
        assert!(!Query::new(&Wanted { follow: true, ..Wanted::default() }).unwrap().looks_back());
    }
}
