//! What a question asks of the columns, so that most rows need never be decoded. It may let through too much, never too
//! little: every row that is left is decoded and judged whole.

use crate::columns::{Facts, SEVERAL, place};
use crate::query::Query;
use crate::row::Row;
use flow_api::flow::FlowFilter;
use parquet::data_type::ByteArray;
use std::net::IpAddr;

/// All of the conditions have to hold.
#[derive(Debug, Default)]
pub struct Plan(pub Vec<Condition>);

/// One of the terms has to hold.
pub type Condition = Vec<Term>;

/// All of the wants have to hold.
pub type Term = Vec<Want>;

/// A column has one of some values.
#[derive(Clone, Debug)]
pub struct Want {
    pub column: usize,
    pub values: Values,
}

#[derive(Clone, Debug)]
pub enum Values {
    Numbers(Vec<i32>),
    Texts(Vec<ByteArray>),
    Beginnings(Vec<Vec<u8>>),
}

impl Plan {
    pub fn new(query: &Query) -> Self {
        let mut conditions = Vec::new();
        let mut either_end = |columns: [usize; 2], values: Option<Values>| {
            if let Some(values) = values {
                conditions.push(columns.map(|column| vec![Want { column, values: values.clone() }]).into());
            }
        };
        either_end([place::SOURCE_IP, place::DESTINATION_IP], texts(query.addresses.iter().map(IpAddr::to_string)));
        either_end([place::SOURCE_IDENTITY, place::DESTINATION_IDENTITY], numbers(&query.identities));
        let pods = query.pods.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name));
        either_end([place::SOURCE_POD, place::DESTINATION_POD], texts(pods));
        either_end([place::SOURCE_WORKLOAD, place::DESTINATION_WORKLOAD], workloads(query.workloads.iter().cloned()));
        if !query.verdicts.is_empty() {
            conditions
                .push(vec![vec![Want { column: place::VERDICT, values: Values::Numbers(query.verdicts.clone()) }]]);
        }
        let terms: Condition = query.whitelist().iter().map(term).collect();
        // A filter that asks nothing of the columns lets every row through, and with it the whole list.
        if !terms.is_empty() && terms.iter().all(|term| !term.is_empty()) {
            conditions.push(terms);
        }
        Self(conditions)
    }

    /// Whether a row that is no segment's yet may fit.
    pub fn may_fit(&self, row: &Row<'_>, [source, destination]: [&Facts; 2]) -> bool {
        let holds = |want: &Want| match want.column {
            place::VERDICT => want.values.has_number(row.verdict),
            place::SOURCE_IP => want.values.has_text(row.source_ip.as_bytes()),
            place::DESTINATION_IP => want.values.has_text(row.destination_ip.as_bytes()),
            place::SOURCE_IDENTITY => want.values.has_number(source.identity),
            place::DESTINATION_IDENTITY => want.values.has_number(destination.identity),
            place::SOURCE_POD => want.values.has_text(source.pod.data()),
            place::DESTINATION_POD => want.values.has_text(destination.pod.data()),
            place::SOURCE_WORKLOAD => want.values.has_text(source.workload.data()),
            place::DESTINATION_WORKLOAD => want.values.has_text(destination.workload.data()),
            _ => true,
        };
        self.0.iter().all(|condition| condition.iter().any(|term| term.iter().all(holds)))
    }
}

impl Values {
    pub fn has_number(&self, number: i32) -> bool {
        matches!(self, Self::Numbers(numbers) if numbers.contains(&number))
    }

    pub fn has_text(&self, text: &[u8]) -> bool {
        match self {
            Self::Numbers(_) => false,
            Self::Texts(texts) => texts.iter().any(|wanted| wanted.data() == text),
            Self::Beginnings(beginnings) => beginnings.iter().any(|beginning| text.starts_with(beginning)),
        }
    }
}

/// What of a filter can be asked of the columns.
fn term(filter: &FlowFilter) -> Term {
    let pods = |wanted: &[String]| {
        let beginnings = wanted.iter().map(|text| match text.contains('/') {
            true => text.clone().into_bytes(),
            false => format!("default/{text}").into_bytes(),
        });
        // An endpoint without a Pod's name may be in a namespace nevertheless.
        let has_name = !wanted.is_empty() && wanted.iter().all(|text| !text.ends_with('/'));
        has_name.then(|| Values::Beginnings(beginnings.collect()))
    };
    let names = |wanted: &[flow_api::flow::Workload]| {
        let all_named = wanted.iter().all(|workload| !workload.name.is_empty());
        all_named.then(|| workloads(wanted.iter().map(|workload| workload.name.clone()))).flatten()
    };
    let wants = [
        (place::SOURCE_IP, addresses(&filter.source_ip)),
        (place::DESTINATION_IP, addresses(&filter.destination_ip)),
        (place::SOURCE_IDENTITY, numbers(&filter.source_identity)),
        (place::DESTINATION_IDENTITY, numbers(&filter.destination_identity)),
        (place::SOURCE_POD, pods(&filter.source_pod)),
        (place::DESTINATION_POD, pods(&filter.destination_pod)),
        (place::SOURCE_WORKLOAD, names(&filter.source_workload)),
        (place::DESTINATION_WORKLOAD, names(&filter.destination_workload)),
        (place::VERDICT, (!filter.verdict.is_empty()).then(|| Values::Numbers(filter.verdict.clone()))),
    ];
    wants.into_iter().filter_map(|(column, values)| Some(Want { column, values: values? })).collect()
}

/// Only if all of them are single addresses.
fn addresses(wanted: &[String]) -> Option<Values> {
    let single: Option<Vec<String>> =
        wanted.iter().map(|text| text.parse::<IpAddr>().ok().map(|address| address.to_string())).collect();
    texts(single?.into_iter())
}

fn workloads(names: impl Iterator<Item = String>) -> Option<Values> {
    let mut names: Vec<String> = names.collect();
    if names.is_empty() {
        return None;
    }
    names.push(SEVERAL.to_owned());
    texts(names.into_iter())
}

fn texts(texts: impl Iterator<Item = String>) -> Option<Values> {
    let texts: Vec<ByteArray> = texts.map(|text| text.as_str().into()).collect();
    (!texts.is_empty()).then_some(Values::Texts(texts))
}

fn numbers(numbers: &[u32]) -> Option<Values> {
    (!numbers.is_empty()).then(|| Values::Numbers(numbers.iter().map(|number| *number as i32).collect()))
}
