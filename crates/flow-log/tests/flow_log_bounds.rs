//! What the log does at its bounds: too much at once, too much in all, what is broken, and who else is there.

mod flows;

use flow_api::flow::LostEvent;
use flow_api::ring::What;
use flow_log::{Error, Frames, Order, Query, Reader, Settings, Store, Writer};
use flows::{SECOND, flow, time};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

fn settings(folder: &Path) -> Settings {
    Settings::new(folder.join("flows"))
}

fn frames(numbers: std::ops::Range<u64>) -> Frames {
    let mut frames = Frames::default();
    numbers.for_each(|number| frames.flow(&flow(number)));
    frames
}

/// Numbers of the flows, and of what was lost.
fn told(reader: &Reader, query: Query) -> (Vec<u64>, u64, Vec<String>) {
    let (mut flows, mut lost, mut damaged) = (Vec::new(), 0, Vec::new());
    for event in reader.query(query) {
        match event.map(|event| event.what) {
            Ok(What::Flow(flow)) => flows.push(flow.socket_cookie),
            Ok(What::Lost(event)) => lost += event.num_events_lost,
            Ok(_) => panic!("neither a flow nor a loss"),
            Err(damage) => damaged.push(damage.to_string()),
        }
    }
    (flows, lost, damaged)
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "parquet"));
    paths.sort();
    paths
}

#[test]
fn what_comes_too_fast_is_counted_and_told_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing is written before a sync: the pause is long.
    let settings =
        Settings { queue_bytes: 20_000, sync_interval: Duration::from_secs(3600), ..settings(folder.path()) };
    let mut small = Writer::open(settings).unwrap().0;
    let all: Vec<_> = (0..20_000).map(flow).collect();
    let lost = small.append(&all);
    assert!(lost > 0 && lost < 20_000, "{lost}");
    small.append_loss(&LostEvent { num_events_lost: 7, last: Some(time(1)), ..LostEvent::default() });
    small.sync().unwrap();
    let after = flow(30_000);
    assert_eq!(small.append([&after]), 0);
    small.sync().unwrap();
    let (flows, told_lost, _) = told(&small.reader(), Query::default());
    assert_eq!(told_lost, lost + 7);
    assert_eq!(flows.len() as u64 + lost, 20_001);
    assert!(flows.is_sorted() && flows.last() == Some(&30_000));
    let status = small.status();
    assert_eq!((status.taken, status.behind, status.refused), (20_001 - lost, lost, 0));
    // What no reader could hold is counted as well.
    let huge = flow_api::flow::Flow { summary: "x".repeat(2 << 20), ..flow(2) };
    assert_eq!(small.append([&flow(40_000), &huge, &flow(40_001)]), 1);
    small.sync().unwrap();
    let newest = Query { number: 2, order: Order::NewestFirst, ..Query::default() };
    assert_eq!(told(&small.reader(), newest), (vec![40_001, 40_000], 1, Vec::new()));
}

#[test]
fn the_oldest_segments_go_when_there_is_too_much() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(folder.path()), 0).unwrap().0;
    for part in 0..8 {
        store.append(&frames(part * 100..(part + 1) * 100), 800 * SECOND).unwrap();
        store.close().unwrap();
    }
    store.keep(800 * SECOND).unwrap();
    let before = store.reader().summary();
    let sizes: Vec<u64> = segments(&folder.path().join("flows")).iter().map(|p| p.metadata().unwrap().len()).collect();
    let most_bytes = before.bytes - sizes[0] - 1;
    let kept = store.keep_with(&Settings { most_bytes, ..settings(folder.path()) }, 800 * SECOND).unwrap();
    assert_eq!(kept.removed, 2, "one more than one, for a byte");
    assert_eq!(told(&store.reader(), Query::default()).0, (200..800).collect::<Vec<_>>());
    assert_eq!(store.reader().summary().bytes, before.bytes - sizes[0] - sizes[1]);
    // The open one stays, whatever the bound.
    store.append(&frames(800..810), 800 * SECOND).unwrap();
    store.keep_with(&Settings { most_bytes: 0, ..settings(folder.path()) }, 800 * SECOND).unwrap();
    assert_eq!(told(&store.reader(), Query::default()).0, (800..810).collect::<Vec<_>>());
}

#[test]
fn a_spoilt_segment_is_named_and_the_others_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(folder.path()), 0).unwrap().0;
    for part in 0..4 {
        store.append(&frames(part * 100..(part + 1) * 100), 0).unwrap();
        store.close().unwrap();
    }
    store.keep(400 * SECOND).unwrap();
    drop(store);
    let paths = segments(&folder.path().join("flows"));
    // One has another byte in the middle, one has lost its end.
    let mut bytes = std::fs::read(&paths[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&paths[1], bytes).unwrap();
    std::fs::OpenOptions::new().write(true).open(&paths[2]).unwrap().set_len(1000).unwrap();
    let (store, recovery) = Store::open(settings(folder.path()), 400 * SECOND).unwrap();
    assert_eq!(recovery.damaged, 1);
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let (mut flows, _, damaged) = told(&store.reader(), Query { order, ..Query::default() });
        flows.sort_unstable();
        assert_eq!(flows, (0..100).chain(300..400).collect::<Vec<_>>());
        assert_eq!(damaged.len(), 2);
        for path in &paths[1..3] {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(damaged.iter().any(|damage| damage.starts_with(name)), "{name} in {damaged:?}");
        }
    }
}

#[test]
fn no_byte_of_a_segment_changes_unnoticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(folder.path()), 0).unwrap().0;
    for part in 0..2 {
        store.append(&frames(part * 100..(part + 1) * 100), 0).unwrap();
        store.close().unwrap();
    }
    store.keep(200 * SECOND).unwrap();
    let flows = folder.path().join("flows");
    let path = segments(&flows).remove(0);
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(41) {
        let mut spoilt = whole.clone();
        spoilt[at] ^= 4;
        std::fs::write(&path, spoilt).unwrap();
        let (found, _, damaged) = told(&Reader::open(&flows).unwrap(), Query::default());
        assert_eq!((found, damaged.len()), ((100..200).collect(), 1), "byte {at}");
    }
}

#[test]
fn a_segment_that_a_crash_spoilt_is_made_again_from_its_journal() {
    let folder = tempfile::tempdir().unwrap();
    let flows = folder.path().join("flows");
    let mut store = Store::open(settings(folder.path()), 0).unwrap().0;
    store.append(&frames(0..100), 0).unwrap();
    store.close().unwrap();
    let journal = flows.join("000000000001.journal");
    let kept = std::fs::read(&journal).unwrap();
    store.keep(0).unwrap();
    drop(store);
    let whole = segments(&flows).pop().unwrap();
    for spoil in [false, true] {
        // The crash came before the journal was removed.
        std::fs::write(&journal, &kept).unwrap();
        if spoil {
            std::fs::write(&whole, "not a segment").unwrap();
        }
        let (store, recovery) = Store::open(settings(folder.path()), 0).unwrap();
        assert_eq!((recovery.rows, recovery.damaged), (100, 0));
        store.keep(0).unwrap();
        assert_eq!(told(&store.reader(), Query::default()), ((0..100).collect(), 0, Vec::new()));
        assert_eq!(told(&Reader::open(&flows).unwrap(), Query::default()).0.len(), 100);
    }
}

#[test]
fn one_writes_and_nobody_elses_files_are_touched() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::open(settings(folder.path())).unwrap().0;
    assert!(matches!(Writer::open(settings(folder.path())), Err(Error::Locked(_))));
    drop(writer);
    drop(Writer::open(settings(folder.path())).unwrap());
    std::fs::write(folder.path().join("precious"), "x").unwrap();
    let refused = Writer::open(Settings::new(folder.path()));
    assert!(matches!(&refused, Err(Error::Foreign { foreign, .. }) if foreign != "lock"), "{refused:?}");
    assert!(!folder.path().join("lock").exists());
}

#[test]
fn who_has_gone_is_not_searched_for_any_longer() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(folder.path()), 0).unwrap().0;
    (0..50).for_each(|number| store.append(&frames(number..number + 1), SECOND).unwrap());
    let nobody = vec!["192.0.2.1".parse().unwrap()];
    let asked = Arc::new(AtomicU64::new(0));
    let is_over = {
        let asked = asked.clone();
        move || asked.fetch_add(1, Relaxed) == 7
    };
    let query = Query { addresses: nobody, ..Query::default() };
    assert_eq!(store.reader().query(query).until(is_over).count(), 0);
    assert_eq!(asked.load(Relaxed), 8, "of more than fifty steps");
    assert_eq!(store.reader().query(Query::default()).until(|| false).count(), 50);
}

#[test]
fn readers_see_whole_records_while_one_writes_converts_and_removes() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        segment_flows: 500,
        most_bytes: 200_000,
        most_age: Duration::from_secs(1 << 40),
        sync_interval: Duration::from_millis(1),
        ..settings(folder.path())
    };
    let mut writer = Writer::open(settings).unwrap().0;
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for order in [Order::OldestFirst, Order::NewestFirst, Order::OldestFirst] {
            let reader = writer.reader();
            let done = &done;
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let (flows, lost, damaged) = told(&reader, Query { order, ..Query::default() });
                    assert_eq!((lost, damaged), (0, Vec::new()));
                    // Parts that went while we read are missing whole, from the old end.
                    let right =
                        |pair: &[u64]| if order == Order::OldestFirst { pair[0] < pair[1] } else { pair[0] > pair[1] };
                    assert!(flows.windows(2).all(right));
                }
            });
        }
        for part in 0..120 {
            let flows: Vec<_> = (part * 200..(part + 1) * 200).map(flow).collect();
            assert_eq!(writer.append(&flows), 0);
            writer.sync().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(told(&writer.reader(), Query { number: 1, order: Order::NewestFirst, ..Query::default() }).0 == [23_999]);
    assert!(told(&writer.reader(), Query::default()).0.len() < 24_000, "nothing was removed");
}
