//! A filter on its way from flags to Hubble's message.

use super::refusals::check_namespaces;
use flow_api::flow::FlowFilter;
use std::ops::{Deref, DerefMut};

/// A filter, and the namespaces that its names are in where they name none.
#[derive(Default, PartialEq)]
pub struct Asked {
    filter: FlowFilter,
    pub source_namespaces: Vec<String>,
    pub destination_namespaces: Vec<String>,
}

impl Deref for Asked {
    type Target = FlowFilter;

    fn deref(&self) -> &FlowFilter {
        &self.filter
    }
}

impl DerefMut for Asked {
    fn deref_mut(&mut self) -> &mut FlowFilter {
        &mut self.filter
    }
}

impl Asked {
    /// With every name in its namespaces.
    ///
    /// # Errors
    /// When a name is in another one.
    pub fn finish(self) -> Result<FlowFilter, String> {
        check_namespaces(&self.source_namespaces, &self.source_pod, &self.source_service)?;
        check_namespaces(&self.destination_namespaces, &self.destination_pod, &self.destination_service)?;
        let Self { mut filter, source_namespaces, destination_namespaces } = self;
        within(&source_namespaces, [&mut filter.source_pod, &mut filter.source_service]);
        within(&destination_namespaces, [&mut filter.destination_pod, &mut filter.destination_service]);
        Ok(filter)
    }
}

/// As `hubble` has it: a namespace without a name means its Pods, and with names those names in it.
fn within(namespaces: &[String], names: [&mut Vec<String>; 2]) {
    if namespaces.is_empty() {
        return;
    }
    let [pods, services] = names;
    if pods.is_empty() && services.is_empty() {
        pods.push(String::new());
    }
    for names in [pods, services] {
        let full = |name: &String| -> Vec<String> {
            if name.contains('/') {
                return vec![name.clone()];
            }
            namespaces.iter().map(|namespace| format!("{namespace}/{name}")).collect()
        };
        *names = names.iter().flat_map(full).collect();
    }
}
