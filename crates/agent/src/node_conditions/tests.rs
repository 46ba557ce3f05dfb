//! One Node at an API that keeps what is written.

use super::pace::AT_ONCE;
use super::room::CONDITION;
use super::*;
use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
struct Api {
    conditions: Vec<Value>,
    writes: usize,
    events: Vec<String>,
    /// Answers 503 so often first.
    away: usize,
    /// And so often to Events.
    events_away: usize,
}

impl Api {
    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        let failure = |code: u16| {
            (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": "X", "message": "no"}))
        };
        if self.away > 0 {
            self.away -= 1;
            return failure(503);
        }
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        if path.contains("/events") {
            if self.events_away > 0 {
                self.events_away -= 1;
                return failure(503);
            }
            if sent["note"].as_str().unwrap().len() > 1024 {
                return failure(422);
            }
            self.events.push(format!("{}: {}", sent["reason"].as_str().unwrap(), sent["note"].as_str().unwrap()));
            return (201, sent);
        }
        assert!(path.starts_with("/api/v1/nodes/worker-1/status"), "{path}");
        if *method == Method::PATCH {
            self.writes += 1;
            // As a strategic merge by type does it.
            for new in sent["status"]["conditions"].as_array().unwrap() {
                if new["$patch"] == "delete" {
                    self.conditions.retain(|one| one["type"] != new["type"]);
                    continue;
                }
                match self.conditions.iter_mut().find(|one| one["type"] == new["type"]) {
                    Some(old) => new.as_object().unwrap().iter().for_each(|(k, v)| old[k] = v.clone()),
                    None => self.conditions.push(new.clone()),
                }
            }
        }
        let metadata = json!({"name": "worker-1", "uid": "u-1"});
        (200, json!({"metadata": metadata, "status": {"conditions": self.conditions}}))
    }
}

fn client(api: &Arc<Mutex<Api>>) -> kube::Client {
    let api = api.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let api = api.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let (code, answer) = api.lock().unwrap().answer(&parts.method, parts.uri.path(), &body);
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    kube::Client::new(service, "default")
}

fn conditions(api: &Arc<Mutex<Api>>) -> NodeConditions {
    NodeConditions::of(client(api), "worker-1".to_owned())
}

/// Keeps one condition alone.
fn keep(api: &Arc<Mutex<Api>>, condition: &'static str, pace: Pace) -> watch::Sender<Option<Statement>> {
    let mut conditions = conditions(api);
    let sender = conditions.keep(condition, pace, Option::clone);
    conditions.start();
    sender
}

/// Keeps that of room.
fn start(api: &Arc<Mutex<Api>>) -> watch::Sender<Room> {
    let mut conditions = conditions(api);
    let sender = room::keep(&mut conditions);
    conditions.start();
    sender
}

/// Until it is so, or for far too long.
async fn until(api: &Mutex<Api>, holds: impl Fn(&Api) -> bool) {
    for _ in 0..2_000 {
        if holds(&api.lock().unwrap()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", api.lock().unwrap().conditions);
}

fn says(api: &Api, status: &str, message: &str) -> bool {
    api.conditions.iter().any(|one| {
        one["type"] == CONDITION && one["status"] == status && one["message"].as_str().unwrap().contains(message)
    })
}

#[tokio::test]
async fn a_full_table_is_a_condition_and_an_event_until_there_is_room() {
    let api = Arc::new(Mutex::new(Api { away: 1, ..Api::default() }));
    let sender = start(&api);
    tokio::time::sleep(Duration::from_millis(100)).await;
    sender.send_replace(Room::Enough);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(api.lock().unwrap().writes, 0, "nothing was ever wrong: nothing is said");
    let full = |text: &str| Room::Full(text.to_owned());
    sender.send_replace(full("map policy_rows has room for 10"));
    until(&api, |api| says(api, "True", "room for 10") && !api.events.is_empty()).await;
    assert_eq!(api.lock().unwrap().events, ["PolicyTablesFull: map policy_rows has room for 10"]);
    let since = api.lock().unwrap().conditions[0]["lastTransitionTime"].clone();
    // The same again is no news; other words are, and it is full for as long as it was.
    sender.send_replace(full("map policy_rows has room for 10"));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(api.lock().unwrap().writes, 1);
    sender.send_replace(full("map policy_peers has room for 5"));
    until(&api, |api| says(api, "True", "room for 5")).await;
    assert_eq!(api.lock().unwrap().conditions[0]["lastTransitionTime"], since);
    sender.send_replace(Room::Enough);
    until(&api, |api| says(api, "False", "every policy")).await;
    // A successor finds what was said of a state that is over, and says nothing before it knows.
    api.lock().unwrap().conditions[0]["status"] = json!("True");
    drop(sender);
    let next = start(&api);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(says(&api.lock().unwrap(), "True", ""));
    next.send_replace(Room::Enough);
    until(&api, |api| says(api, "False", "every policy")).await;
}

const CONNECTIVITY: &str = "malla.dev/Connectivity";

fn said(holds: bool, message: &str, weight: Weight) -> Option<Statement> {
    Some(Statement { holds, reason: "Reason", message: message.to_owned(), weight })
}

/// Of the other condition.
fn connects(api: &Api, status: &str, message: &str) -> bool {
    let mut conditions = api.conditions.iter();
    conditions.any(|one| one["type"] == CONNECTIVITY && one["status"] == status && one["message"] == message)
}

#[tokio::test]
async fn what_is_plain_is_written_though_nothing_was_said_and_touches_no_other() {
    let others = json!({"type": "NetworkUnavailable", "status": "False", "message": "up"});
    let api = Arc::new(Mutex::new(Api { conditions: vec![others.clone()], away: 1, ..Api::default() }));
    let sender = keep(&api, CONNECTIVITY, AT_ONCE);
    sender.send_replace(said(true, "all answer", Weight::Plain));
    until(&api, |api| connects(api, "True", "all answer")).await;
    assert!(api.lock().unwrap().events.is_empty());
    sender.send_replace(said(false, "b is away", Weight::Warning("Probe")));
    until(&api, |api| connects(api, "False", "b is away") && api.events == ["Reason: b is away"]).await;
    // Who says nothing takes nothing back.
    sender.send_replace(None);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let api = api.lock().unwrap();
    assert!(
        connects(&api, "False", "b is away") && api.writes == 2 && api.conditions[0] == others,
        "{:?}",
        api.conditions
    );
}

/// A pace that a test has time for.
const QUICK: Pace = Pace {
    settle: Duration::from_millis(50),
    latest: Duration::from_millis(400),
    turns: Duration::from_millis(50),
    apart: Duration::from_millis(400),
    again: Duration::from_secs(60),
    beat: None,
};

#[tokio::test]
async fn many_changes_are_few_writes_and_one_event() {
    let api = Arc::new(Mutex::new(Api::default()));
    let sender = keep(&api, CONNECTIVITY, QUICK);
    let began = Instant::now();
    for number in 0..100 {
        sender.send_replace(said(false, &format!("can't reach {number} nodes"), Weight::Warning("Probe")));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until(&api, |api| connects(api, "False", "can't reach 99 nodes")).await;
    let most = 2 + began.elapsed().as_millis() / QUICK.apart.as_millis();
    let api = api.lock().unwrap();
    assert!(api.writes as u128 <= most, "{} writes, not {most}", api.writes);
    assert_eq!(api.events.len(), 1, "{:?}", api.events);
}

#[tokio::test]
async fn an_event_that_could_not_be_told_is_told_later_and_once() {
    let api = Arc::new(Mutex::new(Api { events_away: 1, ..Api::default() }));
    let sender = keep(&api, CONNECTIVITY, AT_ONCE);
    sender.send_replace(said(false, "b is away", Weight::Warning("Probe")));
    until(&api, |api| !api.events.is_empty()).await;
    sender.send_replace(said(false, "b and c are away", Weight::Warning("Probe")));
    until(&api, |api| connects(api, "False", "b and c are away")).await;
    let api = api.lock().unwrap();
    assert_eq!((api.events.as_slice(), api.writes), (&["Reason: b is away".to_owned()][..], 2));
}

/// Ten names of 63 characters; and what is no ASCII just where it is cut.
#[tokio::test]
async fn an_event_of_long_names_has_a_note_that_is_taken() {
    let ways = "by ICMP (IPv4, IPv6) and TCP (IPv4, IPv6)";
    let names: Vec<String> = (0..10).map(|number| format!("{number:0>63} {ways}")).collect();
    let euros = (0..3).map(|shift| format!("{}{}", "x".repeat(shift), "€".repeat(400)));
    for message in euros.chain([names.join("; ")]) {
        let api = Arc::new(Mutex::new(Api::default()));
        let sender = keep(&api, CONNECTIVITY, AT_ONCE);
        sender.send_replace(said(false, &message, Weight::Warning("Probe")));
        until(&api, |api| connects(api, "False", &message) && !api.events.is_empty()).await;
        let note = api.lock().unwrap().events[0].clone();
        assert!(note.ends_with('…') && note.len() > 1_000, "{note}");
    }
}

#[tokio::test]
async fn a_node_that_is_made_anew_gets_its_condition_again() {
    let api = Arc::new(Mutex::new(Api::default()));
    let pace = Pace { again: Duration::from_millis(100), ..QUICK };
    let sender = keep(&api, CONNECTIVITY, pace);
    sender.send_replace(said(true, "all answer", Weight::Plain));
    until(&api, |api| connects(api, "True", "all answer")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(api.lock().unwrap().writes, 1, "what stands is not written again");
    api.lock().unwrap().conditions.clear();
    until(&api, |api| connects(api, "True", "all answer")).await;
    drop(sender);
}

#[tokio::test]
async fn what_nobody_keeps_any_more_is_removed_and_nothing_else() {
    let others = json!({"type": "NetworkUnavailable", "status": "False", "message": "up"});
    let old = json!({"type": CONNECTIVITY, "status": "False", "message": "b is away"});
    let api = Arc::new(Mutex::new(Api { conditions: vec![others.clone(), old], away: 1, ..Api::default() }));
    conditions(&api).remove(CONNECTIVITY);
    until(&api, |api| api.conditions == [others.clone()]).await;
    conditions(&api).remove(CONNECTIVITY);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(api.lock().unwrap().writes, 1, "where there is none nothing is written");
}

/// Looked at together, and written together.
#[tokio::test]
async fn what_is_missing_of_two_is_one_write_and_each_has_its_own_words() {
    let api = Arc::new(Mutex::new(Api::default()));
    let mut both = conditions(&api);
    let pace = Pace { again: Duration::from_millis(200), ..QUICK };
    let connects_to = both.keep(CONNECTIVITY, pace, Option::clone);
    let is_ready = both.keep(ready::CONDITION, pace, Option::clone);
    both.start();
    connects_to.send_replace(said(true, "all answer", Weight::Plain));
    is_ready.send_replace(said(false, "a port is taken", Weight::Warning("Run")));
    let ready = |api: &Api, status: &str| {
        let mut conditions = api.conditions.iter();
        conditions.any(|one| one["type"] == ready::CONDITION && one["status"] == status)
    };
    until(&api, |api| connects(api, "True", "all answer") && ready(api, "False") && !api.events.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = {
        let mut api = api.lock().unwrap();
        assert_eq!((api.conditions.len(), api.events.as_slice()), (2, &["Reason: a port is taken".to_owned()][..]));
        api.conditions.clear();
        api.writes
    };
    until(&api, |api| connects(api, "True", "all answer") && ready(api, "False")).await;
    assert_eq!(api.lock().unwrap().writes, before + 1);
    // One that nobody keeps any more stays as it is; the other one goes on.
    drop(connects_to);
    tokio::time::sleep(Duration::from_millis(100)).await;
    api.lock().unwrap().conditions.clear();
    until(&api, |api| ready(api, "False")).await;
    is_ready.send_replace(said(true, "in sync", Weight::Plain));
    until(&api, |api| ready(api, "True")).await;
    assert_eq!(api.lock().unwrap().conditions.len(), 1);
}

#[tokio::test]
async fn a_heartbeat_is_renewed_when_it_is_old_and_nothing_else_with_it() {
    let time = "2020-01-01T00:00:00Z";
    let old = json!({"type": ready::CONDITION, "status": "False", "reason": "Reason", "message": "a port is taken",
        "lastHeartbeatTime": time, "lastTransitionTime": time});
    let api = Arc::new(Mutex::new(Api { conditions: vec![old.clone()], ..Api::default() }));
    let again = Duration::from_millis(100);
    let beating = |beat| keep(&api, ready::CONDITION, Pace { again, beat, ..QUICK });
    let sender = beating(None);
    sender.send_replace(said(false, "a port is taken", Weight::Warning("Run")));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(api.lock().unwrap().writes, 0, "where it has none");
    drop(sender);
    let sender = beating(Some(Duration::from_secs(600)));
    sender.send_replace(said(false, "a port is taken", Weight::Warning("Run")));
    until(&api, |api| api.conditions[0]["lastHeartbeatTime"] != time).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let api = api.lock().unwrap();
    let told = &api.conditions[0];
    assert_eq!((&told["lastTransitionTime"], &told["message"]), (&old["lastTransitionTime"], &old["message"]));
    assert_eq!((api.writes, api.events.len()), (1, 0), "it is young now, and that it beats is no news");
}
