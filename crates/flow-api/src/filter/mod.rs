//! Which flows a client wants: `flow.FlowFilter`, as Hubble reads it.
//!
//! A list of filters is an OR; the fields of one filter are an AND; the values of one field are an OR. A flow is told
//! when the whitelist is empty or one of its filters fits, and none of the blacklist's does. A filter without fields
//! fits everything. A field that a flow does not have never fits.

mod address;
mod cel;
mod kind;
mod layer4;
mod layer7;
mod name;
mod pattern;
mod selector;
mod written;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub use written::from_json;

use crate::Invalid;
use crate::flow::{Endpoint, Flow, FlowFilter};

/// A question about one flow.
type Test = Box<dyn Fn(&Flow) -> bool + Send + Sync>;

/// What one field of a filter asks; `None` when it is not set.
type Field = Result<Option<Test>, Invalid>;

/// White and black list, ready to be asked.
#[derive(Debug)]
pub struct Filters {
    white: Vec<Filter>,
    black: Vec<Filter>,
}

/// One `FlowFilter`, ready to be asked.
struct Filter(Vec<Test>);

impl Filters {
    /// Reads both lists.
    ///
    /// # Errors
    /// The first field that makes no sense, named as in the request.
    pub fn new(whitelist: &[FlowFilter], blacklist: &[FlowFilter]) -> Result<Self, Invalid> {
        Ok(Self { white: list("whitelist", whitelist)?, black: list("blacklist", blacklist)? })
    }

    /// Whether a client with these lists is told of the flow.
    #[must_use]
    pub fn admit(&self, flow: &Flow) -> bool {
        (self.white.is_empty() || self.white.iter().any(|filter| filter.fits(flow)))
            && !self.black.iter().any(|filter| filter.fits(flow))
    }
}

impl Filter {
    fn fits(&self, flow: &Flow) -> bool {
        self.0.iter().all(|test| test(flow))
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filter({} fields)", self.0.len())
    }
}

fn list(name: &str, filters: &[FlowFilter]) -> Result<Vec<Filter>, Invalid> {
    if filters.len() > MOST_FILTERS {
        return Err(Invalid::new(name, format!("{} filters; {MOST_FILTERS} are the most", filters.len())));
    }
    let expressions: usize = filters.iter().map(|filter| cel::written(filter).len()).sum();
    if expressions > cel::MOST_EXPRESSIONS {
        let most = cel::MOST_EXPRESSIONS;
        return Err(Invalid::new(name, format!("{expressions} CEL expressions; {most} are the most")));
    }
    let read = |(index, filter)| read(filter).map_err(|invalid| invalid.inside(&format!("{name}[{index}]")));
    filters.iter().enumerate().map(read).collect()
}

/// Cheap questions first: `all` stops at the first no.
fn read(f: &FlowFilter) -> Result<Filter, Invalid> {
    let fields: Vec<Option<Test>> = vec![
        kind::uuid(&f.uuid),
        kind::verdict("verdict", &f.verdict)?,
        kind::drop_reason(&f.drop_reason_desc),
        kind::direction("traffic_direction", &f.traffic_direction)?,
        kind::event_type(&f.event_type),
        kind::reply(&f.reply),
        kind::encrypted(&f.encrypted),
        kind::ip_version("ip_version", &f.ip_version)?,
        kind::interface(&f.interface),
        kind::trace_id(&f.trace_id),
        kind::ip_trace_id(&f.ip_trace_id),
        kind::identity(&f.source_identity, source),
        kind::identity(&f.destination_identity, destination),
        layer4::protocol("protocol", &f.protocol)?,
        layer4::port("source_port", &f.source_port, layer4::source_port)?,
        layer4::port("destination_port", &f.destination_port, layer4::destination_port)?,
        layer4::tcp_flags(&f.tcp_flags),
        address::filter("source_ip", &f.source_ip, |ip| &ip.source)?,
        address::filter("source_ip_xlated", &f.source_ip_xlated, |ip| &ip.source_xlated)?,
        address::filter("destination_ip", &f.destination_ip, |ip| &ip.destination)?,
        name::pod("source_pod", &f.source_pod, source)?,
        name::pod("destination_pod", &f.destination_pod, destination)?,
        name::service("source_service", &f.source_service, |flow| flow.source_service.as_ref())?,
        name::service("destination_service", &f.destination_service, |flow| flow.destination_service.as_ref())?,
        name::workload(&f.source_workload, source),
        name::workload(&f.destination_workload, destination),
        name::cluster("source_cluster_name", &f.source_cluster_name, source)?,
        name::cluster("destination_cluster_name", &f.destination_cluster_name, destination)?,
        pattern::fqdn("source_fqdn", &f.source_fqdn, |flow| &flow.source_names)?,
        pattern::fqdn("destination_fqdn", &f.destination_fqdn, |flow| &flow.destination_names)?,
        pattern::node_name("node_name", &f.node_name)?,
        selector::filter("source_label", &f.source_label, |flow| labels(source(flow)))?,
        selector::filter("destination_label", &f.destination_label, |flow| labels(destination(flow)))?,
        selector::filter("node_labels", &f.node_labels, |flow| &flow.node_labels)?,
        layer7::http_status(f)?,
        layer7::http_method(f)?,
        layer7::http_path(f)?,
        layer7::http_url(f)?,
        layer7::http_header(f)?,
        layer7::dns_query("dns_query", &f.dns_query)?,
        cel::filter(f)?,
    ];
    Ok(Filter(fields.into_iter().flatten().collect()))
}

fn source(flow: &Flow) -> Option<&Endpoint> {
    flow.source.as_ref()
}

fn destination(flow: &Flow) -> Option<&Endpoint> {
    flow.destination.as_ref()
}

fn labels(endpoint: Option<&Endpoint>) -> &[String] {
    endpoint.map_or(&[], |endpoint| &endpoint.labels)
}

/// The `hubble` command sends at most a dozen. Every flow is held against each.
const MOST_FILTERS: usize = 256;
