//! What the loop did is told, once, and nothing else is.

use super::*;
use datapath_layouts::identity;
use flow_api::flow::agent_event::Notification;
use flow_api::flow::{
    AgentEvent, AgentEventType as Type, EndpointRegenNotification, EndpointUpdateNotification, IpCacheNotification,
    ServiceUpsertNotification,
};
use flow_api::ring::What;
use flow_api::server::{About, Node as Recent};

/// A node for whose agent's events somebody may ask.
struct Asked {
    fixture: Fixture,
    recent: Arc<Recent>,
    position: u64,
}

impl Asked {
    fn new(policies: usize) -> Self {
        let recent = Arc::new(Recent::new(About::default(), 9));
        let hub = Hub::new("worker-1".into()).keeping(recent.clone());
        let mut asked = Self { fixture: fixture_of(99, policies, hub), recent, position: 0 };
        let news = asked.news();
        let [start] = &news[..] else { panic!("{news:#?}") };
        assert_eq!(start.r#type(), Type::AgentStarted);
        let Some(Notification::AgentStart(start)) = &start.notification else { panic!("{start:?}") };
        assert!(start.time.unwrap().seconds > 1_700_000_000);
        tell(&mut asked.fixture.state, &[node(1), node(2)], &["10.244.2.2"]);
        asked
    }

    /// What was told since the last look, in words that nobody had asked for before.
    fn news(&mut self) -> Vec<AgentEvent> {
        let batch = self.recent.deeds().read(self.position);
        self.position = batch.next;
        let told = |event: &Arc<flow_api::ring::Event>| match &event.what {
            What::Agent(deed) if !deed.is_told() => AgentEvent::clone(deed),
            other => panic!("{other:?}"),
        };
        batch.events.iter().map(told).collect()
    }

    fn state(&mut self) -> &mut State {
        &mut self.fixture.state
    }

    fn quiet(&mut self, why: &str) {
        self.state().settle();
        self.state().tick();
        assert_eq!(self.news(), [], "{why}");
    }

    fn web(&mut self, n: u8, identity: u32) {
        self.state().take(Input::Identity(Told::Set(identity, Some(web_labels()))));
        publish(self.state(), &[(&format!("web-{n}"), identity, &format!("10.244.1.{n}"), "172.18.0.3")]);
    }
}

fn upserts(news: &[AgentEvent]) -> Vec<ServiceUpsertNotification> {
    let upsert = |event: &AgentEvent| match &event.notification {
        Some(Notification::ServiceUpsert(upsert)) => {
            assert_eq!(event.r#type(), Type::ServiceUpserted);
            Some(upsert.clone())
        }
        _ => None,
    };
    let mut all: Vec<_> = news.iter().filter_map(upsert).collect();
    all.sort_by_key(|upsert| upsert.r#type.clone());
    all
}

fn places(news: &[AgentEvent]) -> Vec<(Type, IpCacheNotification)> {
    let place = |event: &AgentEvent| match &event.notification {
        Some(Notification::IpcacheUpdate(place)) => Some((event.r#type(), place.clone())),
        _ => None,
    };
    news.iter().filter_map(place).collect()
}

#[test]
fn services_are_told_when_something_of_them_is_different() {
    let mut asked = Asked::new(1000);
    let news = asked.news();
    let [cluster, node_port] = &upserts(&news)[..] else { panic!("{news:#?}") };
    let at = |upsert: &ServiceUpsertNotification| {
        let at = upsert.frontend_address.clone().unwrap();
        let backends: Vec<_> = upsert.backend_addresses.iter().map(|to| format!("{}:{}", to.ip, to.port)).collect();
        (upsert.r#type.clone(), format!("{}:{}", at.ip, at.port), backends.join(" "))
    };
    let said = |kind: &str, at: &str, backends: &str| (kind.to_owned(), at.to_owned(), backends.to_owned());
    assert_eq!(at(cluster), said("ClusterIP", "10.96.0.7:80", "10.244.2.2:8080"));
    assert_eq!(at(node_port), said("NodePort", "0.0.0.0:30080", "10.244.2.2:8080"));
    assert_eq!((cluster.name.as_str(), cluster.namespace.as_str()), ("spink", "default"));
    assert_eq!((cluster.ext_traffic_policy.as_str(), cluster.int_traffic_policy.as_str()), ("Cluster", "Cluster"));
    assert!(cluster.id == node_port.id && cluster.id != 0);
    asked.quiet("nothing has changed");
    tell(asked.state(), &[node(1), node(2)], &["10.244.2.2"]);
    assert_eq!(asked.news(), [], "a list says the same once more");

    asked.state().take(Input::Slice(Told::Set(slice(&[]).name, Some(slice(&["10.244.2.3"])))));
    asked.state().settle();
    let news = asked.news();
    let backends: Vec<String> = upserts(&news).iter().map(|upsert| at(upsert).2).collect();
    assert_eq!((news.len(), backends), (2, vec!["10.244.2.3:8080".to_owned(); 2]));

    asked.state().take(Input::Service(Told::Gone(spink().name)));
    asked.state().settle();
    let news = asked.news();
    let [gone] = &news[..] else { panic!("{news:#?}") };
    let Some(Notification::ServiceDelete(told)) = &gone.notification else { panic!("{gone:?}") };
    assert_eq!((gone.r#type(), told.id), (Type::ServiceDeleted, cluster.id));
    asked.quiet("it has gone");
}

/// What could not be written is told once it is.
#[test]
fn a_service_that_finds_no_room_is_not_told() {
    let recent = Arc::new(Recent::new(About::default(), 9));
    let hub = Hub::new("worker-1".into()).keeping(recent.clone());
    let mut asked = Asked { fixture: fixture_of(1, 1000, hub), recent, position: 0 };
    tell(asked.state(), &[node(1)], &["10.244.2.2", "10.244.2.3"]);
    assert_eq!(upserts(&asked.news()), []);
    asked.state().take(Input::Slice(Told::Set(slice(&[]).name, Some(slice(&["10.244.2.3"])))));
    (0..3).for_each(|_| asked.state().tick());
    let told = upserts(&asked.news());
    assert!(told.len() >= 2 && told.iter().all(|upsert| upsert.backend_addresses.len() == 1), "{told:#?}");
}

#[test]
fn policies_are_told_when_they_are_in_force_and_when_they_are_no_more() {
    let mut asked = Asked::new(1000);
    asked.news();
    let mut said = |input| {
        asked.state().take(Input::Policy(input));
        asked.state().settle();
        let clock = u64::from(asked.state().status().policies.epoch);
        let told = |event: AgentEvent| match event.notification {
            Some(Notification::PolicyUpdate(ref update)) => {
                assert_eq!(update.revision, clock);
                let labels = ["derived-from=NetworkPolicy", "name=web", "namespace=default"];
                let labels = labels.map(|label| format!("k8s:io.cilium.k8s.policy.{label}"));
                assert_eq!(update.labels, labels, "it has no uid");
                (event.r#type(), update.rule_count)
            }
            other => panic!("{other:?}"),
        };
        asked.news().into_iter().map(told).collect::<Vec<_>>()
    };
    let open = || network_policy(serde_json::json!([{}]));
    let bad = || network_policy(serde_json::json!([{"ports": [{"port": 99999}]}]));
    assert_eq!(said(open()), [(Type::PolicyUpdated, 1)]);
    assert_eq!(said(open()), [], "it is as before");
    assert_eq!(said(bad()), [], "the last good version is in force");
    assert_eq!(said(network_policy(serde_json::json!([]))), [(Type::PolicyUpdated, 0)]);
    let gone = || crate::policies::Input::Network(Told::Gone(ObjectName::new("default", "web")));
    assert_eq!(said(gone()), [(Type::PolicyDeleted, 0)]);
    assert_eq!(said(gone()), []);
}

#[test]
fn pods_are_told_when_they_come_are_judged_anew_and_go() {
    let mut asked = Asked::new(1000);
    asked.news();
    let pods = asked.fixture.state.parts.pods.clone();
    pods.attach(LocalPod { host_ports: Vec::new(), ..ported(7, 8088) }).unwrap();
    asked.state().pods_changed();
    let number = u64::from(pods.list()[0].id);
    let update = |kind: Type, labels: &[&str]| {
        let update = EndpointUpdateNotification {
            id: number,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            error: String::new(),
            pod_name: "web-7".to_owned(),
            namespace: "default".to_owned(),
        };
        AgentEvent { r#type: kind as i32, notification: Some(Notification::EndpointUpdate(update)) }
    };
    let judged = || {
        let labels = vec!["k8s:app=web".to_owned(), "k8s:io.kubernetes.pod.namespace=default".to_owned()];
        let told = EndpointRegenNotification { id: number, labels, error: String::new() };
        let kind = Type::EndpointRegenerateSuccess as i32;
        AgentEvent { r#type: kind, notification: Some(Notification::EndpointRegenerate(told)) }
    };
    assert_eq!(asked.news(), [update(Type::EndpointCreated, &["reserved:init"])]);
    asked.quiet("nobody says yet who it is");
    asked.web(7, 300);
    assert_eq!(asked.news(), [judged()]);
    asked.state().take(Input::Policy(network_policy(serde_json::json!([]))));
    asked.state().settle();
    let news = asked.news();
    assert_eq!((news.len(), news.iter().filter(|event| **event == judged()).count()), (2, 1), "{news:#?}");
    asked.quiet("nothing has changed");
    pods.detach("lx7", &[]).unwrap();
    asked.state().pods_changed();
    let labels = ["k8s:app=web", "k8s:io.kubernetes.pod.namespace=default"];
    assert_eq!(asked.news(), [update(Type::EndpointDeleted, &labels)]);
}

#[test]
fn a_policy_that_can_not_be_written_is_told_once() {
    let mut asked = Asked::new(1);
    asked.news();
    let pods = asked.fixture.state.parts.pods.clone();
    pods.attach(LocalPod { host_ports: Vec::new(), ..ported(7, 8088) }).unwrap();
    asked.web(7, 300);
    for _ in 0..3 {
        asked.state().tick();
    }
    let news = asked.news();
    let [failed] = &news[..] else { panic!("{news:#?}") };
    let Some(Notification::EndpointRegenerate(told)) = &failed.notification else { panic!("{failed:?}") };
    assert_eq!((failed.r#type(), told.id), (Type::EndpointRegenerateFailure, u64::from(pods.list()[0].id)));
    assert!(told.error.contains("insert"), "{}", told.error);
}

/// A plan that fails may have written some of its policies; the next one has only the others.
#[test]
fn what_a_plan_has_left_unwritten_is_told_when_it_is_written() {
    use datapath_layouts::policy::Direction;
    let mut asked = Asked::new(1000);
    let pods = asked.fixture.state.parts.pods.clone();
    for (n, identity) in [(7, 300), (8, 301)] {
        pods.attach(LocalPod { host_ports: Vec::new(), identity, ..ported(n, 8088) }).unwrap();
    }
    asked.state().pods_changed();
    asked.news();
    let of = |n: u8| pods.list().iter().find(|pod| pod.interface == format!("lx{n}")).unwrap().id;
    let (a, b) = (u64::from(of(7)), u64::from(of(8)));
    let write =
        |identity| policy::plan::Change::WritePolicy(PolicyKey::new(identity, Direction::Ingress), Policy::ZERO);
    let error = || Error::System { operation: "insert", source: std::io::Error::other("full") };
    let mut said = |plan: &[policy::plan::Change], is_written: bool| {
        if is_written {
            asked.state().tell_written(plan);
        } else {
            asked.state().tell_unwritten(plan, &error());
        }
        let told = |event: AgentEvent| match event.notification {
            Some(Notification::EndpointRegenerate(ref told)) => (event.r#type(), told.id),
            ref other => panic!("{other:?}"),
        };
        asked.news().into_iter().map(told).collect::<Vec<_>>()
    };
    let (good, bad) = (Type::EndpointRegenerateSuccess, Type::EndpointRegenerateFailure);
    assert_eq!(said(&[write(300), write(301)], false), [(bad, a), (bad, b)]);
    assert_eq!(said(&[write(301)], false), [], "it is tried again");
    assert_eq!(said(&[write(301)], true), [(good, a), (good, b)]);
    assert_eq!(said(&[], true), []);
    // Whose a plan without policies would have been nobody knows.
    assert_eq!(said(&[], false), []);
    assert_eq!(said(&[], true), []);
    assert_eq!(said(&[write(300)], false), [(bad, a)], "it fails anew");
    assert_eq!(said(&[], true), [(good, a)], "nothing of it was left to be written");
}

#[test]
fn who_is_where_is_told_when_it_is_written() {
    let mut asked = Asked::new(1000);
    let ranges = places(&asked.news());
    let other = ranges.iter().find(|(_, place)| place.cidr == "10.244.2.0/24").unwrap();
    assert_eq!((other.0, other.1.host_ip.as_str()), (Type::IpcacheUpserted, "172.18.0.4"));
    assert_eq!((other.1.old_identity, other.1.pod_name.as_str()), (None, ""));
    let mut said = |pods: &[(&str, u32, &str, &str)]| {
        publish(asked.state(), pods);
        let told = |(kind, place): (Type, IpCacheNotification)| {
            let pod = format!("{}/{}", place.namespace, place.pod_name);
            (kind, place.cidr, place.identity, place.old_identity, place.host_ip, pod)
        };
        places(&asked.news()).into_iter().map(told).collect::<Vec<_>>()
    };
    let place = |kind, identity, old, pod: &str| {
        vec![(kind, "10.244.2.9/32".to_owned(), identity, old, "172.18.0.4".to_owned(), pod.to_owned())]
    };
    let there = |identity| [("there", identity, "10.244.2.9", "172.18.0.4")];
    assert_eq!(said(&there(301)), place(Type::IpcacheUpserted, 301, None, "default/there"));
    assert_eq!(said(&there(301)), []);
    assert_eq!(said(&there(303)), place(Type::IpcacheUpserted, 303, Some(301), "default/there"));
    assert_eq!(said(&[]), place(Type::IpcacheDeleted, 303, None, "/"), "whose it was nobody says any more");
    let refused = [("liar", 304, "10.244.2.9", "172.18.0.3")];
    assert_eq!(said(&refused), []);
    asked.quiet("nothing has changed");
    asked.state().take(Input::Node(Told::Gone("worker-2".into())));
    asked.state().settle();
    let gone = places(&asked.news());
    let gone: Vec<_> = gone.iter().map(|(kind, place)| (*kind, place.cidr.as_str(), place.identity)).collect();
    assert!(gone.contains(&(Type::IpcacheDeleted, "172.18.0.4/32", identity::REMOTE_NODE)), "{gone:?}");
}
