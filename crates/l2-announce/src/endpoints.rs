//! Which nodes have endpoints of a Service: with `externalTrafficPolicy: Local` a node without any would only drop what
//! comes to it.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use model::ObjectName;
use std::collections::BTreeSet;

/// A slice, as far as announcing needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceView {
    service: ObjectName,
    /// Nodes with ready endpoints.
    ready: BTreeSet<Box<str>>,
    /// Nodes with endpoints that go away and still serve.
    last: BTreeSet<Box<str>>,
}

impl SliceView {
    /// A slice of a Service.
    #[must_use]
    pub fn of(slice: &EndpointSlice) -> Option<Self> {
        let metadata = &slice.metadata;
        let service = metadata.labels.as_ref()?.get("kubernetes.io/service-name")?;
        let mut view = Self {
            service: ObjectName::new(metadata.namespace.as_deref().unwrap_or_default(), service),
            ready: BTreeSet::new(),
            last: BTreeSet::new(),
        };
        for endpoint in &slice.endpoints {
            let Some(node) = &endpoint.node_name else { continue };
            let conditions = endpoint.conditions.as_ref();
            // Conditions that are not there: ready is true, serving is as ready (API reference).
            let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
            if ready {
                view.ready.insert(node.as_str().into());
            } else if conditions.and_then(|c| c.serving) == Some(true) {
                view.last.insert(node.as_str().into());
            }
        }
        Some(view)
    }
}

/// Whether a node can serve a Service by itself: it has ready endpoints; or some that go away, while no node has a ready one
/// (KEP-1669).
#[must_use]
pub fn serves<'a>(slices: impl Iterator<Item = &'a SliceView> + Clone, service: &ObjectName, node: &str) -> bool {
    let mut of = slices.filter(|slice| slice.service == *service);
    let ready = of.clone().any(|slice| !slice.ready.is_empty());
    of.any(|slice| if ready { slice.ready.contains(node) } else { slice.last.contains(node) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Node, ready, serving.
    fn slice(service: &str, endpoints: &[(&str, Option<bool>, bool)]) -> SliceView {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(node, ready, serving)| {
                json!({"addresses": ["10.0.0.1"], "nodeName": node,
                    "conditions": {"ready": ready, "serving": serving, "terminating": !serving}})
            })
            .collect();
        let object = json!({"addressType": "IPv4", "endpoints": endpoints,
            "metadata": {"name": "s-1", "namespace": "default", "labels": {"kubernetes.io/service-name": service}}});
        SliceView::of(&serde_json::from_value(object).unwrap()).unwrap()
    }

    fn who(slices: &[SliceView]) -> Vec<&'static str> {
        let name = ObjectName::new("default", "web");
        ["a", "b", "c"].into_iter().filter(|node| serves(slices.iter(), &name, node)).collect()
    }

    #[test]
    fn ready_ones_first_then_those_that_still_serve() {
        let going = slice("web", &[("b", Some(false), true), ("c", Some(false), false)]);
        assert_eq!(who(&[going.clone(), slice("web", &[("a", None, true)])]), ["a"]);
        assert_eq!(who(&[going.clone(), slice("other", &[("a", None, true)])]), ["b"]);
        assert_eq!(who(&[going, slice("web", &[("a", Some(true), true), ("c", Some(true), true)])]), ["a", "c"]);
        assert!(who(&[]).is_empty());
    }
}
