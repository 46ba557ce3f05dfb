//! Where each endpoint goes: into the slice where it is, or into one that changes anyway, or into a new one.

use super::{
    desired::{Family, Groups, ports_key},
    plan::{Change, MANAGED_BY, SERVICE_NAME},
};
use crate::owner;
use k8s_openapi::{
    api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use std::{collections::BTreeMap, sync::Arc};

/// Whose slices are cut, and which exist.
pub(crate) struct Book<'a> {
    /// The Service's name, which begins the slices' names.
    pub(crate) service: &'a str,
    /// The owner's metadata: a Service, or the Endpoints that are mirrored.
    pub(crate) owner: &'a ObjectMeta,
    /// The owner as the slices name it.
    pub(crate) reference: OwnerReference,
    /// All labels of the slices, the Service's name and the manager among them.
    pub(crate) labels: BTreeMap<String, String>,
    /// All slices of the namespace.
    pub(crate) slices: &'a [Arc<EndpointSlice>],
}

impl Book<'_> {
    /// New and changed slices first, so that no endpoint is missing in between. Slices of families that are not
    /// wanted go.
    pub(crate) fn plan(&self, wanted: Vec<(Family, Groups)>) -> Vec<Change> {
        let (mut changes, mut deletions) = (Vec::new(), Vec::new());
        let own: Vec<&Arc<EndpointSlice>> = self.slices.iter().filter(|slice| self.is_own(slice)).collect();
        for slice in &own {
            if !wanted.iter().any(|(family, _)| family.as_str() == slice.address_type) {
                deletions.push(Change::Delete(Arc::clone(slice)));
            }
        }
        for (family, groups) in wanted {
            let slices = own.iter().filter(|slice| slice.address_type == family.as_str()).map(|slice| Sheet::of(slice));
            let mut cut = Cut { book: self, family, sheets: slices.collect() };
            cut.fill(groups);
            for sheet in cut.sheets {
                match sheet.into_change(&self.labels) {
                    Some(delete @ Change::Delete(_)) => deletions.push(delete),
                    Some(change) => changes.push(change),
                    None => {}
                }
            }
        }
        changes.extend(deletions);
        changes
    }

    /// True for a slice that we made for this very owner.
    fn is_own(&self, slice: &EndpointSlice) -> bool {
        let label = |key: &str| slice.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        [SERVICE_NAME, MANAGED_BY].iter().all(|key| label(key) == self.labels.get(*key))
            && slice.metadata.deletion_timestamp.is_none()
            && owner::is_controlled_by(&slice.metadata, self.owner)
    }
}

/// A slice under planning.
struct Sheet {
    /// As it was seen; `None` when it is to be created.
    seen: Option<Arc<EndpointSlice>>,
    slice: EndpointSlice,
    /// Not needed any more.
    surplus: bool,
}

impl Sheet {
    fn of(seen: &Arc<EndpointSlice>) -> Self {
        Self { seen: Some(Arc::clone(seen)), slice: seen.as_ref().clone(), surplus: false }
    }

    fn ports_key(&self) -> String {
        ports_key(self.slice.ports.as_deref().unwrap_or_default())
    }

    fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.slice.endpoints.len())
    }

    /// Takes as many as there is room for.
    fn take(&mut self, ports: &[EndpointPort], endpoints: &mut Vec<Endpoint>) {
        if endpoints.is_empty() {
            return;
        }
        self.slice.ports = Some(ports.to_vec());
        let count = self.room().min(endpoints.len());
        self.slice.endpoints.extend(endpoints.drain(..count));
    }

    fn is_changed(&self) -> bool {
        self.seen.as_ref().is_none_or(|seen| seen.endpoints != self.slice.endpoints || seen.ports != self.slice.ports)
    }

    fn into_change(mut self, labels: &BTreeMap<String, String>) -> Option<Change> {
        if self.surplus {
            return self.seen.map(Change::Delete);
        }
        self.slice.metadata.labels = Some(labels.clone());
        match self.seen {
            None => Some(Change::Create(Box::new(self.slice))),
            Some(seen) => (*seen != self.slice).then(|| Change::Update(Box::new(self.slice))),
        }
    }
}

/// One family's slices.
struct Cut<'a> {
    book: &'a Book<'a>,
    family: Family,
    sheets: Vec<Sheet>,
}

impl Cut<'_> {
    fn fill(&mut self, groups: Groups) {
        let mut missing: Vec<(String, Vec<EndpointPort>, Vec<Endpoint>)> = Vec::new();
        for (key, (ports, endpoints)) in &groups {
            missing.push((key.clone(), ports.clone(), self.keep(key, endpoints)));
        }
        // Slices whose ports nobody has any more hold nothing; they may be used anew.
        for sheet in &mut self.sheets {
            if !groups.contains_key(&sheet.ports_key()) {
                sheet.slice.endpoints.clear();
            }
        }
        for (key, ports, endpoints) in missing {
            self.place(&key, &ports, endpoints);
        }
        self.drop_empty();
    }

    /// Leaves endpoints where they are, with their present state, and takes out those that are gone. Returns those
    /// that are in no slice yet.
    fn keep(&mut self, key: &str, endpoints: &[Endpoint]) -> Vec<Endpoint> {
        let mut left: BTreeMap<String, &Endpoint> =
            endpoints.iter().map(|endpoint| (identity(endpoint), endpoint)).collect();
        for sheet in self.sheets.iter_mut().filter(|sheet| sheet.ports_key() == key) {
            sheet.slice.endpoints = std::mem::take(&mut sheet.slice.endpoints)
                .into_iter()
                .filter_map(|held| {
                    left.remove(&identity(&held)).map(|new| if held == *new { held } else { new.clone() })
                })
                .collect();
        }
        endpoints.iter().filter(|endpoint| left.contains_key(&identity(endpoint))).cloned().collect()
    }

    /// Finds room: in slices that change anyway, then in one that takes all the rest, then in empty ones, then in new.
    fn place(&mut self, key: &str, ports: &[EndpointPort], mut endpoints: Vec<Endpoint>) {
        for sheet in &mut self.sheets {
            if sheet.ports_key() == key && sheet.is_changed() && !sheet.slice.endpoints.is_empty() {
                sheet.take(ports, &mut endpoints);
            }
        }
        if endpoints.is_empty() {
            return;
        }
        let fullest = self
            .sheets
            .iter_mut()
            .filter(|sheet| sheet.ports_key() == key && !sheet.slice.endpoints.is_empty())
            .filter(|sheet| sheet.room() >= endpoints.len())
            .min_by_key(|sheet| sheet.room());
        if let Some(sheet) = fullest {
            sheet.take(ports, &mut endpoints);
        }
        for sheet in self.sheets.iter_mut().filter(|sheet| sheet.slice.endpoints.is_empty()) {
            sheet.take(ports, &mut endpoints);
        }
        while !endpoints.is_empty() {
            let mut sheet = self.new_sheet(key);
            sheet.take(ports, &mut endpoints);
            self.sheets.push(sheet);
        }
    }

    /// An empty slice goes, but a Service always keeps one per family: an empty slice says "nobody", no slice says
    /// nothing.
    fn drop_empty(&mut self) {
        let mut filled = self.sheets.iter().filter(|sheet| !sheet.slice.endpoints.is_empty()).count();
        for sheet in &mut self.sheets {
            if !sheet.slice.endpoints.is_empty() {
                continue;
            }
            if filled > 0 {
                sheet.surplus = true;
            } else {
                filled = 1;
            }
        }
        if self.sheets.is_empty() {
            let mut sheet = self.new_sheet("");
            sheet.slice.ports = Some(Vec::new());
            self.sheets.push(sheet);
        }
    }

    /// The name follows from Service, family, ports and a number: whoever tries twice creates once.
    fn new_sheet(&self, key: &str) -> Sheet {
        let Book { service, owner, reference, .. } = self.book;
        let uid = owner.uid.as_deref().unwrap_or_default();
        let is_taken = |name: &str| {
            let held = self.book.slices.iter().any(|slice| slice.metadata.name.as_deref() == Some(name));
            held || self.sheets.iter().any(|sheet| sheet.slice.metadata.name.as_deref() == Some(name))
        };
        let name = (0u64..)
            .map(|number| format!("{service}-{}", suffix(&format!("{uid}/{}/{key}/{number}", self.family.as_str()))))
            .find(|name| !is_taken(name))
            .unwrap_or_else(|| (*service).to_owned());
        let slice = EndpointSlice {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: owner.namespace.clone(),
                owner_references: Some(vec![reference.clone()]),
                ..Default::default()
            },
            address_type: self.family.as_str().into(),
            endpoints: Vec::new(),
            ports: None,
        };
        Sheet { seen: None, slice, surplus: false }
    }
}

/// An endpoint stays the same as long as it is the same Pod at the same address.
fn identity(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref()).unwrap_or_default();
    format!("{uid} {}", endpoint.addresses.join(","))
}

/// Five characters as the API server would give for `generateName`.
fn suffix(text: &str) -> String {
    let mut hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    (0..5)
        .map(|_| {
            let index = usize::try_from(hash % 27).unwrap_or(0);
            hash /= 27;
            b"bcdfghjklmnpqrstvwxz2456789"[index] as char
        })
        .collect()
}

/// Endpoints per slice (`--max-endpoints-per-slice`).
pub(super) const CAPACITY: usize = 100;
