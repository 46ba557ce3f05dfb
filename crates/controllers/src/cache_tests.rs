use super::*;
use k8s_openapi::api::core::v1::Node;
use std::sync::atomic::{AtomicUsize, Ordering};

fn node(name: &str, version: u64) -> Node {
    let mut node = Node::default();
    node.metadata.name = Some(name.into());
    node.metadata.uid = Some(format!("uid-{name}"));
    node.metadata.resource_version = Some(version.to_string());
    node
}

fn versions(cache: &Cache<Node>) -> Vec<String> {
    cache
        .all()
        .iter()
        .map(|node| {
            let meta = &node.metadata;
            format!("{}@{}", meta.name.as_deref().unwrap_or(""), meta.resource_version.as_deref().unwrap_or(""))
        })
        .collect()
}

#[test]
fn an_older_version_never_replaces_a_newer_one() {
    let cache = Cache::new();
    let changes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&changes);
    cache.on_change(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    cache.written(node("a", 9));
    cache.applied(node("a", 7));
    cache.applied(node("a", 9));
    assert_eq!(versions(&cache), ["a@9"]);
    assert_eq!(changes.load(Ordering::SeqCst), 1, "stale and repeated versions wake nobody");
    cache.applied(node("a", 10));
    assert_eq!(versions(&cache), ["a@10"]);
    assert_eq!(changes.load(Ordering::SeqCst), 2);
}

#[test]
fn a_late_delete_does_not_take_the_successor() {
    let cache = Cache::new();
    cache.applied(node("a", 5));
    cache.written(node("a", 9));
    cache.deleted(&node("a", 8));
    assert_eq!(versions(&cache), ["a@9"]);
    cache.deleted(&node("a", 10));
    assert!(versions(&cache).is_empty());
}

#[test]
fn a_relist_removes_what_vanished_and_keeps_what_was_written_meanwhile() {
    let cache = Cache::new();
    cache.applied(node("gone", 1));
    cache.applied(node("kept", 2));
    cache.relist_begins();
    cache.applied(node("kept", 2));
    cache.written(node("new", 5));
    cache.relist_ends();
    assert_eq!(versions(&cache), ["kept@2", "new@5"]);
}

#[test]
fn forget_takes_only_the_named_incarnation() {
    let cache = Cache::new();
    cache.applied(node("a", 1));
    cache.forget(&Key::new("", "a"), Some("uid-other"));
    assert_eq!(cache.all().len(), 1);
    cache.forget(&Key::new("", "a"), Some("uid-a"));
    assert!(cache.all().is_empty());
}
