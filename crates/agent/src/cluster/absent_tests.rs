//! Kinds that the API does not have, and answers that look like it.

use super::*;
use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use std::convert::Infallible;

/// An API of answers by path; what has none is 404.
type Answers = Arc<Mutex<Vec<(&'static str, u16, Value)>>>;

const LIST: &str = "/apis/cilium.io/v2/ciliumnetworkpolicies";

fn client(answers: &Answers) -> kube::Client {
    let answers = answers.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let answers = answers.clone();
        async move {
            if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
                std::future::pending::<()>().await;
            }
            let path = request.uri().path().to_owned();
            let known = answers.lock().unwrap().iter().find(|(at, ..)| *at == path).cloned();
            let (code, body) = known.map_or((404, Value::Null), |(_, code, body)| (code, body));
            // As Kubernetes says it of what it has never heard of: no Status, plain text.
            let body = if code == 404 { b"404 page not found\n".to_vec() } else { serde_json::to_vec(&body).unwrap() };
            Ok::<_, Infallible>(Response::builder().status(code).body(Body::from(body)).unwrap())
        }
    });
    kube::Client::new(service, "default")
}

fn groups(names: &[(&str, &[&str])]) -> Value {
    let group = |(name, versions): &(&str, &[&str])| {
        let versions: Vec<Value> =
            versions.iter().map(|v| json!({"groupVersion": format!("{name}/{v}"), "version": v})).collect();
        json!({"name": name, "versions": versions})
    };
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": names.iter().map(group).collect::<Vec<_>>()})
}

fn resources(version: &str, names: &[&str]) -> Value {
    let one =
        |name: &&str| json!({"name": name, "singularName": "", "namespaced": true, "kind": "K", "verbs": ["list"]});
    let list: Vec<Value> = names.iter().map(one).collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": list})
}

fn failure(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "X", "code": code, "message": "no"})
}

fn objects() -> Value {
    json!({"kind": "CiliumNetworkPolicyList", "apiVersion": "cilium.io/v2", "metadata": {"resourceVersion": "7"},
        "items": [{"metadata": {"namespace": "default", "name": "p"}, "spec": {"endpointSelector": {}}}]})
}

const NETWORKING: (&str, &[&str]) = ("networking.k8s.io", &["v1"]);

fn start(answers: &Answers, absent: Absent) -> (mpsc::Receiver<Heard>, Watches) {
    let (sender, receiver) = mpsc::channel(16);
    let watches = Watches::default();
    let watch = Watch::<CiliumNetworkPolicy, _, _> {
        kind: "CiliumNetworkPolicy",
        absent,
        key: object_name,
        read: objects::whole,
        input: |told| Input::Policy(policies::Input::Cilium(told)),
        pause: Duration::from_millis(20),
    };
    tokio::spawn(watch.run(client(answers), watcher::Config::default(), watches.clone(), sender));
    (receiver, watches)
}

/// What was told, without beginnings: `true` for an object, `false` for the end of a list.
async fn told(receiver: &mut mpsc::Receiver<Heard>) -> bool {
    loop {
        let input = tokio::time::timeout(Duration::from_secs(20), receiver.recv()).await.expect("something is told");
        match input.expect("the watch goes on").input {
            Input::Policy(policies::Input::Cilium(Told::Begin)) => {}
            Input::Policy(policies::Input::Cilium(Told::Set(..))) => return true,
            Input::Policy(policies::Input::Cilium(Told::End)) => return false,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_the_api_does_not_have_is_none_until_it_has_it() {
    let other = resources("cilium.io/v2", &["ciliumidentities"]);
    let answers: Answers = Arc::new(Mutex::new(vec![
        ("/apis", 200, groups(&[NETWORKING, ("cilium.io", &["v2"])])),
        ("/apis/cilium.io/v2", 200, other),
    ]));
    let (mut receiver, watches) = start(&answers, Absent::Empty);
    assert!(!told(&mut receiver).await, "an empty list, whole");
    let state = &watches.now()[0];
    assert_eq!((state.synced, state.not_served, state.connected, &state.last_error), (true, true, true, &None));
    // No group at all is as good.
    answers.lock().unwrap().clear();
    answers.lock().unwrap().push(("/apis", 200, groups(&[NETWORKING])));
    assert!(!told(&mut receiver).await);
    *answers.lock().unwrap() = vec![(LIST, 200, objects())];
    while !told(&mut receiver).await {}
    assert!(!told(&mut receiver).await, "the end of the list");
    assert!(!watches.now()[0].not_served);
}

/// Nothing is told but beginnings, and status says what is missing.
async fn stays_closed(answers: Vec<(&'static str, u16, Value)>, absent: Absent, why: &str) {
    let (mut receiver, watches) = start(&Arc::new(Mutex::new(answers)), absent);
    let wait = tokio::time::timeout(Duration::from_millis(800), told(&mut receiver));
    assert!(wait.await.is_err(), "{why}: something was told");
    let state = &watches.now()[0];
    assert!(!state.synced && !state.not_served && !state.connected, "{state:?}");
    let error = state.last_error.as_deref().unwrap_or_default();
    assert!(error.contains(why), "{error}");
}

#[tokio::test]
async fn what_is_only_not_told_is_never_taken_for_nothing() {
    let cilium = || ("/apis", 200, groups(&[NETWORKING, ("cilium.io", &["v2", "v3"])]));
    let v2 = || ("/apis/cilium.io/v2", 200, resources("cilium.io/v2", &["ciliumidentities"]));
    let v3 = || ("/apis/cilium.io/v3", 200, resources("cilium.io/v3", &["ciliumnetworkpolicies"]));
    tokio::join!(
        stays_closed(vec![(LIST, 403, failure(403)), ("/apis", 200, groups(&[NETWORKING]))], Absent::Empty, "no"),
        stays_closed(vec![(LIST, 500, failure(500)), ("/apis", 200, groups(&[NETWORKING]))], Absent::Empty, "no"),
        stays_closed(vec![("/apis", 403, failure(403))], Absent::Empty, "is not known"),
        stays_closed(vec![], Absent::Empty, "is not known"),
        stays_closed(vec![("/apis", 200, json!({}))], Absent::Empty, "is not whole"),
        stays_closed(vec![("/apis", 200, groups(&[]))], Absent::Empty, "is not whole"),
        stays_closed(vec![cilium(), v2()], Absent::Empty, "is not known"),
        stays_closed(vec![cilium(), v2(), ("/apis/cilium.io/v3", 503, failure(503))], Absent::Empty, "is not known"),
        stays_closed(vec![cilium(), v2(), v3()], Absent::Empty, "serves CiliumNetworkPolicy as v3"),
        stays_closed(vec![("/apis", 200, groups(&[NETWORKING]))], Absent::Awaited, "nothing works without it"),
    );
}
