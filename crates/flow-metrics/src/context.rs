//! Who a flow's ends are, as labels: Hubble's context options.

use flow_api::flow::{Endpoint, Flow, Ip, TrafficDirection};

/// What an end is called: the first of several options that has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// All labels of its identity.
    Identity,
    /// Its namespace.
    Namespace,
    /// `namespace/pod`.
    Pod,
    /// `pod`.
    PodName,
    /// Names by which its address was looked up.
    Dns,
    /// Its address.
    Ip,
    /// Its reserved label: `reserved:host`.
    ReservedIdentity,
    /// `namespace/workload`.
    Workload,
    /// `workload`.
    WorkloadName,
    /// The label `app`, or one of its like.
    App,
}

/// A label of its own (`labelsContext`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// `source_…`
    Source(Fact),
    /// `destination_…`
    Destination(Fact),
    /// `traffic_direction`
    TrafficDirection,
}

/// What such a label tells of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    Ip,
    Pod,
    Namespace,
    Workload,
    WorkloadKind,
    App,
}

/// One end of a flow.
#[derive(Clone, Copy)]
pub struct End<'a> {
    endpoint: Option<&'a Endpoint>,
    address: &'a str,
    names: &'a [String],
}

impl<'a> End<'a> {
    pub fn source(flow: &'a Flow) -> Self {
        Self::new(flow.source.as_ref(), flow.ip.as_ref(), |ip| &ip.source, &flow.source_names)
    }

    pub fn destination(flow: &'a Flow) -> Self {
        Self::new(flow.destination.as_ref(), flow.ip.as_ref(), |ip| &ip.destination, &flow.destination_names)
    }

    fn new(endpoint: Option<&'a Endpoint>, ip: Option<&'a Ip>, of: fn(&Ip) -> &str, names: &'a [String]) -> Self {
        Self { endpoint, address: ip.map_or("", of), names }
    }

    /// Empty: none of the options has a value.
    pub fn named(&self, options: &[Context]) -> String {
        options.iter().map(|option| self.value(*option)).find(|value| !value.is_empty()).unwrap_or_default()
    }

    fn value(&self, option: Context) -> String {
        let within = |name: &str| if name.is_empty() { String::new() } else { format!("{}/{name}", self.namespace()) };
        match option {
            Context::Identity => self.labels().join(","),
            Context::Namespace => self.namespace().to_owned(),
            Context::Pod => within(self.pod()),
            Context::PodName => self.pod().to_owned(),
            Context::Dns => self.names.join(","),
            Context::Ip => self.address.to_owned(),
            Context::ReservedIdentity => self.reserved(),
            Context::Workload => within(self.workload().0),
            Context::WorkloadName => self.workload().0.to_owned(),
            Context::App => self.app(),
        }
    }

    fn fact(&self, fact: Fact) -> String {
        match fact {
            Fact::Ip => self.address.to_owned(),
            Fact::Pod => self.pod().to_owned(),
            Fact::Namespace => self.namespace().to_owned(),
            Fact::Workload => self.workload().0.to_owned(),
            Fact::WorkloadKind => self.workload().1.to_owned(),
            Fact::App => self.app(),
        }
    }

    fn labels(&self) -> &'a [String] {
        self.endpoint.map_or(&[], |endpoint| &endpoint.labels)
    }

    fn namespace(&self) -> &'a str {
        self.endpoint.map_or("", |endpoint| &endpoint.namespace)
    }

    fn pod(&self) -> &'a str {
        self.endpoint.map_or("", |endpoint| &endpoint.pod_name)
    }

    fn workload(&self) -> (&'a str, &'a str) {
        let first = self.endpoint.and_then(|endpoint| endpoint.workloads.first());
        first.map_or(("", ""), |workload| (&workload.name, &workload.kind))
    }

    /// The API server says more than that it is a host.
    fn reserved(&self) -> String {
        let mut reserved = self.labels().iter().filter(|label| label.starts_with("reserved:"));
        let api_server = reserved.clone().find(|label| *label == "reserved:kube-apiserver");
        api_server.or_else(|| reserved.next()).cloned().unwrap_or_default()
    }

    fn app(&self) -> String {
        let value = |key: &str| self.labels().iter().find_map(|label| label.strip_prefix(key)?.strip_prefix('='));
        APP.iter().find_map(|key| value(key)).unwrap_or_default().to_owned()
    }
}

impl Context {
    /// As in the configuration.
    pub const NAMES: [(&str, Self); 10] = [
        ("identity", Self::Identity),
        ("namespace", Self::Namespace),
        ("pod", Self::Pod),
        ("pod-name", Self::PodName),
        ("dns", Self::Dns),
        ("ip", Self::Ip),
        ("reserved-identity", Self::ReservedIdentity),
        ("workload", Self::Workload),
        ("workload-name", Self::WorkloadName),
        ("app", Self::App),
    ];
}

impl Label {
    /// Of the configuration and of the series.
    pub const NAMES: [(&str, Self); 13] = [
        ("source_ip", Self::Source(Fact::Ip)),
        ("source_pod", Self::Source(Fact::Pod)),
        ("source_namespace", Self::Source(Fact::Namespace)),
        ("source_workload", Self::Source(Fact::Workload)),
        ("source_workload_kind", Self::Source(Fact::WorkloadKind)),
        ("source_app", Self::Source(Fact::App)),
        ("destination_ip", Self::Destination(Fact::Ip)),
        ("destination_pod", Self::Destination(Fact::Pod)),
        ("destination_namespace", Self::Destination(Fact::Namespace)),
        ("destination_workload", Self::Destination(Fact::Workload)),
        ("destination_workload_kind", Self::Destination(Fact::WorkloadKind)),
        ("destination_app", Self::Destination(Fact::App)),
        ("traffic_direction", Self::TrafficDirection),
    ];

    pub fn value(self, flow: &Flow) -> String {
        match self {
            Self::Source(fact) => End::source(flow).fact(fact),
            Self::Destination(fact) => End::destination(flow).fact(fact),
            Self::TrafficDirection => match TrafficDirection::try_from(flow.traffic_direction) {
                Ok(TrafficDirection::Unknown) | Err(_) => "unknown".to_owned(),
                Ok(direction) => direction.as_str_name().to_ascii_lowercase(),
            },
        }
    }
}

/// Labels that tell the application, in Hubble's order.
const APP: [&str; 3] = ["k8s:app.kubernetes.io/name", "k8s:k8s-app", "k8s:app"];
