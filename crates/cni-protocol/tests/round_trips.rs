//! Properties: what is written is read back, in every version; what is hostile is refused, never a panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cni_protocol::{
    Arguments, CniError, CniResult, Dns, Environment, ErrorCode, Interface, IpConfig, NetConf, Route, Version,
    socket::{self, MAX_MESSAGE, MessageError, Request, Response},
};
use ipnet::IpNet;
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits))),
    ]
}

fn net() -> impl Strategy<Value = IpNet> {
    (address(), any::<u8>()).prop_map(|(address, length)| {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new_assert(address, length % (longest + 1))
    })
}

prop_compose! {
    fn interface()(
        name in "[a-z]{1,8}", mac in option::of("[0-9a-f]{2}"), mtu in option::of(any::<u32>()),
        sandbox in option::of("/[a-z]{1,9}"), socket_path in option::of("/[a-z]{1,9}"), pci_id in option::of("[a-z]{1,9}"),
    ) -> Interface {
        Interface { name, mac, mtu, sandbox, socket_path, pci_id }
    }
}

prop_compose! {
    fn route()(
        dst in net(), gw in option::of(address()), numbers in prop::array::uniform5(option::of(any::<u32>())),
    ) -> Route {
        let [mtu, advmss, priority, table, scope] = numbers;
        Route { dst: dst.trunc(), gw, mtu, advmss, priority, table, scope }
    }
}

prop_compose! {
    fn result()(
        interfaces in vec(interface(), 0..4), routes in vec(route(), 0..5),
        ips in vec((net(), option::of(address()), option::of(0u32..4)), 0..5),
        nameservers in vec(".{0,9}", 0..3), domain in option::of(".{0,9}"),
    ) -> CniResult {
        let count = u32::try_from(interfaces.len()).unwrap();
        let ips = ips.into_iter().map(|(address, gateway, interface)| {
            IpConfig { address, gateway, interface: interface.filter(|place| *place < count) }
        });
        let dns = Dns { nameservers, domain, ..Dns::default() };
        CniResult { interfaces, ips: ips.collect(), routes, dns }
    }
}

/// What version `version` can express of a result.
fn narrowed(result: &CniResult, version: Version) -> CniResult {
    let mut result = result.clone();
    if version < Version::V1_1_0 {
        for interface in &mut result.interfaces {
            (interface.mtu, interface.socket_path, interface.pci_id) = (None, None, None);
        }
        for route in &mut result.routes {
            *route = Route { gw: route.gw, ..Route::to(route.dst) };
        }
    }
    if version < Version::V0_3_0 {
        let (mut ips, mut routes) = (Vec::new(), Vec::new());
        for ipv4 in [true, false] {
            let Some(ip) = result.ips.iter().find(|ip| ip.address.addr().is_ipv4() == ipv4) else { continue };
            ips.push(IpConfig { interface: None, ..ip.clone() });
            routes.extend(result.routes.iter().filter(|r| r.dst.addr().is_ipv4() == ipv4).cloned());
        }
        result = CniResult { interfaces: vec![], ips, routes, dns: result.dns };
    }
    result
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["1.1.0", "0.2.0", "10.0.0.1/24", "10.0.0.1/33", "eth0"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let key = prop_oneof![
            prop::sample::select(vec![
                "cniVersion",
                "name",
                "type",
                "prevResult",
                "ips",
                "address",
                "interface",
                "interfaces",
                "routes",
                "dst",
                "dns",
                "ip4",
                "ip",
                "args",
                "runtimeConfig",
                "cni.dev/valid-attachments",
                "containerID",
                "ifname",
                "socket",
            ])
            .prop_map(str::to_owned),
            "[a-z]{0,5}",
        ];
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((key, inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_result_survives_every_version(result in result()) {
        for version in Version::ALL {
            let expected = narrowed(&result, version);
            match result.to_json(version) {
                Ok(json) => {
                    prop_assert_eq!(&json["cniVersion"], version.as_str());
                    // Through text, and without a hint about the version.
                    let read = serde_json::from_slice(&serde_json::to_vec(&json).unwrap()).unwrap();
                    prop_assert_eq!(CniResult::from_json(read, Version::V1_1_0).unwrap(), expected);
                }
                Err(error) => {
                    prop_assert!(version < Version::V0_3_0 && result.ips.is_empty());
                    prop_assert_eq!(error.code, ErrorCode::INCOMPATIBLE_VERSION);
                }
            }
        }
    }

    #[test]
    fn hostile_json_never_panics(value in json_value(), version in prop::sample::select(Version::ALL.to_vec())) {
        let _ = CniResult::from_json(value.clone(), version);
        let _ = NetConf::from_value(value);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = NetConf::parse(&bytes);
        let _ = socket::read_message::<Request>(&mut bytes.as_slice());
        let _ = socket::read_message::<Response>(&mut bytes.as_slice());
    }

    #[test]
    fn hostile_environments_never_panic(values in prop::array::uniform5(".{0,40}"), command in "ADD|DEL|GC|.{0,4}") {
        let mut values = values.into_iter();
        let _ = Environment::read(|name| if name == "CNI_COMMAND" { Some(command.clone()) } else { values.next() });
    }

    #[test]
    fn arguments_survive(pairs in vec(("[A-Z0-9_]{1,9}", "[^;]{0,9}"), 0..6)) {
        let text = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(";");
        let parsed = Arguments::parse(&text).unwrap();
        for (key, _) in &pairs {
            let last = pairs.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
            prop_assert_eq!(parsed.get(key), last);
        }
    }

    #[test]
    fn messages_survive_the_socket(config in json_value(), texts in prop::array::uniform5(".{0,20}"), ok in any::<bool>()) {
        let [container_id, netns, ifname, args, path] = texts;
        let request = Request { command: "ADD".into(), container_id, netns, ifname, args, path, config: config.clone() };
        let mut wire = Vec::new();
        socket::write_message(&mut wire, &request).unwrap();
        prop_assert_eq!(socket::read_message::<Request>(&mut wire.as_slice()).unwrap(), request);
        for cut in 0..wire.len() {
            prop_assert!(socket::read_message::<Request>(&mut &wire[..cut]).is_err());
        }
        let error = CniError::new(ErrorCode(101), "m").with_details("d");
        let response = if ok { Response::Ok(config) } else { Response::Error(error) };
        let mut wire = Vec::new();
        socket::write_message(&mut wire, &response).unwrap();
        prop_assert_eq!(socket::read_message::<Response>(&mut wire.as_slice()).unwrap(), response);
    }
}

#[test]
fn a_message_over_the_bound_is_refused_on_both_sides() {
    let long = "x".repeat(MAX_MESSAGE);
    assert!(matches!(socket::write_message(&mut Vec::new(), &long), Err(MessageError::TooLong(_))));
    let mut wire = u32::MAX.to_be_bytes().to_vec();
    wire.extend(b"{}");
    assert!(matches!(socket::read_message::<Value>(&mut wire.as_slice()), Err(MessageError::TooLong(_))));
}

#[test]
fn the_answers_have_the_agreed_form() {
    assert_eq!(serde_json::to_value(Response::Ok(Value::Null)).unwrap(), json!({"ok": null}));
    let error = Response::Error(CniError::new(ErrorCode::TRY_AGAIN_LATER, "later"));
    assert_eq!(serde_json::to_value(&error).unwrap(), json!({"error": {"code": 11, "msg": "later"}}));
    // An answer must be one of the two.
    for text in ["{}", "null", r#"{"ok": null, "error": {}}"#, r#"{"error": null}"#] {
        assert!(serde_json::from_str::<Response>(text).is_err(), "{text}");
    }
}

/// The example of the specification's section "Success", in 1.1.0, and what older versions make of it.
#[test]
fn the_specifications_example_in_every_version() {
    let text = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "cni0", "mac": "00:11:22:33:44:55"},
            {"name": "veth3243", "mac": "55:44:33:22:11:11"},
            {"name": "eth0", "mac": "99:88:77:66:55:44", "mtu": 1450, "sandbox": "/var/run/netns/blue"},
        ],
        "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 2}],
        "routes": [{"dst": "0.0.0.0/0", "mtu": 1400}],
        "dns": {"nameservers": ["10.1.0.1"]},
    });
    let result = CniResult::from_json(text.clone(), Version::V0_1_0).unwrap();
    assert_eq!(result.to_json(Version::V1_1_0).unwrap(), text);
    let old = result.to_json(Version::V0_4_0).unwrap();
    assert_eq!(old["ips"][0]["version"], "4");
    assert_eq!(old["interfaces"][2].get("mtu"), None);
    assert_eq!(old["routes"], json!([{"dst": "0.0.0.0/0"}]));
    let expected = json!({
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
        "dns": {"nameservers": ["10.1.0.1"]},
    });
    assert_eq!(result.to_json(Version::V0_2_0).unwrap(), expected);
}

#[test]
fn an_address_on_an_interface_that_is_not_listed_is_refused() {
    let text = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.5/16", "interface": 0}]});
    assert_eq!(CniResult::from_json(text, Version::V1_1_0).unwrap_err().code, ErrorCode::DECODING_FAILURE);
}
