//! Flows as a busy node sees them: some thousand Pods of some hundred workloads, each with its own peers, some of the world, some
//! refusals. The same number always gives the same flow.

use flow_api::flow::layer4::Protocol;
use flow_api::flow::{
    CiliumEventType, DropReason, Endpoint, Flow, FlowType, Ip, IpVersion, Layer4, NetworkInterface, Policy, Service,
    Tcp, TcpFlags, TraceObservationPoint, TrafficDirection, Udp, Verdict, Workload,
};
use prost_types::Timestamp;

pub struct Traffic {
    pods: Vec<Endpoint>,
    /// Flows per second, as their times say.
    rate: u64,
}

impl Traffic {
    pub fn new(pods: u32, rate: u64) -> Self {
        Self { pods: (0..pods).map(pod).collect(), rate }
    }

    pub fn address(&self, pod: u32) -> String {
        format!("10.{}.{}.{}", 244 + (pod >> 16), pod >> 8 & 255, pod & 255)
    }

    pub fn time(&self, number: u64) -> i64 {
        START * 1_000_000_000 + (number * 1_000_000_000 / self.rate) as i64
    }

    pub fn flow(&self, number: u64) -> Flow {
        let mut chance = Chance(number);
        // Requests and their answers: the flows of one connection lie beside each other.
        let connection = Chance(number >> 1).next();
        let is_reply = number & 1 == 1;
        let mut chosen = Chance(connection);
        let pods = self.pods.len() as u64;
        // Some Pods are busier than others.
        let client = (chosen.below(pods) * chosen.below(pods) / pods) as u32;
        let peer = ((u64::from(client) * 31 + chosen.below(20) * 97) % pods) as u32;
        let kind = chosen.below(100);
        let is_refused = kind < 2 && !is_reply;
        let is_dns = (2..17).contains(&kind);
        let is_world = (17..22).contains(&kind);
        let client_port = 32_768 + chosen.below(28_232) as u32;
        let (server_address, server) = if is_world {
            let address = format!("198.{}.{}.{}", 18 + chosen.below(2), chosen.below(40), chosen.below(256));
            (address, Endpoint { identity: 2, labels: vec!["reserved:world".to_owned()], ..Endpoint::default() })
        } else {
            let peer = if is_dns { peer % 2 } else { peer };
            (self.address(peer), self.pods[peer as usize].clone())
        };
        let server_port = if is_dns { 53 } else { [80, 443, 8080, 5432, 6379][(peer % 5) as usize] };
        let ends = [
            (self.address(client), self.pods[client as usize].clone(), client_port),
            (server_address, server, server_port),
        ];
        let [from, to] = if is_reply { [&ends[1], &ends[0]] } else { [&ends[0], &ends[1]] };
        let flags = TcpFlags { syn: true, ack: is_reply, ..TcpFlags::default() };
        let protocol = if is_dns {
            Protocol::Udp(Udp { source_port: from.2, destination_port: to.2 })
        } else {
            Protocol::Tcp(Tcp { source_port: from.2, destination_port: to.2, flags: Some(flags) })
        };
        let nanoseconds = self.time(number);
        Flow {
            time: Some(Timestamp {
                seconds: nanoseconds / 1_000_000_000,
                nanos: (nanoseconds % 1_000_000_000) as i32 / 1000 * 1000 + chance.below(1000) as i32,
            }),
            uuid: uuid(chance.next(), chance.next()),
            verdict: if is_refused { Verdict::Dropped } else { Verdict::Forwarded }.into(),
            drop_reason: if is_refused { 133 } else { 0 },
            drop_reason_desc: if is_refused { DropReason::PolicyDenied.into() } else { 0 },
            ip: Some(Ip {
                source: from.0.clone(),
                destination: to.0.clone(),
                ip_version: IpVersion::IPv4.into(),
                ..Ip::default()
            }),
            l4: Some(Layer4 { protocol: Some(protocol) }),
            source: Some(from.1.clone()),
            destination: Some(to.1.clone()),
            r#type: FlowType::L3L4.into(),
            node_name: "production/worker-17".to_owned(),
            node_labels: vec!["kubernetes.io/arch=amd64".to_owned(), "topology.kubernetes.io/zone=a".to_owned()],
            is_reply: Some(is_reply),
            event_type: Some(CiliumEventType { r#type: 4, sub_type: 0 }),
            destination_service: (!is_reply && !is_world)
                .then(|| Service { name: to.1.workloads[0].name.clone(), namespace: to.1.namespace.clone() }),
            traffic_direction: if is_reply { TrafficDirection::Egress } else { TrafficDirection::Ingress }.into(),
            trace_observation_point: TraceObservationPoint::ToEndpoint.into(),
            interface: Some(NetworkInterface { index: 10 + client % 100, name: format!("lxc{:08x}", client % 100) }),
            summary: if is_dns { "UDP" } else { "TCP Flags: SYN" }.to_owned(),
            ingress_denied_by: if is_refused { vec![policy(to.1.namespace.clone())] } else { Vec::new() },
            ..Flow::default()
        }
    }
}

fn pod(number: u32) -> Endpoint {
    let workload = number % 400;
    let namespace = format!("team-{}", workload % 40);
    let name = format!("service-{workload}");
    let labels = [
        format!("k8s:app.kubernetes.io/name={name}"),
        "k8s:app.kubernetes.io/part-of=shop".to_owned(),
        format!("k8s:app.kubernetes.io/version=1.{}.0", workload % 7),
        "k8s:io.cilium.k8s.policy.cluster=production".to_owned(),
        format!("k8s:io.cilium.k8s.policy.serviceaccount={name}"),
        format!("k8s:io.kubernetes.pod.namespace={namespace}"),
        format!("k8s:tier={}", ["web", "api", "data"][(workload % 3) as usize]),
    ];
    let hash = Chance(u64::from(number)).next();
    Endpoint {
        id: number % 4096,
        identity: 1000 + workload,
        cluster_name: "production".to_owned(),
        pod_name: format!("{name}-{:08x}-{:05x}", hash as u32, hash >> 44),
        workloads: vec![Workload { name, kind: "Deployment".to_owned() }],
        labels: labels.into(),
        namespace,
    }
}

fn policy(namespace: String) -> Policy {
    Policy { name: "default-deny".to_owned(), namespace, kind: "NetworkPolicy".to_owned(), ..Policy::default() }
}

fn uuid(high: u64, low: u64) -> String {
    let node = low & 0xffff_ffff_ffff;
    format!("{:08x}-{:04x}-4{:03x}-8{:03x}-{node:012x}", high >> 32, high >> 16 & 0xffff, high & 0xfff, low >> 52)
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// Some day in 2026, seconds since 1970.
const START: i64 = 1_780_000_000;
