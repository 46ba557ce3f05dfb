//! Which events leave, and how much of them.

use crate::Redaction;
use flow_api::Invalid;
use flow_api::filter::Filters;
use flow_api::flow::{Flow, FlowFilter};
use flow_api::mask::Mask;

/// What an operator chooses, under Hubble's names, wherever the flows go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// `hubble-export-allowlist`: with any, only what fits one of them.
    pub allowlist: Vec<FlowFilter>,
    /// `hubble-export-denylist`: nothing that fits one of them.
    pub denylist: Vec<FlowFilter>,
    /// `hubble-export-fieldmask`: with any, only these fields of a flow. What Hubble has no field for (how a flow ended) is told only to
    /// who names `extensions`.
    pub fieldmask: Vec<String>,
    /// `hubble-redact-*`.
    pub redaction: Redaction,
}

/// The same, read.
#[derive(Debug)]
pub struct Gate {
    filters: Filters,
    redaction: Redaction,
    mask: Mask,
    /// Whether the mask names what Hubble has no field for.
    is_extended: bool,
}

impl Gate {
    /// Reads the lists and the mask.
    ///
    /// # Errors
    /// A filter or a path that makes no sense.
    pub fn new(selection: &Selection) -> Result<Self, Invalid> {
        Ok(Self {
            filters: Filters::new(&selection.allowlist, &selection.denylist)?,
            redaction: selection.redaction.clone(),
            mask: Mask::new(selection.fieldmask.iter().map(String::as_str))?,
            is_extended: selection.fieldmask.iter().any(|path| path.split('.').next() == Some("extensions")),
        })
    }

    /// What of the flow may leave; `None`: nothing.
    pub fn pass(&self, flow: &Flow) -> Option<Flow> {
        // Judged as it was seen, told as it may be.
        if !self.filters.admit(flow) {
            return None;
        }
        let mut flow = flow.clone();
        self.redaction.apply(&mut flow);
        // Readers in Go refuse a line with a message in it that they don't know.
        flow.extensions = flow.extensions.filter(|_| self.is_extended);
        Some(self.mask.apply(&flow))
    }
}
