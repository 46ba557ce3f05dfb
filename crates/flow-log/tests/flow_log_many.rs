//! Many different Pods and addresses in one segment, each asked for: dictionaries with thousands of entries, and none.

mod flows;

use flow_api::flow::{Endpoint, Flow, Ip};
use flow_api::ring::What;
use flow_log::{Frames, Pod, Query, Settings, Store};
use flows::{SECOND, flow};

const PEOPLE: u32 = 5000;

fn named(number: u64) -> Flow {
    let mix = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let end = |who: u32| Endpoint {
        pod_name: format!("pod-{who}"),
        namespace: "shop".into(),
        identity: who,
        ..Endpoint::default()
    };
    // The first are long runs of one, the others a mixture.
    let (from, to) = if number < 900 { (1, 2) } else { ((mix >> 30) as u32 % PEOPLE, (mix >> 45) as u32 % PEOPLE) };
    let ip = Ip { source: address(from), destination: address(to), ..Ip::default() };
    Flow { source: Some(end(from)), destination: Some(end(to)), ip: Some(ip), socket_cookie: number, ..flow(0) }
}

fn address(who: u32) -> String {
    format!("10.9.{}.{}", who >> 8, who & 255)
}

#[test]
fn each_of_thousands_is_found_where_it_is_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<Flow> = (0..30_000).map(named).collect();
    let mut store = Store::open(Settings::new(folder.path().join("flows")), 0).unwrap().0;
    for part in all.chunks(1000) {
        let mut frames = Frames::default();
        part.iter().for_each(|flow| frames.flow(flow));
        store.append(&frames, SECOND).unwrap();
    }
    let ask = |store: &Store, query: Query| -> Vec<u64> {
        let flow = |event| match event {
            What::Flow(flow) => flow.socket_cookie,
            _ => panic!("no flow"),
        };
        store.reader().query(query).map(|event| flow(event.unwrap().what)).collect()
    };
    for is_segment in [false, true] {
        for who in (0..PEOPLE + 3).step_by(250).chain([1, 2, PEOPLE - 1]) {
            let is_it = |end: &Option<Endpoint>| end.as_ref().unwrap().identity == who;
            let wanted: Vec<u64> =
                all.iter().filter(|f| is_it(&f.source) || is_it(&f.destination)).map(|f| f.socket_cookie).collect();
            let addresses = vec![address(who).parse().unwrap()];
            assert_eq!(ask(&store, Query { addresses, ..Query::default() }), wanted, "{who}");
            let pods = vec![Pod { namespace: "shop".into(), name: format!("pod-{who}") }];
            assert_eq!(ask(&store, Query { pods, ..Query::default() }), wanted, "{who}");
            let nobody = vec![Pod { namespace: "bank".into(), name: format!("pod-{who}") }];
            assert!(ask(&store, Query { pods: nobody, ..Query::default() }).is_empty(), "{who}");
            assert_eq!(ask(&store, Query { identities: vec![who], ..Query::default() }), wanted, "{who}");
        }
        if !is_segment {
            store.close().unwrap();
            assert_eq!(store.keep(SECOND).unwrap().converted, 1);
        }
    }
}
