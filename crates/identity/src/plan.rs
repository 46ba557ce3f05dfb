//! Which number stands for which labels: what is to be made, what is used, what is over.

use crate::NUMBERS;
use custom_resources::CiliumIdentity;
use model::Labels;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a number that nobody uses is kept: a Deployment that is scaled to nothing and back keeps its identity, and no
/// node that was cut off for less than this takes one number for two sets. As Cilium's `--identity-gc-interval`.
pub const GRACE: Duration = Duration::from_secs(15 * 60);

/// The numbers that there are, and what they stand for. One whose object can't be understood stands for nothing; it is
/// taken, and left alone.
pub type Known = BTreeMap<u32, Option<Labels>>;

/// What the plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The numbers that there are.
    pub known: &'a Known,
    /// The sets of labels that Pods have.
    pub wanted: &'a BTreeSet<Labels>,
    /// Numbers that nodes were told of and not told otherwise.
    pub published: &'a BTreeSet<u32>,
    /// Numbers that may be given: [`NUMBERS`].
    pub range: &'a std::ops::RangeInclusive<u32>,
    /// Now, on a clock that never goes back.
    pub now: Duration,
    /// How long what nobody uses is kept, and how long a deleted number rests.
    pub grace: Duration,
}

/// What a process remembers from one plan to the next. A new process starts without, and with that every grace time starts
/// anew: nothing else depends on it.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The last number that was given.
    last: Option<u32>,
    /// Since when nobody uses a number.
    unused: BTreeMap<u32, Duration>,
    /// Since when a number is deleted: it means somebody else only when everybody has forgotten whom it meant.
    resting: BTreeMap<u32, Duration>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The number of each set that has one; the lowest, where a race gave it two.
    pub numbers: BTreeMap<Labels, u32>,
    /// Objects to make. A number counts only once its object is made: the API refuses one that there is already.
    pub create: Vec<(u32, Labels)>,
    /// Objects to delete.
    pub delete: Vec<u32>,
    /// Sets for which there is no number left.
    pub without: Vec<Labels>,
    /// When the next one could be deleted, or given to who has none.
    pub look_again: Option<Duration>,
}

/// Reads the objects. Those whose numbers are not ours to give (local to a node, or of another cluster) are left out.
pub fn known<'a>(objects: impl IntoIterator<Item = &'a CiliumIdentity>) -> Known {
    let numbered = objects.into_iter().filter_map(|object| Some((object.number()?, object)));
    let ours = numbered.filter(|(number, _)| NUMBERS.contains(number));
    ours.map(|(number, object)| (number, Labels::from_map(&object.security_labels).ok())).collect()
}

impl Memory {
    /// Plans.
    ///
    /// The contract: a number is deleted only when no Pod's labels lead to it and no node was told of it, for the whole
    /// grace time; a number that stands for something, was published, or was deleted a short while ago is not given.
    pub fn plan(&mut self, input: Input<'_>) -> Plan {
        let mut plan = Plan::default();
        for (number, labels) in input.known {
            // In the order of the numbers: the lowest stays.
            if let Some(labels) = labels.as_ref().filter(|labels| input.wanted.contains(*labels)) {
                plan.numbers.entry(labels.clone()).or_insert(*number);
            }
        }
        self.collect(input, &mut plan);
        self.resting.retain(|_, since| input.now.saturating_sub(*since) < input.grace);
        let mut given = BTreeSet::new();
        for labels in input.wanted.iter().filter(|labels| !plan.numbers.contains_key(*labels)) {
            match self.next(input, &given) {
                Some(number) => {
                    given.insert(number);
                    self.last = Some(number);
                    plan.create.push((number, labels.clone()));
                }
                None => plan.without.push(labels.clone()),
            }
        }
        if !plan.without.is_empty() {
            // The first that has rested is for one of them.
            let rested =
                self.resting.values().map(|since| input.grace.saturating_sub(input.now.saturating_sub(*since)));
            plan.look_again = plan.look_again.into_iter().chain(rested).min();
        }
        plan
    }

    /// To be told of every object that was deleted.
    pub fn deleted(&mut self, number: u32, now: Duration) {
        self.unused.remove(&number);
        self.resting.insert(number, now);
    }

    fn collect(&mut self, input: Input<'_>, plan: &mut Plan) {
        let used: BTreeSet<u32> = plan.numbers.values().chain(input.published).copied().collect();
        self.unused.retain(|number, _| input.known.contains_key(number) && !used.contains(number));
        let understood = input.known.iter().filter(|(_, labels)| labels.is_some()).map(|(number, _)| *number);
        for number in understood.filter(|number| !used.contains(number)) {
            let since = *self.unused.entry(number).or_insert(input.now);
            match input.grace.checked_sub(input.now.saturating_sub(since)) {
                Some(left) if !left.is_zero() => {
                    plan.look_again = Some(plan.look_again.map_or(left, |soonest| soonest.min(left)));
                }
                _ => plan.delete.push(number),
            }
        }
    }

    /// The next free number after the last one: what was used a short while ago comes last.
    fn next(&self, input: Input<'_>, given: &BTreeSet<u32>) -> Option<u32> {
        let (first, end) = (*input.range.start(), *input.range.end());
        let last = self.last.or_else(|| input.known.keys().next_back().copied()).filter(|last| *last < end);
        let start = last.map_or(first, |last| last + 1);
        let is_free = |number: &u32| {
            !input.known.contains_key(number)
                && !input.published.contains(number)
                && !self.resting.contains_key(number)
                && !given.contains(number)
        };
        (start..=end).chain(first..start).find(is_free)
    }
}

#[cfg(test)]
#[path = "plan_properties.rs"]
mod properties;
#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
