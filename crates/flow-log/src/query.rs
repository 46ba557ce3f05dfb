//! A question to the log.

use crate::moment::{NO_TIME, nanoseconds};
use flow_api::Invalid;
use flow_api::filter::Filters;
use flow_api::flow::{Endpoint, Flow, FlowFilter};
use flow_api::ring::{Event, What};
use prost_types::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;

/// What is wanted. Every part that is not set is "any"; all parts have to fit.
///
/// Losses are told among the flows whatever else is wanted, if they are of the time.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Not older: nanoseconds since 1970.
    pub since: Option<i64>,
    /// Not newer: nanoseconds since 1970.
    pub until: Option<i64>,
    /// One of them at either end.
    pub addresses: Vec<IpAddr>,
    /// One of them at either end.
    pub identities: Vec<u32>,
    /// One of them at either end.
    pub pods: Vec<Pod>,
    /// The name of one of them at either end.
    pub workloads: Vec<String>,
    /// `flow.Verdict`: one of them.
    pub verdicts: Vec<i32>,
    /// Flows at most; 0: all.
    pub number: u64,
    /// Which come first.
    pub order: Order,
    /// Hubble's, besides: [`Query::filtered`] sets them.
    pub filters: Option<Arc<Lists>>,
}

/// White and black list, and the white one as it was asked.
#[derive(Debug)]
pub struct Lists {
    filters: Filters,
    whitelist: Vec<FlowFilter>,
}

/// A Pod's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// In the order in which they were written, which is that of time but for what several CPUs saw at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As they were written.
    #[default]
    OldestFirst,
    /// The other way round.
    NewestFirst,
}

impl Query {
    /// With Hubble's filters besides.
    ///
    /// # Errors
    /// The first field that makes no sense, named as in the request.
    pub fn filtered(self, whitelist: &[FlowFilter], blacklist: &[FlowFilter]) -> Result<Self, Invalid> {
        let filters = Filters::new(whitelist, blacklist)?;
        Ok(Self { filters: Some(Arc::new(Lists { filters, whitelist: whitelist.to_vec() })), ..self })
    }

    pub(crate) fn whitelist(&self) -> &[FlowFilter] {
        self.filters.as_ref().map_or(&[], |lists| &lists.whitelist)
    }

    pub(crate) fn is_in_time(&self, time: i64) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }

    /// Whether the event is told.
    #[must_use]
    pub fn admits(&self, event: &Event) -> bool {
        match &event.what {
            What::Flow(flow) => self.is_in_time(time_of(flow.time.as_ref())) && self.fits(flow),
            What::Lost(lost) => self.is_in_time(time_of(lost.last.as_ref())),
            What::Agent(_) | What::Debug(_) => false,
        }
    }

    fn fits(&self, flow: &Flow) -> bool {
        let is_address = |text: &str| text.parse().is_ok_and(|address| self.addresses.contains(&address));
        let is_identity = |end: &Endpoint| self.identities.contains(&end.identity);
        let is_pod = |end: &Endpoint| {
            let fits = |pod: &Pod| pod.name == end.pod_name && pod.namespace == end.namespace;
            !end.pod_name.is_empty() && self.pods.iter().any(fits)
        };
        let is_workload = |end: &Endpoint| end.workloads.iter().any(|workload| self.workloads.contains(&workload.name));
        let either = |fits: &dyn Fn(&Endpoint) -> bool| {
            flow.source.as_ref().is_some_and(fits) || flow.destination.as_ref().is_some_and(fits)
        };
        let ip = flow.ip.as_ref();
        (self.verdicts.is_empty() || self.verdicts.contains(&flow.verdict))
            && (self.addresses.is_empty() || ip.is_some_and(|ip| is_address(&ip.source) || is_address(&ip.destination)))
            && (self.identities.is_empty() || either(&is_identity))
            && (self.pods.is_empty() || either(&is_pod))
            && (self.workloads.is_empty() || either(&is_workload))
            && self.filters.as_ref().is_none_or(|lists| lists.filters.admit(flow))
    }
}

fn time_of(time: Option<&Timestamp>) -> i64 {
    time.map_or(NO_TIME, nanoseconds)
}
