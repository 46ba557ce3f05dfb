//! Several nodes, one API, one clock: who answers when.

use super::*;
use proptest::prelude::*;

const TIMING: Timing = Timing { duration: Duration::from_secs(1), renew: Duration::from_millis(400) };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The API: one Lease with a version.
#[derive(Default)]
struct Api {
    lease: Option<Seen>,
    version: u64,
}

impl Api {
    /// As the server does it: only from the version that is there.
    fn write(&mut self, node: &str, from: Option<&Seen>) -> Written {
        if from.map(|seen| &seen.version) != self.lease.as_ref().map(|seen| &seen.version) {
            return Written::Lost(self.lease.clone());
        }
        self.version += 1;
        let changed = from.is_some_and(|seen| seen.holder != node);
        let seen = Seen {
            version: self.version.to_string(),
            holder: node.to_owned(),
            duration: TIMING.duration,
            transitions: from.map_or(0, |seen| seen.transitions) + i32::from(changed),
            acquired: None,
        };
        self.lease = Some(seen.clone());
        Written::Done(seen)
    }
}

struct Node {
    election: Election,
    reaches_api: bool,
    runs: bool,
    hears: bool,
}

struct World {
    api: Api,
    nodes: Vec<Node>,
    now: Instant,
}

impl World {
    fn of(count: usize) -> Self {
        let now = Instant::now();
        let node = |index: usize| Node {
            election: Election::new(&format!("node-{index}"), TIMING, now),
            reaches_api: true,
            runs: true,
            hears: true,
        };
        Self { api: Api::default(), nodes: (0..count).map(node).collect(), now }
    }

    /// Ten milliseconds: everybody who runs sees the API, writes when it wants to, and hears who is new.
    fn step(&mut self) {
        self.now += ms(10);
        let now = self.now;
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            if !node.runs {
                continue;
            }
            if node.reaches_api {
                node.election.observe(self.api.lease.clone(), now);
            }
            node.election.tick(now);
            let before = node.election.answers(now);
            if node.election.next(now) == Action::Write {
                let began = now;
                node.election.trying(now);
                let from = node.election.lease().cloned();
                let name = format!("node-{index}");
                let written = if node.reaches_api { self.api.write(&name, from.as_ref()) } else { Written::Unknown };
                node.election.written(written, began, now);
            }
            if !before && self.nodes[index].election.answers(now) {
                // It announces; the others on the segment hear it.
                for other in (0..self.nodes.len()).filter(|other| *other != index) {
                    if self.nodes[other].hears && self.nodes[other].runs {
                        self.nodes[other].election.contested(None);
                    }
                }
            }
            if self.nodes[index].election.is_alone() && self.nodes[index].hears {
                self.probe(index);
            }
        }
    }

    /// As the responders do it: whoever is alone and wrote the Lease earlier yields to the probe, everybody else who has the
    /// address answers it, and the answer is a claim.
    fn probe(&mut self, index: usize) {
        let (version, now) = (self.nodes[index].election.version(), self.now);
        for other in (0..self.nodes.len()).filter(|other| *other != index) {
            let node = &mut self.nodes[other];
            if !node.runs || !node.hears || !node.election.answers(now) {
                continue;
            }
            let earlier = node.election.is_alone() && node.election.version() < version;
            if earlier {
                node.election.contested(version);
            } else {
                self.nodes[index].election.contested(None);
            }
        }
    }

    fn run(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / 10 {
            self.step();
        }
    }

    /// What the responders do: nobody answers who does not run, and everybody asks the clock.
    fn answering(&self) -> Vec<usize> {
        let answers = |node: &Node| node.runs && node.election.answers(self.now);
        self.nodes.iter().enumerate().filter(|(_, node)| answers(node)).map(|(index, _)| index).collect()
    }

    fn holder(&self) -> usize {
        let answering = self.answering();
        assert_eq!(answering.len(), 1, "{answering:?}");
        answering[0]
    }
}

#[test]
fn one_of_three_wins_and_keeps_it() {
    let mut world = World::of(3);
    world.run(ms(100));
    let first = world.holder();
    for _ in 0..1_000 {
        world.step();
        assert_eq!(world.holder(), first);
    }
    assert_eq!(world.api.lease.as_ref().map(|lease| lease.transitions), Some(0));
}

#[test]
fn a_dead_nodes_addresses_move_within_two_seconds_and_stay() {
    let mut world = World::of(3);
    world.run(ms(3_000));
    let dead = world.holder();
    world.nodes[dead].runs = false;
    let died = world.now;
    while world.answering().is_empty() {
        world.step();
    }
    assert!(world.now - died < ms(1_600), "{:?}", world.now - died);
    let next = world.holder();
    assert_ne!(next, dead);
    // It wakes up: not one answer, though it believed until now that it had the Lease.
    world.nodes[dead].runs = true;
    assert_eq!(world.answering(), [next]);
    for _ in 0..300 {
        world.step();
        assert_eq!(world.answering(), [next]);
    }
}

#[test]
fn a_restarted_agent_goes_on_with_its_own_lease_at_once() {
    let mut world = World::of(2);
    world.run(ms(2_000));
    let holder = world.holder();
    let now = world.now;
    world.nodes[holder].election = Election::new(&format!("node-{holder}"), TIMING, now);
    assert!(world.answering().is_empty());
    world.run(ms(50));
    assert_eq!(world.holder(), holder);
}

#[test]
fn without_the_api_the_holder_goes_on() {
    let mut world = World::of(3);
    world.run(ms(2_000));
    let holder = world.holder();
    world.nodes.iter_mut().for_each(|node| node.reaches_api = false);
    for _ in 0..2_000 {
        world.step();
        assert_eq!(world.answering(), [holder]);
    }
    world.nodes.iter_mut().for_each(|node| node.reaches_api = true);
    for _ in 0..200 {
        world.step();
        assert_eq!(world.answering(), [holder]);
    }
}

#[test]
fn a_holder_that_alone_lost_the_api_yields_to_whom_it_hears() {
    let mut world = World::of(3);
    world.run(ms(2_000));
    let cut_off = world.holder();
    world.nodes[cut_off].reaches_api = false;
    world.run(ms(3_000));
    let next = world.holder();
    assert_ne!(next, cut_off);
    world.nodes[cut_off].reaches_api = true;
    for _ in 0..300 {
        world.step();
        assert_eq!(world.answering(), [next]);
    }
}

/// The one case in which two can stand: the first lost the API, the second took the Lease and was not heard (its first and
/// repeated announcements went by while the first one's device was down, say), and then lost the API too. Now nobody can
/// ask who has it. If both yielded, the address would be nobody's until the API is back, for nobody takes it without the
/// API; if both stayed, the segment would have it twice. The Lease's versions decide: the API gave them in order, so the
/// second one's is greater, and both know that.
#[test]
fn of_two_holders_without_the_api_the_later_one_goes_on() {
    let mut world = World::of(3);
    world.run(ms(2_000));
    let first = world.holder();
    (world.nodes[first].reaches_api, world.nodes[first].hears) = (false, false);
    world.run(ms(3_000));
    let both = world.answering();
    assert_eq!(both.len(), 2, "the first one has heard nothing");
    let second = both.into_iter().find(|index| *index != first).unwrap();
    world.nodes.iter_mut().for_each(|node| node.reaches_api = false);
    world.run(ms(3_000));
    world.nodes[first].hears = true;
    world.step();
    for _ in 0..2_000 {
        world.step();
        assert_eq!(world.answering(), [second], "it goes on, and nobody else takes it");
    }
    world.nodes.iter_mut().for_each(|node| node.reaches_api = true);
    world.run(ms(3_000));
    assert_eq!(world.holder(), second);
}

#[test]
fn a_claim_while_the_lease_holds_moves_nothing() {
    let mut world = World::of(2);
    world.run(ms(2_000));
    let holder = world.holder();
    world.nodes[holder].election.contested(None);
    assert_eq!(world.holder(), holder);
}

#[test]
fn a_freed_lease_is_taken_at_once() {
    let mut world = World::of(2);
    world.run(ms(2_000));
    let holder = world.holder();
    world.nodes[holder].runs = false;
    world.api.lease = None;
    world.run(ms(50));
    assert_ne!(world.holder(), holder);
}

#[test]
fn an_older_record_by_a_slow_watch_changes_nothing() {
    let now = Instant::now();
    let mut election = Election::new("a", TIMING, now);
    let seen = |version: &str, holder: &str| Seen {
        version: version.to_owned(),
        holder: holder.to_owned(),
        duration: TIMING.duration,
        transitions: 0,
        acquired: None,
    };
    election.observe(Some(seen("9", "b")), now);
    election.written(Written::Done(seen("10", "a")), now, now);
    election.observe(Some(seen("9", "b")), now);
    assert!(election.is_mine() && election.answers(now));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever dies, sleeps and is cut off: when all is well again there is one who answers, and it stays the same.
    #[test]
    fn after_any_trouble_there_is_one(troubles in prop::collection::vec((0usize..3, 0u8..3, any::<bool>(), 1u64..200), 0..12)) {
        let mut world = World::of(3);
        for (index, what, on, time) in troubles {
            let node = &mut world.nodes[index];
            match what {
                0 => node.runs = on,
                1 => node.reaches_api = on,
                _ => node.hears = on,
            }
            world.run(ms(time * 10));
            // Whoever runs, reaches the API and hears is never one of two, but for those who are cut off.
            let well = |index: &&usize| world.nodes[**index].reaches_api;
            prop_assert!(world.answering().iter().filter(well).count() <= 1);
        }
        // The API goes away for everybody: of those who answered one goes on, and nobody else begins.
        for node in &mut world.nodes {
            (node.runs, node.reaches_api, node.hears) = (true, false, true);
        }
        // Whoever has slept until its time was out is none of them: it knows nothing, and is silent at its first tick.
        world.run(ms(10));
        let before = world.answering();
        world.run(ms(3_000));
        let during = world.answering();
        prop_assert!(during.len() == before.len().min(1) && during.iter().all(|one| before.contains(one)), "{before:?} {during:?}");
        world.nodes.iter_mut().for_each(|node| node.reaches_api = true);
        world.run(ms(3_000));
        let one = world.holder();
        world.run(ms(3_000));
        prop_assert_eq!(world.holder(), one);
    }
}
