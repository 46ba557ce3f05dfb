//! Whatever the API hands over, nothing panics, and what is understood has no rule that allows more than is written.

use super::{clusterwide_policy, network_policy, references};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Words that mean something somewhere, and some that mean nothing anywhere.
fn word() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(
            &[
                "",
                "0",
                "80",
                "65536",
                "-1",
                "http",
                "TCP",
                "ANY",
                "world",
                "all",
                "10.0.0.0/8",
                "::/0",
                "::ffff:1.2.3.4/128",
                "1.2.3.4",
                "a:b:c",
                ":",
                "reserved:host",
                "In",
                "Exists",
                "IPv6",
                "EchoRequest",
                "required",
                "\u{0}",
                "é",
                "vpn",
                "db",
            ][..]
        )
        .prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        "\\PC{0,40}".prop_map(Value::from),
    ]
}

const FIELDS: [&str; 40] = [
    "endpointSelector",
    "nodeSelector",
    "ingress",
    "ingressDeny",
    "egress",
    "egressDeny",
    "enableDefaultDeny",
    "log",
    "value",
    "fromEndpoints",
    "toEndpoints",
    "fromRequires",
    "toRequires",
    "fromCIDR",
    "toCIDR",
    "fromCIDRSet",
    "toCIDRSet",
    "cidr",
    "cidrGroupRef",
    "cidrGroupSelector",
    "except",
    "fromEntities",
    "toEntities",
    "toServices",
    "k8sService",
    "serviceName",
    "namespace",
    "toFQDNs",
    "fromNodes",
    "toGroups",
    "toPorts",
    "ports",
    "port",
    "endPort",
    "protocol",
    "rules",
    "icmps",
    "fields",
    "type",
    "matchLabels",
];

fn tree() -> impl Strategy<Value = Value> {
    word().prop_recursive(6, 60, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(&FIELDS[..]), inner), 0..5).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}

/// Rules whose every field is of its right type, so that nearly all get past the types.
fn rule() -> impl Strategy<Value = Value> {
    let text = || word().prop_map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned));
    let texts = || prop::option::of(prop::collection::vec(text(), 0..3));
    let selector = || {
        let terms = prop::collection::vec((text(), text(), prop::collection::vec(text(), 0..3)), 0..2);
        (prop::collection::btree_map(text(), text(), 0..3), terms).prop_map(|(labels, terms)| {
            let terms: Vec<_> = terms
                .into_iter()
                .map(|(key, operator, values)| json!({ "key": key, "operator": operator, "values": values }))
                .collect();
            json!({ "matchLabels": labels, "matchExpressions": terms })
        })
    };
    let selectors = move || prop::option::of(prop::collection::vec(selector(), 0..3));
    let port = (text(), any::<i32>(), text())
        .prop_map(|(port, end, protocol)| json!({ "port": port, "endPort": end, "protocol": protocol }));
    let ports = prop::option::of(prop::collection::vec(
        prop::collection::vec(port, 0..3).prop_map(|ports| json!({ "ports": ports })),
        0..3,
    ));
    let icmps = prop::option::of(prop::collection::vec(
        (text(), text()).prop_map(|(family, kind)| json!({ "fields": [{ "family": family, "type": kind }] })),
        0..2,
    ));
    let set = prop::collection::vec(
        (text(), texts()).prop_map(|(cidr, except)| json!({ "cidr": cidr, "except": except })),
        0..2,
    );
    (selectors(), selectors(), texts(), prop::option::of(set), texts(), ports, icmps).prop_map(
        |(endpoints, requires, cidr, set, entities, ports, icmps)| {
            json!({ "fromEndpoints": endpoints, "fromRequires": requires, "fromCIDR": cidr, "fromCIDRSet": set,
                "fromEntities": entities, "toPorts": ports, "icmps": icmps })
        },
    )
}

fn judge(object: Value) {
    if let Ok(object) = serde_json::from_value(object.clone()) {
        let _ = network_policy(&object, &references());
    }
    if let Ok(object) = serde_json::from_value(object) {
        let _ = clusterwide_policy(&object, &references());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn hostile_objects_never_panic(spec in tree(), specs in tree()) {
        judge(json!({ "metadata": {}, "spec": spec, "specs": specs }));
    }

    #[test]
    fn hostile_rules_never_panic(rule in rule()) {
        for section in ["ingress", "ingressDeny"] {
            judge(json!({ "metadata": {}, "spec": { "endpointSelector": {}, section: [rule] } }));
        }
    }

    #[test]
    fn hostile_text_never_panics(text in "\\PC{0,200}") {
        if let Ok(object) = serde_saphyr::from_str::<Value>(&text) {
            judge(object);
        }
    }
}
