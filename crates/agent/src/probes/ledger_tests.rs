use super::*;
use crate::probes::view::Protocol;

fn target(node: &str, protocol: Protocol) -> Target {
    Target { node: node.into(), address: "10.0.0.2".parse().unwrap(), protocol }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What a path is taken for after each probe: `+` answered, `-` failed.
fn standings(probes: &str) -> String {
    let path = target("b", Protocol::Tcp);
    let mut ledger = Ledger::default();
    ledger.set(&BTreeSet::from([path.clone()]));
    let letter = |ledger: &Ledger| match ledger.standings().next().unwrap().1 {
        Standing::Unknown => '?',
        Standing::Reachable => 'r',
        Standing::Unreachable => 'u',
    };
    let mut before = letter(&ledger);
    let after = probes.chars().map(|probe| {
        let outcome = if probe == '+' { Outcome::Answered(Duration::ZERO) } else { Outcome::Failed(Why::Silent) };
        let changed = ledger.record(&path, outcome, at(0));
        let now = letter(&ledger);
        assert_eq!(changed, now != before);
        before = now;
        now
    });
    after.collect()
}

#[test]
fn it_takes_three_in_a_row_to_change_what_a_path_is_taken_for() {
    for (probes, expected) in [
        ("+", "r"),
        ("--+", "??r"),
        ("---+", "??uu"),
        ("+--+--+", "rrrrrrr"),
        ("+---", "rrru"),
        ("+---++-+++", "rrruuuuuur"),
        ("+-+-+-+-+-", "rrrrrrrrrr"),
        ("---+-+-+-", "??uuuuuuu"),
    ] {
        assert_eq!(standings(probes), expected, "{probes}");
    }
}

#[test]
fn the_view_tells_latency_or_why_not_and_since_when() {
    let (icmp, tcp) = (target("b", Protocol::Icmp), target("b", Protocol::Tcp));
    let mut ledger = Ledger::default();
    ledger.set(&BTreeSet::from([icmp.clone(), tcp.clone()]));
    let told = ledger.view();
    assert!(told.len() == 1 && told[0].paths.iter().all(|path| path.state == Standing::Unknown && path.failures == 0));
    ledger.record(&icmp, Outcome::Answered(Duration::from_micros(300)), at(5));
    ledger.record(&tcp, Outcome::Answered(Duration::from_micros(900)), at(6));
    for second in 7..11 {
        ledger.record(&tcp, Outcome::Failed(Why::Refused), at(second));
    }
    let paths = ledger.view().remove(0).paths;
    let [one, two] = &paths[..] else { panic!("{paths:?}") };
    assert_eq!((one.latency_seconds, one.failures, one.last_answer), (Some(0.0003), 0, Some(at(5))));
    assert_eq!((two.latency_seconds, two.failures, two.last_answer), (None, 4, Some(at(6))));
    assert_eq!((two.state, two.error.as_deref()), (Standing::Unreachable, Some("the connection is refused")));
    // It answers once: there is a latency again, and no failure.
    ledger.record(&tcp, Outcome::Answered(Duration::from_micros(800)), at(11));
    let two = ledger.view().remove(0).paths.remove(1);
    assert_eq!((two.latency_seconds, two.failures, two.error), (Some(0.0008), 0, None));
}

#[test]
fn who_has_left_is_forgotten_and_starts_anew() {
    let path = target("b", Protocol::Icmp);
    let mut ledger = Ledger::default();
    ledger.set(&BTreeSet::from([path.clone()]));
    ledger.record(&path, Outcome::Answered(Duration::ZERO), at(0));
    ledger.set(&BTreeSet::new());
    assert!(ledger.view().is_empty());
    assert!(!ledger.record(&path, Outcome::Answered(Duration::ZERO), at(0)));
    assert!(ledger.view().is_empty(), "a late answer makes nobody come back");
    ledger.set(&BTreeSet::from([path]));
    assert_eq!(ledger.standings().next().unwrap().1, Standing::Unknown);
}
