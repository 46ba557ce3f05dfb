//! What nobody should send.

use super::*;
use proptest::prelude::*;
use proptest::sample::select;

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
