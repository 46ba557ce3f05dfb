//! kill -9 at random moments loses no acknowledged write.

mod support;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::Server;

#[test]
fn server_process() {
    support::server_process();
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_no_acknowledged_write() {
    let mut server = Server::start();
    // What the server said it has: present names, and names it said are gone.
    let present: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let gone: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let mut newest = 0;
    for round in 0..4_u64 {
        let client = server.client().await;
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
                let (present, gone) = (Arc::clone(&present), Arc::clone(&gone));
                tokio::spawn(async move {
                    for index in 0.. {
                        let name = format!("r{round}-w{writer}-{index}");
                        let map = ConfigMap {
                            metadata: kube::api::ObjectMeta { name: Some(name.clone()), ..Default::default() },
                            ..Default::default()
                        };
                        if maps.create(&PostParams::default(), &map).await.is_err() {
                            return;
                        }
                        present.lock().unwrap().insert(name.clone());
                        if index % 3 == 0 {
                            // Neither here nor there until it is acknowledged.
                            present.lock().unwrap().remove(&name);
                            if maps.delete(&name, &DeleteParams::default()).await.is_err() {
                                return;
                            }
                            gone.lock().unwrap().insert(name);
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(300 + 170 * round)).await;
        server.kill();
        for writer in writers {
            writer.await.unwrap();
        }
        server.restart();
        let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
        let list = maps.list(&ListParams::default()).await.unwrap();
        let revision: u64 = list.metadata.resource_version.clone().unwrap().parse().unwrap();
        assert!(revision > newest, "revisions go on");
        newest = revision;
        let stored: BTreeSet<String> = list.iter().map(ResourceExt::name_any).collect();
        let (present, gone) = (present.lock().unwrap(), gone.lock().unwrap());
        assert!(present.len() > 10 * (round as usize + 1), "the writers wrote ({})", present.len());
        let lost: Vec<_> = present.difference(&stored).collect();
        let back: Vec<_> = gone.intersection(&stored).collect();
        assert!(lost.is_empty() && back.is_empty(), "lost {lost:?}, back again {back:?}");
    }
}

#[tokio::test]
async fn a_restarted_server_knows_what_it_gave() {
    let mut server = Server::start();
    let service = |name: &str| -> Service {
        serde_json::from_value(serde_json::json!({ "metadata": { "name": name }, "spec": { "type": "NodePort", "clusterIP": "10.96.7.7", "ports": [{ "port": 80, "nodePort": 30123 }] } })).unwrap()
    };
    let services: Api<Service> = Api::default_namespaced(server.client().await);
    services.create(&PostParams::default(), &service("first")).await.unwrap();
    let before = server.kubeconfig();
    let certificate = std::fs::read(&before).unwrap();
    server.kill();
    server.restart();
    assert_eq!(std::fs::read(&before).unwrap(), certificate, "the certificates stay");
    let services: Api<Service> = Api::default_namespaced(server.client().await);
    assert!(services.create(&PostParams::default(), &service("second")).await.is_err(), "address and port are taken");
}

/// kube-rs lists anew after an ERROR event, and only then.
#[tokio::test]
async fn watches_from_another_life_are_told_to_list_anew() {
    let mut server = Server::start();
    server.kill();
    server.restart();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    for revision in ["1", "99999999"] {
        let mut watch = maps.watch(&WatchParams::default(), revision).await.unwrap().boxed();
        match watch.try_next().await.unwrap() {
            Some(WatchEvent::Error(status)) => assert_eq!((status.code, status.reason.as_str()), (410, "Expired")),
            other => panic!("from {revision}: {other:?}"),
        }
    }
    let now = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut watch = maps.watch(&WatchParams::default().timeout(1), &now).await.unwrap().boxed();
    while let Some(event) = watch.try_next().await.unwrap() {
        assert!(matches!(event, WatchEvent::Bookmark(_)), "nothing happens, and it ends in time: {event:?}");
    }
}
