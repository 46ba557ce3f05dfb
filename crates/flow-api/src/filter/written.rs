//! Filters as people write them into flags: Hubble's `--allowlist`.

use crate::flow::FlowFilter;
use crate::{Invalid, pool};
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde::de::DeserializeSeed;

/// `flow.FlowFilter`s in the JSON of Protocol Buffers, one behind the other:
/// `{"verdict":["DROPPED"]} {"source_pod":["kube-system/"]}`. Fields by their own names or in camel case.
///
/// # Errors
/// What is no JSON, no such field, or no value for it; the error counts filters from 0.
pub fn from_json(text: &str) -> Result<Vec<FlowFilter>, Invalid> {
    let descriptor: MessageDescriptor = pool()
        .get_message_by_name("flow.FlowFilter")
        .ok_or_else(|| Invalid::new("flow.FlowFilter", "no such message"))?;
    let mut rest = serde_json::Deserializer::from_str(text);
    let mut filters = Vec::new();
    // An error ends it: what follows has no known beginning.
    while rest.end().is_err() {
        let wrong = |why: String| Invalid::new(format!("filter {}", filters.len()), why);
        let message: DynamicMessage =
            descriptor.clone().deserialize(&mut rest).map_err(|why| wrong(why.to_string()))?;
        let filter = message.transcode_to().map_err(|why| wrong(why.to_string()))?;
        filters.push(filter);
    }
    Ok(filters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Verdict;
    use crate::json::to_json;
    use proptest::prelude::*;

    #[test]
    fn filters_are_read_as_hubble_prints_them_and_mistakes_are_named() {
        let read = from_json(r#"{"verdict":["DROPPED","ERROR"]} {"sourcePod":["kube-system/"],"source_port":["53"]}"#)
            .unwrap();
        assert_eq!(read[0].verdict, [Verdict::Dropped as i32, Verdict::Error as i32]);
        assert_eq!(
            (&*read[1].source_pod, &*read[1].source_port),
            (&["kube-system/".to_owned()][..], &["53".to_owned()][..])
        );
        assert_eq!(from_json(" \n").unwrap(), []);
        for (text, words) in [
            (r#"{"source_pods":["a"]}"#, "source_pods"),
            (r#"{} {"verdict":["DROPED"]}"#, "filter 1"),
            (r#"{},{}"#, "filter 1"),
            (r#"["a"]"#, "filter 0"),
            ("{", "filter 0"),
        ] {
            let error = from_json(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_and_nothing_panics(pods in prop::collection::vec("[a-z/-]{0,9}", 0..4), noise in ".{0,60}") {
            let filter = FlowFilter { source_pod: pods, ..FlowFilter::default() };
            let text = to_json("flow.FlowFilter", &filter).unwrap();
            prop_assert_eq!(from_json(&format!("{text}{text}")).unwrap(), [filter.clone(), filter]);
            let _ = from_json(&noise);
        }
    }
}
