//! Policy routing rules (`ip rule`).

use std::fmt;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use crate::{
    connection::{Netlink, Request},
    error::{Result, unless_exists, unless_missing},
};

/// "Packets such as these are routed by that table."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
    /// Lower is asked first.
    pub priority: u32,
    /// Routing table.
    pub table: u32,
    /// Mark and mask.
    pub mark: Option<(u32, u32)>,
    pub source: Option<IpNet>,
    pub destination: Option<IpNet>,
    /// Name of the interface that a packet came in by.
    pub input: Option<String>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.ipv6 { "IPv6" } else { "IPv4" };
        write!(f, "{family} priority {} table {}", self.priority, self.table)
    }
}

impl Netlink {
    /// All rules of both families that look up a table.
    pub fn rules(&self) -> Result<Vec<Rule>> {
        let mut rules = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RuleMessage::default();
            message.header.family = family;
            let request = Request { operation: "list", object: "rules" };
            rules.extend(self.dump(request, RouteNetlinkMessage::GetRule(message))?.into_iter().filter_map(decode));
        }
        Ok(rules)
    }

    /// Adds a rule; an equal one must not exist.
    pub fn add_rule(&self, rule: &Rule) -> Result<()> {
        let object = rule.to_string();
        let request = Request { operation: "add rule", object: &object };
        self.change(request, RouteNetlinkMessage::NewRule(encode(rule)), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a rule unless an equal one is there; tells whether it was added.
    pub fn ensure_rule(&self, rule: &Rule) -> Result<bool> {
        unless_exists(self.add_rule(rule))
    }

    /// Deletes a rule.
    pub fn delete_rule(&self, rule: &Rule) -> Result<()> {
        let object = rule.to_string();
        let request = Request { operation: "delete rule", object: &object };
        self.change(request, RouteNetlinkMessage::DelRule(encode(rule)), 0)
    }

    /// Deletes a rule if it is there; tells whether it was.
    pub fn ensure_rule_deleted(&self, rule: &Rule) -> Result<bool> {
        unless_missing(self.delete_rule(rule))
    }
}

fn encode(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = if rule.ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.action = RuleAction::ToTable;
    message.header.src_len = rule.source.map_or(0, |net| net.prefix_len());
    message.header.dst_len = rule.destination.map_or(0, |net| net.prefix_len());
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.priority));
    attributes.push(RuleAttribute::Table(rule.table));
    if let Some((mark, mask)) = rule.mark {
        attributes.push(RuleAttribute::FwMark(mark));
        attributes.push(RuleAttribute::FwMask(mask));
    }
    attributes.extend(rule.source.map(|net| RuleAttribute::Source(net.network())));
    attributes.extend(rule.destination.map(|net| RuleAttribute::Destination(net.network())));
    attributes.extend(rule.input.clone().map(RuleAttribute::Iifname));
    message
}

fn decode(message: RouteNetlinkMessage) -> Option<Rule> {
    let RouteNetlinkMessage::NewRule(message) = message else { return None };
    if message.header.action != RuleAction::ToTable {
        return None;
    }
    let mut rule = Rule {
        ipv6: message.header.family == AddressFamily::Inet6,
        priority: 0,
        table: u32::from(message.header.table),
        mark: None,
        source: None,
        destination: None,
        input: None,
    };
    let (mut mark, mut mask) = (None, u32::MAX);
    for attribute in message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = priority,
            RuleAttribute::Table(table) => rule.table = table,
            RuleAttribute::FwMark(value) => mark = Some(value),
            RuleAttribute::FwMask(value) => mask = value,
            RuleAttribute::Source(address) => rule.source = IpNet::new(address, message.header.src_len).ok(),
            RuleAttribute::Destination(address) => rule.destination = IpNet::new(address, message.header.dst_len).ok(),
            RuleAttribute::Iifname(name) => rule.input = Some(name),
            _ => {}
        }
    }
    rule.mark = mark.map(|mark| (mark, mask));
    Some(rule)
}
