//! Names of others: a second server stands for them, or a socket that says nothing.

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use crate::processes::Dns;

const ZONE: &str = "$ORIGIN .\n$TTL 60\n@ SOA a. b. 1 1 1 1 1\nwww.example. A 203.0.113.2\nwww.example. AAAA 2001:db8::2\n\
                    alias.example. CNAME www.example.\n";

fn forwarding(upstreams: &str) -> Dns {
    Dns::start(&["--upstream", upstreams])
}

#[test]
fn are_asked_upstream_in_both_families_over_udp_and_tcp() {
    let upstream = Dns::with_zone(ZONE);
    for upstream in [upstream.address(), format!("[::1]:{}", upstream.port)] {
        let dns = forwarding(&upstream);
        for transport in ["+notcp", "+tcp"] {
            let answer = dns.dig(&[transport, "WwW.eXample.", "A"]);
            assert_eq!(answer.records, ["WwW.eXample. IN A 203.0.113.2"], "{}", answer.whole);
            assert!(answer.whole.contains("status: NOERROR"));
            let answer = dns.dig(&[transport, "alias.example.", "AAAA"]);
            assert_eq!(answer.records.len(), 2, "{}", answer.whole);
            assert_eq!(dns.dig(&[transport, "none.example.", "A"]).status, "NXDOMAIN");
            let nothing = dns.dig(&[transport, "www.example.", "MX"]);
            assert_eq!((nothing.status.as_str(), nothing.records.len()), ("NOERROR", 0));
        }
    }
}

#[test]
fn too_long_an_answer_is_cut_and_whole_over_tcp() {
    let many: String = (1..=200).map(|n| format!("many.example. A 203.0.113.{n}\n")).collect();
    let upstream = Dns::with_zone(&format!("{ZONE}{many}"));
    let dns = forwarding(&upstream.address());
    assert!(dns.dig(&["+noedns", "+ignore", "many.example.", "A"]).has("tc"));
    assert_eq!(dns.dig(&["many.example.", "A"]).records.len(), 200);
}

#[test]
fn silence_upstream_is_an_error_in_time_and_harms_nobody_else() {
    // It receives, and never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let zone = tempfile::tempdir().unwrap();
    let file = zone.path().join("zone");
    std::fs::write(&file, "$ORIGIN own.example.\n$TTL 60\nhere A 203.0.113.7\n").unwrap();
    let upstream = silent.local_addr().unwrap().to_string();
    // The first question of the test's own waits for an answer is one of these, so both zones are needed.
    let dns = Dns::start(&["--upstream", &upstream, "--zone-file", file.to_str().unwrap()]);
    let started = Instant::now();
    assert_eq!(dns.dig(&["www.example.", "A"]).status, "SERVFAIL");
    let took = started.elapsed();
    assert!(took < cluster_dns::PATIENCE + Duration::from_secs(1), "{took:?}");

    // More than may wait at once: those too many are told so at once, and our own names are answered meanwhile.
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    flood.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let question = |id: u16| {
        let mut packet = id.to_be_bytes().to_vec();
        packet.extend(*b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01");
        packet
    };
    for id in 0..600 {
        flood.send_to(&question(id), ("127.0.0.1", dns.port)).unwrap();
        if id % 50 == 0 {
            std::thread::sleep(Duration::from_millis(5)); // the socket's buffer is finite
        }
    }
    let started = Instant::now();
    assert_eq!(dns.dig(&["here.own.example.", "A"]).records, ["here.own.example. IN A 203.0.113.7"]);
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    let mut buffer = [0; 512];
    let (length, _) = flood.recv_from(&mut buffer).expect("those too many hear of it");
    assert_eq!((length > 12, buffer[3] & 0xf), (true, 2), "SERVFAIL");
    // And when those have had their time, there is room again.
    std::thread::sleep(cluster_dns::PATIENCE + Duration::from_millis(500));
    assert_eq!(dns.dig(&["here.own.example.", "A"]).status, "NOERROR");
    silent.set_nonblocking(true).unwrap();
    while silent.recv_from(&mut buffer).is_ok() {}
    assert_eq!(dns.dig(&["www.example.", "A"]).status, "SERVFAIL");
    assert!(silent.recv_from(&mut buffer).is_ok(), "it was asked again");
}

#[test]
fn the_second_upstream_answers_for_the_first() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstream = Dns::with_zone(ZONE);
    let dns = forwarding(&format!("{},{}", silent.local_addr().unwrap(), upstream.address()));
    assert_eq!(dns.dig(&["www.example.", "A"]).records.len(), 1);
}
