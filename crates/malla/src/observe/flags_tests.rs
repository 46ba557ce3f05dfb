//! Lines of flags, and the filters that they are.

use super::*;

fn filters(line: &str) -> Result<Filters, String> {
    let command = Filters::augment_args(Command::new("observe").no_binary_name(true));
    let matches = command.try_get_matches_from(line.split_whitespace()).map_err(|error| error.to_string())?;
    Filters::from_arg_matches(&matches).map_err(|error| error.to_string())
}

fn text(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

#[test]
fn the_command_of_the_manual_works() {
    let found = filters("--from-label app=monolith --to-label app=user-service --verdict forwarded").unwrap();
    let expected = FlowFilter {
        source_label: text("app=monolith"),
        destination_label: text("app=user-service"),
        verdict: vec![Verdict::Forwarded as i32],
        ..FlowFilter::default()
    };
    assert_eq!(found, Filters { white: vec![expected], black: vec![] });
}

#[test]
fn filters_in_json_join_those_of_flags() {
    let found =
        filters(r#"--verdict dropped --allowlist {"source_port":["1"]}{"source_port":["2"]} --denylist {}"#).unwrap();
    let port = |port| FlowFilter { source_port: text(port), ..FlowFilter::default() };
    assert_eq!(found.white[1..], [port("1"), port("2")]);
    assert_eq!((found.white.len(), found.black), (3, vec![FlowFilter::default()]));
    let error = filters(r#"--denylist {"port":1}"#).unwrap_err();
    assert!(error.contains("--denylist: filter 0") && error.contains("port"), "{error}");
}

#[test]
fn expressions_are_one_filter_with_the_other_flags() {
    let expression = |text: &str| -> Vec<String> { vec![text.to_owned(), "has(_flow.l4.TCP)".to_owned()] };
    let found = filters("--cel-expression _flow.verdict==2 --port 80 --cel-expression has(_flow.l4.TCP)").unwrap();
    for (filter, is_source) in found.white.iter().zip([true, false]) {
        assert_eq!(filter.experimental.as_ref().unwrap().cel_expression, expression("_flow.verdict==2"));
        assert_eq!((filter.source_port.len(), filter.destination_port.len()), if is_source { (1, 0) } else { (0, 1) });
    }
    assert_eq!((found.white.len(), found.black.len()), (2, 0));
    let left_out = filters("--not --cel-expression true").unwrap();
    assert_eq!((left_out.white.len(), left_out.black.len()), (0, 1));
}

#[test]
fn either_end_makes_two_filters_and_not_a_list_of_its_own() {
    let found = filters("--pod shop/web --not --to-port 53 --protocol tcp --port 80").unwrap();
    let tcp = || FlowFilter { protocol: text("tcp"), ..FlowFilter::default() };
    let white = vec![
        FlowFilter { source_pod: text("shop/web"), source_port: text("80"), ..tcp() },
        FlowFilter { destination_pod: text("shop/web"), destination_port: text("80"), ..tcp() },
    ];
    let black = vec![FlowFilter { destination_port: text("53"), ..FlowFilter::default() }];
    assert_eq!(found, Filters { white, black });
    assert_eq!(filters("").unwrap(), Filters::default());
}

#[test]
fn words_become_numbers() {
    let found =
        filters("-4 --to-identity world --from-identity 300 --type trace:to-network --tcp-flags SYN,ACK -n shop")
            .unwrap();
    let filter = &found.white[0];
    assert_eq!((filter.ip_version.as_slice(), filter.destination_identity.as_slice()), (&[1][..], &[2][..]));
    assert_eq!(
        (filter.source_identity.as_slice(), filter.source_pod.as_slice()),
        (&[300][..], &["shop/".to_owned()][..])
    );
    assert_eq!(filter.event_type, [EventTypeFilter { r#type: 4, match_sub_type: true, sub_type: 11 }]);
    assert!(filter.tcp_flags[0].syn && filter.tcp_flags[0].ack && !filter.tcp_flags[0].fin);
    for (name, number) in [("policy-denied", 133), ("no-local-backend", 241)] {
        assert_eq!(filters(&format!("--drop-reason-desc {name}")).unwrap().white[0].drop_reason_desc, [number]);
    }
}

#[test]
fn a_switch_that_is_off_asks_for_nothing_or_for_the_contrary() {
    assert_eq!(filters("--reply").unwrap().white[0].reply, [true]);
    assert_eq!(filters("--reply=false").unwrap().white[0].reply, [false]);
    for nothing in ["--ipv4=false", "--not --ipv6=false", "--not=false --ipv4=false"] {
        assert_eq!(filters(nothing).unwrap(), Filters::default(), "{nothing}");
    }
    assert_eq!(filters("--not=false --port 53").unwrap().black, []);
    assert!(filters("--reply=perhaps").unwrap_err().contains("--reply"));
}

#[test]
fn mistakes_name_the_flag() {
    for (line, part) in [
        ("--verdict maybe", "--verdict maybe"),
        ("--to-identity nobody", "--to-identity nobody"),
        ("--type trace:to-nowhere", "--type"),
        ("--tcp-flags FYN", "FYN"),
        ("--from-pod a --not", "--not"),
        ("--ip-trace-id 0", "--ip-trace-id 0: is no number above 0"),
        ("--ip-trace-id x", "--ip-trace-id x"),
        ("--encrypted=perhaps", "--encrypted perhaps"),
        ("--nonsense", "nonsense"),
    ] {
        let error = filters(line).unwrap_err();
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn names_are_in_the_namespaces_that_are_named_beside_them() {
    let one = |line: &str| filters(line).unwrap().white.remove(0);
    assert_eq!(
        one("--from-namespace shop --to-pod web").destination_pod,
        ["web"],
        "the sender's namespace says nothing of the receiver"
    );
    let either = filters("--pod web -n shop").unwrap().white;
    assert_eq!(
        (&either[0].source_pod[..], &either[1].destination_pod[..]),
        (&text("shop/web")[..], &text("shop/web")[..])
    );
    let both = one("--from-namespace a --from-namespace b --from-pod web --from-service s");
    assert_eq!(both.source_pod, ["a/web", "b/web"]);
    assert_eq!(both.source_service, ["a/s", "b/s"]);
    assert_eq!(one("--from-namespace a --from-pod web --from-pod a/db").source_pod, ["a/web", "a/db"]);
    let service = one("--to-namespace shop --to-service web");
    assert_eq!((service.destination_service, service.destination_pod.len()), (text("shop/web"), 0));
    assert_eq!(one("--to-namespace shop").destination_pod, ["shop/"]);
    for all in ["-A", "--from-all-namespaces --to-all-namespaces", "-A --pod shop/web --pod=db"] {
        let names: Vec<String> = filters(all).unwrap().white.into_iter().flat_map(|filter| filter.source_pod).collect();
        assert!(names.is_empty() || names == ["shop/web", "db"], "{all}: {names:?}");
    }
    assert_eq!((one("--ip-version v6").ip_version, one("--ip-version 4").ip_version), (vec![2], vec![1]));
    assert_eq!((one("--ip-version none").ip_version, one("--ip-version IPv6").ip_version), (vec![0], vec![2]));
    assert!(filters("--ip-version 5").unwrap_err().contains("neither 4 nor 6"));
}

#[test]
fn what_excludes_each_other_is_refused_in_each_list_and_both_are_named() {
    for (line, flags) in [
        ("--pod a --from-pod b", ["--pod", "--from-pod"]),
        ("-n shop --to-pod web", ["--namespace", "--to-pod"]),
        ("-A --from-all-namespaces", ["--all-namespaces", "--from-all-namespaces"]),
        ("--to-ip 10.0.0.1 --verdict dropped --to-fqdn a.example", ["--to-ip", "--to-fqdn"]),
        ("--not --port 53 --not --to-port 80", ["--port", "--to-port"]),
        ("--encrypted --unencrypted", ["--encrypted", "--unencrypted"]),
        ("--from-namespace a --from-pod c/db", ["c/db", "namespace a"]),
        ("-n a --service b/s", ["b/s", "namespace a"]),
    ] {
        let error = filters(line).unwrap_err();
        assert!(flags.iter().all(|flag| error.contains(flag)), "{line}: {error}");
    }
    for line in ["--pod a --not --from-pod b", "--from-ip 10.0.0.1 --to-pod a", "--encrypted --unencrypted=false"] {
        assert!(filters(line).is_ok(), "{line}");
    }
    let raw = r#"--pod a --allowlist {"source_pod":["b"],"source_ip":["10.0.0.1"]}"#;
    assert_eq!(filters(raw).unwrap().white.len(), 3, "JSON says what it means");
}

#[test]
fn what_is_encrypted_and_what_is_traced_by_ip_is_asked_for() {
    let one = |line: &str| filters(line).unwrap().white.remove(0);
    assert_eq!((one("--encrypted").encrypted, one("--unencrypted").encrypted), (vec![true], vec![false]));
    assert_eq!(filters("--not --encrypted").unwrap().black[0].encrypted, [true]);
    assert_eq!(filters("--encrypted=false --unencrypted=false").unwrap(), Filters::default());
    assert_eq!(one("--ip-trace-id 7 --ip-trace-id 18446744073709551615").ip_trace_id, [7, u64::MAX]);
}

#[test]
fn raw_filters_are_yaml_of_what_the_flags_for_json_take() {
    let found = filters("--pod shop/web --not --to-fqdn it's.example --verdict dropped").unwrap();
    let raw = found.raw().unwrap();
    assert_eq!(
        raw,
        "allowlist:\n    - '{\"source_pod\":[\"shop/web\"],\"verdict\":[\"DROPPED\"]}'\n    - \
         '{\"destination_pod\":[\"shop/web\"],\"verdict\":[\"DROPPED\"]}'\ndenylist:\n    - \
         '{\"destination_fqdn\":[\"it''s.example\"]}'\n"
    );
    let read: std::collections::BTreeMap<String, Vec<String>> = serde_saphyr::from_str(&raw).unwrap();
    let back = |name: &str| from_json(&read[name].concat()).unwrap();
    assert_eq!(Filters { white: back("allowlist"), black: back("denylist") }, found);
    assert_eq!(filters("").unwrap().raw().unwrap(), "{}\n");
}
