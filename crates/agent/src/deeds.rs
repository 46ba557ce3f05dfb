//! What the agent did, for those who ask for its events (Hubble's `GetAgentEvents`).
//!
//! The loop tells it where it has done it: what could not be done, or was so already, is not told. It notes numbers and pointers;
//! words are made of them for who asks, who may never come: the last [`flow_api::server::DEEDS`] are kept.

use crate::events::label_texts;
use crate::policies;
use crate::services;
use datapath_layouts::{Address, PrefixKey, Route};
use flow_api::flow::agent_event::Notification;
use flow_api::flow::{
    AgentEvent, AgentEventType as Type, EndpointRegenNotification, EndpointUpdateNotification, IpCacheNotification,
    PolicyUpdateNotification, ServiceDeleteNotification, ServiceUpsertNotification, ServiceUpsertNotificationAddr,
    TimeNotification,
};
use flow_api::seen::Witness;
use model::{Labels, ObjectName};
use prost_types::Timestamp;

/// One thing that it did.
#[derive(Debug)]
pub enum Deed {
    /// It has started.
    Started(Timestamp),
    /// An object of policy is in force as it is now, or no more, since the policy clock reads this.
    Policy(policies::Kind, ObjectName, policies::News, u32),
    /// A Pod of this node has come.
    Came(Endpoint),
    /// It has gone.
    Went(Endpoint),
    /// Its policy was written, or could not be: why.
    Judged(Endpoint, Option<String>),
    /// Who is at these addresses is in the map `ipcache`, or nobody is any more.
    Found(Place),
    /// A Service's frontends.
    Service(services::News),
}

/// A Pod of this node.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its number here.
    pub number: u32,
    /// The Pod, if it is known.
    pub name: Option<ObjectName>,
    /// Its identity.
    pub identity: u32,
    /// Labels of an allocated identity.
    pub labels: Option<Labels>,
}

/// An entry of the map `ipcache`.
#[derive(Clone, Debug)]
pub struct Place {
    /// Which.
    pub key: PrefixKey,
    /// What it said.
    pub before: Option<Route>,
    /// What it says.
    pub now: Option<Route>,
    /// Whose the address is, where it is a single Pod's.
    pub pod: Option<ObjectName>,
}

impl Witness<AgentEvent> for Deed {
    fn tell(&self) -> AgentEvent {
        let (kind, notification) = match self {
            Self::Started(time) => {
                (Type::AgentStarted, Notification::AgentStart(TimeNotification { time: Some(*time) }))
            }
            Self::Policy(kind, name, news, clock) => policy(*kind, name, news, *clock),
            Self::Came(endpoint) => (Type::EndpointCreated, endpoint.update()),
            Self::Went(endpoint) => (Type::EndpointDeleted, endpoint.update()),
            Self::Judged(endpoint, error) => endpoint.judged(error.as_deref()),
            Self::Found(place) => place.told(),
            Self::Service(news) => service(news),
        };
        AgentEvent { r#type: kind as i32, notification: Some(notification) }
    }
}

/// Which object it was Cilium says by labels of the rules that it became.
fn policy(kind: policies::Kind, name: &ObjectName, news: &policies::News, clock: u32) -> (Type, Notification) {
    let told =
        [("derived-from", kind.name()), ("name", &*name.name), ("namespace", &*name.namespace), ("uid", &*news.uid)];
    let labels = told.into_iter().filter(|(_, value)| !value.is_empty());
    let notification = Notification::PolicyUpdate(PolicyUpdateNotification {
        labels: labels.map(|(key, value)| format!("k8s:io.cilium.k8s.policy.{key}={value}")).collect(),
        revision: u64::from(clock),
        rule_count: news.rules.map_or(0, |rules| i64::try_from(rules).unwrap_or(i64::MAX)),
    });
    (if news.rules.is_some() { Type::PolicyUpdated } else { Type::PolicyDeleted }, notification)
}

impl Endpoint {
    fn update(&self) -> Notification {
        let name = self.name.as_ref();
        Notification::EndpointUpdate(EndpointUpdateNotification {
            id: u64::from(self.number),
            labels: label_texts(self.identity, self.labels.as_ref()),
            error: String::new(),
            pod_name: name.map_or_else(String::new, |name| name.name.to_string()),
            namespace: name.map_or_else(String::new, |name| name.namespace.to_string()),
        })
    }

    fn judged(&self, error: Option<&str>) -> (Type, Notification) {
        let notification = Notification::EndpointRegenerate(EndpointRegenNotification {
            id: u64::from(self.number),
            labels: label_texts(self.identity, self.labels.as_ref()),
            error: error.unwrap_or_default().to_owned(),
        });
        let kind = if error.is_some() { Type::EndpointRegenerateFailure } else { Type::EndpointRegenerateSuccess };
        (kind, notification)
    }
}

impl Place {
    /// Of what is gone: who was there.
    fn told(&self) -> (Type, Notification) {
        let (address, length) = self.key.to_ip();
        let host = |route: Option<&Route>| {
            let node = route.map(|route| route.tunnel).filter(|node| !node.is_zero());
            node.map_or_else(String::new, |node| node.to_ip().to_string())
        };
        let (now, before) = match &self.now {
            Some(now) => (Some(now), self.before.as_ref()),
            None => (self.before.as_ref(), None),
        };
        let pod = self.pod.as_ref();
        let notification = Notification::IpcacheUpdate(IpCacheNotification {
            cidr: format!("{address}/{length}"),
            identity: now.map_or(0, |route| route.identity),
            old_identity: before.map(|route| route.identity),
            host_ip: host(now),
            old_host_ip: host(before),
            encrypt_key: 0,
            namespace: pod.map_or_else(String::new, |pod| pod.namespace.to_string()),
            pod_name: pod.map_or_else(String::new, |pod| pod.name.to_string()),
        });
        (if self.now.is_some() { Type::IpcacheUpserted } else { Type::IpcacheDeleted }, notification)
    }
}

fn service(news: &services::News) -> (Type, Notification) {
    let at = |address: Address, port: u16| ServiceUpsertNotificationAddr {
        ip: address.to_ip().to_string(),
        port: u32::from(port),
    };
    match news {
        services::News::Gone(number) => {
            (Type::ServiceDeleted, Notification::ServiceDelete(ServiceDeleteNotification { id: *number }))
        }
        services::News::Serves { number, frontend, kind, of, backends } => {
            let notification = Notification::ServiceUpsert(ServiceUpsertNotification {
                id: *number,
                frontend_address: Some(at(frontend.address, frontend.port)),
                backend_addresses: backends.iter().map(|(address, port)| at(*address, *port)).collect(),
                r#type: (*kind).to_owned(),
                // As it was called before there were two.
                traffic_policy: of.external.to_owned(),
                ext_traffic_policy: of.external.to_owned(),
                int_traffic_policy: of.internal.to_owned(),
                name: of.name.name.to_string(),
                namespace: of.name.namespace.to_string(),
            });
            (Type::ServiceUpserted, notification)
        }
    }
}
