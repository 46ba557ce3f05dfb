//! What Pods belong to, those of other nodes too, as events get it.

use super::*;

fn told(name: &str, address: &str, of: u8, workload: Option<Workload>) -> identity::Published {
    identity::Published {
        pod: ObjectName::new("default", name),
        identity: 300,
        addresses: vec![address.parse().unwrap()],
        node: Some(node(of).addresses[0]),
        workload: workload.map(Arc::new),
    }
}

/// All that the slices say.
fn publish(state: &mut State, pods: Vec<identity::Published>) {
    state.take(Input::Published(Told::Set("ces-default-0".into(), Some(pods))));
    state.settle();
    state.answer(Question::Listening);
}

/// As events get it.
fn named(fixture: &Fixture, address: &str) -> (String, String) {
    let names = fixture.names.read().unwrap();
    let who = &names.who[&Address::from_ip(address.parse().unwrap())];
    let workload = who.workload.as_ref().map_or_else(String::new, |one| format!("{}/{}", one.kind, one.name));
    (who.pod.as_ref().map_or_else(String::new, |pod| pod.name.to_string()), workload)
}

fn is(pod: &str, workload: &str) -> (String, String) {
    (pod.to_owned(), workload.to_owned())
}

fn web() -> Option<Workload> {
    Workload::new("Deployment", "web")
}

#[test]
fn pods_of_all_nodes_have_what_they_belong_to() {
    let mut fixture = fixture(99);
    let _listener = fixture.hub.listen(false);
    tell(&mut fixture.state, &[node(1), node(2)], &["10.244.2.2"]);
    fixture.state.parts.pods.attach(ported(7, 8088)).unwrap();
    let own = Workload::new("StatefulSet", "web").map(Arc::new);
    let name = ObjectName::new("default", "web-7");
    fixture.state.take(Input::Pod(Told::Set(name, Some((Default::default(), own)))));
    publish(
        &mut fixture.state,
        vec![
            told("web-7", "10.244.1.7", 1, web()),
            told("web-8", "10.244.2.8", 2, web()),
            told("web-9", "10.244.2.9", 2, web()),
            told("old", "10.244.2.10", 2, None),
        ],
    );
    assert_eq!(named(&fixture, "10.244.1.7"), is("web-7", "StatefulSet/web"), "its node knows better");
    assert_eq!(named(&fixture, "10.244.2.8"), is("web-8", "Deployment/web"));
    assert_eq!(named(&fixture, "10.244.2.10"), is("old", ""), "whoever wrote the slice did not say");
    assert_eq!(named(&fixture, "10.244.2.2"), is("pod-10.244.2.2", ""));
    assert_eq!(named(&fixture, "172.18.0.4"), is("", ""), "a node");
    let names = fixture.names.read().unwrap().clone();
    let of = |last| names.who[&Address::from_v4([10, 244, 2, last])].workload.clone().unwrap();
    assert!(Arc::ptr_eq(&of(8), &of(9)), "ten thousand Pods have a hundred workloads");
}

#[test]
fn who_goes_takes_along_what_it_belongs_to() {
    let mut fixture = fixture(99);
    let _listener = fixture.hub.listen(false);
    tell(&mut fixture.state, &[node(1), node(2)], &["10.244.2.2"]);
    let both = vec![told("pod-10.244.2.2", "10.244.2.2", 2, web()), told("web-8", "10.244.2.8", 2, web())];
    publish(&mut fixture.state, both);
    // One is gone; of the other the Service's slice speaks still.
    publish(&mut fixture.state, vec![]);
    assert_eq!(named(&fixture, "10.244.2.8"), is("web-8", "Deployment/web"));
    assert_eq!(named(&fixture, "10.244.2.2"), is("pod-10.244.2.2", "Deployment/web"));
    // Who comes to its address is somebody else.
    let database = Workload::new("StatefulSet", "db");
    let others = vec![told("new", "10.244.2.2", 2, None), told("db-0", "10.244.2.8", 2, database)];
    publish(&mut fixture.state, others);
    assert_eq!(named(&fixture, "10.244.2.2"), is("new", ""));
    assert_eq!(named(&fixture, "10.244.2.8"), is("db-0", "StatefulSet/db"));
}

#[test]
fn who_stays_away_has_gone_and_who_comes_back_has_not() {
    let mut fixture = fixture(99);
    tell(&mut fixture.state, &[node(1), node(2)], &["10.244.2.2"]);
    let pods =
        |last: &[u8]| last.iter().map(|n| told(&format!("web-{n}"), &format!("10.244.2.{n}"), 2, None)).collect();
    let away = |fixture: &Fixture| {
        let mut away: Vec<String> = fixture.state.away.0.keys().map(|address| address.to_ip().to_string()).collect();
        away.sort();
        away.join(" ")
    };
    publish(&mut fixture.state, pods(&[8, 9]));
    assert_eq!(away(&fixture), "");
    publish(&mut fixture.state, pods(&[9]));
    assert_eq!(away(&fixture), "10.244.2.8");
    publish(&mut fixture.state, pods(&[8, 9]));
    assert_eq!(away(&fixture), "", "its entry had moved");
    publish(&mut fixture.state, pods(&[]));
    fixture.state.tick();
    assert_eq!(away(&fixture), "10.244.2.8 10.244.2.9", "for a moment, as far as anybody knows");
    let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    fixture.state.away.0.insert(Address::from_v4([10, 244, 2, 8]), long_ago);
    fixture.state.tick();
    assert_eq!(away(&fixture), "10.244.2.9", "its flows have ended");
}
