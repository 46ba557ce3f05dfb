//! Two Services can ask for one external address and port; one has it, the others wait.

use datapath_layouts::FrontendKey;
use model::ObjectName;
use std::collections::{BTreeSet, HashMap};

/// A frontend that a Service asked for and another one has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// What both want.
    pub frontend: FrontendKey,
    /// Who has it.
    pub owner: ObjectName,
}

/// Who has which frontend, and who waits for it.
#[derive(Debug, Default)]
pub struct Claims {
    owners: HashMap<FrontendKey, ObjectName>,
    waiting: HashMap<FrontendKey, BTreeSet<ObjectName>>,
}

impl Claims {
    /// Takes a frontend for a Service, or says who has it.
    pub fn take(&mut self, frontend: FrontendKey, service: &ObjectName) -> Result<(), Conflict> {
        match self.owners.get(&frontend) {
            Some(owner) if owner != service => {
                self.waiting.entry(frontend).or_default().insert(service.clone());
                Err(Conflict { frontend, owner: owner.clone() })
            }
            Some(_) => Ok(()),
            None => {
                self.owners.insert(frontend, service.clone());
                Ok(())
            }
        }
    }

    /// Who has a frontend.
    pub fn owner(&self, frontend: &FrontendKey) -> Option<&ObjectName> {
        self.owners.get(frontend)
    }

    /// Gives a frontend back; answers with those that waited for it.
    pub fn release(&mut self, frontend: &FrontendKey) -> BTreeSet<ObjectName> {
        self.owners.remove(frontend);
        self.waiting.remove(frontend).unwrap_or_default()
    }

    /// A Service that no longer waits for anything.
    pub fn stop_waiting(&mut self, service: &ObjectName) {
        self.waiting.retain(|_, waiting| {
            waiting.remove(service);
            !waiting.is_empty()
        });
    }
}
