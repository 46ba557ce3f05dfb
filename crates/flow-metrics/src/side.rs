//! By which context options one side of a flow is called.

use crate::context::{Context, End};
use flow_api::flow::{Flow, TrafficDirection};

/// `sourceContext` and its like, or `destinationContext` and its. Options are tried in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Of flows for which there are no others.
    pub any: Vec<Context>,
    /// Of what leaves an end of this node (`…EgressContext`); empty: as the others.
    pub egress: Vec<Context>,
    /// Of what comes to one (`…IngressContext`); empty: as the others.
    pub ingress: Vec<Context>,
}

impl Side {
    /// Whether there is a label for it. (Hubble has one only where `any` is not empty, too.)
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.options().next().is_some()
    }

    /// What the label says.
    pub(crate) fn value(&self, end: End<'_>, flow: &Flow) -> String {
        let own = match flow.traffic_direction() {
            TrafficDirection::Egress => &self.egress,
            TrafficDirection::Ingress => &self.ingress,
            TrafficDirection::Unknown => &self.any,
        };
        end.named(if own.is_empty() { &self.any } else { own })
    }

    /// Whether the label may say this.
    pub(crate) fn has(&self, option: Context) -> bool {
        self.options().any(|one| *one == option)
    }

    fn options(&self) -> impl Iterator<Item = &Context> {
        [&self.any, &self.egress, &self.ingress].into_iter().flatten()
    }
}
