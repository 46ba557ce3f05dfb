//! Flows for tests: one for each number, with everything that is odd about flows among them.
#![allow(dead_code, reason = "every test uses its part")]

use flow_api::flow::layer4::Protocol;
use flow_api::flow::{Endpoint, Flow, Ip, Layer4, Policy, Tcp, TcpFlags, Workload};
use prost_types::Timestamp;

/// In nanoseconds.
pub const SECOND: i64 = 1_000_000_000;

/// A second per number, a little out of order.
pub fn time(number: u64) -> Timestamp {
    Timestamp { seconds: (number ^ 1) as i64, nanos: (number % 1000) as i32 }
}

pub fn nanoseconds(time: Option<&Timestamp>) -> i64 {
    time.map_or(i64::MIN, |time| time.seconds * SECOND + i64::from(time.nanos))
}

/// As an event tells it: with nanoseconds from 0 on.
pub fn told_time(time: Option<&Timestamp>) -> Timestamp {
    let number = nanoseconds(time);
    let (seconds, nanos) = (number.div_euclid(SECOND), number.rem_euclid(SECOND) as i32);
    if time.is_none() { Timestamp::default() } else { Timestamp { seconds, nanos } }
}

pub fn address(who: u32) -> String {
    if who.is_multiple_of(4) { format!("fd00:10:244::{who:x}") } else { format!("10.244.0.{who}") }
}

pub fn endpoint(who: u32) -> Endpoint {
    let workload = |n: u32| Workload { name: format!("app-{}", n % 3), kind: "Deployment".to_owned() };
    Endpoint {
        id: who,
        identity: 1000 + who,
        namespace: "shop".to_owned(),
        labels: vec![format!("k8s:app=app-{}", who % 3), "k8s:tier=web".to_owned()],
        pod_name: if who == 5 { String::new() } else { format!("pod-{who}") },
        workloads: if who == 6 { vec![workload(0), workload(1)] } else { vec![workload(who)] },
        ..Endpoint::default()
    }
}

pub fn flow(number: u64) -> Flow {
    let mix = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (from, to) = ((mix >> 33) as u32 % 8, (mix >> 43) as u32 % 8);
    let flags = TcpFlags { syn: true, ack: mix & 1 == 0, ..TcpFlags::default() };
    let tcp = Tcp { source_port: 32768 + (mix >> 50) as u32, destination_port: 8080, flags: Some(flags) };
    let mut flow = Flow {
        time: Some(time(number)),
        uuid: format!("{:08x}-0000-4000-8000-{:012x}", mix as u32, number + 1),
        verdict: if mix & 14 == 0 { 2 } else { 1 },
        drop_reason: if mix & 14 == 0 { 133 } else { 0 },
        ip: Some(Ip { source: address(from), destination: address(to), ip_version: 1, ..Ip::default() }),
        l4: Some(Layer4 { protocol: Some(Protocol::Tcp(tcp)) }),
        source: Some(endpoint(from)),
        destination: Some(endpoint(to)),
        node_name: "worker-1".to_owned(),
        is_reply: Some(mix & 1 == 0),
        socket_cookie: number,
        summary: "TCP Flags: SYN".to_owned(),
        ..Flow::default()
    };
    match number % 23 {
        1 => flow.time = None,
        2 => flow.uuid = "NOT-A-UUID".to_owned(),
        3 => flow.uuid = "00000000-0000-0000-0000-000000000000".to_owned(),
        4 => flow.ip = None,
        5 => flow.ip = Some(Ip::default()),
        6 => {
            flow.ip =
                Some(Ip { source: "FD00:10:244::4".to_owned(), destination: "nowhere".to_owned(), ..Ip::default() })
        }
        7 => flow.source = None,
        8 => flow.source = Some(Endpoint::default()),
        9 => flow.verdict = -3,
        10 => flow.drop_reason = u32::MAX,
        11 => flow.time = Some(Timestamp { seconds: number as i64, nanos: -5 }),
        12 => flow.egress_denied_by = vec![Policy { name: "no".to_owned(), ..Policy::default() }; 2],
        13 => flow = Flow { socket_cookie: number, ..Flow::default() },
        _ => {}
    }
    flow
}
