//! What goes wrong once must not go wrong for ever: a full disk, files that somebody removed, parts that are spoilt.

mod flows;

use flow_api::flow::LostEvent;
use flow_api::ring::What;
use flow_log::{Error, Frames, Kept, Query, Reader, Settings, Store, Writer};
use flows::{SECOND, flow};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const CHILD: &str = "FLOW_LOG_TROUBLE_CHILD";

/// A log with so many closed parts of a hundred flows each, a second apart.
fn store(folder: &Path, parts: u64) -> Store {
    let mut store = Store::open(Settings::new(folder), 0).unwrap().0;
    for part in 0..parts {
        let mut frames = Frames::default();
        (part * 100..(part + 1) * 100).for_each(|number| frames.flow(&flow(number)));
        store.append(&frames, 0).unwrap();
        store.close().unwrap();
    }
    store
}

fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == end));
    paths.sort();
    paths
}

fn numbers(reader: &Reader) -> Vec<u64> {
    let flows = reader.query(Query::default()).filter_map(|event| match event.ok()?.what {
        What::Flow(flow) => Some(flow.socket_cookie),
        _ => None,
    });
    flows.collect()
}

#[test]
fn a_journal_that_could_not_be_begun_is_begun_later() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return begin_without_room(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    // The limit of a file's size stands for a full disk: a file is made, and takes no byte.
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact a_journal_that_could_not_be_begun_is_begun_later"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, folder.path().join("flows"))
        .status()
        .unwrap();
    assert!(status.success());
}

fn begin_without_room(folder: &Path) {
    let mut store = store(folder, 1);
    let mut frames = Frames::default();
    frames.flow(&flow(100));
    store.append(&frames, 0).unwrap();
    let whole = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(0), ..whole }).unwrap();
    for _ in 0..2 {
        let refused = store.close();
        assert!(matches!(&refused, Err(Error::Io { operation: "write", .. })), "{refused:?}");
    }
    setrlimit(Resource::Fsize, whole).unwrap();
    store.close().unwrap();
    assert_eq!(numbers(&store.reader()), (0..=100).collect::<Vec<_>>());
}

#[test]
fn what_somebody_removed_or_spoilt_does_not_stop_retention() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("flows");
    let made = store(&folder, 6);
    made.keep(0).unwrap();
    drop(made);
    let segments = files(&folder, "parquet");
    for spoilt in [&segments[0], &segments[2]] {
        std::fs::write(spoilt, "not a segment").unwrap();
    }
    let (store, recovery) = Store::open(Settings::new(&folder), 0).unwrap();
    assert_eq!(recovery.damaged, 2);
    std::fs::remove_file(&segments[1]).unwrap();
    let after = |age: u64| {
        let settings = Settings { most_age: Duration::from_secs(age), ..Settings::new(&folder) };
        store.keep_with(&settings, 600 * SECOND).unwrap().removed
    };
    assert_eq!(after(550), 0, "what is damaged is as old as what was written after it");
    assert_eq!(numbers(&store.reader()).len(), 300);
    // The newest of the second part are of second 199, those of the fourth of 399.
    assert_eq!(after(300), 2);
    assert_eq!(after(150), 2);
    assert_eq!(numbers(&store.reader()), (400..600).collect::<Vec<_>>());
    assert_eq!(files(&folder, "parquet"), &segments[4..]);
}

#[test]
fn a_conversion_that_fails_is_not_tried_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("flows");
    let store = store(&folder, 2);
    let journal = files(&folder, "journal").remove(0);
    let whole = std::fs::read(&journal).unwrap();
    let mut spoilt = whole.clone();
    spoilt[100] ^= 1;
    // In place: the log has the file open.
    let overwrite = |bytes: &[u8]| {
        let file = std::fs::OpenOptions::new().write(true).open(&journal).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).unwrap();
    };
    overwrite(&spoilt);
    assert!(matches!(store.keep(0), Err(Error::Convert { .. })));
    assert_eq!(files(&folder, "parquet").len(), 1, "the other is converted nevertheless");
    assert_eq!(store.keep(SECOND).unwrap(), Kept { waiting: 1, ..Kept::default() });
    assert!(store.keep(60 * SECOND).is_err());
    overwrite(&whole);
    assert_eq!(store.keep(90 * SECOND).unwrap().converted, 0);
    assert_eq!(store.keep(120 * SECOND).unwrap(), Kept { converted: 1, ..Kept::default() });
    assert_eq!(numbers(&store.reader()).len(), 200);
}

#[test]
fn an_idle_log_leaves_the_disk_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder.path().join("flows"), 1);
    let mut frames = Frames::default();
    frames.flow(&flow(100));
    store.append(&frames, 0).unwrap();
    assert!(store.sync().unwrap());
    assert!(!store.sync().unwrap());
    store.append(&frames, 0).unwrap();
    assert!(store.sync().unwrap());
}

#[test]
fn who_opens_a_log_whose_oldest_go_finds_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let folder = folder.path().join("flows");
        let store = store(&folder, 60);
        store.keep(0).unwrap();
        let reader = scope.spawn({
            let (folder, done) = (folder.clone(), &done);
            move || {
                let mut opened = 0_u64;
                while !done.load(Relaxed) {
                    let damaged = Reader::open(&folder).unwrap().summary().damaged;
                    assert_eq!(damaged, Vec::new());
                    opened += 1;
                }
                opened
            }
        });
        for age in (0..6000).rev().step_by(20) {
            let settings = Settings { most_age: Duration::from_secs(age), ..Settings::new(&folder) };
            store.keep_with(&settings, 6000 * SECOND).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        done.store(true, Relaxed);
        assert!(reader.join().unwrap() > 1);
    });
}

#[test]
fn losses_that_are_told_take_no_more_room_than_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let settings = Settings { queue_bytes: 20_000, sync_interval: hour, ..Settings::new(folder.path().join("flows")) };
    let mut writer = Writer::open(settings).unwrap().0;
    let lost = LostEvent { num_events_lost: 3, ..LostEvent::default() };
    (0..100_000).for_each(|_| assert!(writer.append_loss(&lost)));
    writer.sync().unwrap();
    let told: Vec<u64> = writer
        .reader()
        .query(Query::default())
        .map(|event| match event.unwrap().what {
            What::Lost(lost) => lost.num_events_lost,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told.iter().sum::<u64>(), 300_000);
    assert!(told.len() < 20_000, "{}", told.len());
}
