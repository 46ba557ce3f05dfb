//! A kube-rs program: what Malla's own agents and controllers ask of the API.

mod support;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{CustomResource, CustomResourceExt, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use support::{Server, eventually};

#[test]
fn server_process() {
    support::server_process();
}

fn object<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("an object")
}

fn pod(name: &str) -> Pod {
    object(
        json!({ "metadata": { "name": name, "labels": { "app": name } }, "spec": { "containers": [{ "name": "c", "image": "malla.dev/echo" }] } }),
    )
}

fn code(error: kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason),
        other => panic!("not an answer of the API: {other}"),
    }
}

#[tokio::test]
async fn objects_live_and_die() {
    let server = Server::start();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let map: ConfigMap = object(json!({ "metadata": { "name": "a" }, "data": { "x": "1" } }));
    let made = maps.create(&PostParams::default(), &map).await.unwrap();
    assert!(made.uid().is_some() && made.resource_version().is_some() && made.creation_timestamp().is_some());
    assert_eq!(code(maps.create(&PostParams::default(), &map).await.unwrap_err()), (409, "AlreadyExists".into()));

    // two writers: the slower one is told
    let mut first = made.clone();
    first.data.as_mut().unwrap().insert("x".into(), "2".into());
    maps.replace("a", &PostParams::default(), &first).await.unwrap();
    assert_eq!(code(maps.replace("a", &PostParams::default(), &first).await.unwrap_err()), (409, "Conflict".into()));

    // a write that changes nothing is none
    let now = maps.get("a").await.unwrap();
    let same = maps.patch("a", &PatchParams::default(), &Patch::Merge(json!({ "data": { "x": "2" } }))).await.unwrap();
    assert_eq!(now.resource_version(), same.resource_version());

    let dry = PostParams { dry_run: true, ..PostParams::default() };
    maps.create(&dry, &object(json!({ "metadata": { "name": "ghost" } }))).await.unwrap();
    assert_eq!(code(maps.get("ghost").await.unwrap_err()).0, 404);

    let generated: ConfigMap = object(json!({ "metadata": { "generateName": "gen-" } }));
    let name = maps.create(&PostParams::default(), &generated).await.unwrap().name_any();
    assert!(name.starts_with("gen-") && name.len() == 9, "{name}");

    // a finalizer holds what is deleted
    let held: ConfigMap = object(json!({ "metadata": { "name": "held", "finalizers": ["malla.test/hold"] } }));
    maps.create(&PostParams::default(), &held).await.unwrap();
    maps.delete("held", &DeleteParams::default()).await.unwrap();
    assert!(maps.get("held").await.unwrap().metadata.deletion_timestamp.is_some());
    maps.patch("held", &PatchParams::default(), &Patch::Merge(json!({ "metadata": { "finalizers": null } })))
        .await
        .unwrap();
    assert_eq!(code(maps.get("held").await.unwrap_err()).0, 404);

    let elsewhere: Api<ConfigMap> = Api::namespaced(server.client().await, "nowhere");
    assert_eq!(code(elsewhere.create(&PostParams::default(), &map).await.unwrap_err()).0, 404);
}

#[tokio::test]
async fn lists_come_in_pages_of_one_state() {
    let server = Server::start();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    for index in 0..7 {
        let map: ConfigMap = object(
            json!({ "metadata": { "name": format!("m{index}"), "labels": { "odd": (index % 2 == 1).to_string() } } }),
        );
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut params = ListParams::default().limit(3);
    loop {
        let page = maps.list(&params).await.unwrap();
        seen.extend(page.items.iter().map(ResourceExt::name_any));
        // Changes between pages are not seen by the list.
        let _ = maps.delete("m6", &DeleteParams::default()).await;
        let _ = maps
            .create(&PostParams::default(), &object(json!({ "metadata": { "name": format!("m9{}", seen.len()) } })))
            .await;
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = ListParams::default().limit(3).continue_token(&token),
            None => break,
        }
    }
    assert_eq!(seen, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
    assert_eq!(maps.list(&ListParams::default().labels("odd=true")).await.unwrap().items.len(), 3);
    assert_eq!(maps.list(&ListParams::default().fields("metadata.name=m1")).await.unwrap().items.len(), 1);
    assert_eq!(code(maps.list(&ListParams::default().fields("data.x=1")).await.unwrap_err()).0, 400);
    assert_eq!(code(maps.list(&ListParams::default().continue_token("nonsense")).await.unwrap_err()).0, 400);
}

#[tokio::test]
async fn watches_see_every_change_once() {
    let server = Server::start();
    let client = server.client().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let start = pods.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let selected = WatchParams::default().labels("color=red").timeout(20);
    let mut watch = pods.watch(&selected, &start).await.unwrap().boxed();
    let mut one = pod("one");
    one.labels_mut().insert("color".into(), "red".into());
    pods.create(&PostParams::default(), &one).await.unwrap();
    pods.create(&PostParams::default(), &pod("unseen")).await.unwrap();
    let merge = |value| Patch::Merge(value);
    pods.patch("one", &PatchParams::default(), &merge(json!({ "metadata": { "labels": { "x": "y" } } })))
        .await
        .unwrap();
    pods.patch("one", &PatchParams::default(), &merge(json!({ "metadata": { "labels": { "color": "blue" } } })))
        .await
        .unwrap();
    pods.patch("one", &PatchParams::default(), &merge(json!({ "metadata": { "labels": { "color": "red" } } })))
        .await
        .unwrap();
    pods.delete("one", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.push(match watch.try_next().await.unwrap().expect("an event") {
            WatchEvent::Added(pod) => format!("added {}", pod.name_any()),
            WatchEvent::Modified(pod) => format!("modified {}", pod.name_any()),
            WatchEvent::Deleted(pod) => format!("deleted {}", pod.name_any()),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => panic!("{status:?}"),
        });
    }
    assert_eq!(seen, ["added one", "modified one", "deleted one", "added one", "deleted one"]);

    // kube's own watcher, with sendInitialEvents
    let config = kube::runtime::watcher::Config::default().streaming_lists();
    let mut events = kube::runtime::watcher(pods.clone(), config).boxed();
    let mut names = Vec::new();
    loop {
        match events.try_next().await.unwrap().expect("an event") {
            kube::runtime::watcher::Event::InitApply(pod) => names.push(pod.name_any()),
            kube::runtime::watcher::Event::InitDone => break,
            _ => {}
        }
    }
    assert_eq!(names, ["unseen"]);
}

#[tokio::test]
async fn pods_are_bound_run_and_end_with_grace() {
    let server = Server::start();
    let client = server.client().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let made = pods.create(&PostParams::default(), &pod("p")).await.unwrap();
    let spec = made.spec.unwrap();
    assert_eq!((spec.restart_policy.as_deref(), spec.termination_grace_period_seconds), (Some("Always"), Some(30)));
    assert_eq!(made.status.unwrap().phase.as_deref(), Some("Pending"));

    let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "worker-1" } });
    let bind = || {
        let body = serde_json::to_vec(&binding).unwrap();
        http::Request::post("/api/v1/namespaces/default/pods/p/binding")
            .header("content-type", "application/json")
            .body(body)
            .unwrap()
    };
    client.request_text(bind()).await.unwrap();
    assert_eq!(code(client.request_text(bind()).await.unwrap_err()).0, 409, "a bound Pod stays where it is");
    let on_node = pods.list(&ListParams::default().fields("spec.nodeName=worker-1")).await.unwrap();
    assert_eq!(on_node.items.len(), 1);

    let status = json!({ "status": { "phase": "Running", "podIP": "10.244.1.2", "podIPs": [{ "ip": "10.244.1.2" }] }, "spec": { "nodeName": "other" } });
    let patched = pods.patch_status("p", &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
    assert_eq!(patched.spec.unwrap().node_name.as_deref(), Some("worker-1"), "a status write leaves the spec alone");
    assert_eq!(patched.status.unwrap().phase.as_deref(), Some("Running"));
    let spec_change = json!({ "spec": { "nodeName": "elsewhere" } });
    assert_eq!(
        code(pods.patch("p", &PatchParams::default(), &Patch::Merge(spec_change)).await.unwrap_err()),
        (422, "Invalid".into())
    );

    pods.delete("p", &DeleteParams::default()).await.unwrap();
    let ending = pods.get("p").await.unwrap();
    assert_eq!(ending.metadata.deletion_grace_period_seconds, Some(30));
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(code(pods.get("p").await.unwrap_err()).0, 404);
}

#[tokio::test]
async fn services_get_addresses_of_their_own() {
    let server = Server::start();
    let services: Api<Service> = Api::default_namespaced(server.client().await);
    let kubernetes = services.get("kubernetes").await.unwrap().spec.unwrap();
    assert_eq!(kubernetes.cluster_ip.as_deref(), Some("10.96.0.1"));
    let dual: Service = object(
        json!({ "metadata": { "name": "dual" }, "spec": { "ipFamilyPolicy": "PreferDualStack", "ports": [{ "port": 80 }] } }),
    );
    let spec = services.create(&PostParams::default(), &dual).await.unwrap().spec.unwrap();
    let addresses = spec.cluster_ips.unwrap();
    assert!(addresses[0].starts_with("10.") && addresses[1].starts_with("fd00:10:96::"), "{addresses:?}");
    let port = &spec.ports.unwrap()[0];
    assert_eq!((port.protocol.as_deref(), port.node_port), (Some("TCP"), None));
    let stolen: Service = object(
        json!({ "metadata": { "name": "thief" }, "spec": { "clusterIP": addresses[0], "ports": [{ "port": 80 }] } }),
    );
    assert_eq!(code(services.create(&PostParams::default(), &stolen).await.unwrap_err()), (422, "Invalid".into()));
    services.delete("dual", &DeleteParams::default()).await.unwrap();
    services.create(&PostParams::default(), &stolen).await.unwrap();

    // Service kubernetes comes back, with its address
    services.delete("kubernetes", &DeleteParams::default()).await.unwrap();
    eventually("it is there again", || async { services.get_opt("kubernetes").await.unwrap().is_some() }).await;
    assert_eq!(services.get("kubernetes").await.unwrap().spec.unwrap().cluster_ip.as_deref(), Some("10.96.0.1"));
}

#[tokio::test]
async fn dependents_go_with_their_owner() {
    let server = Server::start();
    let client = server.client().await;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let sets: Api<ReplicaSet> = Api::default_namespaced(client.clone());
    let spec = json!({ "selector": { "matchLabels": { "a": "b" } }, "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } } });
    let make_set = async |name: &str, owner: &Deployment| {
        let reference = json!([{ "apiVersion": "apps/v1", "kind": "Deployment", "name": owner.name_any(), "uid": owner.uid(), "blockOwnerDeletion": true, "controller": true }]);
        let set: ReplicaSet =
            object(json!({ "metadata": { "name": name, "ownerReferences": reference }, "spec": spec }));
        sets.create(&PostParams::default(), &set).await.unwrap();
    };
    for (name, params, stays) in [
        ("background", DeleteParams::background(), false),
        ("foreground", DeleteParams::foreground(), false),
        ("orphan", DeleteParams::orphan(), true),
    ] {
        let owner = deployments
            .create(&PostParams::default(), &object(json!({ "metadata": { "name": name }, "spec": spec })))
            .await
            .unwrap();
        make_set(name, &owner).await;
        deployments.delete(name, &params).await.unwrap();
        eventually(name, || async { deployments.get_opt(name).await.unwrap().is_none() }).await;
        if stays {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            assert!(sets.get(name).await.unwrap().metadata.owner_references.is_none_or(|owners| owners.is_empty()));
        } else {
            eventually(name, || async { sets.get_opt(name).await.unwrap().is_none() }).await;
        }
    }
}

#[tokio::test]
async fn a_namespace_empties_itself() {
    let server = Server::start();
    let client = server.client().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &object(json!({ "metadata": { "name": "team" } }))).await.unwrap();
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client.clone(), "team");
    eventually("its ServiceAccount", || async { accounts.get_opt("default").await.unwrap().is_some() }).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "team");
    let mut held = pod("held");
    held.metadata.finalizers = Some(vec!["malla.test/hold".into()]);
    pods.create(&PostParams::default(), &held).await.unwrap();
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    assert_eq!(namespaces.get("team").await.unwrap().status.unwrap().phase.as_deref(), Some("Terminating"));
    assert_eq!(code(pods.create(&PostParams::default(), &pod("late")).await.unwrap_err()), (403, "Forbidden".into()));
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert!(namespaces.get_opt("team").await.unwrap().is_some(), "what a finalizer holds keeps its namespace");
    pods.patch("held", &PatchParams::default(), &Patch::Merge(json!({ "metadata": { "finalizers": null } })))
        .await
        .unwrap();
    eventually("the namespace goes", || async { namespaces.get_opt("team").await.unwrap().is_none() }).await;
}

/// A custom kind, as the project's own will be.
#[derive(CustomResource, Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[kube(group = "malla.test", version = "v1", kind = "Gadget", namespaced, status = "GadgetStatus")]
#[kube(scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.replicas"))]
struct GadgetSpec {
    replicas: i32,
}

/// Its status.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
struct GadgetStatus {
    replicas: i32,
}

#[tokio::test]
async fn custom_kinds_scale_and_have_a_status() {
    let server = Server::start();
    let client = server.client().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &Gadget::crd()).await.unwrap();
    let gadgets: Api<Gadget> = Api::default_namespaced(client.clone());
    let made = gadgets.create(&PostParams::default(), &Gadget::new("g", GadgetSpec { replicas: 2 })).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    gadgets
        .patch_scale("g", &PatchParams::default(), &Patch::Merge(json!({ "spec": { "replicas": 4 } })))
        .await
        .unwrap();
    let status = json!({ "status": { "replicas": 4 }, "spec": { "replicas": 9 } });
    let after = gadgets.patch_status("g", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    assert_eq!((after.spec.replicas, after.status.unwrap().replicas, after.metadata.generation), (4, 4, Some(2)));
    let scale = gadgets.get_scale("g").await.unwrap();
    assert_eq!(scale.status.unwrap().replicas, 4);
    let strategic = gadgets.patch("g", &PatchParams::default(), &Patch::Strategic(json!({}))).await.unwrap_err();
    assert_eq!(code(strategic), (415, "UnsupportedMediaType".into()));
    let nodes: Api<Node> = Api::all(client);
    assert!(nodes.list(&ListParams::default()).await.unwrap().items.is_empty());
}
