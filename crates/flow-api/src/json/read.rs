//! Back from JSON: what `-o jsonpb` printed, and what an exporter wrote.

use crate::flow::Flow;
use crate::observer::GetFlowsResponse;
use crate::observer::get_flows_response::ResponseTypes;
use crate::{Invalid, pool};
use prost_reflect::{DeserializeOptions, DynamicMessage};
use serde_json::Value;

/// A line: an `observer.GetFlowsResponse`, an `observer.ExportEvent`, or a `flow.Flow` alone (`hubble`'s older `json`), which
/// becomes an answer of the node that has seen it. What an agent did is an answer without anything in it. Fields that are
/// not known, beside a flow or in it, are of a newer version and passed over; a flow alone has none, for it would be a flow
/// whatever it is.
///
/// # Errors
/// What is no JSON, or none of these, or has no value for a field; the error names what is wrong there.
pub fn answer_from_json(text: &str) -> Result<GetFlowsResponse, Invalid> {
    let value: Value = serde_json::from_str(text).map_err(|why| Invalid::new("JSON", why.to_string()))?;
    let object = value.as_object().ok_or_else(|| Invalid::new("JSON", "is no object"))?;
    // Camel case is what others print.
    let is_answer = object.keys().any(|key| KINDS.contains(&key.replace('_', "").to_lowercase().as_str()));
    if is_answer {
        // Events of agents have numbers that an answer about flows does not have, and fall away.
        return message("observer.ExportEvent", value, false)?
            .transcode_to()
            .map_err(|why| Invalid::new("observer.GetFlowsResponse", why.to_string()));
    }
    let flow: Flow =
        message("flow.Flow", value, true)?.transcode_to().map_err(|why| Invalid::new("flow.Flow", why.to_string()))?;
    Ok(GetFlowsResponse {
        node_name: flow.node_name.clone(),
        time: flow.time,
        response_types: Some(ResponseTypes::Flow(flow)),
    })
}

fn message(name: &str, value: Value, is_strict: bool) -> Result<DynamicMessage, Invalid> {
    let descriptor = pool().get_message_by_name(name).ok_or_else(|| Invalid::new(name, "no such message"))?;
    let options = DeserializeOptions::new().deny_unknown_fields(is_strict);
    DynamicMessage::deserialize_with_options(descriptor, value, &options)
        .map_err(|why| Invalid::new(name, why.to_string()))
}

/// What can be in an `observer.ExportEvent`, without underscores.
const KINDS: [&str; 5] = ["flow", "nodestatus", "lostevents", "agentevent", "debugevent"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::{ended, pack};
    use crate::flow::{DropReason, Ip, LostEvent, LostEventSource, Verdict};
    use crate::json::to_json;
    use crate::malla::Ended;
    use crate::relay::NodeStatusEvent;
    use proptest::prelude::*;
    use prost_types::Timestamp;

    fn answer(what: ResponseTypes) -> GetFlowsResponse {
        let time = Some(Timestamp { seconds: 1_136_214_245, nanos: 120_000_000 });
        GetFlowsResponse { node_name: "worker-1".to_owned(), time, response_types: Some(what) }
    }

    #[test]
    fn what_jsonpb_writes_is_read_back() {
        let lost = LostEvent {
            source: LostEventSource::HubbleRingBuffer as i32,
            num_events_lost: 7,
            cpu: Some(2),
            ..LostEvent::default()
        };
        let status = NodeStatusEvent { state_change: 4, message: "gone".to_owned(), ..NodeStatusEvent::default() };
        let ending = Ended { ..Ended::default() };
        let flow = Flow {
            verdict: Verdict::Dropped as i32,
            drop_reason_desc: DropReason::PolicyDenied as i32,
            ip: Some(Ip { source: "fd00::1".to_owned(), ..Ip::default() }),
            is_reply: Some(false),
            extensions: Some(pack(&ending)),
            ..Flow::default()
        };
        for what in [ResponseTypes::Flow(flow), ResponseTypes::LostEvents(lost), ResponseTypes::NodeStatus(status)] {
            let answer = answer(what);
            let text = to_json("observer.GetFlowsResponse", &answer).unwrap();
            assert_eq!(answer_from_json(&text).unwrap(), answer, "{text}");
        }
        let with = answer_from_json(r#"{"flow":{"extensions":{"@type":"type.googleapis.com/malla.Ended"}}}"#).unwrap();
        let Some(ResponseTypes::Flow(flow)) = with.response_types else { panic!("a flow") };
        assert_eq!(ended(&flow), Some(Ended::default()));
    }

    #[test]
    fn a_flow_alone_is_of_the_node_that_has_seen_it() {
        let flow = Flow { node_name: "worker-2".to_owned(), uuid: "u".to_owned(), ..Flow::default() };
        let read = answer_from_json(&to_json("flow.Flow", &flow).unwrap()).unwrap();
        assert_eq!((read.node_name.as_str(), read.response_types), ("worker-2", Some(ResponseTypes::Flow(flow))));
    }

    #[test]
    fn what_is_newer_is_passed_over_and_what_is_wrong_is_named() {
        let newer = r#"{"flow":{"uuid":"u","colour":"red"},"nodeName":"n","why":{"allowed":false}}"#;
        let read = answer_from_json(newer).unwrap();
        assert!(matches!(&read.response_types, Some(ResponseTypes::Flow(flow)) if flow.uuid == "u"), "{read:?}");
        assert_eq!(read.node_name, "n");
        let event = r#"{"agent_event":{"type":"AGENT_STARTED"},"node_name":"n"}"#;
        assert_eq!(answer_from_json(event).unwrap().response_types, None);
        for (text, part) in [
            ("", "JSON"),
            ("[]", "no object"),
            (r#"{"flow":{"verdict":[]}}"#, "ExportEvent"),
            (r#"{"verdikt":"DROPPED"}"#, "verdikt"),
            (r#"{"flow":{}}{"flow":{}}"#, "trailing"),
            (r#"{"flow":{"time":"yesterday"}}"#, "ExportEvent"),
        ] {
            let error = answer_from_json(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let deep = "[".repeat(100_000);
        assert!(answer_from_json(&deep).unwrap_err().to_string().contains("recursion"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn no_text_is_a_panic(text in ".{0,60}", inner in r#"("[a-zA-Z_@]{0,12}"|[0-9.e-]{1,9}|null|[\[{},:\]]){0,12}"#) {
            let _ = answer_from_json(&text);
            let _ = answer_from_json(&format!("{{\"flow\":{{{inner}}}}}"));
        }
    }
}
