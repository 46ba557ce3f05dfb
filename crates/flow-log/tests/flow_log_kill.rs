//! A process that writes is killed at random moments, forty times: what it had been told is on the disk is there, in order, and
//! nothing that it never wrote.

mod flows;

use flow_api::ring::What;
use flow_log::{Query, Settings, Writer};
use flows::flow;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const CHILD: &str = "FLOW_LOG_TEST_CHILD";

#[test]
fn what_was_synced_survives_a_kill_and_nothing_is_invented() {
    if let Some(folder) = std::env::var_os(CHILD) {
        write_for_ever(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("flows");
    let (mut there, mut segments) = (0, 0);
    for round in 0..KILLS {
        let acknowledged = run_and_kill(&folder, round);
        let (found, parts) = check(&folder);
        assert!(found >= there.max(acknowledged), "round {round}: {found} flows, {acknowledged} were acknowledged");
        (there, segments) = (found, segments.max(parts));
    }
    assert!(segments > 3, "so few flows that no segment was ever made: {there}");
}

/// Until it was told that some flows are on the disk, and then a random while longer.
fn run_and_kill(folder: &Path, round: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_was_synced_survives_a_kill_and_nothing_is_invented", "--nocapture"])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let acknowledgement = |line: String| line.strip_prefix("synced ").map(|number| number.parse::<u64>().unwrap());
    // The first may take as long as it likes; whoever can't write says so by ending.
    let first = lines.by_ref().find_map(acknowledgement).expect("the child ended by itself");
    let pause = std::collections::hash_map::RandomState::new();
    let pause = std::hash::BuildHasher::hash_one(&pause, round) % 60_000;
    std::thread::sleep(Duration::from_micros(pause));
    child.kill().unwrap();
    child.wait().unwrap();
    lines.filter_map(acknowledgement).last().unwrap_or(first)
}

/// Flows and parts.
fn check(folder: &Path) -> (u64, u64) {
    let (writer, recovery) = Writer::open(settings(folder)).unwrap();
    let mut number = 0;
    for event in writer.reader().query(Query::default()) {
        let What::Flow(found) = event.unwrap().what else { panic!("a loss after {number} flows") };
        assert_eq!(*found, flow(number));
        number += 1;
    }
    assert_eq!(recovery.rows, number);
    assert_eq!(recovery.damaged, 0);
    (number, writer.reader().summary().parts)
}

fn write_for_ever(folder: &Path) -> ! {
    let (mut writer, recovery) = Writer::open(settings(folder)).unwrap();
    let mut number = recovery.rows;
    loop {
        // Of all sizes: the smallest are many records, the largest several blocks.
        let flows: Vec<_> = (number..number + 1 + number * 7 % 900).map(flow).collect();
        assert_eq!(writer.append(&flows), 0);
        number += flows.len() as u64;
        if number % 3 != 0 {
            writer.sync().unwrap();
            let mut out = std::io::stdout();
            writeln!(out, "synced {number}").and_then(|()| out.flush()).unwrap();
        }
    }
}

fn settings(folder: &Path) -> Settings {
    // The flows are of 1970.
    let most_age = Duration::from_secs(1 << 40);
    Settings { segment_flows: 2000, sync_interval: Duration::from_millis(5), most_age, ..Settings::new(folder) }
}

const KILLS: u64 = 40;
