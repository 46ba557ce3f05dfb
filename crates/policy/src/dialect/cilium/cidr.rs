//! Prefixes, and groups of them.

use crate::dialect::references::{CidrGroup, References, selects};
use crate::dialect::{Findings, selectors};
use crate::rule::{Peer, Scope};
use custom_resources::cilium_policy::CidrRule;
use ipnet::IpNet;
use std::net::IpAddr;

/// A prefix, or an address, which is a prefix of one.
pub(super) fn prefix_or_address(text: &str, field: &str, findings: &mut Findings) -> Option<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(address) => is_one_family(IpNet::from(address), field, findings),
        Err(_) => prefix(text, field, findings),
    }
}

/// A prefix; bits behind it are cut off.
pub(in crate::dialect) fn prefix(text: &str, field: &str, findings: &mut Findings) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(net) => is_one_family(net.trunc(), field, findings),
        Err(_) => {
            findings.mistake(field, format!("is {text:?}, no prefix: write one such as 192.0.2.0/24 or 2001:db8::/32"));
            None
        }
    }
}

/// IPv4 addresses inside IPv6 ones would be the same as IPv4's own in the datapath's tables.
fn is_one_family(net: IpNet, field: &str, findings: &mut Findings) -> Option<IpNet> {
    match net {
        IpNet::V6(v6) if v6.prefix_len() > 0 && v6.addr().to_ipv4_mapped().is_some() => {
            findings.mistake(field, format!("is {net}, IPv4 written as IPv6: write it as IPv4"));
            None
        }
        _ => Some(net),
    }
}

/// The prefixes of one entry of `fromCIDRSet` or `toCIDRSet`.
pub(super) fn set(
    rule: &CidrRule,
    field: &str,
    references: &References,
    scope: Scope,
    findings: &mut Findings,
) -> Vec<Peer> {
    let named = [rule.cidr.is_some(), rule.cidr_group_ref.is_some(), rule.cidr_group_selector.is_some()];
    if named.iter().filter(|one| **one).count() != 1 {
        findings.mistake(field, "needs exactly one of cidr, cidrGroupRef and cidrGroupSelector");
        return Vec::new();
    }
    let mut nets: Vec<IpNet> = Vec::new();
    if let Some(text) = &rule.cidr {
        nets.extend(prefix(text, &format!("{field}.cidr"), findings));
    }
    let mut groups: Vec<&CidrGroup> = Vec::new();
    if let Some(name) = &rule.cidr_group_ref {
        groups.extend(references.cidr_groups.get(name));
        if groups.is_empty() {
            let why = format!("there is no CiliumCIDRGroup {name}: it stands for nobody until there is");
            findings.gap(format!("{field}.cidrGroupRef"), why);
        }
    }
    if let Some(selector) = &rule.cidr_group_selector {
        let place = format!("{field}.cidrGroupSelector");
        selectors::kubernetes(selector, &place, findings);
        groups.extend(references.cidr_groups.values().filter(|group| selects(selector, &group.labels)));
        if groups.is_empty() {
            findings.gap(place, "it selects no CiliumCIDRGroup: it stands for nobody until it does");
        }
    }
    nets.extend(groups.iter().flat_map(|group| &group.prefixes).map(IpNet::trunc));
    let except = excepted(rule, field, findings);
    nets.into_iter()
        .map(|net| Peer::Cidr {
            net,
            except: except.iter().copied().filter(|one| overlaps(&net, one)).collect(),
            scope,
        })
        .collect()
}

/// The exceptions; that of a prefix has to begin inside of it (Cilium's `CIDRRule.sanitize`).
fn excepted(rule: &CidrRule, field: &str, findings: &mut Findings) -> Vec<IpNet> {
    let whole: Option<IpNet> = rule.cidr.as_deref().and_then(|text| text.parse().ok());
    let mut all = Vec::new();
    for (index, text) in rule.except.iter().flatten().enumerate() {
        let place = format!("{field}.except[{index}]");
        let Some(net) = prefix(text, &place, findings) else { continue };
        match whole {
            Some(whole) if !whole.contains(&net.addr()) => {
                findings.mistake(place, format!("is {net}, which is not in {whole}: leave it out"));
            }
            _ => all.push(net),
        }
    }
    all
}

fn overlaps(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}
