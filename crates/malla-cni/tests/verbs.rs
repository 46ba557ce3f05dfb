//! The plugin executed as a container runtime does it: every verb, every answer. Needs root.

mod support;

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    time::Duration,
};

use netlink::Netlink;
use network_namespace::NetNs;
use serde_json::{Value, json};
use support::{Container, Node, Ranges, call, run, variables, with};

#[test]
fn agent_process() {
    support::agent_process();
}

fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().unwrap();
    ips.iter().map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn version_is_answered_without_an_agent() {
    for config in ["", "\n", r#"{"cniVersion": "1.1.0"}"#] {
        let answer = run(&[("CNI_COMMAND", "VERSION")], config).ok();
        assert_eq!(answer["cniVersion"], "1.1.0");
        let versions = json!(["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
        assert_eq!(answer["supportedVersions"], versions);
    }
    assert_eq!(run(&[("CNI_COMMAND", "VERSION")], r#"{"cniVersion": "0.4.0"}"#).ok()["cniVersion"], "0.4.0");
    assert_eq!(run(&[("CNI_COMMAND", "VERSION")], r#"{"cniVersion": "9.0.0"}"#).code(), 1);
}

#[test]
fn without_an_agent_the_runtime_is_told_to_try_again() {
    let node = Node::without_agent(support::USUAL);
    let container = Container::new("c1");
    for verb in ["ADD", "DEL", "CHECK", "GC"] {
        assert_eq!(call(verb, &container, &node.config("1.1.0")).code(), 11, "{verb}");
    }
    assert_eq!(call("STATUS", &container, &node.config("1.1.0")).code(), 50);
}

#[test]
fn add_check_del_with_traffic_in_both_families() {
    let node = Node::new();
    let config = node.config("1.1.0");
    assert_eq!(call("STATUS", &Container::new("x"), &config).ok(), Value::Null);
    let (one, two) = (Container::new("one"), Container::new("two"));
    // IPv6 switched off for new links, as some runtimes do it.
    for netns in [&node.netns, &one.netns] {
        netlink::sysctl::write_in(netns, &[(&["ipv6", "conf", "default", "disable_ipv6"], "1")]).unwrap();
    }
    let result = call("ADD", &one, &config).ok();
    let second = call("ADD", &two, &config).ok();

    assert_eq!(result["cniVersion"], "1.1.0");
    assert_eq!(result["interfaces"][1]["name"], "eth0");
    assert_eq!(result["interfaces"][1]["sandbox"], one.path());
    assert_eq!(result["interfaces"][1]["mtu"], 1450);
    assert_eq!(result["ips"][0]["address"], "10.244.1.2/32");
    assert_eq!(result["ips"][0]["interface"], 1);
    assert_eq!(result["ips"][1]["address"], "fd00:10:244:1::2/128");
    assert_eq!(result["routes"][0], json!({"dst": "0.0.0.0/0", "gw": "169.254.1.1"}));
    assert_eq!(result["routes"][1], json!({"dst": "::/0", "gw": "fe80::1"}));
    let host_link = result["interfaces"][0]["name"].as_str().unwrap().to_owned();
    assert_eq!(host_link.len(), 13);
    let alias = node.netlink().link(&host_link).unwrap().alias.unwrap();
    assert_eq!(alias, "default/spink-0 one");

    // Traffic: node to Pod, Pod to node, Pod to Pod, over TCP. Nobody asks ARP or ND for anything.
    for family in 0..2 {
        let (here, there) = (addresses(&result)[family], addresses(&second)[family]);
        let own = [node_address("172.18.0.3"), node_address("fd00:18::3")][family];
        assert_eq!(talk(&node.netns, &one.netns, here), own, "node to Pod");
        assert_eq!(talk(&one.netns, &node.netns, own), here, "Pod to node");
        assert_eq!(talk(&one.netns, &two.netns, there), here, "Pod to Pod");
    }
    for netns in [&one.netns, &two.netns, &node.netns] {
        let neighbours = Netlink::open_in(netns).unwrap().neighbours(None).unwrap();
        let lo_and_multicast =
            |n: &&netlink::Neighbour| !n.permanent && n.mac.is_some_and(|mac| mac.0[0] & 1 == 0 && mac.0 != [0; 6]);
        assert_eq!(neighbours.iter().find(lo_and_multicast), None, "only permanent entries");
    }

    let checked = with(config.clone(), "prevResult", result);
    assert_eq!(call("CHECK", &one, &checked).ok(), Value::Null);
    assert_eq!(call("DEL", &one, &checked).ok(), Value::Null);
    assert_eq!(call("CHECK", &one, &checked).code(), 3, "unknown container");
    assert_eq!(call("DEL", &one, &checked).ok(), Value::Null, "again");
    assert!(Netlink::open_in(&one.netns).unwrap().link_by_name("eth0").unwrap().is_none());
    assert_eq!(node.pod_links().len(), 1);
    call("DEL", &two, &config).ok();
    node.assert_clean();
}

fn node_address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// One exchange between two namespaces; returns whom the server saw.
fn talk(from: &NetNs, to: &NetNs, address: IpAddr) -> IpAddr {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let listener = to.run(|| TcpListener::bind(any).unwrap()).unwrap();
    let target = SocketAddr::new(address, listener.local_addr().unwrap().port());
    let client = from.run(move || TcpStream::connect_timeout(&target, Duration::from_secs(3)));
    let mut client = client.unwrap().unwrap_or_else(|error| panic!("{target}: {error}"));
    let (mut server, peer) = listener.accept().unwrap();
    // More than one packet, so that the MTU is met.
    let payload = vec![7; 9000];
    client.write_all(&payload).unwrap();
    drop(client);
    let mut received = Vec::new();
    server.read_to_end(&mut received).unwrap();
    assert_eq!(received, payload);
    peer.ip()
}

#[test]
fn add_again_gives_the_same_and_repairs_what_is_broken() {
    let node = Node::new();
    let config = node.config("1.1.0");
    let container = Container::new("again");
    let first = call("ADD", &container, &config).ok();
    let index = node.netlink().link(&node.pod_links()[0]).unwrap().index;
    assert_eq!(call("ADD", &container, &config).ok(), first);
    assert_eq!(node.netlink().link(&node.pod_links()[0]).unwrap().index, index, "nothing was made anew");

    // Someone took the Pod's link away.
    let pod = Netlink::open_in(&container.netns).unwrap();
    assert!(pod.ensure_link_deleted("eth0").unwrap());
    assert_eq!(call("ADD", &container, &config).ok(), first, "made anew, with the same addresses");
    assert!(pod.link("eth0").unwrap().up);

    // The same id with another namespace: the container was restarted.
    let restarted = Container::new("again");
    let second = call("ADD", &restarted, &config).ok();
    assert_eq!(addresses(&second), addresses(&first));
    assert!(pod.link_by_name("eth0").unwrap().is_none(), "the old one is gone");
    call("DEL", &restarted, &config).ok();
    node.assert_clean();
}

#[test]
fn results_in_the_version_that_was_asked_for() {
    let node = Node::new();
    for (i, version) in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"].into_iter().enumerate() {
        let container = Container::new(&format!("v{i}"));
        let config = node.config(version);
        let result = call("ADD", &container, &config).ok();
        assert_eq!(result["cniVersion"], version);
        let octet = i + 2;
        match version {
            "0.1.0" | "0.2.0" => {
                assert_eq!(result["ip4"]["ip"], format!("10.244.1.{octet}/32"));
                assert_eq!(result["ip6"]["routes"][0], json!({"dst": "::/0", "gw": "fe80::1"}));
                assert!(result.get("interfaces").is_none());
            }
            "0.3.0" | "0.3.1" | "0.4.0" => {
                assert_eq!((&result["ips"][0]["version"], &result["ips"][1]["version"]), (&json!("4"), &json!("6")));
                assert!(result["interfaces"][0].get("mtu").is_none());
            }
            "1.0.0" => {
                assert!(result["ips"][0].get("version").is_none() && result["interfaces"][0].get("mtu").is_none())
            }
            _ => assert_eq!(result["interfaces"][0]["mtu"], 1450),
        }
        let check = call("CHECK", &container, &with(config.clone(), "prevResult", result));
        if version < "0.4.0" {
            assert_eq!(check.code(), 1)
        } else {
            check.ok();
        }
        for verb in ["GC", "STATUS"] {
            let config = with(
                config.clone(),
                "cni.dev/valid-attachments",
                json!([{"containerID": container.id, "ifname": "eth0"}]),
            );
            let outcome = call(verb, &container, &config);
            if version < "1.1.0" {
                assert_eq!(outcome.code(), 1, "{verb}")
            } else {
                outcome.ok();
            }
        }
        call("DEL", &container, &config).ok();
    }
    node.assert_clean();
}

#[test]
fn del_when_namespace_record_or_agent_went_before() {
    let mut node = Node::new();
    let config = node.config("1.1.0");
    // The namespace is gone, and the runtime says so or gives a path that leads nowhere.
    for netns in ["", "/nonexistent/netns"] {
        let container = Container::new("gone");
        call("ADD", &container, &config).ok();
        let id = container.id.clone();
        drop(container);
        run(&variables("DEL", &id, netns), &config.to_string()).ok();
        node.assert_clean();
    }
    // Never heard of.
    run(&variables("DEL", "stranger", ""), &config.to_string()).ok();

    // The agent died and came back in between; it adopts what stands.
    let (one, two) = (Container::new("one"), Container::new("two"));
    let result = call("ADD", &one, &config).ok();
    call("ADD", &two, &config).ok();
    node.kill_agent();
    assert_eq!(call("DEL", &two, &config).code(), 11);
    assert_eq!(node.start_agent(), "adopted 2 removed 0 failed 0");
    call("CHECK", &one, &with(config.clone(), "prevResult", result.clone())).ok();
    assert_eq!(call("ADD", &one, &config).ok(), result);
    call("DEL", &two, &config).ok();

    // The record is lost (a torn file), then the journal too: the running Pod keeps its address and can be removed.
    node.kill_agent();
    std::fs::remove_file(node.journal()).unwrap();
    assert_eq!(node.start_agent(), "adopted 1 removed 0 failed 0");
    let three = Container::new("three");
    assert_ne!(addresses(&call("ADD", &three, &config).ok()), addresses(&result), "the address is still taken");
    for container in [&one, &three] {
        call("DEL", container, &config).ok();
    }
    node.assert_clean();
    node.kill_agent();
    assert_eq!(node.address_owners(), 0);
}

#[test]
fn check_says_what_differs() {
    let node = Node::new();
    let config = node.config("1.1.0");
    let container = Container::new("checked");
    let pod = Netlink::open_in(&container.netns).unwrap();
    type Damage<'a> = Box<dyn Fn(u32, &str) + 'a>;
    let net = |text: &str| text.parse::<ipnet::IpNet>().unwrap();
    let host = node.netlink();
    let damages: Vec<(&str, Damage<'_>)> = vec![
        ("no address", Box::new(|eth0, v4| pod.delete_address(eth0, net(&format!("{v4}/32"))).unwrap())),
        ("eth0 is down", Box::new(|eth0, _| pod.set_down(eth0).unwrap())),
        ("MTU 1300", Box::new(|eth0, _| pod.set_mtu(eth0, 1300).unwrap())),
        (
            "no neighbour entry for fe80::1",
            Box::new(|eth0, _| pod.delete_neighbour(eth0, "fe80::1".parse().unwrap()).unwrap()),
        ),
        (
            "no default route via 169.254.1.1",
            Box::new(|_, _| pod.delete_route(&netlink::Route::default_via("169.254.1.1".parse().unwrap())).unwrap()),
        ),
        (
            "the node has no route to",
            Box::new(|_, v4| host.delete_route(&netlink::Route::to(net(&format!("{v4}/32")))).unwrap()),
        ),
        ("no link eth0", Box::new(|eth0, _| pod.delete_link(eth0).unwrap())),
    ];
    for (expected, damage) in damages {
        let result = call("ADD", &container, &config).ok();
        let checked = with(config.clone(), "prevResult", result.clone());
        call("CHECK", &container, &checked).ok();
        damage(pod.link("eth0").unwrap().index, &addresses(&result)[0].to_string());
        let outcome = call("CHECK", &container, &checked);
        assert_eq!(outcome.code(), 100);
        assert!(outcome.details().contains(expected), "{expected}: {outcome:?}");
    }
    let result = call("ADD", &container, &config).ok();
    assert_eq!(call("CHECK", &container, &config).code(), 7, "without prevResult");
    let other = with(result, "ips", json!([{"address": "10.9.9.9/32"}]));
    assert!(
        call("CHECK", &container, &with(config.clone(), "prevResult", other)).details().contains("not in prevResult")
    );
}

#[test]
fn gc_removes_what_is_not_valid_and_nothing_else() {
    let mut node = Node::new();
    let config = node.config("1.1.0");
    let containers: Vec<_> = ["keep", "drop1", "drop2"].into_iter().map(Container::new).collect();
    for container in &containers {
        call("ADD", container, &config).ok();
    }
    // Of another network of the same node; a link of ours that nobody knows; a link that is not ours.
    let other = Container::new("other");
    call("ADD", &other, &with(config.clone(), "name", json!("another"))).ok();
    let end = |name: &str| netlink::VethEnd { name: name.into(), mac: None, mtu: 1450 };
    for (here, peer) in [("lx0123456789a", "peer1"), ("veth0", "peer2")] {
        node.netlink()
            .create_veth(&netlink::VethPair { here: end(here), peer: end(peer), peer_namespace: None })
            .unwrap();
    }
    assert_eq!(call("GC", &containers[0], &config).code(), 7, "without a list");
    let valid = json!([{"containerID": "keep", "ifname": "eth0"}]);
    let gc = with(config.clone(), "cni.dev/valid-attachments", valid);
    for _ in 0..2 {
        assert_eq!(run(&[("CNI_COMMAND", "GC")], &gc.to_string()).ok(), Value::Null);
        let mut files = node.endpoint_files();
        files.sort();
        assert_eq!(files, ["keep@eth0.json", "other@eth0.json"]);
        assert_eq!(node.pod_links().len(), 2);
    }
    assert!(node.netlink().link_by_name("veth0").unwrap().is_some());
    node.kill_agent();
    assert_eq!(node.address_owners(), 2);
}

#[test]
fn what_is_wrong_is_said_with_its_code() {
    let node = Node::new();
    let config = node.config("1.1.0");
    let container = Container::new("wrong");
    let text = config.to_string();
    let path = container.path();
    let full = variables("ADD", "wrong", &path);
    for missing in ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] {
        let outcome = run(&full.iter().copied().filter(|(name, _)| *name != missing).collect::<Vec<_>>(), &text);
        assert_eq!(outcome.code(), 4);
        assert!(outcome.details().contains(missing), "{outcome:?}");
    }
    let add = |config: Value| call("ADD", &container, &config);
    assert_eq!(run(&full, "{").code(), 6);
    assert_eq!(run(&full, "[]").code(), 6);
    assert_eq!(add(node.config("1.2.0")).code(), 1);
    assert_eq!(add(with(config.clone(), "name", json!("no/name"))).code(), 7);
    assert_eq!(add(with(config.clone(), "socket", json!(7))).code(), 7);
    let ipam = add(with(config.clone(), "ipam", json!({"type": "host-local"})));
    assert_eq!(ipam.code(), 2);
    assert!(ipam.details().contains("ipam") && ipam.details().contains("host-local"));
    let mappings = json!({"portMappings": [{"hostPort": 80}]});
    assert_eq!(add(with(config.clone(), "runtimeConfig", mappings)).code(), 7);
    let bandwidth = json!({"bandwidth": {"ingressRate": 1}});
    assert_eq!(add(with(config.clone(), "runtimeConfig", bandwidth)).code(), 2);
    let previous = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.1/24"}]});
    assert_eq!(add(with(config.clone(), "prevResult", previous)).code(), 7);
    assert_eq!(run(&variables("ADD", "wrong", "/nonexistent"), &text).code(), 8);
    assert_eq!(run(&variables("ADD", "wrong", "/proc/self/exe"), &text).code(), 8);
    let own = format!("/proc/{}/ns/net", node.agent_pid());
    assert_eq!(run(&variables("ADD", "wrong", &own), &text).code(), 8);
    // The Pod has an eth0 that is not ours: an error, and nothing of ours is left.
    let pod = Netlink::open_in(&container.netns).unwrap();
    pod.create_bridge("eth0").unwrap();
    let outcome = add(config.clone());
    assert_eq!(outcome.code(), 102);
    assert!(outcome.details().contains("has an interface of that name already"), "{outcome:?}");
    assert!(pod.link_by_name("eth0").unwrap().is_some(), "and theirs is untouched");
    node.assert_clean();
}

#[test]
fn a_full_range_says_so_and_a_resting_address_comes_back() {
    let node = Node::with(Ranges { cidrs: "10.244.1.0/29", rest_ms: 700 });
    let config = node.config("1.1.0");
    let containers: Vec<_> = (0..5).map(|i| Container::new(&format!("f{i}"))).collect();
    for container in &containers {
        call("ADD", container, &config).ok();
    }
    let late = Container::new("late");
    assert_eq!(call("ADD", &late, &config).code(), 101);
    assert_eq!(call("STATUS", &late, &config).code(), 50);
    call("DEL", &containers[2], &config).ok();
    let outcome = call("ADD", &late, &config);
    assert_eq!(outcome.code(), 11, "{outcome:?}");
    assert!(outcome.details().contains("1 resting"));
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(addresses(&call("ADD", &late, &config).ok()), ["10.244.1.4".parse::<IpAddr>().unwrap()]);
}

#[test]
fn the_socket_is_roots_alone_and_survives_nonsense() {
    let node = Node::new();
    let mode = std::fs::metadata(node.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for nonsense in
        [&b""[..], b"\0", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 64], &[0, 0, 0, 2, b'{', b'}'], &[0, 0, 0, 9, 0xff]]
    {
        let mut stream = UnixStream::connect(node.socket()).unwrap();
        stream.write_all(nonsense).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(String::from_utf8_lossy(&answer).contains("error"), "{nonsense:?}");
    }
    // Someone connects and says nothing: others are served meanwhile.
    let _silent: Vec<_> = (0..8).map(|_| UnixStream::connect(node.socket()).unwrap()).collect();
    call("STATUS", &Container::new("x"), &node.config("1.1.0")).ok();
}
