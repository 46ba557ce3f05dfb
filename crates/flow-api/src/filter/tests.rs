//! Whole filters: at random against the reference, and each field once by hand.

use super::{Filters, reference};
use crate::Invalid;
use crate::flow::layer4::Protocol;
use crate::flow::layer7::Record;
use crate::flow::*;
use proptest::prelude::*;
use proptest::sample::select;

fn some<T: Clone + std::fmt::Debug + 'static>(values: &'static [T]) -> impl Strategy<Value = T> {
    select(values)
}

fn words(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

fn endpoints() -> impl Strategy<Value = Option<Endpoint>> {
    // A key is there once, as on a Pod.
    let app = proptest::option::of(words(&["k8s:app=a", "k8s:app=b"]));
    let labels = (app, proptest::option::of(words(&["k8s:tier"])));
    let labels = labels.prop_map(|(app, tier)| app.into_iter().chain(tier).collect());
    let endpoint =
        (some(&[0_u32, 1, 300]), words(&["", "default", "shop"]), words(&["", "web-1", "web-2", "db"]), labels);
    proptest::option::of(endpoint.prop_map(|(identity, namespace, pod_name, labels)| Endpoint {
        identity,
        namespace,
        pod_name,
        labels,
        ..Endpoint::default()
    }))
}

fn protocols() -> impl Strategy<Value = Option<Layer4>> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let flags = flags.prop_map(|(syn, ack, rst)| TcpFlags { syn, ack, rst, ..TcpFlags::default() });
    let tcp = (some(&[80_u32, 443]), some(&[80_u32, 443]), proptest::option::of(flags));
    let tcp = tcp
        .prop_map(|(source_port, destination_port, flags)| Protocol::Tcp(Tcp { source_port, destination_port, flags }));
    let udp = some(&[53_u32, 80]).prop_map(|port| Protocol::Udp(Udp { source_port: port, destination_port: 53 }));
    let icmp = Just(Protocol::IcmPv4(IcmPv4 { r#type: 8, code: 0 }));
    proptest::option::of(prop_oneof![tcp, udp, icmp].prop_map(|protocol| Layer4 { protocol: Some(protocol) }))
}

prop_compose! {
    fn flows()(
        uuid in words(&["", "u1", "u2"]),
        verdict in 0_i32..4,
        traffic_direction in 0_i32..3,
        is_reply in proptest::option::of(any::<bool>()),
        addresses in proptest::option::of((words(&["10.0.0.1", "10.0.1.1", "10.0.0.7"]), words(&["10.0.0.1", "10.0.1.1"]))),
        source in endpoints(),
        destination in endpoints(),
        l4 in protocols(),
        event_type in proptest::option::of((some(&[1_i32, 4, 5]), 0_i32..3)),
        node_name in words(&["", "default/n1", "default/n2"]),
    ) -> Flow {
        let ip = addresses.map(|(source, destination)| Ip { source, destination, ip_version: 1, ..Ip::default() });
        let event_type = event_type.map(|(r#type, sub_type)| CiliumEventType { r#type, sub_type });
        Flow {
            uuid, verdict, traffic_direction, is_reply, ip, source, destination, l4, event_type, node_name,
            ..Flow::default()
        }
    }
}

/// A field is asked now and then, with one value or two.
fn asked<S: Strategy>(values: S) -> impl Strategy<Value = Vec<S::Value>> {
    proptest::option::weighted(0.15, proptest::collection::vec(values, 1..3)).prop_map(Option::unwrap_or_default)
}

prop_compose! {
    fn plain()(
        uuid in asked(words(&["u1", "u2"])),
        verdict in asked(0_i32..4),
        traffic_direction in asked(0_i32..3),
        reply in asked(any::<bool>()),
        source_ip in asked(words(&["10.0.0.1", "10.0.0.0/24", "0.0.0.0/0"])),
        destination_ip in asked(words(&["10.0.1.1", "10.0.1.0/24"])),
        source_identity in asked(some(&[0_u32, 300])),
        destination_identity in asked(some(&[1_u32, 300])),
        node_name in asked(words(&["default/n1"])),
        protocol in asked(words(&["tcp", "udp"])),
    ) -> FlowFilter {
        FlowFilter {
            uuid, verdict, traffic_direction, reply, source_ip, destination_ip, source_identity, destination_identity,
            node_name, protocol, ..FlowFilter::default()
        }
    }
}

prop_compose! {
    fn filters()(
        plain in plain(),
        source_pod in asked(words(&["web", "shop/", "shop/web-1", "default/db"])),
        destination_pod in asked(words(&["web-1", "shop/", "db"])),
        source_port in asked(words(&["80", "53"])),
        destination_port in asked(words(&["80", "443"])),
        source_label in asked(words(&["app=a", "app=b", "tier"])),
        tcp_flags in asked((any::<bool>(), any::<bool>()).prop_map(|(syn, ack)| TcpFlags { syn, ack, ..TcpFlags::default() })),
        event_type in asked((some(&[0_i32, 1, 4]), any::<bool>(), 0_i32..3)
            .prop_map(|(r#type, match_sub_type, sub_type)| EventTypeFilter { r#type, match_sub_type, sub_type })),
    ) -> FlowFilter {
        FlowFilter { source_pod, destination_pod, source_port, destination_port, source_label, tcp_flags, event_type, ..plain }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]
    #[test]
    fn it_judges_as_the_reference(
        white in proptest::collection::vec(filters(), 0..3),
        black in proptest::collection::vec(filters(), 0..3),
        flow in flows(),
    ) {
        let judged = Filters::new(&white, &black).unwrap().admit(&flow);
        prop_assert_eq!(judged, reference::admits(&white, &black, &flow));
    }

    /// Whatever a client sends is a filter or an error that names the list.
    #[test]
    fn nothing_from_outside_is_a_panic(text in ".{0,24}|[-*./0-9a-z:(){}\\[\\]+?^$]{0,24}", number: i32, flow in flows()) {
        let one = || vec![text.clone()];
        let all = [
            FlowFilter { source_ip: one(), ..FlowFilter::default() },
            FlowFilter { source_pod: one(), ..FlowFilter::default() },
            FlowFilter { destination_service: one(), ..FlowFilter::default() },
            FlowFilter { source_port: one(), ..FlowFilter::default() },
            FlowFilter { protocol: one(), ..FlowFilter::default() },
            FlowFilter { node_name: one(), ..FlowFilter::default() },
            FlowFilter { source_fqdn: one(), ..FlowFilter::default() },
            FlowFilter { source_label: one(), ..FlowFilter::default() },
            FlowFilter { http_path: one(), ..FlowFilter::default() },
            FlowFilter { http_status_code: one(), ..FlowFilter::default() },
            FlowFilter { dns_query: one(), ..FlowFilter::default() },
            FlowFilter { verdict: vec![number], ..FlowFilter::default() },
        ];
        for filter in all {
            match Filters::new(&[], std::slice::from_ref(&filter)) {
                Ok(filters) => drop(filters.admit(&flow)),
                Err(Invalid { field, .. }) => prop_assert!(field.starts_with("blacklist[0]."), "{}", field),
            }
        }
    }
}

fn admits(filter: FlowFilter, flow: &Flow) -> bool {
    Filters::new(&[filter], &[]).unwrap().admit(flow)
}

fn refused(filter: FlowFilter) -> String {
    Filters::new(&[FlowFilter::default(), filter], &[]).unwrap_err().to_string()
}

fn text(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

/// A flow that has everything.
fn whole() -> Flow {
    let endpoint = |workload: &str| Endpoint {
        cluster_name: "east".to_owned(),
        workloads: vec![Workload { name: workload.to_owned(), kind: "Deployment".to_owned() }],
        ..Endpoint::default()
    };
    let http = Http {
        code: 404,
        method: "GET".to_owned(),
        url: "http://shop:8080/cart/7?x=/no".to_owned(),
        headers: vec![HttpHeader { key: "Host".to_owned(), value: "shop".to_owned() }],
        ..Http::default()
    };
    let parent = TraceParent { trace_id: "abc".to_owned() };
    Flow {
        verdict: Verdict::Dropped as i32,
        drop_reason_desc: DropReason::PolicyDenied as i32,
        ip: Some(Ip { source_xlated: "10.9.0.1".to_owned(), ip_version: 2, encrypted: true, ..Ip::default() }),
        l4: Some(Layer4 {
            protocol: Some(Protocol::Sctp(Sctp { source_port: 9, destination_port: 36412, chunk_type: 1 })),
        }),
        l7: Some(Layer7 { r#type: 1, latency_ns: 5, record: Some(Record::Http(http)) }),
        source: Some(endpoint("web")),
        destination: Some(endpoint("db")),
        source_service: Some(Service { name: "front".to_owned(), namespace: "shop".to_owned() }),
        destination_names: vec!["api.example.com.".to_owned()],
        node_name: "east/worker-1".to_owned(),
        node_labels: text("topology.kubernetes.io/zone=a"),
        interface: Some(NetworkInterface { index: 7, name: "eth0".to_owned() }),
        trace_context: Some(TraceContext { parent: Some(parent) }),
        ip_trace_id: Some(IpTraceId { trace_id: 12, ip_option_type: 136 }),
        ..Flow::default()
    }
}

/// Each field once: a value that the flow has, one that it has not; and a flow that has nothing never fits.
#[test]
fn each_field_fits_what_the_flow_has_and_nothing_else() {
    let base = FlowFilter::default;
    let header = |key: &str, value: &str| vec![HttpHeader { key: key.to_owned(), value: value.to_owned() }];
    let work = |name: &str, kind: &str| vec![Workload { name: name.to_owned(), kind: kind.to_owned() }];
    let device = |index, name: &str| vec![NetworkInterface { index, name: name.to_owned() }];
    let cases = [
        (FlowFilter { drop_reason_desc: vec![133], ..base() }, FlowFilter { drop_reason_desc: vec![134], ..base() }),
        (
            FlowFilter { source_ip_xlated: text("10.9.0.0/16"), ..base() },
            FlowFilter { source_ip_xlated: text("10.8.0.0/16"), ..base() },
        ),
        (FlowFilter { ip_version: vec![2], ..base() }, FlowFilter { ip_version: vec![1], ..base() }),
        (FlowFilter { encrypted: vec![true], ..base() }, FlowFilter { encrypted: vec![false], ..base() }),
        (FlowFilter { interface: device(0, "eth0"), ..base() }, FlowFilter { interface: device(8, "eth0"), ..base() }),
        (
            FlowFilter { source_workload: work("web", ""), ..base() },
            FlowFilter { source_workload: work("web", "Job"), ..base() },
        ),
        (
            FlowFilter { destination_workload: work("", "Deployment"), ..base() },
            FlowFilter { destination_workload: work("web", ""), ..base() },
        ),
        (
            FlowFilter { source_cluster_name: text("east"), ..base() },
            FlowFilter { source_cluster_name: text("west"), ..base() },
        ),
        (
            FlowFilter { destination_cluster_name: text("east"), ..base() },
            FlowFilter { destination_cluster_name: text("eas"), ..base() },
        ),
        (
            FlowFilter { source_service: text("shop/fro"), ..base() },
            FlowFilter { source_service: text("front"), ..base() },
        ),
        (
            FlowFilter { destination_fqdn: text("*.Example.com"), ..base() },
            FlowFilter { destination_fqdn: text("example.com"), ..base() },
        ),
        (
            FlowFilter { node_name: text("worker-*"), ..base() },
            FlowFilter { node_name: text("west/worker-*"), ..base() },
        ),
        (FlowFilter { node_name: text("ea*/"), ..base() }, FlowFilter { node_name: text("worker"), ..base() }),
        (
            FlowFilter { node_labels: text("topology.kubernetes.io/zone in (a)"), ..base() },
            FlowFilter { node_labels: text("topology.kubernetes.io/zone=b"), ..base() },
        ),
        (FlowFilter { protocol: text("SCTP"), ..base() }, FlowFilter { protocol: text("icmp"), ..base() }),
        (FlowFilter { protocol: text("http"), ..base() }, FlowFilter { protocol: text("dns"), ..base() }),
        (
            FlowFilter { destination_port: text("36412"), ..base() },
            FlowFilter { destination_port: text("9"), ..base() },
        ),
        (FlowFilter { http_status_code: text("4+"), ..base() }, FlowFilter { http_status_code: text("41+"), ..base() }),
        (FlowFilter { http_method: text("get"), ..base() }, FlowFilter { http_method: text("GE"), ..base() }),
        (FlowFilter { http_path: text("^/cart/\\d$"), ..base() }, FlowFilter { http_path: text("no|shop"), ..base() }),
        (FlowFilter { http_url: text("^http://shop"), ..base() }, FlowFilter { http_url: text("^/cart"), ..base() }),
        (
            FlowFilter { http_header: header("Host", ""), ..base() },
            FlowFilter { http_header: header("Host", "x"), ..base() },
        ),
        (FlowFilter { trace_id: text("abc"), ..base() }, FlowFilter { trace_id: text("ab"), ..base() }),
        (FlowFilter { ip_trace_id: vec![12], ..base() }, FlowFilter { ip_trace_id: vec![0], ..base() }),
    ];
    for (fits, fits_not) in cases {
        assert!(admits(fits.clone(), &whole()), "{fits:?}");
        assert!(!admits(fits_not.clone(), &whole()), "{fits_not:?}");
        assert!(!admits(fits.clone(), &Flow::default()), "a flow without anything fits {fits:?}");
    }
    let dns = Dns { query: "db.shop.svc.".to_owned(), ..Dns::default() };
    let flow = Flow { l7: Some(Layer7 { record: Some(Record::Dns(dns)), ..Layer7::default() }), ..whole() };
    assert!(admits(FlowFilter { dns_query: text("^db[.]"), ..base() }, &flow));
    assert!(!admits(FlowFilter { dns_query: text("^shop"), ..base() }, &flow));
    assert!(!admits(FlowFilter { dns_query: text(""), ..base() }, &whole()));
}

#[test]
fn a_reason_of_ones_own_is_found_by_its_number() {
    let flow = Flow { verdict: 2, drop_reason: 241, ..Flow::default() };
    assert!(admits(FlowFilter { drop_reason_desc: vec![241], ..FlowFilter::default() }, &flow));
    assert!(!admits(FlowFilter { drop_reason_desc: vec![240], ..FlowFilter::default() }, &flow));
    let forwarded = Flow { verdict: 1, ..flow };
    assert!(!admits(FlowFilter { drop_reason_desc: vec![241, 0], ..FlowFilter::default() }, &forwarded));
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let base = FlowFilter::default;
    let cel = flow_filter::Experimental { cel_expression: text("_flow.x") };
    let l7 = EventTypeFilter { r#type: 1, ..EventTypeFilter::default() };
    for (filter, field) in [
        (FlowFilter { source_ip: text("10.0.0"), ..base() }, "source_ip"),
        (FlowFilter { destination_ip: text("10.0.0.0/33"), ..base() }, "destination_ip"),
        (FlowFilter { source_ip_xlated: text(""), ..base() }, "source_ip_xlated"),
        (FlowFilter { source_pod: text(""), ..base() }, "source_pod"),
        (FlowFilter { source_pod: text("/"), ..base() }, "source_pod"),
        (FlowFilter { destination_pod: text("a/b/c"), ..base() }, "destination_pod"),
        (FlowFilter { source_service: text("/x"), ..base() }, "source_service"),
        (FlowFilter { source_port: text("65536"), ..base() }, "source_port"),
        (FlowFilter { destination_port: text("+80"), ..base() }, "destination_port"),
        (FlowFilter { protocol: text("tcpp"), ..base() }, "protocol"),
        (FlowFilter { verdict: vec![99], ..base() }, "verdict"),
        (FlowFilter { traffic_direction: vec![-1], ..base() }, "traffic_direction"),
        (FlowFilter { ip_version: vec![4], ..base() }, "ip_version"),
        (FlowFilter { source_label: text("a in (b"), ..base() }, "source_label"),
        (FlowFilter { node_labels: text("=b"), ..base() }, "node_labels"),
        (FlowFilter { node_name: text("a/b/c"), ..base() }, "node_name"),
        (FlowFilter { source_fqdn: text("a b"), ..base() }, "source_fqdn"),
        (FlowFilter { destination_fqdn: text(".."), ..base() }, "destination_fqdn"),
        (FlowFilter { source_cluster_name: text(""), ..base() }, "source_cluster_name"),
        (FlowFilter { http_status_code: text("600"), ..base() }, "http_status_code"),
        (FlowFilter { http_status_code: text("404+"), ..base() }, "http_status_code"),
        (FlowFilter { http_path: text("("), ..base() }, "http_path"),
        (FlowFilter { http_url: text("(a{1000}){1000}"), ..base() }, "http_url"),
        (FlowFilter { dns_query: text("["), ..base() }, "dns_query"),
        (FlowFilter { http_method: text("GET"), event_type: vec![l7], ..base() }, "http_method"),
        (FlowFilter { experimental: Some(cel), ..base() }, "experimental.cel_expression[0]"),
    ] {
        let said = refused(filter);
        assert!(said.starts_with(&format!("whitelist[1].{field}: ")), "{said}");
    }
    let many = vec![FlowFilter::default(); 257];
    assert_eq!(Filters::new(&[], &many).unwrap_err().field, "blacklist");
}

/// A filter without fields fits everything: in the blacklist it leaves nothing.
#[test]
fn an_empty_filter_fits_everything() {
    assert!(admits(FlowFilter::default(), &Flow::default()));
    assert!(!Filters::new(&[], &[FlowFilter::default()]).unwrap().admit(&whole()));
    assert!(Filters::new(&[], &[]).unwrap().admit(&whole()));
}
