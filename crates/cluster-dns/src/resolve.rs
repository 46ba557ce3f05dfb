//! What is true about a question. Pure: tables in, records out.

use std::sync::{Arc, RwLock};

use hickory_proto::{
    op::{Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::CNAME, rdata::PTR},
};
use ipnet::IpNet;

use crate::{
    reverse,
    table::{Found, TTL, Table, soa},
    zone_file::ZoneFile,
};

/// Everything that this server answers for by itself.
#[derive(Debug, Default)]
pub struct Zones {
    pub cluster: Option<Cluster>,
    pub files: Vec<ZoneFile>,
}

/// The cluster's zone, and the reverse zones of its addresses.
#[derive(Debug)]
pub struct Cluster {
    pub table: Arc<RwLock<Table>>,
    /// Whether each kind of object has been listed whole once.
    pub synced: tokio::sync::watch::Receiver<bool>,
    /// Ranges whose addresses have no names but ours.
    pub ranges: Vec<IpNet>,
}

/// An answer without its header.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub code: ResponseCode,
    pub authoritative: bool,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
}

/// What became of a question.
#[derive(Debug, PartialEq)]
pub enum Resolved {
    Reply(Reply),
    /// Ours leads to a name of others: these records first, then what that name has.
    Onward {
        aliases: Vec<Record>,
        target: Name,
    },
    /// A name of others.
    Outside,
}

impl Reply {
    /// Nothing but a code.
    pub fn only(code: ResponseCode) -> Self {
        let (answers, authorities, additionals) = Default::default();
        Self { code, authoritative: false, answers, authorities, additionals }
    }
}

/// One step: what is at one name.
enum At {
    Ours(Box<Ours>),
    NotYet,
    Outside,
}

struct Ours {
    found: Found,
    /// Owner and content of the zone's SOA record.
    soa: (Name, RData),
}

impl Zones {
    /// Answers, following aliases as long as they are ours.
    pub fn resolve(&self, question: &Query) -> Resolved {
        let mut aliases: Vec<Record> = Vec::new();
        let mut name = question.name.clone();
        for _ in 0..LONGEST_CHAIN {
            let Ours { found, soa } = match self.at(&name) {
                At::Ours(ours) => *ours,
                // Half a table would deny names that there are.
                At::NotYet => return Resolved::Reply(Reply::only(ResponseCode::ServFail)),
                At::Outside if aliases.is_empty() => return Resolved::Outside,
                At::Outside => return Resolved::Onward { aliases, target: name },
            };
            let record = |data: RData| Record::from_rdata(name.clone(), TTL, data);
            let (code, records, targets) = match found {
                Found::Alias(target) if !matches!(question.query_type, RecordType::CNAME | RecordType::ANY) => {
                    aliases.push(record(RData::CNAME(CNAME(target.clone()))));
                    name = target;
                    continue;
                }
                Found::Alias(target) => (ResponseCode::NoError, vec![RData::CNAME(CNAME(target))], Vec::new()),
                Found::Here(records) => (ResponseCode::NoError, records, Vec::new()),
                Found::Services { records, targets } => (ResponseCode::NoError, records, targets),
                Found::Nothing => (ResponseCode::NXDomain, Vec::new(), Vec::new()),
            };
            let asked =
                |data: &RData| question.query_type == RecordType::ANY || data.record_type() == question.query_type;
            let answers: Vec<Record> = records.into_iter().filter(asked).map(record).collect();
            let nothing = answers.is_empty();
            return Resolved::Reply(Reply {
                code,
                authoritative: true,
                additionals: if nothing { Vec::new() } else { addresses(targets) },
                answers: aliases.into_iter().chain(answers).collect(),
                authorities: if nothing { vec![Record::from_rdata(soa.0, TTL, soa.1)] } else { Vec::new() },
            });
        }
        tracing::debug!(name = %question.name, "aliases go round in a circle");
        Resolved::Reply(Reply::only(ResponseCode::ServFail))
    }

    fn at(&self, name: &Name) -> At {
        // Kubernetes' names are ASCII: what is none becomes something that no object is called.
        let labels: Vec<String> =
            name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        if let Some(cluster) = &self.cluster {
            match cluster.at(name, &labels) {
                At::Outside => {}
                at => return at,
            }
        }
        match self.files.iter().filter(|file| file.holds(name)).max_by_key(|file| file.origin().num_labels()) {
            Some(file) => At::Ours(Box::new(Ours { found: file.lookup(name), soa: file.soa() })),
            None => At::Outside,
        }
    }
}

impl Cluster {
    fn at(&self, name: &Name, labels: &[&str]) -> At {
        // Poisoned or not, every change leaves a whole table.
        let table = self.table.read().unwrap_or_else(|poison| poison.into_inner());
        let ours = |found, soa| At::Ours(Box::new(Ours { found, soa }));
        if table.zone().zone_of(name) {
            if !*self.synced.borrow() {
                return At::NotYet;
            }
            let before = labels.len().saturating_sub(usize::from(table.zone().num_labels()));
            return ours(table.lookup(&labels[..before]), (table.zone().clone(), table.soa()));
        }
        let Some(network) = reverse::network(labels) else { return At::Outside };
        let range = self.ranges.iter().find(|range| range.contains(&network));
        let whole = network.prefix_len() == network.max_prefix_len();
        let names: Vec<RData> =
            table.names_of(network.addr()).filter(|_| whole).map(|name| RData::PTR(PTR(name.clone()))).collect();
        // A name for an address of nobody's range (a hand-written endpoint) is ours, its silence is not.
        let zone = match range {
            Some(range) => reverse::zone(*range, network),
            None if names.is_empty() => return At::Outside,
            None => reverse::zone(network, network),
        };
        let Some(zone) = zone else { return At::Outside };
        if !*self.synced.borrow() {
            return At::NotYet;
        }
        let start = soa(&zone, table.serial());
        let found = if !names.is_empty() {
            Found::Here(names)
        } else if zone == *name {
            Found::Here(vec![start.clone()])
        } else if table.names_within(network) {
            Found::Here(Vec::new())
        } else {
            Found::Nothing
        };
        ours(found, (zone, start))
    }
}

fn addresses(targets: Vec<(Name, std::net::IpAddr)>) -> Vec<Record> {
    targets.into_iter().map(|(name, ip)| Record::from_rdata(name, TTL, crate::table::address(ip))).collect()
}

/// Aliases that follow each other; more is a circle.
const LONGEST_CHAIN: usize = 8;

#[cfg(test)]
#[path = "resolve_tests.rs"]
pub mod tests;
