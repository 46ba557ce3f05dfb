//! Many nodes and one Service, at an API that takes a write only from the version that is there.

use super::*;
use http::{Method, Request, Response};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::client::Body;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// The one Service and how many writes it has taken and refused.
#[derive(Default)]
struct Api {
    conditions: Vec<Condition>,
    version: u64,
    refused: u64,
}

impl Api {
    fn object(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "s", "namespace": "default", "resourceVersion": self.version.to_string()},
            "status": {"conditions": self.conditions},
        })
    }

    fn answer(&mut self, method: &Method, body: &[u8]) -> (u16, Value) {
        if *method == Method::GET {
            return (200, self.object());
        }
        let patch: Value = serde_json::from_slice(body).unwrap();
        if patch["metadata"]["resourceVersion"].as_str() != Some(&self.version.to_string()) {
            self.refused += 1;
            let status =
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "code": 409});
            return (409, status);
        }
        self.version += 1;
        self.conditions = serde_json::from_value(patch["status"]["conditions"].clone()).unwrap();
        (200, self.object())
    }
}

fn client(api: &Arc<Mutex<Api>>) -> kube::Client {
    let api = api.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let api = api.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            // What was read is old by the time it is written, as it is with a real API.
            tokio::task::yield_now().await;
            let (code, answer) = api.lock().unwrap().answer(&parts.method, &body);
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    kube::Client::new(service, "default")
}

fn says(problem: Option<&str>) -> Report {
    Report { problem: problem.map(Into::into), ..Report::default() }
}

/// Until it is so, or for far too long.
async fn until(api: &Mutex<Api>, holds: impl Fn(&Api) -> bool) {
    for _ in 0..3_000 {
        if holds(&api.lock().unwrap()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", api.lock().unwrap().conditions);
}

fn message(api: &Api) -> &str {
    api.conditions.first().map_or("", |condition| condition.message.as_str())
}

#[tokio::test]
async fn twenty_nodes_at_once_lose_no_word_and_leave_nothing() {
    let api = Arc::new(Mutex::new(Api::default()));
    let name = ObjectName::new("default", "s");
    let all: Vec<String> = (0..20).map(|n| format!("node-{n:02}")).collect();
    let nodes: Vec<_> = all.iter().map(|node| start(client(&api), node.as_str().into())).collect();
    let say = |problem: Option<&str>| {
        for node in &nodes {
            node.send((name.clone(), says(problem))).unwrap();
        }
    };
    say(Some("map full"));
    let whole = format!("On {}: map full", all.join(", "));
    until(&api, |api| message(api) == whole).await;
    assert!(api.lock().unwrap().refused > 0, "they have met");
    assert_eq!(api.lock().unwrap().version, 20, "one write for each change");
    say(Some("map full"));
    tokio::time::sleep(FIRST_PAUSE * 5).await;
    assert_eq!(api.lock().unwrap().version, 20, "what is there is not written again");
    say(None);
    until(&api, |api| api.conditions.is_empty()).await;
    assert_eq!(api.lock().unwrap().version, 40);
}

#[tokio::test]
async fn the_newest_report_counts() {
    let api = Arc::new(Mutex::new(Api::default()));
    let name = ObjectName::new("default", "s");
    let node = start(client(&api), "node-1".into());
    for problem in [Some("one"), None, Some("two")] {
        node.send((name.clone(), says(problem))).unwrap();
    }
    until(&api, |api| message(api) == "On node-1: two").await;
    assert_eq!(api.lock().unwrap().version, 1);
}
