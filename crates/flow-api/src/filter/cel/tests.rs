//! Expressions by hand, with what Hubble says to them; what is wrong, too much, or at random is in files of its own.

use super::super::Filters;
use crate::flow::layer4::Protocol;
use crate::flow::*;
use crate::malla::{Ended, TcpEnd, Way};
use crate::{Invalid, extension};
use prost_types::Timestamp;

mod limits;
mod mistakes;
mod random;

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
