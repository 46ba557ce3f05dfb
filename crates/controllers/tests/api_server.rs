//! What controllers on kube-rs ask of the API server, beyond what ours use themselves.

mod cluster;

use cluster::{ApiServer, from};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams},
    core::PartialObjectMeta,
    runtime::{
        reflector,
        watcher::{self, Event, InitialListStrategy, watcher},
    },
};
use serde_json::json;
use std::{collections::BTreeSet, pin::pin, time::Duration};

fn config_map(name: &str, label: &str) -> ConfigMap {
    from(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": {"kind": label}}, "data": {"key": name},
    }))
}

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::default_namespaced(client.clone())
}

async fn create_many(api: &Api<ConfigMap>, count: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for number in 0..count {
        let name = format!("map-{number}");
        api.create(&PostParams::default(), &config_map(&name, "a")).await.expect("create");
        names.insert(name);
    }
    names
}

/// The next event, at most 10 s.
async fn next<T, E: std::fmt::Debug>(events: &mut (impl Stream<Item = Result<T, E>> + Unpin)) -> T {
    let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("in time");
    event.expect("no end").expect("no error")
}

/// Names of the first list.
async fn first_list(api: Api<ConfigMap>, config: watcher::Config) -> BTreeSet<String> {
    let mut events = pin!(watcher(api, config));
    let mut names = BTreeSet::new();
    loop {
        match next(&mut events).await {
            Event::Init => {}
            Event::InitApply(map) => assert!(names.insert(map.name_any()), "{} came twice", map.name_any()),
            Event::InitDone => return names,
            other => panic!("{other:?} before the list was complete"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_by_pages_and_by_stream_are_the_same() {
    let server = ApiServer::start().await;
    let api = maps(&server.client().await);
    let mut names = create_many(&api, 37).await;
    let selector = || watcher::Config::default().labels("kind=a");
    let mut small_pages = selector();
    small_pages.page_size = Some(5);
    let mut stream = selector();
    stream.initial_list_strategy = InitialListStrategy::StreamingList;
    assert_eq!(first_list(api.clone(), small_pages).await, names);
    assert_eq!(first_list(api.clone(), stream).await, names);
    let any = selector().any_semantic();
    assert_eq!(first_list(api.clone(), any).await, names);
    api.delete("map-7", &DeleteParams::default()).await.expect("delete");
    names.remove("map-7");
    let fields = api.list(&ListParams::default().labels("kind=a").fields("metadata.name!=map-8")).await.expect("list");
    names.remove("map-8");
    assert_eq!(fields.iter().map(ResourceExt::name_any).collect::<BTreeSet<_>>(), names);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_leaves_a_selection_is_deleted_for_its_watchers() {
    let server = ApiServer::start().await;
    let api = maps(&server.client().await);
    let mut events = pin!(watcher(api.clone(), watcher::Config::default().labels("kind=a")));
    while !matches!(next(&mut events).await, Event::InitDone) {}
    let relabel = |label: &str| Patch::Merge(json!({"metadata": {"labels": {"kind": label}}}));
    api.create(&PostParams::default(), &config_map("one", "b")).await.expect("create");
    api.patch("one", &PatchParams::default(), &relabel("a")).await.expect("patch");
    assert!(matches!(next(&mut events).await, Event::Apply(map) if map.name_any() == "one"));
    api.patch("one", &PatchParams::default(), &relabel("b")).await.expect("patch");
    assert!(matches!(next(&mut events).await, Event::Delete(map) if map.name_any() == "one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_after_a_killed_server_without_a_gap() {
    let mut server = ApiServer::start().await;
    let api = maps(&server.client().await);
    let (store, writer) = reflector::store();
    let watching = api.clone();
    let task = tokio::spawn(async move {
        let mut events = pin!(watcher(watching, watcher::Config::default().labels("kind=a")));
        let mut writer = writer;
        let mut deleted = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if let Event::Delete(map) = &event {
                        deleted.insert(map.name_any());
                    }
                    writer.apply_watcher_event(&event);
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            if deleted.contains("last") {
                return;
            }
        }
    });
    store.wait_until_ready().await.expect("the writer lives");
    let mut names = create_many(&api, 10).await;
    for round in 0..3 {
        server.kill();
        server.restart();
        let client = server.client().await;
        // Written before the watcher has come back: it must see this too.
        let name = format!("after-{round}");
        maps(&client).create(&PostParams::default(), &config_map(&name, "a")).await.expect("create");
        maps(&client).delete(&format!("map-{round}"), &DeleteParams::default()).await.expect("delete");
        names.insert(name);
        names.remove(&format!("map-{round}"));
    }
    // Its deletion is an event only for a watcher that has seen it: one that lists anew after a restart
    // finds neither the object nor its end.
    api.create(&PostParams::default(), &config_map("last", "a")).await.expect("create");
    let seen = async {
        while !store.state().iter().any(|map| map.name_any() == "last") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), seen).await.expect("the watcher comes back");
    api.delete("last", &DeleteParams::default()).await.expect("delete");
    tokio::time::timeout(Duration::from_secs(10), task).await.expect("the last deletion is seen").expect("no panic");
    assert_eq!(store.state().iter().map(|map| map.name_any()).collect::<BTreeSet<_>>(), names);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_alone_can_be_watched() {
    let server = ApiServer::start().await;
    let api = maps(&server.client().await);
    create_many(&api, 2).await;
    let metadata: Api<PartialObjectMeta<ConfigMap>> = Api::default_namespaced(server.client().await);
    let mut events = pin!(watcher(metadata, watcher::Config::default().labels("kind=a")));
    let mut names = BTreeSet::new();
    loop {
        match next(&mut events).await {
            Event::InitApply(meta) => {
                assert_eq!(meta.types.as_ref().map(|types| types.kind.as_str()), Some("PartialObjectMetadata"));
                names.insert(meta.metadata.name.expect("a name"));
            }
            Event::InitDone => break,
            _ => {}
        }
    }
    assert_eq!(names.len(), 2);
    api.delete("map-0", &DeleteParams::default()).await.expect("delete");
    assert!(matches!(next(&mut events).await, Event::Delete(meta) if meta.metadata.name.as_deref() == Some("map-0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_writes_lose() {
    let server = ApiServer::start().await;
    let api = maps(&server.client().await);
    let first = api.create(&PostParams::default(), &config_map("one", "a")).await.expect("create");
    let mut newer = first.clone();
    newer.data.get_or_insert_default().insert("key".into(), "newer".into());
    let newer = api.replace("one", &PostParams::default(), &newer).await.expect("replace");
    let code = |result: kube::Result<ConfigMap>| match result {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone()),
        other => panic!("{other:?}"),
    };
    let conflict = (409, "Conflict".to_owned());
    assert_eq!(code(api.replace("one", &PostParams::default(), &first).await), conflict);
    let stale = json!({"metadata": {"resourceVersion": first.resource_version()}, "data": {"key": "stale"}});
    assert_eq!(code(api.patch("one", &PatchParams::default(), &Patch::Merge(stale.clone())).await), conflict);
    assert_eq!(code(api.patch("one", &PatchParams::default(), &Patch::Strategic(stale)).await), conflict);
    let test: json_patch::Patch = from(json!([{"op": "test", "path": "/data/key", "value": "never"}]));
    let refused = code(api.patch("one", &PatchParams::default(), &Patch::Json::<()>(test)).await);
    assert_eq!(refused.0, 422, "{refused:?}");
    assert_eq!(api.get("one").await.expect("get"), newer, "nothing of that was stored");
    // The same content again is no change, and wakes nobody.
    let same = api.replace("one", &PostParams::default(), &newer).await.expect("replace");
    assert_eq!(same.resource_version(), newer.resource_version());
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_are_deleted_and_pods_evicted() {
    let server = ApiServer::start().await;
    let client = server.client().await;
    let api = maps(&client);
    create_many(&api, 5).await;
    api.create(&PostParams::default(), &config_map("other", "b")).await.expect("create");
    let selected = ListParams::default().labels("kind=a");
    api.delete_collection(&DeleteParams::default(), &selected).await.expect("delete");
    assert!(api.list(&selected).await.expect("list").items.is_empty());
    assert!(api.get_opt("other").await.expect("get").is_some());

    let pods: Api<Pod> = Api::default_namespaced(client);
    let pod = from(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"nodeName": "worker-1", "containers": [{"name": "c", "image": "malla.dev/echo"}]},
    }));
    pods.create(&PostParams::default(), &pod).await.expect("create");
    pods.evict("web", &EvictParams::default()).await.expect("evict");
    let web = pods.get("web").await.expect("it ends with grace");
    assert_eq!(web.metadata.deletion_grace_period_seconds, Some(30));
    assert!(web.metadata.deletion_timestamp.is_some());
}
