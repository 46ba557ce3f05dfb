//! Flows in, lines out.

use flow_api::flow::layer4::Protocol;
use flow_api::flow::{
    CiliumEventType, Endpoint, Flow, IcmPv4, IcmPv6, Ip, Layer4, LostEvent, Sctp, Tcp, TcpFlags, Udp, Workload,
};
use flow_metrics::{MetricConfig, Metrics, Settings};

fn flow() -> Flow {
    let endpoint = |pod: &str, labels: &[&str]| Endpoint {
        namespace: "shop".to_owned(),
        pod_name: pod.to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        workloads: vec![Workload { name: format!("{pod}s"), kind: "Deployment".to_owned() }],
        ..Endpoint::default()
    };
    let flags = TcpFlags { syn: true, ..TcpFlags::default() };
    Flow {
        verdict: 1,
        event_type: Some(CiliumEventType { r#type: 4, sub_type: 0 }),
        ip: Some(Ip { source: "10.0.0.1".into(), destination: "10.0.0.2".into(), ip_version: 1, ..Ip::default() }),
        l4: Some(Layer4 {
            protocol: Some(Protocol::Tcp(Tcp { source_port: 40_000, destination_port: 80, flags: Some(flags) })),
        }),
        source: Some(endpoint("cart", &["k8s:app=cart", "k8s:tier=web"])),
        destination: Some(endpoint("api", &["reserved:host", "reserved:kube-apiserver"])),
        destination_names: vec!["api.shop".into(), "api".into()],
        is_reply: Some(false),
        traffic_direction: 2,
        ..Flow::default()
    }
}

fn layer4(protocol: Protocol) -> Flow {
    Flow { l4: Some(Layer4 { protocol: Some(protocol) }), ..flow() }
}

fn metrics(configs: &[&str], budget: u32) -> Metrics {
    let metrics = configs.iter().map(|text| text.parse::<MetricConfig>().unwrap()).collect();
    Metrics::new(&Settings { metrics, budget })
}

/// The samples of Hubble's metrics, and of flows that ended.
fn samples(metrics: &Metrics) -> Vec<String> {
    let text = metrics.expose().unwrap();
    assert!(text.ends_with("# EOF\n"));
    let of_flows = |line: &&str| line.starts_with("hubble_") || line.starts_with("malla_flows_");
    let mut lines: Vec<String> = text.lines().filter(of_flows).map(str::to_owned).collect();
    lines.sort();
    lines
}

fn check(config: &str, flows: &[Flow], expected: &[&str]) {
    let metrics = metrics(&[config], 1000);
    flows.iter().for_each(|flow| metrics.observe(flow));
    assert_eq!(samples(&metrics), expected, "{config}");
}

#[test]
fn each_metric_counts_what_it_is_for() {
    let udp = layer4(Protocol::Udp(Udp { source_port: 1, destination_port: 53 }));
    let dropped = Flow {
        verdict: 2,
        drop_reason_desc: 133,
        event_type: Some(CiliumEventType { r#type: 1, sub_type: 133 }),
        ..flow()
    };
    let reply = Flow { is_reply: Some(true), ..flow() };
    let unsure = Flow { is_reply: None, ..flow() };
    let flags = |syn, ack, fin, rst| {
        let flags = TcpFlags { syn, ack, fin, rst, ..TcpFlags::default() };
        layer4(Protocol::Tcp(Tcp { flags: Some(flags), ..Tcp::default() }))
    };
    let icmp = |kind, code| layer4(Protocol::IcmPv4(IcmPv4 { r#type: kind, code }));
    let policy = |verdict, direction, policy_match_type| Flow {
        event_type: Some(CiliumEventType { r#type: 5, sub_type: 0 }),
        verdict,
        traffic_direction: direction,
        policy_match_type,
        ..flow()
    };
    check(
        "flow",
        &[flow(), flow(), udp.clone(), dropped.clone(), Flow::default(), policy(2, 1, 0)],
        &[
            r#"hubble_flows_processed_total{protocol="TCP",type="Drop",subtype="",verdict="DROPPED"} 1"#,
            r#"hubble_flows_processed_total{protocol="TCP",type="PolicyVerdict",subtype="",verdict="DROPPED"} 1"#,
            r#"hubble_flows_processed_total{protocol="TCP",type="Trace",subtype="to-endpoint",verdict="FORWARDED"} 2"#,
            r#"hubble_flows_processed_total{protocol="UDP",type="Trace",subtype="to-endpoint",verdict="FORWARDED"} 1"#,
            r#"hubble_flows_processed_total{protocol="Unknown flow",type="Unknown",subtype="0",verdict="VERDICT_UNKNOWN"} 1"#,
        ],
    );
    check(
        "drop",
        &[flow(), dropped.clone(), dropped.clone(), Flow { drop_reason_desc: 241, ..dropped.clone() }],
        &[
            r#"hubble_drop_total{reason="NO_LOCAL_BACKEND",protocol="TCP"} 1"#,
            r#"hubble_drop_total{reason="POLICY_DENIED",protocol="TCP"} 2"#,
        ],
    );
    let ended = |way| Flow {
        extensions: Some(flow_api::extension::pack(&flow_api::malla::Ended { way, ..Default::default() })),
        ..flow()
    };
    check(
        "ended",
        &[flow(), ended(1), ended(2), ended(2), ended(99)],
        &[
            r#"malla_flows_ended_total{way="closed",protocol="TCP"} 1"#,
            r#"malla_flows_ended_total{way="refused_by_server",protocol="TCP"} 2"#,
        ],
    );
    check(
        "tcp",
        &[
            flags(true, false, false, false),
            flags(true, true, false, false),
            flags(false, true, true, true),
            dropped.clone(),
            udp.clone(),
        ],
        &[
            r#"hubble_tcp_flags_total{flag="FIN",family="IPv4"} 1"#,
            r#"hubble_tcp_flags_total{flag="RST",family="IPv4"} 1"#,
            r#"hubble_tcp_flags_total{flag="SYN",family="IPv4"} 1"#,
            r#"hubble_tcp_flags_total{flag="SYN-ACK",family="IPv4"} 1"#,
        ],
    );
    check(
        "icmp",
        &[icmp(8, 0), icmp(3, 3), icmp(200, 1), layer4(Protocol::IcmPv6(IcmPv6 { r#type: 135, code: 0 })), flow()],
        &[
            r#"hubble_icmp_total{family="IPv4",type="200(1)"} 1"#,
            r#"hubble_icmp_total{family="IPv4",type="DestinationUnreachable(Port)"} 1"#,
            r#"hubble_icmp_total{family="IPv4",type="EchoRequest"} 1"#,
            r#"hubble_icmp_total{family="IPv6",type="NeighborSolicitation"} 1"#,
        ],
    );
    check(
        "port-distribution",
        &[flow(), udp, icmp(8, 0), reply, unsure, dropped],
        &[
            r#"hubble_port_distribution_total{protocol="ICMPv4",port="0"} 1"#,
            r#"hubble_port_distribution_total{protocol="TCP",port="80"} 1"#,
            r#"hubble_port_distribution_total{protocol="UDP",port="53"} 1"#,
        ],
    );
    check(
        "policy",
        &[policy(1, 1, 2), policy(2, 2, 0), policy(4, 2, 99), flow()],
        &[
            r#"hubble_policy_verdicts_total{direction="egress",match="99",action="audit"} 1"#,
            r#"hubble_policy_verdicts_total{direction="egress",match="none",action="dropped"} 1"#,
            r#"hubble_policy_verdicts_total{direction="ingress",match="l3-l4",action="forwarded"} 1"#,
        ],
    );
}

/// Out of the cluster: what opens, what goes on, what comes back, and what was dropped, for policy and otherwise.
#[test]
fn flows_to_the_world_are_counted_as_they_are_asked_for() {
    let world = Endpoint { labels: vec!["reserved:world".to_owned()], ..Endpoint::default() };
    let out = |flow: Flow| Flow { destination: Some(world.clone()), ..flow };
    let goes_on =
        Tcp { destination_port: 443, flags: Some(TcpFlags { ack: true, ..TcpFlags::default() }), ..Tcp::default() };
    let dropped = |reason| Flow {
        verdict: 2,
        drop_reason_desc: reason,
        event_type: Some(CiliumEventType { r#type: 1, sub_type: reason }),
        ..out(flow())
    };
    let reply = out(Flow { is_reply: Some(true), ..flow() });
    let flows = [
        out(flow()),
        out(layer4(Protocol::Tcp(goes_on))),
        out(layer4(Protocol::Udp(Udp { source_port: 1, destination_port: 53 }))),
        out(layer4(Protocol::IcmPv4(IcmPv4 { r#type: 8, code: 0 }))),
        dropped(133),
        dropped(241),
        Flow { is_reply: Some(true), ..dropped(133) },
        // What passes back, what stays inside, and of which too little is known.
        reply.clone(),
        flow(),
        Flow { destination: None, ..flow() },
        out(Flow { event_type: None, ..flow() }),
        out(Flow { l4: None, ..flow() }),
    ];
    check(
        "flows-to-world",
        &flows,
        &[
            r#"hubble_flows_to_world_total{protocol="ICMPv4",verdict="FORWARDED"} 1"#,
            r#"hubble_flows_to_world_total{protocol="TCP",verdict="DROPPED"} 2"#,
            r#"hubble_flows_to_world_total{protocol="TCP",verdict="FORWARDED"} 2"#,
            r#"hubble_flows_to_world_total{protocol="UDP",verdict="FORWARDED"} 1"#,
        ],
    );
    check(
        "flows-to-world:any-drop;port;sourceContext=pod",
        &flows,
        &[
            r#"hubble_flows_to_world_total{protocol="ICMPv4",verdict="FORWARDED",port="",source="shop/cart"} 1"#,
            r#"hubble_flows_to_world_total{protocol="TCP",verdict="DROPPED",port="80",source="shop/cart"} 3"#,
            r#"hubble_flows_to_world_total{protocol="TCP",verdict="FORWARDED",port="443",source="shop/cart"} 1"#,
            r#"hubble_flows_to_world_total{protocol="TCP",verdict="FORWARDED",port="80",source="shop/cart"} 1"#,
            r#"hubble_flows_to_world_total{protocol="UDP",verdict="FORWARDED",port="53",source="shop/cart"} 1"#,
        ],
    );
    check(
        "flows-to-world:syn-only",
        &flows,
        &[
            r#"hubble_flows_to_world_total{protocol="TCP",verdict="DROPPED"} 1"#,
            r#"hubble_flows_to_world_total{protocol="TCP",verdict="FORWARDED"} 1"#,
        ],
    );
    check("flows-to-world", &[reply], &[]);
}

#[test]
fn losses_are_counted_by_where_they_happened() {
    let metrics = metrics(&[], 10);
    for (source, number) in [(1, 5), (3, 2), (1, 1), (77, 1)] {
        metrics.lost(&LostEvent { source, num_events_lost: number, ..LostEvent::default() });
    }
    assert_eq!(
        samples(&metrics),
        [
            r#"hubble_lost_events_total{source="hubble_ring_buffer"} 2"#,
            r#"hubble_lost_events_total{source="perf_event_ring_buffer"} 6"#,
            r#"hubble_lost_events_total{source="unknown_lost_event_source"} 1"#,
        ]
    );
}

#[test]
fn context_options_name_the_ends() {
    for (option, source, destination) in [
        ("pod", "shop/cart", "shop/api"),
        ("pod-name", "cart", "api"),
        ("namespace", "shop", "shop"),
        ("workload", "shop/carts", "shop/apis"),
        ("workload-name", "carts", "apis"),
        ("ip", "10.0.0.1", "10.0.0.2"),
        ("app", "cart", ""),
        ("identity", "k8s:app=cart,k8s:tier=web", "reserved:host,reserved:kube-apiserver"),
        ("reserved-identity|pod", "shop/cart", "reserved:kube-apiserver"),
        ("dns|ip", "10.0.0.1", "api.shop,api"),
    ] {
        let config = format!("icmp:sourceContext={option};destinationContext={option}");
        let expected = format!(
            r#"hubble_icmp_total{{family="IPv4",type="EchoRequest",source="{source}",destination="{destination}"}} 1"#
        );
        check(&config, &[layer4(Protocol::IcmPv4(IcmPv4 { r#type: 8, code: 0 }))], &[&expected]);
    }
    check(
        "icmp:labelsContext=traffic_direction,source_pod,destination_workload_kind,source_app,destination_ip",
        &[layer4(Protocol::IcmPv4(IcmPv4 { r#type: 8, code: 0 }))],
        &[concat!(
            r#"hubble_icmp_total{family="IPv4",type="EchoRequest",source_pod="cart",source_app="cart","#,
            r#"destination_ip="10.0.0.2",destination_workload_kind="Deployment",traffic_direction="egress"} 1"#
        )],
    );
    // Of nobody, nothing is told; and nothing in a name ends a label.
    let odd = Flow { source: None, ip: None, destination_names: vec!["a\"} 9\n#".into()], ..flow() };
    check(
        "drop:sourceContext=pod|ip;destinationContext=dns",
        &[Flow { verdict: 2, ..odd }],
        &[r#"hubble_drop_total{reason="DROP_REASON_UNKNOWN",protocol="TCP",source="",destination="a\"} 9\n#"} 1"#],
    );
}

#[test]
fn what_leaves_and_what_comes_may_be_named_by_other_options() {
    let drop = |traffic_direction| Flow { verdict: 2, traffic_direction, ..flow() };
    let (unknown, ingress, egress) = (drop(0), drop(1), drop(2));
    let told = |source: &str, destination: &str| {
        let source = if source.is_empty() { String::new() } else { format!(",source=\"{source}\"") };
        let destination =
            if destination.is_empty() { String::new() } else { format!(",destination=\"{destination}\"") };
        format!("hubble_drop_total{{reason=\"DROP_REASON_UNKNOWN\",protocol=\"TCP\"{source}{destination}}} 1")
    };
    for (options, of_unknown, of_ingress, of_egress) in [
        (
            "sourceContext=namespace;sourceEgressContext=workload|pod;sourceIngressContext=ip",
            told("shop", ""),
            told("10.0.0.1", ""),
            told("shop/carts", ""),
        ),
        (
            "destinationEgressContext=dns;destinationContext=app|pod-name;destinationIngressContext=app|reserved-identity",
            told("", "api"),
            told("", "reserved:kube-apiserver"),
            told("", "api.shop,api"),
        ),
        // The other direction goes by what both have.
        (
            "sourceContext=pod;sourceIngressContext=ip",
            told("shop/cart", ""),
            told("10.0.0.1", ""),
            told("shop/cart", ""),
        ),
    ] {
        let config = format!("drop:{options}");
        check(&config, std::slice::from_ref(&unknown), &[&of_unknown]);
        check(&config, std::slice::from_ref(&ingress), &[&of_ingress]);
        check(&config, std::slice::from_ref(&egress), &[&of_egress]);
    }
    // Where nothing is said of a direction, it is nobody.
    check(
        "drop:sourceEgressContext=ip",
        &[ingress],
        &[r#"hubble_drop_total{reason="DROP_REASON_UNKNOWN",protocol="TCP",source=""} 1"#],
    );
    // A Pod that goes takes those with it that name it in one direction alone.
    let metrics = metrics(&["drop:destinationContext=ip;destinationEgressContext=pod"], 9);
    metrics.observe(&egress);
    metrics.observe(&unknown);
    metrics.forget_pods([("shop", "api")]);
    assert_eq!(samples(&metrics), [told("", "10.0.0.2")]);
}

#[test]
fn chunks_of_sctp_are_counted_by_their_type_where_it_is_told() {
    let chunk = |chunk_type, verdict| Flow {
        verdict,
        ..layer4(Protocol::Sctp(Sctp { source_port: 1, destination_port: 2, chunk_type }))
    };
    check(
        "sctp",
        &[chunk(1, 1), chunk(2, 1), chunk(2, 1), chunk(0, 1), chunk(6, 2), flow()],
        &[
            r#"hubble_sctp_chunk_types_total{chunk_type="INIT",family="IPv4"} 1"#,
            r#"hubble_sctp_chunk_types_total{chunk_type="INIT_ACK",family="IPv4"} 2"#,
        ],
    );
}

#[test]
fn configurations_that_make_no_sense_are_refused_by_name() {
    for (text, reason) in [
        ("", "there is no \"\""),
        ("flows", "there is no \"flows\""),
        ("drop:sourceContext", "\"sourceContext\" has no value"),
        ("drop:sourceContext=", "sourceContext can't be \"\""),
        ("drop:sourceContext=pod|moon", "sourceContext can't be \"moon\""),
        ("drop:sourceEgressContext=pod|moon", "sourceEgressContext can't be \"moon\""),
        ("drop:any-drop", "\"any-drop\" has no value"),
        ("flows-to-world:syn", "\"syn\" has no value"),
        ("drop:colour=red", "there is no option \"colour\""),
        ("drop:labelsContext=source_ip,source_moon", "labelsContext can't be \"source_moon\""),
        ("drop:labelsContext=source_ip,source_ip", "\"source_ip,source_ip\" names a label twice"),
    ] {
        let wrong = text.parse::<MetricConfig>().unwrap_err();
        assert_eq!((wrong.metric.as_str(), wrong.reason.as_str()), (text, reason));
    }
}

fn own(metrics: &Metrics) -> Vec<String> {
    let text = metrics.expose().unwrap();
    text.lines()
        .filter(|line| line.starts_with("malla_"))
        .map(|line| line.trim_start_matches("malla_flow_metrics_").to_owned())
        .collect()
}

#[test]
fn series_stay_in_their_budget_and_sums_stay_right() {
    let metrics = metrics(&["port-distribution", "drop:sourceContext=pod"], 3);
    for port in (1..=50).chain(1..=50) {
        metrics.observe(&layer4(Protocol::Udp(Udp { source_port: 1, destination_port: port })));
    }
    assert_eq!(
        samples(&metrics),
        [
            r#"hubble_port_distribution_total{protocol="UDP",port="1"} 2"#,
            r#"hubble_port_distribution_total{protocol="UDP",port="2"} 2"#,
            r#"hubble_port_distribution_total{protocol="UDP",port="3"} 2"#,
            r#"hubble_port_distribution_total{protocol="overflow",port="overflow"} 94"#,
        ]
    );
    assert_eq!(own(&metrics), ["series 3", "series_budget 3", "over_budget_total 94"]);
}

#[test]
fn a_pod_that_has_gone_gives_its_series_back() {
    let configs = ["drop:sourceContext=pod", "icmp:labelsContext=source_pod,source_namespace", "flow"];
    let metrics = metrics(&configs, 4);
    let of = |namespace: &str, verdict| {
        let mut flow = layer4(Protocol::IcmPv4(IcmPv4 { r#type: 8, code: 0 }));
        flow.source.as_mut().unwrap().namespace = namespace.to_owned();
        Flow { verdict, ..flow }
    };
    metrics.observe(&of("shop", 2));
    metrics.observe(&of("bank", 1));
    assert_eq!(own(&metrics)[0], "series 4", "a drop, two of ICMP, and one of two of flows");
    metrics.forget_pods([("shop", "cart")]);
    let left = samples(&metrics);
    assert!(!left.iter().any(|line| line.contains("shop")), "{left:?}");
    assert!(left.iter().any(|line| line.contains("bank")));
    assert_eq!(own(&metrics)[0], "series 2");
    metrics.observe(&of("mill", 2));
    assert!(samples(&metrics).iter().any(|line| line.contains(r#"source="mill/cart""#)));
}

#[test]
fn many_pods_go_at_once_and_each_is_itself() {
    let metrics = metrics(&["drop:sourceContext=pod;labelsContext=destination_pod,destination_namespace"], 9);
    let of = |source: (&str, &str), destination: (&str, &str)| {
        let mut flow = Flow { verdict: 2, ..flow() };
        for (end, (namespace, pod)) in [(&mut flow.source, source), (&mut flow.destination, destination)] {
            let end = end.as_mut().unwrap();
            (end.namespace, end.pod_name) = (namespace.to_owned(), pod.to_owned());
        }
        flow
    };
    metrics.observe(&of(("shop", "cart"), ("mill", "x")));
    metrics.observe(&of(("mill", "x"), ("bank", "till")));
    // Names of two that go, in each other's namespace.
    metrics.observe(&of(("bank", "cart"), ("shop", "till")));
    metrics.forget_pods([("shop", "cart"), ("bank", "till")]);
    let left = samples(&metrics);
    assert_eq!(own(&metrics)[0], "series 1", "{left:?}");
    assert!(left.iter().any(|line| line.contains(r#"source="bank/cart""#)), "{left:?}");
    metrics.forget_pods([]);
    assert_eq!(own(&metrics)[0], "series 1");
}

#[test]
fn a_workload_of_the_same_name_is_no_pod() {
    let configs = ["flow:sourceContext=workload", "drop:sourceContext=pod-name|ip"];
    let metrics = metrics(&configs, 9);
    metrics.observe(&flow());
    metrics.observe(&Flow { verdict: 2, event_type: Some(CiliumEventType { r#type: 1, sub_type: 133 }), ..flow() });
    metrics.forget_pods([("shop", "carts")]);
    assert_eq!(own(&metrics)[0], "series 3");
    metrics.forget_pods([("shop", "cart")]);
    assert!(!samples(&metrics).iter().any(|line| line.starts_with("hubble_drop")));
    assert_eq!(own(&metrics)[0], "series 2");
}

/// A connection that a rule let pass and a packet that policy dropped, each with what policy said of it beside it.
#[test]
fn what_policy_said_counts_as_that_and_the_packet_once() {
    let by = || vec![flow_api::flow::Policy { name: "p".into(), ..Default::default() }];
    let world = Endpoint { labels: vec!["reserved:world".to_owned()], ..Endpoint::default() };
    let ended = flow_api::malla::Ended { way: 6, ..Default::default() };
    let begins = Flow { trace_reason: 1, ingress_allowed_by: by(), destination: Some(world), ..flow() };
    let drop = Flow {
        verdict: 2,
        drop_reason_desc: 133,
        traffic_direction: 1,
        event_type: Some(CiliumEventType { r#type: 1, sub_type: 133 }),
        extensions: Some(flow_api::extension::pack(&ended)),
        is_reply: None,
        ..begins.clone()
    };
    let ping = |flow: &Flow| Flow { l4: layer4(Protocol::IcmPv4(IcmPv4 { r#type: 8, code: 0 })).l4, ..flow.clone() };
    let said = |flow: &Flow| Flow {
        event_type: Some(CiliumEventType { r#type: 5, sub_type: 0 }),
        policy_match_type: 1,
        trace_reason: 0,
        ..flow.clone()
    };
    let audit = Flow { verdict: 4, ..said(&begins) };
    let told = [begins.clone(), drop.clone(), ping(&begins)];
    let all = [&told[..], &[said(&begins), said(&drop), said(&ping(&begins)), audit]].concat();
    for config in ["drop", "tcp", "icmp", "port-distribution", "flows-to-world", "ended"] {
        let count = |flows: &[Flow]| {
            let metrics = metrics(&[config], 1000);
            flows.iter().for_each(|flow| metrics.observe(flow));
            samples(&metrics)
        };
        assert!(!count(&told).is_empty(), "{config}");
        assert_eq!(count(&all), count(&told), "{config}");
    }
    check(
        "policy",
        &all,
        &[
            r#"hubble_policy_verdicts_total{direction="egress",match="l3-only",action="audit"} 1"#,
            r#"hubble_policy_verdicts_total{direction="egress",match="l3-only",action="forwarded"} 2"#,
            r#"hubble_policy_verdicts_total{direction="ingress",match="l3-only",action="dropped"} 1"#,
        ],
    );
}

#[test]
fn metrics_of_layer_7_may_be_asked_for_and_count_nothing() {
    for text in ["dns:query;ignoreAAAA", "http", "httpV2:exemplars=true;labelsContext=source_pod", "kafka"] {
        check(text, &[flow()], &[]);
    }
    assert!("http:query".parse::<MetricConfig>().is_err() && "dns:exemplars=true".parse::<MetricConfig>().is_err());
}
