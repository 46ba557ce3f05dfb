use super::*;
use proptest::prelude::*;

pub fn node(name: &str, addresses: &[&str]) -> Node {
    Node {
        name: name.into(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        pod_ranges: vec![],
        zone: None,
        labels: BTreeMap::new(),
    }
}

fn ways(own: &Node, nodes: &[Node]) -> Vec<String> {
    let all = targets(own, nodes.iter());
    all.into_iter().map(|way| format!("{} {} {}", way.node, way.address, way.protocol)).collect()
}

#[test]
fn others_are_probed_by_what_both_have_and_nobody_probes_oneself() {
    let own = node("a", &["10.0.0.1", "fc00::1"]);
    let others = [
        own.clone(),
        // Its object may say more than the agent has heard.
        node("a", &["10.0.0.99", "fc00::99"]),
        node("b", &["fc00::2", "10.0.0.2", "10.0.0.22"]),
        node("c", &["10.0.0.3"]),
        node("nothing", &[]),
        // What names this node or no other one.
        node("mirror", &["10.0.0.1", "fe80::9"]),
        node("loop", &["127.0.0.1", "::1"]),
        node("many", &["224.0.0.1", "ff02::1"]),
        node("none", &["0.0.0.0", "::"]),
        node("all", &["255.255.255.255"]),
        node("link", &["169.254.1.1"]),
    ];
    let expected =
        ["b 10.0.0.2 ICMP", "b 10.0.0.2 TCP", "b fc00::2 ICMP", "b fc00::2 TCP", "c 10.0.0.3 ICMP", "c 10.0.0.3 TCP"];
    assert_eq!(ways(&own, &others), expected);
    let no_ipv6 = node("a", &["10.0.0.1"]);
    assert_eq!(ways(&no_ipv6, &others), ["b 10.0.0.2 ICMP", "b 10.0.0.2 TCP", "c 10.0.0.3 ICMP", "c 10.0.0.3 TCP"]);
    assert!(ways(&node("a", &[]), &others).is_empty());
    let missing = |own: &Node| {
        let names = without_target(others.iter().filter(|node| node.name != own.name), &targets(own, others.iter()));
        names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(missing(&own), "all link loop many mirror none nothing");
    assert_eq!(missing(&node("a", &["fc00::1"])), "all c link loop many mirror none nothing");
}

fn cluster(count: usize) -> BTreeSet<Target> {
    let address = |number: usize| IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
    let way = |number: usize| {
        Protocol::ALL.map(|protocol| Target {
            node: format!("n{number}").as_str().into(),
            address: address(number),
            protocol,
        })
    };
    (1..=count).flat_map(way).collect()
}

/// Lets time pass, each probe taking so long; how often each was probed, and how many began in the busiest second.
fn simulate(schedule: &mut Schedule, from: u64, until: u64, takes: u64, most: usize) -> (BTreeMap<Target, u32>, usize) {
    let mut counts = BTreeMap::new();
    let mut running: Vec<(u64, Target)> = Vec::new();
    let mut begun: Vec<u64> = Vec::new();
    for time in (from..until).step_by(10) {
        running.retain(|(end, target)| {
            if *end <= time {
                schedule.finished(target);
            }
            *end > time
        });
        for target in schedule.take_due(Duration::from_millis(time), most) {
            assert!(running.iter().all(|(_, other)| *other != target), "twice at once");
            *counts.entry(target.clone()).or_default() += 1;
            begun.push(time);
            running.push((time + takes, target));
        }
        assert!(running.len() <= most && running.len() == schedule.running());
    }
    for (_, target) in &running {
        schedule.finished(target);
    }
    let within = |from: usize| begun[from..].partition_point(|at| *at < begun[from] + 1000);
    let busiest = (0..begun.len()).map(within).max();
    (counts, busiest.unwrap_or(0))
}

#[test]
fn each_has_its_turn_once_in_an_interval_and_the_first_one_soon() {
    let interval = Duration::from_secs(10);
    let mut schedule = Schedule::new("a".into(), interval);
    let all = cluster(20);
    schedule.set(all.clone(), Duration::from_secs(7));
    let (first, _) = simulate(&mut schedule, 7_000, 8_020, 1, 100);
    assert_eq!(first.len(), all.len(), "everybody was asked once within a second");
    simulate(&mut schedule, 8_020, 20_000, 1, 100);
    let (counts, busiest) = simulate(&mut schedule, 20_000, 120_000, 1, 100);
    assert!(counts.len() == all.len() && counts.values().all(|count| (9..=11).contains(count)), "{counts:?}");
    assert!(busiest <= 14, "40 in ten seconds are spread: {busiest} in one");
    // The nodes of a cluster don't probe the same one at the same time.
    let place = |own: &str| Schedule::new(own.into(), interval).place(all.first().unwrap(), interval);
    let places: BTreeSet<u64> = (0..100).map(|own| place(&format!("o{own}")).as_secs()).collect();
    assert!(places.len() >= 9, "{places:?}");
}

#[test]
fn a_large_cluster_is_probed_less_often() {
    let mut schedule = Schedule::new("a".into(), Duration::from_secs(10));
    schedule.set(cluster(1_000), Duration::ZERO);
    assert_eq!(schedule.interval(), Duration::from_secs(25), "2,000 paths, 80 in a second");
    let (counts, busiest) = simulate(&mut schedule, 0, 100_000, 1, 160);
    assert_eq!(counts.len(), 2_000);
    assert!(counts.values().sum::<u32>() <= 80 * 110 && busiest < 160, "{busiest}");
    // Nobody answers: a bound on what is under way, and everybody has a turn nevertheless.
    let (counts, _) = simulate(&mut schedule, 100_000, 200_000, 2_000, 160);
    assert!(counts.values().all(|count| *count >= 2) && counts.len() == 2_000);
    schedule.set(cluster(2), Duration::from_secs(200));
    assert_eq!(schedule.interval(), Duration::from_secs(10));
}

#[test]
fn in_a_large_cluster_too_who_is_new_is_probed_soon() {
    let mut schedule = Schedule::new("a".into(), Duration::from_secs(10));
    schedule.set(cluster(1_000), Duration::ZERO);
    simulate(&mut schedule, 0, 60_000, 1, 160);
    let all = cluster(1_002);
    let new: Vec<&Target> = all.iter().filter(|target| !schedule.known.contains(*target)).collect();
    schedule.set(all.clone(), Duration::from_secs(60));
    let (counts, _) = simulate(&mut schedule, 60_000, 61_020, 1, 160);
    assert!(new.len() == 4 && new.iter().all(|target| counts.contains_key(*target)), "{new:?}");
    // Of many that come one after the other, those that still wait count too.
    let mut schedule = Schedule::new("a".into(), Duration::from_secs(10));
    (10..=1_000).step_by(10).for_each(|count| schedule.set(cluster(count), Duration::ZERO));
    let (_, busiest) = simulate(&mut schedule, 0, 60_000, 1, 10_000);
    assert!(busiest < 600, "2,000 in 25 seconds: {busiest} in one");
}

proptest! {
    /// Nodes come and go while probes run: who has left is not probed and not told of, who is there is, and nobody twice at once.
    #[test]
    fn who_has_left_is_not_probed(
        steps in prop::collection::vec((prop::collection::btree_set(0_usize..8, 0..8), 0_u64..3_000, 0_u64..400), 1..30),
    ) {
        let all: Vec<Target> = cluster(4).into_iter().collect();
        let mut schedule = Schedule::new("a".into(), Duration::from_secs(1));
        let mut running: Vec<Target> = Vec::new();
        let mut now = 0;
        for (present, pass, end) in steps {
            let present: BTreeSet<Target> = present.into_iter().map(|index| all[index].clone()).collect();
            schedule.set(present.clone(), Duration::from_millis(now));
            now += pass;
            for target in schedule.take_due(Duration::from_millis(now), 5) {
                prop_assert!(present.contains(&target), "{target:?} has left");
                prop_assert!(!running.contains(&target), "{target:?} runs already");
                running.push(target);
            }
            prop_assert!(running.len() <= 5);
            let ending = running.len() * usize::try_from(end).unwrap() / 400;
            for target in running.drain(..ending) {
                prop_assert_eq!(schedule.finished(&target), present.contains(&target));
            }
        }
        for target in running.drain(..) {
            schedule.finished(&target);
        }
        // Whoever is there in the end is probed, and nobody else.
        let (counts, _) = simulate(&mut schedule, now + 10, now + 5_000, 10, 50);
        let probed: BTreeSet<Target> = counts.into_keys().collect();
        prop_assert_eq!(probed, schedule.known.clone());
    }
}
