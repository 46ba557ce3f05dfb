//! Answers against what `hubble observe` prints for the same flow.

use super::*;
use crate::flow::layer4::Protocol;
use crate::flow::*;
use crate::relay::NodeStatusEvent;
use proptest::prelude::*;
use prost_types::Timestamp;

fn flow() -> Flow {
    let tcp = Tcp { source_port: 31793, destination_port: 8080, flags: None };
    Flow {
        time: Some(Timestamp { seconds: 1234, nanos: 567_800_000 }),
        verdict: Verdict::Dropped as i32,
        ip: Some(Ip { source: "1.1.1.1".to_owned(), destination: "2.2.2.2".to_owned(), ..Ip::default() }),
        l4: Some(Layer4 { protocol: Some(Protocol::Tcp(tcp)) }),
        source: Some(Endpoint { identity: 4, ..Endpoint::default() }),
        destination: Some(Endpoint { identity: 12345, ..Endpoint::default() }),
        r#type: FlowType::L3L4 as i32,
        node_name: "k8s1".to_owned(),
        event_type: Some(CiliumEventType { r#type: 1, sub_type: 133 }),
        is_reply: Some(false),
        summary: "TCP Flags: SYN".to_owned(),
        ..Flow::default()
    }
}

fn answer(flow: Flow) -> GetFlowsResponse {
    GetFlowsResponse { response_types: Some(ResponseTypes::Flow(flow)), ..GetFlowsResponse::default() }
}

fn printed(options: Options, answers: &[GetFlowsResponse]) -> String {
    let mut printer = Printer::new(options);
    let text: String = answers.iter().map(|answer| printer.print(answer).out).collect();
    text + &printer.finish()
}

fn compact(flow: Flow) -> String {
    printed(Options::default(), &[answer(flow)])
}

fn policy(name: &str, kind: &str) -> Policy {
    Policy { name: name.to_owned(), kind: kind.to_owned(), ..Policy::default() }
}

#[test]
fn compact_is_hubbles() {
    let line = "1.1.1.1:31793 (health) -> 2.2.2.2:8080 (ID:12345) Policy denied DROPPED (TCP Flags: SYN)\n";
    assert_eq!(compact(flow()), format!("Jan  1 00:20:34.567: {line}"));
    let with_node = Options { node_name: true, ..Options::default() };
    assert_eq!(printed(with_node, &[answer(flow())]), format!("Jan  1 00:20:34.567 [k8s1]: {line}"));
}

#[test]
fn the_initiator_stays_on_the_left() {
    assert!(
        compact(Flow { is_reply: Some(true), ..flow() })
            .contains("2.2.2.2:8080 (ID:12345) <- 1.1.1.1:31793 (health) Policy")
    );
    assert!(
        compact(Flow { is_reply: None, ..flow() }).contains("1.1.1.1:31793 (health) <> 2.2.2.2:8080 (ID:12345) Policy")
    );
}

#[test]
fn verdicts_of_policy_have_words_of_their_own() {
    let judged = Flow {
        event_type: Some(CiliumEventType { r#type: 5, sub_type: 0 }),
        is_reply: None,
        traffic_direction: TrafficDirection::Egress as i32,
        egress_denied_by: vec![policy("my-policy", "CiliumNetworkPolicy")],
        ..flow()
    };
    assert!(compact(judged.clone()).contains("policy-verdict:none EGRESS DENIED (TCP Flags: SYN)"));
    let names = Options { policy_names: true, ..Options::default() };
    let text = printed(names, &[answer(judged.clone())]);
    assert!(text.contains("EGRESS DENIED BY my-policy (CiliumNetworkPolicy) (TCP Flags: SYN)"), "{text}");
    let allowed = Flow {
        verdict: Verdict::Forwarded as i32,
        traffic_direction: TrafficDirection::Ingress as i32,
        ingress_allowed_by: vec![policy("a", "NetworkPolicy"), policy("b", "CiliumClusterwideNetworkPolicy")],
        policy_match_type: 1,
        ..judged
    };
    let text = printed(names, &[answer(allowed)]);
    assert!(
        text.contains(
            "policy-verdict:L3-Only INGRESS ALLOWED BY a (NetworkPolicy), b (CiliumClusterwideNetworkPolicy) ("
        )
    );
}

#[test]
fn dict_is_hubbles() {
    let options = Options { form: Form::Dict, node_name: true, ..Options::default() };
    let one = "  TIMESTAMP: Jan  1 00:20:34.567\n       NODE: k8s1\n     SOURCE: 1.1.1.1:31793\nDESTINATION: 2.2.2.2:8080\n       \
               TYPE: Policy denied\n    VERDICT: DROPPED\n    SUMMARY: TCP Flags: SYN\n";
    assert_eq!(printed(options, &[answer(flow()), answer(flow())]), format!("{one}------------\n{one}"));
}

#[test]
fn tables_are_hubbles() {
    let options = Options { form: Form::Tab, colour: Colour::Always, ..Options::default() };
    assert_eq!(
        printed(options, &[answer(flow())]),
        "TIMESTAMP             SOURCE          DESTINATION    TYPE            VERDICT   SUMMARY\n\
         Jan  1 00:20:34.567   1.1.1.1:31793   2.2.2.2:8080   Policy denied   DROPPED   TCP Flags: SYN\n"
    );
    let with_node = Options { node_name: true, ..options };
    assert!(printed(with_node, &[answer(flow())]).starts_with("TIMESTAMP             NODE   SOURCE  "));
    assert_eq!(printed(options, &[]), "");
}

#[test]
fn json_is_hubbles() {
    let body = r#"{"time":"1970-01-01T00:20:34.567800Z","verdict":"DROPPED","IP":{"source":"1.1.1.1","destination":"2.2.2.2"},"l4":{"TCP":{"source_port":31793,"destination_port":8080}},"source":{"identity":4},"destination":{"identity":12345},"Type":"L3_L4","node_name":"k8s1","event_type":{"type":1,"sub_type":133},"is_reply":false,"Summary":"TCP Flags: SYN"}"#;
    let form = |form| Options { form, ..Options::default() };
    assert_eq!(printed(form(Form::LegacyJson), &[answer(flow())]), format!("{body}\n"));
    assert_eq!(printed(form(Form::JsonPb), &[answer(flow())]), format!("{{\"flow\":{body}}}\n"));
    let whole = GetFlowsResponse { node_name: "k8s1".to_owned(), time: flow().time, ..answer(Flow::default()) };
    assert_eq!(
        printed(form(Form::JsonPb), &[whole]),
        "{\"flow\":{},\"node_name\":\"k8s1\",\"time\":\"1970-01-01T00:20:34.567800Z\"}\n"
    );
    let traced = Flow { ip_trace_id: Some(IpTraceId { trace_id: 1234, ip_option_type: 136 }), ..flow() };
    let text = printed(form(Form::LegacyJson), &[answer(traced)]);
    assert!(text.contains(r#""ip_trace_id":{"trace_id":"1234","ip_option_type":136},"is_reply":false"#), "{text}");
}

#[test]
fn names_come_before_addresses() {
    let named = |pod: &str| Endpoint { namespace: "shop".to_owned(), pod_name: pod.to_owned(), ..Endpoint::default() };
    let service = Service { name: "db".to_owned(), namespace: "data".to_owned() };
    let flow = Flow {
        source: Some(named("web-1")),
        destination: Some(Endpoint::default()),
        destination_service: Some(service),
        destination_names: vec!["never.example".to_owned()],
        ..flow()
    };
    assert!(compact(flow.clone()).contains(": shop/web-1:31793 (unknown) -> data/db:8080 (unknown) "));
    let addresses = Options { ip_translation: false, ..Options::default() };
    assert!(printed(addresses, &[answer(flow)]).contains(": 1.1.1.1:31793 (unknown) -> 2.2.2.2:8080 "));
    let names = vec!["a.example".to_owned(), "b.example".to_owned()];
    assert!(compact(Flow { destination_names: names, ..self::flow() }).contains("-> a.example,b.example:8080"));
    let v6 = Ip { source: "fd00::1".to_owned(), destination: "fd00::2".to_owned(), ..Ip::default() };
    assert!(
        compact(Flow { ip: Some(v6.clone()), ..self::flow() })
            .contains(": [fd00::1]:31793 (health) -> [fd00::2]:8080 ")
    );
    assert!(compact(Flow { ip: Some(v6), l4: None, ..self::flow() }).contains(": fd00::1 (health) -> fd00::2 "));
}

#[test]
fn colours_are_hubbles() {
    let options = Options { colour: Colour::Always, ..Options::default() };
    assert_eq!(
        printed(options, &[answer(flow())]),
        "Jan  1 00:20:34.567: \x1b[36m1.1.1.1:\x1b[33m31793\x1b[0m\x1b[0m \x1b[35m(health)\x1b[0m -> \
         \x1b[36m2.2.2.2:\x1b[33m8080\x1b[0m\x1b[0m \x1b[35m(ID:12345)\x1b[0m Policy denied \x1b[31mDROPPED\x1b[0m \
         (TCP Flags: SYN)\n"
    );
}

#[test]
fn kinds_of_events_have_hubbles_names() {
    let kind = |r#type, sub_type| compact(Flow { event_type: Some(CiliumEventType { r#type, sub_type }), ..flow() });
    for (event, expected) in [
        ((4, 0), " to-endpoint DROPPED"),
        ((4, 11), " to-network DROPPED"),
        ((4, 77), " 77 DROPPED"),
        ((1, 130), " Invalid source mac DROPPED"),
        ((1, 151), " Stale or unroutable IP DROPPED"),
        ((1, 159), " 159 DROPPED"),
        ((1, 181), " Policy denied by denylist DROPPED"),
        ((1, 196), " TTL exceeded DROPPED"),
        ((1, 207), " First logical datagram fragment not found from world DROPPED"),
        ((1, 240), " Packet too big DROPPED"),
        ((9, 0), " UNKNOWN DROPPED"),
    ] {
        assert!(kind(event.0, event.1).contains(expected), "{event:?}: {}", kind(event.0, event.1));
    }
}

#[test]
fn losses_and_nodes_are_told() {
    let source = LostEventSource::HubbleRingBuffer as i32;
    let lost = LostEvent { source, num_events_lost: 7, cpu: Some(2), ..LostEvent::default() };
    let lost =
        GetFlowsResponse { response_types: Some(ResponseTypes::LostEvents(lost)), ..GetFlowsResponse::default() };
    assert_eq!(printed(Options::default(), std::slice::from_ref(&lost)), "EVENTS LOST: HUBBLE_RING_BUFFER CPU(2) 7\n");
    let tab = Options { form: Form::Tab, ..Options::default() };
    assert!(printed(tab, &[lost]).ends_with("HUBBLE_RING_BUFFER                 EVENTS LOST             CPU(2) - 7\n"));

    let status = |state: NodeState| NodeStatusEvent {
        state_change: state as i32,
        node_names: (1..=9).map(|n| format!("worker-{n}")).collect(),
        message: "gone\x1b[2J".to_owned(),
    };
    let status = |state| GetFlowsResponse {
        node_name: "relay".to_owned(),
        time: flow().time,
        response_types: Some(ResponseTypes::NodeStatus(status(state))),
    };
    let mut printer = Printer::new(Options::default());
    assert_eq!(printer.print(&status(NodeState::NodeConnected)), Printed::default());
    let err = printer.print(&status(NodeState::NodeUnavailable)).err;
    assert_eq!(
        err,
        "Jan  1 00:20:34.567 [relay]: 9 nodes are unavailable: worker-1, worker-2, worker-3, worker-4, worker-5 (and 4 more)\n"
    );
    assert!(!printer.print(&status(NodeState::NodeError)).err.contains('\x1b'));
}

#[test]
fn times_are_gos() {
    let written = |nanos| -> Vec<String> {
        let time = Timestamp { seconds: 1_136_214_245, nanos };
        TimeFormat::ALL.iter().map(|(_, format)| format.write(Some(&time))).collect()
    };
    assert_eq!(
        written(123_456_789),
        [
            "Jan  2 15:04:05.123",
            "2006-01-02",
            "2006-01-02T15Z",
            "2006-01-02T15:04Z",
            "2006-01-02T15:04:05Z",
            "2006-01-02T15:04:05.123Z",
            "2006-01-02T15:04:05.123456Z",
            "2006-01-02T15:04:05.123456789Z",
            "Mon, 02 Jan 2006 15:04:05 +0000",
        ]
    );
    // Nines in a layout are digits without zeros at their end.
    assert_eq!(written(120_000_999)[5..7], ["2006-01-02T15:04:05.12Z"; 2]);
    assert_eq!((written(0)[0].as_str(), written(0)[5].as_str()), ("Jan  2 15:04:05.000", "2006-01-02T15:04:05Z"));
    for wrong in [None, Some(Timestamp { seconds: 0, nanos: -1 }), Some(Timestamp { seconds: i64::MAX, nanos: 0 })] {
        assert_eq!(TimeFormat::StampMilli.write(wrong.as_ref()), "N/A");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    /// Whatever a Pod calls itself: one flow is one line, and a terminal is not steered.
    #[test]
    fn nothing_in_a_flow_steers_the_terminal(
        text in "(\\x1b|\\r|\\n|a|:|\\[|\u{fe0f}|ü){0,12}", numbers: (i32, i32, i32, u32, u32), form in 0..2,
    ) {
        let endpoint = Endpoint { pod_name: text.clone(), identity: numbers.3, ..Endpoint::default() };
        let flow = Flow {
            source: Some(endpoint),
            destination_names: vec![text.clone()],
            summary: text.clone(),
            node_name: text,
            verdict: numbers.0,
            event_type: Some(CiliumEventType { r#type: numbers.1 % 10, sub_type: numbers.2 }),
            policy_match_type: numbers.4,
            traffic_direction: numbers.2,
            auth_type: numbers.0,
            ..flow()
        };
        let form = if form == 0 { Form::Compact } else { Form::Tab };
        let text = printed(Options { form, node_name: true, ..Options::default() }, &[answer(flow)]);
        let allowed = if form == Form::Tab { 2 } else { 1 };
        prop_assert_eq!(text.lines().count(), allowed);
        prop_assert!(!text.contains(['\x1b', '\r']));
    }

    /// A flow of which only the printed fields were sent is printed as the whole one.
    #[test]
    fn what_is_not_asked_for_is_not_missed(
        (verdict, kind, sub, direction, auth) in (0..8, 0..10, 0..250, 0..3, 0..3), names: bool, is_reply: Option<bool>,
        what in 0..4, form in proptest::sample::select(vec![Form::Compact, Form::Dict, Form::Tab]),
    ) {
        use crate::flow::layer7::Record;
        let endpoint = |name: &str| Some(Endpoint {
            identity: 300, namespace: "shop".to_owned(), pod_name: name.to_owned(), labels: vec!["a".to_owned()],
            ..Endpoint::default()
        });
        let dns = Dns { observation_source: "agent".to_owned(), ..Dns::default() };
        let flow = Flow {
            verdict,
            event_type: Some(CiliumEventType { r#type: kind, sub_type: sub }),
            traffic_direction: direction,
            auth_type: auth,
            is_reply,
            source: if what == 0 { None } else { endpoint("web") },
            destination: if what == 1 { endpoint("") } else { endpoint("db") },
            destination_names: vec!["db.example".to_owned()],
            destination_service: (what == 2).then(|| Service { name: "db".to_owned(), namespace: "data".to_owned() }),
            ip: if what == 3 { None } else { flow().ip },
            ethernet: Some(Ethernet { source: "02::1".to_owned(), destination: "02::2".to_owned() }),
            l7: (what == 1).then(|| Layer7 { record: Some(Record::Dns(dns)), ..Layer7::default() }),
            policy_match_type: 1,
            debug_capture_point: 4,
            sock_xlate_point: 2,
            ip_trace_id: Some(IpTraceId { trace_id: 7, ip_option_type: 136 }),
            egress_denied_by: vec![policy("a", "NetworkPolicy")],
            ingress_allowed_by: vec![policy("b", "NetworkPolicy")],
            socket_cookie: 9,
            uuid: "u".to_owned(),
            ..flow()
        };
        let options = Options { form, node_name: true, policy_names: names, ..Options::default() };
        let fields = options.fields();
        let part = crate::mask::Mask::new(fields.iter().copied()).unwrap().apply(&flow);
        prop_assert!(part != flow && part.uuid.is_empty());
        prop_assert_eq!(printed(options, &[answer(part)]), printed(options, &[answer(flow)]));
    }

    /// A reader of JSON gets back what was there.
    #[test]
    fn json_can_be_read_again(text in ".{0,16}", number: u64, verdict in -2_i32..12, seconds in 0_i64..4_000_000_000, nanos in 0_i32..1_000_000_000) {
        let flow = Flow {
            time: Some(Timestamp { seconds, nanos }), summary: text.clone(), socket_cookie: number, verdict, ..flow()
        };
        let json: serde_json::Value = serde_json::from_str(&to_json("flow.Flow", &flow).unwrap()).unwrap();
        let get = |name: &str| json.get(name).cloned().unwrap_or_default();
        let text_of = |name: &str, otherwise: &str| get(name).as_str().unwrap_or(otherwise).to_owned();
        prop_assert_eq!(text_of("Summary", ""), text);
        prop_assert_eq!(text_of("socket_cookie", "0"), number.to_string());
        let time: jiff::Timestamp = text_of("time", "").parse().unwrap();
        prop_assert_eq!((time.as_second(), time.subsec_nanosecond()), (seconds, nanos));
        let name = Verdict::try_from(verdict).map_or_else(|_| verdict.into(), |v| v.as_str_name().into());
        prop_assert_eq!(get("verdict"), if verdict == 0 { serde_json::Value::Null } else { name });
    }
}
