//! Expressions by hand, with what Hubble says to them, and at random, with what nobody should send.

use super::super::Filters;
use crate::flow::layer4::Protocol;
use crate::flow::*;
use crate::malla::{Ended, TcpEnd, Way};
use crate::{Invalid, extension};
use proptest::prelude::*;
use proptest::sample::select;
use prost_types::Timestamp;

fn asking(expressions: &[&str]) -> FlowFilter {
    let cel_expression = expressions.iter().map(|text| (*text).to_owned()).collect();
    FlowFilter { experimental: Some(flow_filter::Experimental { cel_expression }), ..FlowFilter::default() }
}

fn fits(expression: &str, flow: &Flow) -> bool {
    match Filters::new(&[asking(&[expression])], &[]) {
        Ok(filters) => filters.admit(flow),
        Err(why) => panic!("{why}"),
    }
}

fn refusal(expression: &str) -> String {
    let read = Filters::new(&[asking(&[expression])], &[]);
    let Err(Invalid { field, reason }) = read else { panic!("{expression:?} is taken") };
    assert_eq!(field, "whitelist[0].experimental.cel_expression[0]", "{reason}");
    reason
}

/// Web to a database, denied. 2026-11-30T12:34:56.789Z, a Monday.
fn tcp() -> Flow {
    let endpoint = |identity, namespace: &str, pod: &str, labels: &[&str]| Endpoint {
        identity,
        namespace: namespace.to_owned(),
        pod_name: pod.to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        workloads: vec![Workload { name: pod.to_owned(), kind: "Deployment".to_owned() }],
        ..Endpoint::default()
    };
    let flags = TcpFlags { syn: true, ..TcpFlags::default() };
    let tcp = Tcp { source_port: 40_000, destination_port: 5432, flags: Some(flags) };
    Flow {
        time: Some(Timestamp { seconds: 1_796_042_096, nanos: 789_000_000 }),
        uuid: "u".to_owned(),
        verdict: Verdict::Dropped as i32,
        drop_reason_desc: DropReason::PolicyDenied as i32,
        ip: Some(Ip { source: "10.0.0.1".to_owned(), destination: "10.0.1.1".to_owned(), ..Ip::default() }),
        l4: Some(Layer4 { protocol: Some(Protocol::Tcp(tcp)) }),
        source: Some(endpoint(300, "shop", "web", &["k8s:app=web", "k8s:tier=front"])),
        destination: Some(endpoint(400, "data", "db", &["k8s:app=db"])),
        is_reply: Some(false),
        socket_cookie: u64::MAX,
        summary: "TCP Flags: SYN".to_owned(),
        extensions: Some(extension::pack(&Ended {
            way: Way::DeniedAtSource as i32,
            forward_packets: 3,
            responder: Some(TcpEnd { smoothed_rtt_us: 1200, retransmits: 3 }),
            ..Ended::default()
        })),
        ..Flow::default()
    }
}

/// A datagram of which little is known.
fn udp() -> Flow {
    let udp = Udp { source_port: 50_000, destination_port: 53 };
    Flow {
        verdict: Verdict::Forwarded as i32,
        l4: Some(Layer4 { protocol: Some(Protocol::Udp(udp)) }),
        ..Flow::default()
    }
}

/// Each expression with what it says of both flows.
#[test]
fn expressions_say_what_they_should() {
    for (expression, of_tcp, of_udp) in [
        // As in Hubble's documentation and tests.
        ("_flow.verdict == Verdict.FORWARDED || _flow.verdict == Verdict.TRANSLATED", false, true),
        ("_flow.IP.source == '10.0.0.1' || _flow.IP.destination == '8.8.8.8'", true, false),
        ("has(_flow.l4.TCP)", true, false),
        (
            "has(_flow.l4.TCP) && (_flow.l4.TCP.destination_port == uint(80) || _flow.l4.TCP.destination_port == uint(5432))",
            true,
            false,
        ),
        // Enums are numbers with names.
        ("_flow.verdict == 2", true, false),
        ("_flow.verdict == flow.Verdict.DROPPED", true, false),
        ("_flow.verdict in [Verdict.DROPPED, Verdict.ERROR]", true, false),
        ("_flow.drop_reason_desc == DropReason.POLICY_DENIED", true, false),
        ("_flow.Type == FlowType.UNKNOWN_TYPE", true, true),
        // What is not set.
        ("_flow.l4.TCP.flags.SYN", true, false),
        ("!_flow.l4.TCP.flags.ACK", true, true),
        ("_flow.l4.UDP.destination_port == 53u", false, true),
        ("_flow.source.namespace == ''", false, true),
        ("_flow.source.identity == 0", false, true),
        ("has(_flow.source)", true, false),
        ("has(_flow.source.namespace)", true, false),
        ("has(_flow.source.cluster_name)", false, false),
        ("has(_flow.source.labels)", true, false),
        ("_flow.time == timestamp(0)", false, true),
        ("_flow.source == null", false, false),
        // A wrapper is its value, or null.
        ("_flow.is_reply == false", true, false),
        ("_flow.is_reply == null", false, true),
        ("!_flow.is_reply", true, false),
        ("has(_flow.is_reply) && !_flow.is_reply", true, false),
        // Numbers of any type by what they are.
        ("_flow.l4.TCP.destination_port == 5432", true, false),
        ("_flow.l4.TCP.destination_port > 5431.5", true, false),
        ("_flow.l4.TCP.destination_port >= 1024 && _flow.l4.TCP.destination_port < 10000", true, false),
        ("_flow.l4.TCP.destination_port in [80, 5432]", true, false),
        ("_flow.socket_cookie == 18446744073709551615u", true, false),
        ("-1 < _flow.socket_cookie", true, true),
        ("_flow.source.identity + _flow.destination.identity == 700u", true, false),
        (
            "_flow.source.identity * 2u - 100u == 500u && _flow.source.identity / 7u == 42u && _flow.source.identity % 7u == 6u",
            true,
            false,
        ),
        ("-(-3) == 3 && 7 / -2 == -3 && 7 % -2 == 1 && 1.5 + 1.5 == 3.0", true, true),
        (
            "int('7') + int(2u) + int(1.9) == 10 && double('1.5') == 1.5 && string(7) == '7' && uint('9') == 9u",
            true,
            true,
        ),
        // Text.
        ("_flow.source.pod_name.startsWith('we') && _flow.source.pod_name.endsWith('eb')", true, false),
        ("_flow.Summary.contains('SYN')", true, false),
        ("_flow.Summary.matches('^TCP Flags: (SYN|RST)$')", true, false),
        ("matches(_flow.Summary, 'SYN')", true, false),
        ("_flow.source.namespace + '/' + _flow.source.pod_name == 'shop/web'", true, false),
        ("size(_flow.Summary) == 14 && _flow.Summary.size() == 14", true, false),
        ("size('ñé') == 2", true, true),
        ("_flow.source.namespace < 'shoq'", true, true),
        // Lists.
        ("'k8s:app=web' in _flow.source.labels", true, false),
        ("_flow.source.labels.exists(l, l == 'k8s:app=web')", true, false),
        ("_flow.source.labels.all(l, l.startsWith('k8s:'))", true, true),
        ("_flow.source.labels.exists_one(l, l.contains('app'))", true, false),
        ("_flow.source.labels.exists_one(l, l.contains('k8s'))", false, false),
        ("_flow.source.labels.filter(l, l.contains('tier')) == ['k8s:tier=front']", true, false),
        ("_flow.source.labels.map(l, l.size()) == [11, 14]", true, false),
        ("_flow.source.labels.map(l, l.contains('tier'), l + '!')[0] == 'k8s:tier=front!'", true, false),
        ("_flow.source.labels[1] == 'k8s:tier=front'", true, false),
        ("_flow.source.labels.exists(a, _flow.destination.labels.exists(b, a == b))", false, false),
        ("_flow.source.workloads.exists(w, w.kind == 'Deployment' && w.name == _flow.source.pod_name)", true, false),
        ("_flow.source.workloads.filter(w, w.kind == 'Deployment')[0].name == 'web'", true, false),
        ("size(_flow.source.labels + _flow.destination.labels) == 3", true, false),
        ("[1, 2] + [3] == [1, 2, 3] && [] == [] && [1] != [2] && !(2 in [1, 'a'])", true, true),
        // Times.
        ("_flow.time > timestamp('2026-11-30T12:00:00Z')", true, false),
        ("_flow.time - timestamp('2026-11-30T12:34:00Z') < duration('1m')", true, true),
        ("_flow.time + duration('1h30m') >= timestamp('2026-11-30T15:04:56+01:00')", true, false),
        ("_flow.time.getHours() == 12 && _flow.time.getMinutes() == 34 && _flow.time.getSeconds() == 56", true, false),
        ("_flow.time.getFullYear() == 2026 && _flow.time.getMonth() == 10 && _flow.time.getDate() == 30", true, false),
        (
            "_flow.time.getDayOfMonth() == 29 && _flow.time.getDayOfYear() == 333 && _flow.time.getDayOfWeek() == 1",
            true,
            false,
        ),
        ("_flow.time.getMilliseconds() == 789 && duration('90m').getHours() == 1", true, false),
        // One side may decide alone, whichever fails.
        ("true || 1 / 0 == 1", true, true),
        ("1 / 0 == 1 || true", true, true),
        ("!(1 / 0 == 1 && false)", true, true),
        ("true ? true : 1 / 0 == 1", true, true),
        ("_flow.source.labels.exists(l, _flow.source.labels[9] == l || l == 'k8s:app=web')", true, false),
        // What fails does not fit, nor does its contrary.
        ("1 / 0 == 1", false, false),
        ("!(1 / 0 == 1)", false, false),
        ("9223372036854775807 + 1 > 0 || -9223372036854775807 - 2 < 0", false, false),
        ("0u - 1u > 0u || uint(-1) > 0u || int(1e300) > 0 || int('x') == 0", false, false),
        ("_flow.source.labels[7] == ''", false, false),
        ("_flow.source.labels[-1] == ''", false, false),
        ("timestamp('yesterday') < _flow.time || duration('a while') > duration('1s')", false, false),
        ("timestamp('9999-12-30T00:00:00Z') + duration('9999h') > _flow.time", false, false),
        ("dyn(1)", false, false),
        ("dyn('a') == 1", false, false),
        ("dyn(true)", true, true),
        // Beyond Hubble.
        ("_flow.extensions.way == malla.Way.DENIED_AT_SOURCE", true, false),
        ("_flow.extensions.forward_packets > 2", true, false),
        ("has(_flow.extensions.way)", true, false),
        ("has(_flow.extensions)", true, false),
        (
            "_flow.extensions.responder.retransmits == 3u && _flow.extensions.initiator.smoothed_rtt_us == 0",
            true,
            false,
        ),
        // What is no list leaves nothing behind for the next one.
        ("dyn(1).all(b, true) || [5].exists(c, c == 6)", false, false),
        // Whole messages.
        ("_flow.source == _flow.source && _flow.source != _flow.destination", true, false),
        ("_flow.l4.TCP == _flow.l4.TCP && _flow == _flow", true, true),
        ("_flow.tunnel == _flow.tunnel", true, true),
        // Maps.
        ("{'a': 1, 'b': 2}['b'] == 2 && {'a': 1}.a == 1 && size({'a': 1}) == 1 && size({}) == 0", true, true),
        ("'web' in {'web': 80, 'db': 5432} && !('api' in {'web': 80})", true, true),
        ("{'web': 80, 'db': 5432}[_flow.destination.pod_name] == _flow.l4.TCP.destination_port", true, false),
        ("has({'a': 1}.a) && !has({'a': 1}.b)", true, true),
        ("{1: 'a'}[1u] == 'a' && {1u: 'a'}[1] == 'a' && {1: 'a'}[1.0] == 'a' && 1u in {1: 'a'}", true, true),
        ("{'a': 1, 'b': 2u} == {'b': 2, 'a': 1.0} && {'a': 1} != {'a': 2} && {'a': 1} != {'b': 1}", true, true),
        ("{'a': 1} != {'a': 1, 'b': 2} && {} == {} && dyn({}) != dyn([])", true, true),
        ("{'a': 1, 'b': 2}.exists(k, k == 'b') && {'a': 1, 'b': 2}.map(k, k + '!') == ['a!', 'b!']", true, true),
        ("_flow.source.labels.map(l, {'label': l})[0].label == 'k8s:app=web'", true, false),
        ("{true: {'x': [_flow.source.pod_name]}}[true].x[0] == 'web'", true, false),
        ("{'a': 1}['b'] == 1 || {'a': 1}.b == 1", false, false),
        ("{'a': 1, 'a': 2}.a == 1 || {1: 1, 1u: 2}[1] == 1", false, false),
        ("{dyn(1.5): 1}[dyn(1.5)] == 1 || size({dyn([]): 1}) == 1", false, false),
        ("dyn({'a': 1}) + dyn({'a': 1}) == dyn(['a', 'a'])", false, false),
        // Bytes.
        ("b'abc' == bytes('abc') && string(b'abc') == 'abc' && size(b'\\xff\\x00') == 2", true, true),
        ("b'a' + b'b' == b'ab' && b'a' < b'b' && b'a' != b'b' && b'\\xff' > b'z'", true, true),
        ("size(bytes('ñ')) == 2 && size('ñ') == 1", true, true),
        ("bytes(_flow.source.pod_name) == b'web'", true, false),
        ("dyn(b'a') == dyn('a') || string(b'\\xff') == ''", false, false),
        // Types.
        ("type(1) == int && type(1u) == uint && type(1.0) == double && type('') == string", true, true),
        ("type(b'') == bytes && type([]) == list && type({}) == map && type(null) == null_type", true, true),
        ("type(true) == bool && type(int) == type && type(type(1)) == type && type(1) != type('')", true, true),
        ("type(_flow.time) == google.protobuf.Timestamp && type(_flow.verdict) == int", true, true),
        ("type(_flow.time - _flow.time) == google.protobuf.Duration", true, true),
        ("type(_flow) == flow.Flow && type(_flow.l4.TCP) == TCP && type(_flow.source) == flow.Endpoint", true, true),
        ("type(dyn(_flow.source)) == flow.Endpoint", true, false),
        ("type(_flow.extensions) == malla.Ended && type(_flow.is_reply) == bool", true, false),
        ("type(_flow.source.labels.map(l, l)) == list && type(1 / 0) == int", false, false),
        ("[1].exists(int, int == 1)", true, true),
        // Elsewhere it is another hour, and in summer another than in winter.
        ("_flow.time.getHours('Europe/Madrid') == 13 && _flow.time.getHours('UTC') == 12", true, false),
        ("timestamp('2026-07-01T22:30:00Z').getHours('Europe/Madrid') == 0", true, true),
        ("timestamp('2026-07-01T22:30:00Z').getDate('Europe/Madrid') == 2", true, true),
        ("timestamp('2026-12-31T23:30:00Z').getFullYear('+01:00') == 2027", true, true),
        ("timestamp('2026-01-01T00:15:00Z').getDayOfYear('-00:30') == 364", true, true),
        ("_flow.time.getMinutes('05:45') == 19 && _flow.time.getHours('-11:30') == 1", true, false),
        ("_flow.time.getHours('Europe/' + 'Madrid') == 13 && _flow.time.getHours('') == 12", true, false),
        ("timestamp(0).getHours('Moon/' + 'Apollo') >= 0 || timestamp(0).getHours('+' + '24:00') >= 0", false, false),
        ("timestamp(0).getHours('+1' + ':00') >= 0 || timestamp(0).getHours('--1:' + '00') >= 0", false, false),
        // Patterns that are put together.
        ("_flow.source.labels[0].matches('app=' + _flow.source.pod_name + '$')", true, false),
        ("_flow.source.labels.exists(l, matches(l, '^k8s:' + 'tier='))", true, false),
        ("['a', 'b'].map(p, 'xa'.matches(p)) == [true, false]", true, true),
        ("'a'.matches('(' + '') || !'a'.matches('(' + '')", false, false),
        ("true", true, true),
        ("false", false, false),
    ] {
        assert_eq!((fits(expression, &tcp()), fits(expression, &udp())), (of_tcp, of_udp), "{expression}");
    }
}

#[test]
fn of_several_one_must_be_true_and_other_fields_are_asked_too() {
    let either = asking(&["_flow.l4.UDP.destination_port == 53", "1 / 0 == 1", "_flow.source.pod_name == 'web'"]);
    let both = Filters::new(std::slice::from_ref(&either), &[]).unwrap();
    assert!(both.admit(&tcp()) && both.admit(&udp()) && !both.admit(&Flow::default()));
    let dropped = FlowFilter { verdict: vec![Verdict::Dropped as i32], ..either };
    let dropped = Filters::new(&[dropped], &[]).unwrap();
    assert!(dropped.admit(&tcp()) && !dropped.admit(&udp()));
    let left_out = Filters::new(&[], &[asking(&["has(_flow.l4.TCP)"])]).unwrap();
    assert!(!left_out.admit(&tcp()) && left_out.admit(&udp()));
    // No expression asks nothing.
    assert!(Filters::new(&[asking(&[])], &[]).unwrap().admit(&udp()));
}

/// Each with words that the refusal has.
#[test]
fn mistakes_are_named_with_their_place() {
    let mut others = Vec::new();
    for (expression, words) in [
        ("", "column"),
        ("_flow.verdict ==", "line 1, column 17"),
        ("_flow.verdict\n  == )", "line 2, column 6"),
        ("something-invalid", "nothing is called something"),
        ("flow.verdict == 1", "the flow is _flow"),
        ("_flow", "is flow.Flow, which is neither true nor false"),
        ("_flow.source.labels", "is list(string)"),
        ("_flow.verdict", "is int"),
        ("_flow.verdikt == 1", "flow.Flow has no field verdikt"),
        ("_flow.ip.source == ''", "flow.Flow has no field ip"),
        ("_flow.l4.TCP.port == 1", "flow.TCP has no field port"),
        ("_flow.verdict.name == ''", ".name: int has no fields"),
        ("has(_flow.sauce)", "flow.Flow has no field sauce"),
        ("has(_flow)", "has()"),
        ("_flow.verdict == Verdict.DROPED", "nothing is called Verdict"),
        ("_flow.verdict == 'DROPPED'", "== is nothing that can be done with int, string"),
        ("_flow.l4.TCP.flags.SYN == 1", "== is nothing that can be done with bool, int"),
        ("1 + 'a' == 2", "+ is nothing that can be done with int, string"),
        ("_flow.verdict && true", "&& is nothing that can be done with int, bool"),
        ("!_flow.verdict", "! is nothing that can be done with int"),
        ("_flow.uuid.frob()", "no method frob"),
        ("frob(1)", "no function frob"),
        ("type(1) == 1", "== is nothing that can be done with type, int"),
        ("type(1, 2) == int", "no function type"),
        ("1.type() == int", "no method type"),
        ("contains('a', 'b')", "contains"),
        ("_flow.source.labels.exists(l, l == 1)", "== is nothing that can be done with string, int"),
        ("_flow.uuid.exists(l, true)", "string is no list, nor a map,"),
        ("_flow.source.labels.exists(l.x, true)", "simple name"),
        ("[1].exists(_flow, true)", "_flow: not a name"),
        ("_flow.Summary.matches('(')", "is no regular expression"),
        ("_flow.Summary.matches('(a{1000}){1000}')", "is no regular expression"),
        ("_flow.Summary.matches(1)", "matches is nothing that can be done with string, int"),
        ("{'a': 1}[1] == 1", "is nothing that can be done with map(string, int), int"),
        ("{1: 1}.a == 1", ".a: the keys of that map are int"),
        ("{1.5: 1} == {}", "double is no key of a map"),
        ("{'a': 1}['a'] == 'b'", "== is nothing that can be done with int, string"),
        ("1 in {'a': 1}", "in is nothing that can be done with int, map(string, int)"),
        ("_flow.l4.TCP.flags == TCPFlags{SYN: true}", "TCPFlags: messages can't be made"),
        ("b'a' == 'a'", "== is nothing that can be done with bytes, string"),
        ("_flow.time.getHours('Europe/Atlantis') == 1", "there is no time zone \"Europe/Atlantis\""),
        ("_flow.time.getHours('+25:00') == 1", "there is no time zone \"+25:00\""),
        ("_flow.time.getHours(1) == 1", "getHours is nothing that can be done with timestamp, int"),
        ("duration('1h').getHours('UTC') == 1", "getHours is nothing that can be done with duration, string"),
        ("true ? 1 : 'a'", "? : is nothing"),
        ("1 < 'a'", "<"),
    ] {
        let reason = refusal(expression);
        if !reason.contains(words) || !reason.contains(&format!("{expression:?}")) {
            others.push((words, reason));
        }
    }
    assert_eq!(others, []);
}

#[test]
fn what_is_too_large_is_refused() {
    let nested = |open: &str, close: &str, times: usize| format!("{}1{} == 1", open.repeat(times), close.repeat(times));
    for expression in [
        format!("_flow.uuid == '{}'", "a".repeat(4096)),
        nested("(1+", ")", 800),
        nested("[", "]", 1500),
        nested("-(", ")", 1000),
        nested("int(", ")", 800),
        format!("1{} == 1", " + 1".repeat(900)),
        format!("{}true", "true ? ".repeat(500)),
        format!("_flow{}", ".source".repeat(500)),
        "[".repeat(4000),
        "{".repeat(4000),
        // Ways to nest that the parser does not count.
        format!("({}x).a()", "-!".repeat(2040)),
        format!("{}0", "0?0:".repeat(1000)),
        format!("_flow.uuid{}", ".a()".repeat(1000)),
        format!("{}true", "''.matches('\\\\w{9}')||".repeat(5)),
    ] {
        refusal(&expression);
    }
    let many = vec!["true"; 17];
    let Invalid { field, reason } = Filters::new(&[asking(&many)], &[]).unwrap_err();
    assert_eq!((field.as_str(), reason.as_str()), ("whitelist", "17 CEL expressions; 16 are the most"));
    assert!(Filters::new(&[], &[asking(&many[..8]), asking(&many[..9])]).is_err());
    assert!(Filters::new(&[], &[asking(&many[..8]), asking(&many[..8])]).is_ok());
    // But an ordinary long one is not, and parentheses that say nothing are nothing.
    assert!(fits(&format!("{}true", "!".repeat(4000)), &tcp()));
    assert!(fits(&format!("{}true{}", "(".repeat(1500), ")".repeat(1500)), &tcp()));
    let ports: Vec<String> = (0..100).map(|port| format!("_flow.l4.TCP.destination_port == {port}")).collect();
    assert!(fits(&format!("{} || _flow.verdict == 2", ports.join(" || ")), &tcp()));
    assert!(fits(&format!("!(0 in [{}])", vec!["1"; 500].join(", ")), &tcp()));
}

/// What would take ages fails instead, and so does its contrary: the steps are counted, whatever they are spent on.
#[test]
fn what_would_take_ages_does_not_fit() {
    let mut flow = tcp();
    let labels = (0..200).map(|number| format!("k8s:label-{number}={}", "x".repeat(50))).collect();
    flow.source.as_mut().unwrap().labels = labels;
    let doubled = ".map(x, x + x)".repeat(60);
    let nested: String = (0..12).map(|level| format!("_flow.source.labels.all(l{level}, ")).collect();
    for expression in [
        format!("_flow.source.labels{doubled}.all(x, x != '')"),
        format!("['{}']{doubled}.all(x, x != '')", "x".repeat(1000)),
        format!("{nested}true{}", ")".repeat(12)),
        "_flow.source.labels.map(a, _flow.source.labels).map(l, l + l).all(l, size(l) > 0)".to_owned(),
        "_flow.source.labels.all(a, _flow.source.labels.all(b, _flow.source.labels.all(c, a + b + c != '')))"
            .to_owned(),
        "_flow.source.labels.all(a, _flow.source.labels.all(b, b.matches('(x+x+)+y') || true))".to_owned(),
        "_flow.source.labels.all(a, _flow.source.labels == _flow.source.labels)".to_owned(),
        "_flow.source.labels.all(a, a.matches('(?:[xy]?){900}x[xy]{900}[^xy]') || true)".to_owned(),
        "_flow.source.labels.all(a, _flow.source == _flow.source)".to_owned(),
        "_flow.source.labels.all(a, 'x'.matches(a) || true)".to_owned(),
        "_flow.source.labels.all(a, a.matches('(x+x+)' + '+y') || true)".to_owned(),
        format!("'x'.matches('{}' + '') || true", "\\\\w".repeat(100)),
        "_flow.source.labels.all(a, _flow.time.getHours('Europe/' + 'Madrid') >= 0)".to_owned(),
        "_flow.source.labels.all(a, _flow.source.labels.map(b, {a: b}) == _flow.source.labels.map(b, {a: b}))"
            .to_owned(),
        format!("{{{}}} == {{}} || true", (0..200).map(|key| format!("{key}: 0")).collect::<Vec<_>>().join(", ")),
    ] {
        assert!(!fits(&expression, &flow), "{expression}");
        assert!(!fits(&format!("!({expression})"), &flow), "{expression}");
    }
    // A walk over the same labels does, and so it does once more: each flow has its own steps.
    let walk =
        Filters::new(&[asking(&["_flow.source.labels.exists(l, l.startsWith('k8s:label-199='))"])], &[]).unwrap();
    for _ in 0..200 {
        assert!(walk.admit(&flow));
    }
}

/// Pieces of which something sensible comes now and then.
fn pieces() -> impl Strategy<Value = String> {
    let leaf = select(vec![
        "_flow",
        "_flow.verdict",
        "_flow.source",
        "_flow.source.labels",
        "_flow.l4.TCP.destination_port",
        "_flow.is_reply",
        "_flow.time",
        "_flow.uuid",
        "_flow.extensions",
        "_flow.extensions.way",
        "_flow.source.workloads",
        "l",
        "1",
        "0",
        "-1",
        "9223372036854775807",
        "1u",
        "18446744073709551615u",
        "1.5",
        "1e308",
        "'a'",
        "'ñ'",
        "true",
        "null",
        "[]",
        "[1]",
        "Verdict.DROPPED",
        "timestamp(0)",
        "timestamp(253402207200)",
        "duration('1h')",
        "duration('-9223372036854775807s')",
        "b'\\xff'",
        "{}",
        "{'a': 1}",
        "{1u: [b'a']}",
        "int",
        "google.protobuf.Timestamp",
        "'Europe/Madrid'",
        "'-13:59'",
        "'[a-'",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(5, 48, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        let operators = select(vec!["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"]);
        let methods = select(vec!["contains", "startsWith", "matches", "size", "getHours", "getFullYear", "endsWith"]);
        let functions = select(vec![
            "int",
            "uint",
            "double",
            "string",
            "bytes",
            "timestamp",
            "duration",
            "dyn",
            "type",
            "size",
            "has",
            "!",
            "-",
        ]);
        let macros = select(vec!["all", "exists", "exists_one", "map", "filter"]);
        prop_oneof![
            (two.clone(), operators).prop_map(|((a, b), operator)| format!("({a} {operator} {b})")),
            (two.clone(), methods.clone()).prop_map(|((a, b), method)| format!("{a}.{method}({b})")),
            (inner.clone(), methods).prop_map(|(a, method)| format!("{a}.{method}()")),
            (inner.clone(), functions).prop_map(|(a, function)| format!("{function}({a})")),
            (two.clone(), macros).prop_map(|((a, b), name)| format!("{a}.{name}(l, {b})")),
            two.clone().prop_map(|(a, b)| format!("{a}[{b}]")),
            two.clone().prop_map(|(a, b)| format!("[{a}, {b}]")),
            two.clone().prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            inner.clone().prop_map(|a| format!("{a}.a")),
            (two, inner).prop_map(|((a, b), c)| format!("({a} ? {b} : {c})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Whatever is sent is read or refused by its name, and says something of any flow.
    #[test]
    fn no_expression_is_a_panic(
        expression in prop_oneof![4 => pieces(), 1 => "[-_flow.verdict()\\[\\]{}'\"!&|=<>?:,0-9a-z+*/% \n]{0,60}", 1 => ".{0,40}"],
        seconds: i64,
        nanos: i32,
        bytes in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let extension = prost_types::Any { type_url: extension::ENDED.to_owned(), value: bytes };
        let odd = Flow { time: Some(Timestamp { seconds, nanos }), extensions: Some(extension), verdict: nanos, ..tcp() };
        for written in [expression.clone(), format!("dyn({expression})")] {
            match Filters::new(&[asking(&[written.as_str()])], &[]) {
                Ok(filters) => {
                    for flow in [&tcp(), &udp(), &odd, &Flow::default()] {
                        let _ = filters.admit(flow);
                    }
                }
                Err(Invalid { field, .. }) => prop_assert_eq!(field, "whitelist[0].experimental.cel_expression[0]"),
            }
        }
    }
}
