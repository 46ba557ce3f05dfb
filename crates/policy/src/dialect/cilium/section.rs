//! One view of both directions: the same fields under other names.

use crate::rule::Direction;
use custom_resources::cilium_policy::{
    Authentication, CidrRule, EgressRule, FqdnSelector, GroupsRule, IcmpRule, IngressRule, PortRule, ServiceRule,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// A rule of one of the four sections.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    pub direction: Direction,
    pub endpoints: Option<&'a [LabelSelector]>,
    pub requires: Option<&'a [LabelSelector]>,
    pub cidr: Option<&'a [String]>,
    pub cidr_set: Option<&'a [CidrRule]>,
    pub entities: Option<&'a [String]>,
    pub nodes: Option<&'a [LabelSelector]>,
    pub groups: Option<&'a [GroupsRule]>,
    pub services: Option<&'a [ServiceRule]>,
    pub fqdns: Option<&'a [FqdnSelector]>,
    pub ports: Option<&'a [PortRule]>,
    pub icmps: Option<&'a [IcmpRule]>,
    pub authentication: Option<&'a Authentication>,
}

impl Section<'_> {
    /// The name of a field of peers, `fromEndpoints` or `toEndpoints`.
    pub fn name(&self, what: &str) -> String {
        match self.direction {
            Direction::Ingress => format!("from{what}"),
            Direction::Egress => format!("to{what}"),
        }
    }

    /// The lists of peers: their name without the prefix, and how many stand there (none: absent).
    pub fn lists(&self) -> [(&'static str, Option<usize>); 8] {
        [
            ("Endpoints", self.endpoints.map(<[_]>::len)),
            ("CIDR", self.cidr.map(<[_]>::len)),
            ("CIDRSet", self.cidr_set.map(<[_]>::len)),
            ("Entities", self.entities.map(<[_]>::len)),
            ("Nodes", self.nodes.map(<[_]>::len)),
            ("Groups", self.groups.map(<[_]>::len)),
            ("Services", self.services.map(<[_]>::len)),
            ("FQDNs", self.fqdns.map(<[_]>::len)),
        ]
    }
}

impl<'a> From<&'a IngressRule> for Section<'a> {
    fn from(rule: &'a IngressRule) -> Self {
        Self {
            direction: Direction::Ingress,
            endpoints: rule.from_endpoints.as_deref(),
            requires: rule.from_requires.as_deref(),
            cidr: rule.from_cidr.as_deref(),
            cidr_set: rule.from_cidr_set.as_deref(),
            entities: rule.from_entities.as_deref(),
            nodes: rule.from_nodes.as_deref(),
            groups: rule.from_groups.as_deref(),
            services: None,
            fqdns: None,
            ports: rule.to_ports.as_deref(),
            icmps: rule.icmps.as_deref(),
            authentication: rule.authentication.as_ref(),
        }
    }
}

impl<'a> From<&'a EgressRule> for Section<'a> {
    fn from(rule: &'a EgressRule) -> Self {
        Self {
            direction: Direction::Egress,
            endpoints: rule.to_endpoints.as_deref(),
            requires: rule.to_requires.as_deref(),
            cidr: rule.to_cidr.as_deref(),
            cidr_set: rule.to_cidr_set.as_deref(),
            entities: rule.to_entities.as_deref(),
            nodes: rule.to_nodes.as_deref(),
            groups: rule.to_groups.as_deref(),
            services: rule.to_services.as_deref(),
            fqdns: rule.to_fqdns.as_deref(),
            ports: rule.to_ports.as_deref(),
            icmps: rule.icmps.as_deref(),
            authentication: rule.authentication.as_ref(),
        }
    }
}
