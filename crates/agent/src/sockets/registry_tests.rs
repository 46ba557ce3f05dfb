use super::*;
use crate::table::memory::MemoryTable;
use std::sync::Arc;
use std::time::Instant;

type Twin = Arc<MemoryTable<u64, u8>>;

fn start() -> (PodSockets, Twin) {
    let table: Twin = Arc::new(MemoryTable::with_capacity(8));
    (PodSockets::new(Box::new(table.clone())), table)
}

fn pod(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}

fn says(translate: Option<bool>) -> Option<Wish> {
    Some(Wish { translate, problem: None })
}

fn put(sockets: &PodSockets, name: &str, cookie: u64) {
    sockets.put(&format!("lx-{name}"), Here { pod: Some(pod(name)), namespace: format!("/ns/{name}").into(), cookie });
}

fn cookies(table: &Twin) -> Vec<u64> {
    let mut all: Vec<u64> = table.entries().unwrap().into_iter().map(|(cookie, _)| cookie).collect();
    all.sort_unstable();
    all
}

/// Everything is told, of these Pods.
fn synced(sockets: &PodSockets, pods: &[(&str, Option<bool>)], namespace: Option<bool>) {
    sockets.take_pod(Told::Begin);
    for (name, translate) in pods {
        sockets.take_pod(Told::Set(pod(name), says(*translate)));
    }
    sockets.take_pod(Told::End);
    sockets.take_namespace(Told::Begin);
    sockets.take_namespace(Told::Set(ObjectName::new("", "shop"), namespace.and_then(|n| says(Some(n)))));
    sockets.take_namespace(Told::End);
}

#[test]
fn the_pods_word_counts_then_its_namespaces() {
    let (sockets, table) = start();
    let pods = [("plain", None), ("off", Some(false)), ("on", Some(true))];
    for (cookie, (name, _)) in (1..).zip(&pods) {
        put(&sockets, name, cookie);
    }
    sockets.put("lx-nameless", Here { pod: None, namespace: "/ns/nameless".into(), cookie: 9 });
    synced(&sockets, &pods, None);
    sockets.settle().unwrap();
    assert_eq!(cookies(&table), [2]);
    sockets.take_namespace(Told::Set(ObjectName::new("", "shop"), says(Some(false))));
    sockets.settle().unwrap();
    assert_eq!(cookies(&table), [1, 2]);
    sockets.take_namespace(Told::Set(ObjectName::new("", "other"), says(Some(false))));
    sockets.take_namespace(Told::Gone(ObjectName::new("", "shop")));
    sockets.take_pod(Told::Set(pod("plain"), says(Some(false))));
    sockets.take_pod(Told::Set(pod("off"), says(None)));
    sockets.settle().unwrap();
    assert_eq!(cookies(&table), [1], "changed while they run");
    sockets.detach("lx-plain");
    assert!(cookies(&table).is_empty());
    assert_eq!(sockets.namespaces().len(), 3);
}

#[test]
fn a_new_agent_takes_nothing_out_before_it_knows_everything() {
    let (sockets, table) = start();
    for cookie in [1, 7] {
        table.insert(&cookie, &1).unwrap();
    }
    put(&sockets, "off", 1);
    sockets.settle().unwrap();
    sockets.take_pod(Told::Begin);
    sockets.settle().unwrap();
    assert_eq!(cookies(&table), [1, 7]);
    synced(&sockets, &[("off", Some(false))], None);
    sockets.settle().unwrap();
    assert_eq!(cookies(&table), [1], "7 is left over from a Pod that has gone");
}

#[test]
fn a_full_map_is_told_and_tried_again() {
    let (sockets, table) = start();
    for cookie in 100..108 {
        table.insert(&cookie, &1).unwrap();
    }
    put(&sockets, "off", 1);
    sockets.take_pod(Told::Set(pod("off"), says(Some(false))));
    assert!(sockets.settle().is_err());
    assert!(sockets.settle().is_err(), "it is not forgotten");
    synced(&sockets, &[("off", Some(false))], None);
    sockets.settle().unwrap();
    assert_eq!(cookies(&table), [1]);
}

#[test]
fn a_pod_that_starts_waits_for_the_api_but_not_for_ever() {
    let (sockets, table) = start();
    let own = NetNs::current().unwrap().cookie().unwrap();
    let path = Path::new("/proc/thread-self/ns/net");
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let attached = scope.spawn(|| {
            sockets.attach("lx-off", Some(pod("off")), path);
            begun.elapsed()
        });
        std::thread::sleep(Duration::from_millis(50));
        synced(&sockets, &[("off", Some(false))], None);
        assert!(attached.join().unwrap() < PATIENCE, "it goes on as soon as the API has told of it");
        assert_eq!(cookies(&table), [own], "before it has a socket");
    });
    let begun = Instant::now();
    sockets.attach("lx-unknown", Some(pod("unknown")), path);
    assert!((PATIENCE..PATIENCE * 4).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let begun = Instant::now();
    sockets.attach("lx-nameless", None, path);
    sockets.attach("lx-gone", Some(pod("off")), Path::new("/nonexistent"));
    assert!(begun.elapsed() < PATIENCE, "nothing to wait for");
}

#[test]
fn what_cannot_be_followed_is_told_with_its_object() {
    let (sockets, _) = start();
    let wrong = Wish { translate: None, problem: Some("is \"maybe\"".to_owned()) };
    sockets.take_namespace(Told::Set(ObjectName::new("", "shop"), Some(wrong.clone())));
    sockets.take_pod(Told::Set(pod("a"), Some(wrong)));
    sockets.take_pod(Told::Set(pod("b"), says(Some(true))));
    assert_eq!(sockets.problems(), ["Namespace shop: is \"maybe\"", "Pod shop/a: is \"maybe\""]);
}
