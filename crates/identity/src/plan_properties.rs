//! Whatever Pods come, go and change, and whenever the operator dies: no number means two, and none in use is freed.

use super::*;
use proptest::prelude::*;
use std::ops::RangeInclusive;

const RANGE: RangeInclusive<u32> = 256..=261;
const GRACE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
enum Step {
    /// A Pod appears, or gets other labels.
    Label { pod: u8, set: u8 },
    /// A Pod goes.
    Gone { pod: u8 },
    /// The operator works, and dies after so many writes.
    Work { writes: usize },
    /// It dies at once, or another takes over.
    Restart,
    /// Another operator, that did not see this one's object, makes one for the same set.
    Race { set: u8, number: u32 },
    /// Time goes by, seconds.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (pod, set) = (0..6_u8, 0..8_u8);
    prop_oneof![
        4 => (pod.clone(), set.clone()).prop_map(|(pod, set)| Step::Label { pod, set }),
        2 => pod.prop_map(|pod| Step::Gone { pod }),
        5 => Just(Step::Work { writes: usize::MAX }),
        2 => (0..4_usize).prop_map(|writes| Step::Work { writes }),
        1 => Just(Step::Restart),
        1 => (set, RANGE).prop_map(|(set, number)| Step::Race { set, number }),
        2 => (1..12_u64).prop_map(Step::Wait),
    ]
}

/// The API, a node that believes what is published, and the operator.
#[derive(Default)]
struct World {
    pods: BTreeMap<u8, Labels>,
    objects: Known,
    /// Number of each Pod, and what it meant when it was written.
    published: BTreeMap<u8, (u32, Labels)>,
    /// When a number was last published, and for what.
    meant: BTreeMap<u32, (Labels, Duration)>,
    memory: Memory,
    now: Duration,
    /// Sets that were without a number at the last whole work.
    without: usize,
}

fn set(number: u8) -> Labels {
    Labels::from_map(&BTreeMap::from([("k8s:app".to_owned(), number.to_string())])).unwrap()
}

impl World {
    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Label { pod, set: number } => drop(self.pods.insert(pod, set(number))),
            Step::Gone { pod } => drop(self.pods.remove(&pod)),
            Step::Work { writes } => self.work(writes)?,
            Step::Restart => self.memory = Memory::default(),
            Step::Race { set: number, number: name } => {
                // The API refuses a name that is taken; another operator does not take what is published or rests.
                let resting = self.meant.get(&name).is_some_and(|(_, at)| self.now.saturating_sub(*at) < GRACE);
                if !resting && !self.published.values().any(|(taken, _)| *taken == name) {
                    self.objects.entry(name).or_insert(Some(set(number)));
                }
            }
            Step::Wait(seconds) => self.now += Duration::from_secs(seconds),
        }
        for (number, labels) in self.published.values() {
            self.meant.insert(*number, (labels.clone(), self.now));
        }
        self.sound()
    }

    /// As the controller does it: make, publish, delete.
    fn work(&mut self, writes: usize) -> Result<(), TestCaseError> {
        let wanted = self.pods.values().cloned().collect();
        let published: BTreeSet<u32> = self.published.values().map(|(number, _)| *number).collect();
        let input = Input {
            known: &self.objects,
            wanted: &wanted,
            published: &published,
            range: &RANGE,
            now: self.now,
            grace: GRACE,
        };
        let plan = self.memory.plan(input);
        self.without = plan.without.len();
        let mut numbers = plan.numbers;
        let mut left = writes;
        let mut dies = || match left.checked_sub(1) {
            Some(less) => {
                left = less;
                false
            }
            None => true,
        };
        for (number, labels) in plan.create {
            if dies() {
                self.memory = Memory::default();
                return Ok(());
            }
            prop_assert!(!self.objects.contains_key(&number), "{number} is taken");
            if let Some((before, at)) = self.meant.get(&number).filter(|(before, _)| *before != labels) {
                prop_assert!(self.now.saturating_sub(*at) >= GRACE, "{number} meant {before} a moment ago");
            }
            self.objects.insert(number, Some(labels.clone()));
            numbers.insert(labels, number);
        }
        if dies() {
            self.memory = Memory::default();
            return Ok(());
        }
        let numbered =
            self.pods.iter().filter_map(|(pod, labels)| Some((*pod, (*numbers.get(labels)?, labels.clone()))));
        self.published = numbered.collect();
        for number in plan.delete {
            if dies() {
                self.memory = Memory::default();
                return Ok(());
            }
            prop_assert!(!self.published.values().any(|(used, _)| *used == number), "{number} is in use");
            prop_assert!(
                self.meant.get(&number).is_none_or(|(_, at)| self.now.saturating_sub(*at) >= GRACE),
                "{number} was published a moment ago"
            );
            self.objects.remove(&number);
            self.memory.deleted(number, self.now);
        }
        Ok(())
    }

    /// What a node was told of is still what the object says.
    fn sound(&self) -> Result<(), TestCaseError> {
        for (pod, (number, labels)) in &self.published {
            prop_assert_eq!(self.objects.get(number), Some(&Some(labels.clone())), "{} of Pod {}", number, pod);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_number_means_two_and_none_in_use_is_freed(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::default();
        for step in steps {
            world.take(step)?;
        }
        // In the end, when nothing changes any more, each set has one number and there is no other. Where there were too
        // few, it needs a second round, for what was freed rests.
        for _ in 0..4 {
            world.take(Step::Work { writes: usize::MAX })?;
            world.take(Step::Wait(GRACE.as_secs()))?;
        }
        let sets: BTreeSet<&Labels> = world.pods.values().collect();
        let there: Vec<&Labels> = world.objects.values().flatten().collect();
        prop_assert_eq!(there.iter().copied().collect::<BTreeSet<_>>(), sets.clone());
        prop_assert_eq!(there.len(), sets.len());
        prop_assert_eq!(world.without, 0, "six Pods have at most six sets, and there are six numbers");
        let told: BTreeMap<u8, Labels> = world.published.iter().map(|(pod, (_, labels))| (*pod, labels.clone())).collect();
        prop_assert_eq!(told, world.pods);
    }
}
