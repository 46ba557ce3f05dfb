//! The few verbs of the Kubernetes API that a Pod runner uses, in memory.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_stream::{StreamExt, wrappers::BroadcastStream};

/// Objects by path (`/api/v1/namespaces/default/pods/web`).
#[derive(Clone)]
pub struct FakeApi {
    state: Arc<Mutex<State>>,
    news: broadcast::Sender<(String, Value)>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl FakeApi {
    pub fn new() -> Self {
        Self { state: Arc::default(), news: broadcast::channel(4096).0 }
    }

    pub fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Puts an object there as a controller would.
    pub fn put(&self, path: &str, mut object: Value) -> Value {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}-{}", std::process::id(), state.version));
        }
        let kind = if state.objects.insert(path.into(), object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        let _ = self.news.send((path.into(), json!({"type": kind, "object": object})));
        object
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    /// Takes an object away without asking anybody.
    pub fn remove(&self, path: &str) {
        let object = self.state.lock().unwrap().objects.remove(path);
        if let Some(object) = object {
            let _ = self.news.send((path.into(), json!({"type": "DELETED", "object": object})));
        }
    }

    /// `kubectl delete`: a Pod gets a deletion time and goes when its node says so.
    pub fn delete_pod(&self, name: &str, grace: u64) {
        let path = pod_path(name);
        let mut pod = self.get(&path).expect("the Pod is there");
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        self.put(&path, pod);
    }

    pub fn events(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let events = state.objects.iter().filter(|(path, _)| path.contains("/events/"));
        events
            .map(|(_, event)| format!("{} {}", event["reason"].as_str().unwrap(), event["message"].as_str().unwrap()))
            .collect()
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let path = head.uri.path().trim_end_matches("/status").to_owned();
        let query = head.uri.query().unwrap_or_default();
        let is_object = path.rsplit('/').next().is_some_and(|last| !COLLECTIONS.contains(&last));
        match (head.method, is_object) {
            (Method::GET, false) if query.contains("watch=") => self.watch(&path, query),
            (Method::GET, false) => {
                let state = self.state.lock().unwrap();
                let items: Vec<_> = state
                    .objects
                    .iter()
                    .filter(|(at, o)| in_collection(at, &path) && on_node(o, query))
                    .map(|(_, o)| o)
                    .collect();
                json_answer(
                    StatusCode::OK,
                    &json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": state.version.to_string()}, "items": items}),
                )
            }
            (Method::GET, true) => {
                self.get(&path).map_or_else(not_found, |object| json_answer(StatusCode::OK, &object))
            }
            (Method::POST, _) => {
                let name = body["metadata"]["name"].as_str().unwrap_or("x").to_owned();
                json_answer(StatusCode::CREATED, &self.put(&format!("{path}/{name}"), body))
            }
            (Method::PATCH, _) => match self.get(&path) {
                Some(mut object) => {
                    let uid = &body["metadata"]["uid"];
                    if !uid.is_null() && *uid != object["metadata"]["uid"] {
                        return refuse(StatusCode::CONFLICT);
                    }
                    merge(&mut object, &body);
                    json_answer(StatusCode::OK, &self.put(&path, object))
                }
                None => not_found(),
            },
            (Method::DELETE, _) => match self.get(&path) {
                Some(object) => {
                    self.remove(&path);
                    json_answer(StatusCode::OK, &object)
                }
                None => not_found(),
            },
            _ => refuse(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn watch(&self, path: &str, query: &str) -> Answer {
        let (path, query) = (path.to_owned(), query.to_owned());
        let since: u64 =
            query.split("resourceVersion=").nth(1).and_then(|rest| rest.split('&').next()?.parse().ok()).unwrap_or(0);
        let stream = {
            let state = self.state.lock().unwrap();
            let receiver = self.news.subscribe();
            // What changed between the list and this watch.
            let missed: Vec<Value> = state
                .objects
                .iter()
                .filter(|(at, object)| in_collection(at, &path) && on_node(object, &query) && version(object) > since)
                .map(|(_, object)| json!({"type": "MODIFIED", "object": object}))
                .collect();
            let live = BroadcastStream::new(receiver)
                .filter_map(Result::ok)
                .filter(move |(at, event)| in_collection(at, &path) && on_node(&event["object"], &query));
            tokio_stream::iter(missed).chain(live.map(|(_, event)| event))
        };
        let frames = stream.map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

pub fn pod_path(name: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{name}")
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// `/api/v1/pods` holds what lies in every namespace's.
fn in_collection(at: &str, collection: &str) -> bool {
    let Some((folder, _)) = at.rsplit_once('/') else { return false };
    let last = collection.rsplit('/').next().unwrap_or_default();
    folder == collection || (!collection.contains("/namespaces/") && folder.ends_with(&format!("/{last}")))
}

fn on_node(object: &Value, query: &str) -> bool {
    match query.split("spec.nodeName%3D").nth(1).and_then(|rest| rest.split('&').next()) {
        Some(node) => object["spec"]["nodeName"] == node,
        None => true,
    }
}

/// JSON merge patch (RFC 7386).
fn merge(object: &mut Value, patch: &Value) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    object.remove(key);
                } else {
                    merge(object.entry(key.clone()).or_insert(json!({})), value);
                }
            }
        }
        (object, patch) => *object = patch.clone(),
    }
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(status).header("content-type", "application/json").body(body).unwrap()
}

fn refuse(status: StatusCode) -> Answer {
    // Kubernetes' reasons are one word: NotFound.
    let reason = status.canonical_reason().unwrap_or_default().replace(' ', "");
    json_answer(
        status,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": status.as_u16()}),
    )
}

fn not_found() -> Answer {
    refuse(StatusCode::NOT_FOUND)
}

const COLLECTIONS: [&str; 6] = ["pods", "events", "nodes", "leases", "configmaps", "secrets"];
