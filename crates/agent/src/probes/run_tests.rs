//! Real sockets: a node that is this machine's loopback, and one that is nowhere.

use super::*;
use crate::probes::Probes;
use crate::probes::hello::Nodes;
use crate::probes::plan::tests::node;
use crate::probes::view::Standing;
use std::collections::BTreeSet;
use std::net::IpAddr;

fn target(node: &str, address: &str, protocol: Protocol) -> Target {
    Target { node: node.into(), address: address.parse().unwrap(), protocol }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not in time");
}

#[tokio::test]
async fn it_finds_who_answers_and_forgets_who_has_left() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let (wish, wishes) = watch::channel(None::<Wanted>);
    let (said, statements) = watch::channel(None::<Statement>);
    let found = Arc::new(Found { enabled: true, ..Found::default() });
    // It is `here`, and so is who it asks.
    let settings = Settings { own: "here".into(), port, interval: Duration::from_millis(50) };
    tokio::spawn(run(settings, wishes, found.clone(), said, Trouble::default()));
    let here = [target("here", "127.0.0.1", Protocol::Icmp), target("here", "127.0.0.1", Protocol::Tcp)];
    let other = target("other", "127.0.0.1", Protocol::Tcp);
    let nodes: Nodes = Arc::new(BTreeSet::from(["127.0.0.1".parse::<IpAddr>().unwrap()]));
    let wanted = |targets| Some(Wanted { targets, nodes: nodes.clone(), ..Wanted::default() });
    wish.send_replace(wanted(BTreeSet::from(here.clone())));
    until("both ways", || statements.borrow().as_ref().is_some_and(|said| said.holds)).await;
    let all: BTreeSet<Target> = here.iter().cloned().chain([other]).collect();
    wish.send_replace(wanted(all));
    until("the stranger", || statements.borrow().as_ref().is_some_and(|said| said.message.contains("other by TCP")))
        .await;
    let view = found.paths().ledger.view();
    assert_eq!((&*view[0].node.0, &*view[1].node.0), ("here", "other"));
    assert!(view[0].paths.iter().all(|path| path.state == Standing::Reachable && path.latency_seconds.is_some()));
    assert_eq!(view[1].paths[0].error.as_deref(), Some("here answers there"));
    wish.send_replace(wanted(BTreeSet::from(here)));
    until("well again", || statements.borrow().as_ref().is_some_and(|said| said.holds)).await;
    assert_eq!(found.paths().ledger.view().len(), 1);
}

/// There is nobody to probe, and that is said: another statement may stand from before.
#[tokio::test]
async fn who_is_alone_says_so_and_so_does_who_has_no_way_to_another() {
    let probes = Probes { found: Arc::new(Found { enabled: true, ..Found::default() }), ..Probes::default() };
    let (said, statements) = watch::channel(None::<Statement>);
    let settings = Settings { own: "here".into(), port: 4240, interval: Duration::from_secs(10) };
    let (nodes, _known) = watch::channel(Nodes::default());
    let (wanted, found) = (probes.wanted.subscribe(), probes.found.clone());
    tokio::spawn(async move { probe(settings, wanted, &nodes, &found, &said).await });
    let own = node("here", &["10.0.0.1"]);
    assert_eq!(*statements.borrow(), None);
    probes.tell(&own, [own.clone()].iter());
    until("that it is alone", || statements.borrow().as_ref().is_some_and(|said| said.holds)).await;
    probes.tell(&own, [own.clone(), node("other", &["fc00::2"])].iter());
    let is_missed =
        |said: &Statement| !said.holds && said.reason == "NodesWithoutPath" && said.message.contains("other");
    until("that it has no way", || statements.borrow().as_ref().is_some_and(is_missed)).await;
    probes.tell(&own, [own.clone()].iter());
    until("that it is alone again", || statements.borrow().as_ref().is_some_and(|said| said.holds)).await;
}
