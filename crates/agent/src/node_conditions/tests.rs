//! One Node at an API that keeps what is written.

use super::*;
use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Api {
    conditions: Vec<Value>,
    writes: usize,
    events: Vec<String>,
    /// Answers 503 so often first.
    away: usize,
}

impl Api {
    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        if self.away > 0 {
            self.away -= 1;
            return (
                503,
                json!({"kind": "Status", "status": "Failure", "code": 503, "reason": "X", "message": "away"}),
            );
        }
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        if path.contains("/events") {
            self.events.push(format!("{}: {}", sent["reason"].as_str().unwrap(), sent["note"].as_str().unwrap()));
            return (201, sent);
        }
        assert!(path.starts_with("/api/v1/nodes/worker-1/status"), "{path}");
        if *method == Method::PATCH {
            self.writes += 1;
            let new = &sent["status"]["conditions"][0];
            // As a strategic merge by type does it.
            match self.conditions.iter_mut().find(|one| one["type"] == new["type"]) {
                Some(old) => new.as_object().unwrap().iter().for_each(|(k, v)| old[k] = v.clone()),
                None => self.conditions.push(new.clone()),
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
    let sender = start(client(&api), "worker-1".to_owned());
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
    let next = start(client(&api), "worker-1".to_owned());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(says(&api.lock().unwrap(), "True", ""));
    next.send_replace(Room::Enough);
    until(&api, |api| says(api, "False", "every policy")).await;
}

#[tokio::test]
async fn what_is_plain_is_written_though_nothing_was_said_and_touches_no_other() {
    let others = json!({"type": "NetworkUnavailable", "status": "False", "message": "up"});
    let api = Arc::new(Mutex::new(Api { conditions: vec![others.clone()], away: 1, ..Api::default() }));
    let sender = keep(client(&api), "worker-1".to_owned(), "malla.dev/Connectivity", Option::clone);
    let said =
        |holds, message: &str, weight| Some(Statement { holds, reason: "Reason", message: message.to_owned(), weight });
    let says = |api: &Api, status: &str, message: &str| {
        api.conditions
            .iter()
            .any(|one| one["type"] == "malla.dev/Connectivity" && one["status"] == status && one["message"] == message)
    };
    sender.send_replace(said(true, "all answer", Weight::Plain));
    until(&api, |api| says(api, "True", "all answer")).await;
    assert!(api.lock().unwrap().events.is_empty());
    sender.send_replace(said(false, "b is away", Weight::Warning("Probe")));
    until(&api, |api| says(api, "False", "b is away") && api.events == ["Reason: b is away"]).await;
    // Who says nothing takes nothing back.
    sender.send_replace(None);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let api = api.lock().unwrap();
    assert!(says(&api, "False", "b is away") && api.writes == 2 && api.conditions[0] == others, "{:?}", api.conditions);
}
