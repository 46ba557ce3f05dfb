use super::super::Weight;
use super::*;

fn statement(holds: bool, message: &str) -> Option<Statement> {
    Some(Statement { holds, reason: "Reason", message: message.to_owned(), weight: Weight::Plain })
}

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Lets time pass: what is heard when (ms), and when what was written.
fn writes(pace: Pace, lot: u32, heard: &[(u64, Option<Statement>)], until: u64) -> Vec<(u64, String)> {
    let start = Instant::now();
    let mut script = Script::new(pace, Lot(lot), start);
    let (mut heard, mut written) = (heard.iter().peekable(), Vec::new());
    for time in (0..until).step_by(100) {
        while let Some((_, wish)) = heard.next_if(|(at, _)| *at <= time) {
            script.hear(wish.clone(), start + ms(time));
        }
        if let Some(statement) = script.take_due(start + ms(time)) {
            written.push((time, statement.message.clone()));
            script.succeeded(statement, start + ms(time));
        }
    }
    written
}

fn expect(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(at, message)| (*at, (*message).to_owned())).collect()
}

#[test]
fn what_fails_together_is_written_together() {
    let heard = [
        (0, statement(true, "all")),
        (10_000, statement(false, "b")),
        (11_000, statement(false, "b, c")),
        (14_000, statement(false, "b, c, d")),
        (15_000, statement(false, "b, c, d, e")),
        (50_000, statement(true, "all")),
    ];
    let expected = [(3_000, "all"), (13_000, "b, c"), (33_000, "b, c, d, e"), (53_000, "all")];
    assert_eq!(writes(SETTLED, 0, &heard, 60_000), expect(&expected));
}

/// However long an outage grows: each second another node.
#[test]
fn what_never_settles_is_written_now_and_then() {
    let heard: Vec<_> = (0..300).map(|number| (number * 1_000, statement(false, &number.to_string()))).collect();
    let written = writes(SETTLED, 512, &heard, 400_000);
    assert!(written.len() <= 16 && written.last().is_some_and(|(_, last)| last == "299"), "{written:?}");
    for (at, message) in &written {
        let previous = written.iter().rfind(|(before, _)| before < at).map_or(0, |(before, _)| *before);
        assert!(at - previous <= 30_000, "{at}: {message}");
    }
}

#[test]
fn what_is_over_at_once_is_not_written_and_nothing_takes_nothing_back() {
    let heard = [
        (0, statement(true, "all")),
        (10_000, statement(false, "b")),
        (12_000, statement(true, "all")),
        (13_000, None),
        (20_000, statement(false, "b")),
        (21_000, None),
    ];
    assert_eq!(writes(SETTLED, 0, &heard, 100_000), expect(&[(3_000, "all")]));
}

#[test]
fn what_seldom_changes_is_written_at_once_other_words_after_two_seconds() {
    let heard = [
        (100, statement(true, "rows")),
        (200, statement(true, "peers")),
        (300, statement(true, "rows and peers")),
        (2_500, statement(false, "room")),
    ];
    let expected = [(100, "rows"), (2_100, "rows and peers"), (2_500, "room")];
    assert_eq!(writes(AT_ONCE, 1_000, &heard, 10_000), expect(&expected));
}

#[test]
fn it_is_looked_whether_it_stands_and_each_node_has_its_own_time() {
    let heard = [(0, statement(true, "all"))];
    let looks = |lot| writes(SETTLED, lot, &heard, 900_000).iter().map(|(at, _)| *at).collect::<Vec<_>>();
    assert_eq!(looks(0), [3_000, 243_000, 483_000, 723_000]);
    assert_eq!(looks(512), [4_500, 364_500, 724_500]);
    let lots = (0..100).map(|number| Lot::of(&format!("worker-{number}")).share(ms(10)).as_millis());
    assert!(lots.collect::<std::collections::BTreeSet<_>>().len() >= 8);
}

#[test]
fn failures_make_it_wait_and_never_long() {
    let start = Instant::now();
    let mut script = Script::new(AT_ONCE, Lot(0), start);
    script.hear(statement(true, "rows"), start);
    let mut now = start;
    let mut waits = Vec::new();
    for _ in 0..5 {
        assert!(script.take_due(now).is_some());
        script.failed(now);
        assert_eq!(script.take_due(now), None);
        let due = script.due().unwrap();
        waits.push((due - now).as_secs());
        now = due;
    }
    assert_eq!(waits, [2, 4, 8, 16, 16]);
}

/// The answer to a write is lost, and then all is well again, as it was said before: nobody knows what stands now.
#[test]
fn after_a_failure_it_is_said_again() {
    let start = Instant::now();
    let mut script = Script::new(SETTLED, Lot(0), start);
    script.hear(statement(true, "all"), start);
    let at = |seconds| start + Duration::from_secs(seconds);
    let first = script.take_due(at(3)).unwrap();
    script.succeeded(first, at(3));
    script.hear(statement(false, "b"), at(10));
    assert!(script.take_due(at(13)).is_some());
    script.failed(at(13));
    script.hear(statement(true, "all"), at(14));
    assert_eq!(script.due(), Some(at(15)));
    assert_eq!(script.take_due(at(15)), statement(true, "all"));
}

/// What turns at once and back again, over and over.
#[test]
fn turns_are_as_far_apart_as_the_pace_has_them() {
    let pace = Pace { turns: ms(20_000), ..SETTLED };
    let heard: Vec<_> = (0..40).map(|number| (number * 6_000, statement(number % 2 == 0, "turns"))).collect();
    let written: Vec<u64> = writes(pace, 0, &heard, 240_000).iter().map(|(at, _)| *at).collect();
    assert!(written.len() > 5 && written.windows(2).all(|pair| pair[1] - pair[0] >= 20_000), "{written:?}");
    let heard = [(0, statement(true, "all")), (4_000, statement(false, "b"))];
    assert_eq!(writes(pace, 0, &heard, 60_000), expect(&[(3_000, "all"), (23_000, "b")]));
}

/// A look is no write: what is to be said soon after it does not wait for it.
#[test]
fn what_is_said_after_a_look_is_not_late() {
    let heard = [(0, statement(true, "all")), (244_000, statement(true, "all but b"))];
    let expected = [(3_000, "all"), (243_000, "all"), (247_000, "all but b")];
    assert_eq!(writes(SETTLED, 0, &heard, 260_000), expect(&expected));
}

#[test]
fn the_heart_of_who_is_silent_does_not_beat() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut script = Script::new(Pace { beat: Some(ms(500)), ..AT_ONCE }, Lot(0), start);
    script.hear(statement(true, "all"), start);
    assert_eq!((script.beat(at(119)), script.beat(at(120))), (Some(ms(500)), None));
    // The same again is no news, and a sign of life.
    script.hear(statement(true, "all"), at(100));
    assert_eq!((script.beat(at(219)), script.beat(at(220))), (Some(ms(500)), None));
    let mut script = Script::new(AT_ONCE, Lot(0), start);
    script.hear(statement(true, "all"), start);
    assert_eq!(script.beat(start), None, "where it has none");
}

#[test]
fn what_stands_is_what_was_said_and_is_still_to_be() {
    let start = Instant::now();
    let mut script = Script::new(AT_ONCE, Lot(0), start);
    assert_eq!(script.standing(), None);
    script.hear(statement(true, "all"), start);
    assert_eq!(script.standing(), None, "it is not said yet");
    script.succeeded(statement(true, "all").unwrap(), start);
    assert_eq!(script.standing(), statement(true, "all"));
    script.hear(statement(false, "b"), start);
    assert_eq!(script.standing(), None);
}
