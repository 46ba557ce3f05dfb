//! What a lookup gives, and the zone's own records.

use std::{collections::BTreeSet, net::IpAddr};

use hickory_proto::rr::{
    Name, RData,
    rdata::{A, AAAA, NS, SOA, SRV},
};

use super::{Entry, Table, facts::SliceFacts};

/// What is at a name.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Neither the name nor anything below it.
    Nothing,
    /// The name, with these records of all types; none where only names below it have some (RFC 8020).
    Here(Vec<RData>),
    /// The same, for SRV records, whose targets' addresses are worth telling too.
    Services { records: Vec<RData>, targets: Vec<(Name, IpAddr)> },
    /// Another name in its place.
    Alias(Name),
}

/// A ready endpoint.
#[derive(Debug, Clone)]
pub(super) struct Endpoint<'a> {
    pub address: IpAddr,
    hostname: Option<&'a str>,
    pub slice: &'a SliceFacts,
}

impl Endpoint<'_> {
    /// §2.1: its hostname, or what we call it: the address with dashes, as CoreDNS does.
    pub fn label(&self) -> String {
        self.hostname.map_or_else(|| dashed(self.address), str::to_owned)
    }
}

impl Entry {
    /// Those to be told: the ready ones, or all.
    pub(super) fn endpoints(&self, publish_not_ready: bool) -> impl Iterator<Item = Endpoint<'_>> {
        self.slices.values().flat_map(move |slice| {
            let told = slice.endpoints.iter().filter(move |endpoint| endpoint.ready || publish_not_ready);
            told.flat_map(move |endpoint| {
                let hostname = endpoint.hostname.as_deref();
                endpoint.addresses.iter().map(move |address| Endpoint { address: *address, hostname, slice })
            })
        })
    }
}

impl Table {
    /// Said beside "no such name" and "no such record" (RFC 2308).
    pub fn soa(&self) -> RData {
        soa(&self.zone, self.serial)
    }

    /// The zone's own name server.
    pub(super) fn name_server(&self) -> Option<Name> {
        Name::from_labels([&b"ns"[..], b"dns"]).ok()?.append_domain(&self.zone).ok()
    }

    pub(super) fn apex(&self) -> Vec<RData> {
        self.name_server().map(|name| RData::NS(NS(name))).into_iter().chain([self.soa()]).collect()
    }
}

/// The start of a zone that this server answers for.
pub fn soa(zone: &Name, serial: u32) -> RData {
    let within = |label: &str| zone.prepend_label(label).unwrap_or_else(|_| zone.clone());
    let server = within("dns").prepend_label("ns").unwrap_or_else(|_| zone.clone());
    RData::SOA(SOA::new(server, within("hostmaster"), serial, 7200, 1800, 86400, TTL))
}

/// An address record.
pub fn address(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}

/// Every address once: slices may repeat one.
pub(super) fn addresses(all: impl Iterator<Item = IpAddr>) -> Vec<RData> {
    let unique: BTreeSet<IpAddr> = all.collect();
    unique.into_iter().map(address).collect()
}

/// SRV records with equal chances (RFC 2782): priority 0, and 100 shared among the weights, as CoreDNS does.
pub(super) fn services(targets: &BTreeSet<(Name, u16)>) -> Vec<RData> {
    let weight = (100 / targets.len().max(1)).max(1) as u16;
    targets.iter().map(|(target, port)| RData::SRV(SRV::new(0, weight, *port, target.clone()))).collect()
}

/// `10-244-1-2`, `fd00-10-244--2`.
pub(super) fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

/// The reverse of [`dashed`], for both ways of writing.
pub(super) fn undashed(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse().map(IpAddr::V4);
    v4.or_else(|_| label.replace('-', ":").parse().map(IpAddr::V6)).ok()
}

/// Seconds that an answer may be kept; CoreDNS' default. Names follow Pods: long is wrong soon.
pub const TTL: u32 = 5;
