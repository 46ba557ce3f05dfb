//! Field masks: a client that prints five fields need not be sent fifty.
//!
//! Works on the encoded message: what is not asked for is cut out, whatever it is (Protocol Buffers, "Encoding").

use crate::flow::Flow;
use crate::wire::{self, Body};
use crate::{Invalid, pool};
use prost::Message;
use prost_reflect::MessageDescriptor;
use std::collections::BTreeMap;

/// Fields of `flow.Flow` that a client wants. An empty one wants all.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mask(Option<Fields>);

/// By number; `None`: with all that is in it.
type Fields = BTreeMap<u32, Tree>;

#[derive(Debug, PartialEq, Eq)]
enum Tree {
    All,
    Some(Fields),
}

impl Mask {
    /// Reads paths such as `source.pod_name`. A path that another one holds already changes nothing.
    ///
    /// # Errors
    /// A path that `flow.Flow` does not have, or that leads through a list.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<Self, Invalid> {
        let flow =
            pool().get_message_by_name("flow.Flow").ok_or_else(|| Invalid::new("field_mask", "not supported"))?;
        let mut fields = None;
        for path in paths {
            let no_such = || Invalid::new("field_mask", format!("flow.Flow has no field {path:?}"));
            add(fields.get_or_insert_default(), &flow, path).ok_or_else(no_such)?;
        }
        Ok(Self(fields))
    }

    /// What is left of a flow.
    #[must_use]
    pub fn apply(&self, flow: &Flow) -> Flow {
        if self.0.is_none() {
            return flow.clone();
        }
        // Can't fail on what was encoded the line before; if it did, nothing is the safe answer.
        Flow::decode(self.encode(flow).as_slice()).unwrap_or_default()
    }

    /// The same, encoded.
    #[must_use]
    pub fn encode(&self, flow: &Flow) -> Vec<u8> {
        let whole = flow.encode_to_vec();
        let Some(fields) = &self.0 else { return whole };
        let mut kept = Vec::with_capacity(whole.len());
        match keep(fields, &whole, &mut kept) {
            Some(()) => kept,
            None => Vec::new(),
        }
    }
}

fn add(fields: &mut Fields, message: &MessageDescriptor, path: &str) -> Option<()> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let field = message.get_field_by_name(name)?;
    let Some(rest) = rest else {
        fields.insert(field.number(), Tree::All);
        return Some(());
    };
    let kind = field.kind();
    let inner = kind.as_message().filter(|_| !field.is_list())?;
    match fields.entry(field.number()).or_insert_with(|| Tree::Some(Fields::new())) {
        // Still looked at: a path that does not exist is a mistake there too.
        Tree::All => add(&mut Fields::new(), inner, rest),
        Tree::Some(within) => add(within, inner, rest),
    }
}

/// Copies the wanted fields of an encoded message; `None` where it is no message.
fn keep(wanted: &Fields, message: &[u8], out: &mut Vec<u8>) -> Option<()> {
    for field in wire::fields(message) {
        let field = field?;
        match (wanted.get(&field.number), field.body) {
            (None, _) => {}
            (Some(Tree::Some(within)), Body::Bytes(body)) => {
                let mut inner = Vec::with_capacity(body.len());
                keep(within, body, &mut inner)?;
                wire::put(out, field.number, &inner);
            }
            (Some(Tree::Some(_)), _) => return None,
            (Some(Tree::All), _) => out.extend_from_slice(field.whole),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Endpoint, Ip};
    use proptest::prelude::*;
    use prost_reflect::{DynamicMessage, ReflectMessage, Value};

    fn flow() -> Flow {
        let endpoint = |identity: u32, pod: &str| Endpoint {
            identity,
            pod_name: pod.to_owned(),
            namespace: "shop".to_owned(),
            labels: vec!["k8s:app=a".to_owned(), "k8s:b".to_owned()],
            ..Endpoint::default()
        };
        Flow {
            uuid: "u".to_owned(),
            verdict: 2,
            ip: Some(Ip {
                source: "10.0.0.1".to_owned(),
                destination: "fd00::1".to_owned(),
                ip_version: 2,
                ..Ip::default()
            }),
            source: Some(endpoint(300, "a")),
            destination: Some(endpoint(70_000, "b")),
            is_reply: Some(false),
            socket_cookie: u64::MAX,
            summary: "TCP Flags: SYN".to_owned(),
            ..Flow::default()
        }
    }

    #[test]
    fn what_is_asked_for_is_left_and_nothing_else() {
        let kept = Mask::new(["source.identity", "source.labels", "is_reply", "Summary"]).unwrap().apply(&flow());
        let whole = flow();
        let expected = Flow {
            source: Some(Endpoint { identity: 300, labels: whole.source.unwrap().labels, ..Endpoint::default() }),
            is_reply: Some(false),
            summary: whole.summary,
            ..Flow::default()
        };
        assert_eq!(kept, expected);
    }

    #[test]
    fn without_paths_everything_is_left() {
        assert_eq!(Mask::new([]).unwrap().apply(&flow()), flow());
    }

    #[test]
    fn the_wider_path_wins_in_any_order() {
        let narrow_last = Mask::new(["source", "source.identity"]).unwrap();
        assert_eq!(narrow_last, Mask::new(["source.identity", "source"]).unwrap());
        assert_eq!(narrow_last.apply(&flow()).source, flow().source);
    }

    #[test]
    fn paths_that_lead_nowhere_are_refused() {
        for path in
            ["", "sauce", "source.", ".source", "source.pod", "verdict.x", "source.workloads.name", "source.identity.x"]
        {
            let invalid = Mask::new(["source", path]).unwrap_err();
            assert_eq!(invalid.field, "field_mask", "{path}");
            assert!(invalid.reason.contains(path));
        }
    }

    /// By reflection: slow and obvious.
    fn reference(paths: &[String], flow: &Flow) -> Flow {
        let descriptor = pool().get_message_by_name("flow.Flow").unwrap();
        let whole = DynamicMessage::decode(descriptor.clone(), flow.encode_to_vec().as_slice()).unwrap();
        let mut kept = DynamicMessage::new(descriptor);
        for path in paths {
            copy(path, &whole, &mut kept);
        }
        Flow::decode(kept.encode_to_vec().as_slice()).unwrap()
    }

    fn copy(path: &str, whole: &DynamicMessage, kept: &mut DynamicMessage) {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let field = whole.descriptor().get_field_by_name(name).unwrap();
        if !whole.has_field(&field) {
            return;
        }
        match (rest, whole.get_field(&field).as_ref()) {
            (None, value) => kept.set_field(&field, value.clone()),
            (Some(rest), Value::Message(inner)) => {
                copy(rest, inner, kept.get_field_mut(&field).as_message_mut().unwrap())
            }
            _ => unreachable!(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn it_is_what_reflection_leaves(paths in proptest::collection::vec(proptest::sample::select(vec![
            "uuid", "verdict", "IP", "IP.source", "IP.ipVersion", "source", "source.identity", "source.labels", "l4",
            "destination.pod_name", "destination.namespace", "is_reply", "socket_cookie", "Summary", "source.workloads",
            "tunnel.IP.source", "time",
        ]).prop_map(str::to_owned), 1..8)) {
            let mask = Mask::new(paths.iter().map(String::as_str)).unwrap();
            prop_assert_eq!(mask.apply(&flow()), reference(&paths, &flow()));
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mask = Mask::new(["source.identity", "Summary"]).unwrap();
            let _ = keep(mask.0.as_ref().unwrap(), &bytes, &mut Vec::new());
        }
    }
}
