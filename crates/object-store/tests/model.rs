//! The store against a model that remembers everything, in memory and on disk, across crashes of the process' kind
//! (the store dropped at any moment).

use bytes::Bytes;
use object_store::{Expect, HistoryLimits, PageRequest, Store, StoreError, Write};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Step {
    Put { key: u8, expect: Expectation },
    Delete { key: u8, expect: Expectation },
    Reopen,
}

#[derive(Debug, Clone, Copy)]
enum Expectation {
    Absent,
    Current,
    Stale,
    Any,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let expectation = prop_oneof![
        Just(Expectation::Absent),
        Just(Expectation::Current),
        Just(Expectation::Stale),
        Just(Expectation::Any)
    ];
    let step = prop_oneof![
        6 => (0_u8..12, expectation.clone()).prop_map(|(key, expect)| Step::Put { key, expect }),
        3 => (0_u8..12, expectation).prop_map(|(key, expect)| Step::Delete { key, expect }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

fn key_of(key: u8) -> String {
    format!("/{}/{key:02}", if key < 6 { "a" } else { "b" })
}

type Contents = BTreeMap<String, (Bytes, u64)>;

fn contents(store: &Store, prefix: &str, revision: Option<u64>) -> Result<Contents, StoreError> {
    let page = store.list(prefix, &PageRequest { revision, ..PageRequest::default() })?;
    Ok(page.entries.into_iter().map(|(key, entry)| (key, (entry.value, entry.revision))).collect())
}

async fn follow(steps: Vec<Step>, on_disk: bool) {
    let folder = tempfile::tempdir().unwrap();
    let open = || match on_disk {
        true => Store::open(&folder.path().join("s.redb"), HistoryLimits::default()).unwrap(),
        false => Store::in_memory(HistoryLimits::default()).unwrap(),
    };
    let mut store = open();
    let mut model: Contents = BTreeMap::new();
    // Every state that can still be listed, by revision.
    let mut past: BTreeMap<u64, Contents> = BTreeMap::from([(0, BTreeMap::new())]);
    let mut watcher = store.watch("/a/", 0).unwrap();
    let mut seen: Contents = BTreeMap::new();
    let mut newest = 0;
    for (index, step) in steps.into_iter().enumerate() {
        let (key, expect, value) = match step {
            Step::Put { key, expect } => (key_of(key), expect, Some(Bytes::from(format!("value {index}")))),
            Step::Delete { key, expect } => (key_of(key), expect, None),
            Step::Reopen if on_disk => {
                // redb allows one opener: everything that holds the file must be gone first.
                drop(watcher);
                drop(store);
                store = loop {
                    match Store::open(&folder.path().join("s.redb"), HistoryLimits::default()) {
                        Ok(store) => break store,
                        Err(_) => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
                    }
                };
                assert_eq!(contents(&store, "/", None).unwrap(), model, "all is there again");
                past = BTreeMap::from([(newest, model.clone())]);
                watcher = store.watch("/a/", newest).unwrap();
                seen = model
                    .iter()
                    .filter(|(key, _)| key.starts_with("/a/"))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                continue;
            }
            Step::Reopen => continue,
        };
        let current = model.get(&key).map(|(_, revision)| *revision);
        let (expected, stands) = match expect {
            Expectation::Absent => (Expect::Absent, current.is_none()),
            Expectation::Current => (Expect::Revision(current.unwrap_or(u64::MAX)), current.is_some()),
            Expectation::Stale => (Expect::Revision(current.unwrap_or(0) + 1), false),
            Expectation::Any => (Expect::Any, true),
        };
        let result = store.write(Write { key: key.clone(), value: value.clone(), expect: expected }).await;
        match result {
            Ok(revision) => {
                assert!(stands, "step {index} must not succeed");
                if value.is_none() && current.is_none() {
                    assert_eq!(revision, newest, "deleting nothing changes nothing");
                    continue;
                }
                assert_eq!(revision, newest + 1, "one global count");
                newest = revision;
                match value {
                    Some(value) => model.insert(key, (value, revision)),
                    None => model.remove(&key),
                };
                past.insert(newest, model.clone());
            }
            Err(StoreError::Conflict { current: told, .. }) => {
                assert!(!stands, "step {index} must succeed");
                assert_eq!(told, current);
            }
            Err(other) => panic!("{other}"),
        }
    }
    for (revision, expected) in &past {
        assert_eq!(&contents(&store, "/", Some(*revision)).unwrap(), expected, "as of {revision}");
        let mut pages = Contents::new();
        let mut after = None;
        loop {
            let page =
                store.list("/a/", &PageRequest { revision: Some(*revision), after: after.clone(), limit: 2 }).unwrap();
            after = page.entries.last().map(|(key, _)| key.clone());
            pages.extend(page.entries.into_iter().map(|(key, entry)| (key, (entry.value, entry.revision))));
            if page.remaining == 0 {
                break;
            }
        }
        let selected: Contents =
            expected.iter().filter(|(key, _)| key.starts_with("/a/")).map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(pages, selected, "page by page as of {revision}");
    }
    let mut last = 0;
    loop {
        let changes = watcher.ready().unwrap();
        if changes.is_empty() {
            break;
        }
        for change in changes {
            assert!(change.revision > last, "in order, once");
            last = change.revision;
            let before = change.previous.map(|entry| (entry.value, entry.revision));
            assert_eq!(seen.get(&*change.key), before.as_ref(), "each change follows the one before");
            match change.current {
                Some(entry) => seen.insert(change.key.to_string(), (entry.value, entry.revision)),
                None => seen.remove(&*change.key),
            };
        }
    }
    let now: Contents = model.into_iter().filter(|(key, _)| key.starts_with("/a/")).collect();
    assert_eq!(seen, now, "who watched has what is there");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_its_model(steps in steps(), on_disk in any::<bool>()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(follow(steps, on_disk));
    }
}

fn put(key: &str) -> Write {
    Write { key: key.into(), value: Some(Bytes::from_static(b"x")), expect: Expect::Any }
}

#[tokio::test]
async fn a_slow_watcher_is_cut_and_others_go_on() {
    let store = Store::in_memory(HistoryLimits { changes: 10, bytes: 1 << 20 }).unwrap();
    let mut slow = store.watch("/", 0).unwrap();
    let mut quick = store.watch("/", 0).unwrap();
    let mut seen = 0;
    for index in 0..50 {
        store.write(put(&format!("/{index}"))).await.unwrap();
        seen += quick.next().await.unwrap().len();
    }
    assert_eq!(seen, 50);
    assert!(matches!(slow.next().await, Err(StoreError::Compacted { asked: 0, oldest: 40 })));
    assert!(matches!(store.watch("/", 39), Err(StoreError::Compacted { .. })));
    assert!(matches!(
        store.list("/", &PageRequest { revision: Some(5), ..PageRequest::default() }),
        Err(StoreError::Compacted { .. })
    ));
    assert!(store.watch("/", 40).is_ok());
    assert!(matches!(store.watch("/", 51), Err(StoreError::Future { .. })));
}

#[tokio::test]
async fn history_is_bounded_in_bytes_too() {
    let store = Store::in_memory(HistoryLimits { changes: 1000, bytes: 10_000 }).unwrap();
    let big = Bytes::from(vec![b'x'; 3000]);
    for _ in 0..10 {
        store.write(Write { key: "/k".into(), value: Some(big.clone()), expect: Expect::Any }).await.unwrap();
    }
    assert!(matches!(store.watch("/", 5), Err(StoreError::Compacted { .. })));
    assert!(store.watch("/", 10).is_ok());
}

/// Of two writers that expect the same state, one wins, always.
#[tokio::test(flavor = "multi_thread")]
async fn compare_and_swap_among_many() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("s.redb"), HistoryLimits::default()).unwrap();
    store
        .write(Write { key: "/n".into(), value: Some(Bytes::from_static(b"0")), expect: Expect::Absent })
        .await
        .unwrap();
    let started = std::time::Instant::now();
    let workers: Vec<_> = (0..16)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    loop {
                        let entry = store.get("/n").unwrap();
                        let number: u32 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                        let value = Some(Bytes::from((number + 1).to_string()));
                        match store
                            .write(Write { key: "/n".into(), value, expect: Expect::Revision(entry.revision) })
                            .await
                        {
                            Ok(_) => break,
                            Err(StoreError::Conflict { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(store.get("/n").unwrap().value, Bytes::from_static(b"400"), "after {:?}", started.elapsed());
}

/// Commits are shared: many writers together are far quicker than one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn writes_share_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("s.redb"), HistoryLimits::default()).unwrap();
    let started = std::time::Instant::now();
    for index in 0..50 {
        store.write(put(&format!("/alone/{index}"))).await.unwrap();
    }
    let alone = started.elapsed() / 50;
    let started = std::time::Instant::now();
    let workers: Vec<_> = (0..100)
        .map(|worker| {
            let store = store.clone();
            tokio::spawn(async move {
                for index in 0..10 {
                    store.write(put(&format!("/together/{worker}/{index}"))).await.unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let together = started.elapsed() / 1000;
    println!("one write alone takes {alone:?}, one among a hundred {together:?}");
    assert!(together < alone, "{together:?} is not below {alone:?}");
}
