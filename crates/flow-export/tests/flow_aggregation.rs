//! Flows that agree are one, and nothing is lost by it: beside a model that counts in lists.

use flow_api::extension;
use flow_api::flow::{
    CiliumEventType, Endpoint, EventTypeFilter, Flow, FlowFilter, Ip, LostEvent, TrafficDirection, Verdict,
};
use flow_api::malla::{Ended, Way};
use flow_api::ring::{Event, What};
use flow_export::{Aggregation, Alike, GROUPS, Outflow, Redaction, Selection, line, sum};
use proptest::prelude::*;
use prost_types::Timestamp;
use std::time::{Duration, Instant};

/// Who asks whom, which way, and at which second it is seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    who: u32,
    whom: u32,
    direction: i32,
    second: u64,
}

fn flow(seen: Seen) -> Flow {
    let endpoint =
        |name: u32| Endpoint { pod_name: format!("p{name}"), namespace: "shop".into(), ..Endpoint::default() };
    Flow {
        time: Some(time(seen.second)),
        uuid: format!("{seen:?}"),
        verdict: Verdict::Forwarded as i32,
        source: Some(endpoint(seen.who)),
        destination: Some(endpoint(seen.whom)),
        traffic_direction: seen.direction,
        ..Flow::default()
    }
}

fn time(second: u64) -> Timestamp {
    Timestamp { seconds: second as i64, nanos: 0 }
}

fn event(flow: Flow) -> Event {
    Event { time: flow.time.unwrap_or_default(), what: What::flow(flow) }
}

fn alike(fields: &[&str]) -> Alike {
    let fields = fields.iter().map(ToString::to_string).collect();
    Alike { fields, interval: Duration::from_secs(10), all: false }
}

/// Second of the first, who, whom (where that is told), and numbers by direction: in, out, unknown.
type Told = (u64, String, String, [u32; 3]);

fn told(event: &Event) -> Told {
    let What::Flow(flow) = &event.what else { panic!("{event:?}") };
    let name = |end: &Option<Endpoint>| end.as_ref().map_or(String::new(), |end| end.pod_name.clone());
    let number = flow.aggregate.unwrap();
    let numbers = [number.ingress_flow_count, number.egress_flow_count, number.unknown_direction_flow_count];
    assert_eq!((flow.time, flow.uuid.as_str()), (Some(event.time), ""));
    (event.time.seconds as u64, name(&flow.source), name(&flow.destination), numbers)
}

/// Lists and nothing else: an interval begins with a flow, and ends after ten seconds or when another pair has no room.
fn model(all: &[Seen], room: usize, both_ends: bool) -> Vec<Told> {
    let (mut out, mut open): (Vec<Told>, Vec<Told>) = (Vec::new(), Vec::new());
    for seen in all {
        let whom = if both_ends { format!("p{}", seen.whom) } else { String::new() };
        let who = format!("p{}", seen.who);
        if open.first().is_some_and(|first| first.0 + 10 <= seen.second) {
            out.append(&mut open);
        }
        if !open.iter().any(|group| (&group.1, &group.2) == (&who, &whom)) {
            if open.len() == room {
                out.append(&mut open);
            }
            open.push((seen.second, who.clone(), whom.clone(), [0; 3]));
        }
        let group = open.iter_mut().find(|group| (&group.1, &group.2) == (&who, &whom)).unwrap();
        group.3[[2, 0, 1][seen.direction as usize]] += 1;
    }
    out.append(&mut open);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]
    #[test]
    fn each_flow_is_counted_once_where_it_belongs(
        steps in proptest::collection::vec((0_u32..4, 0_u32..4, 0_i32..3, 0_u64..6), 0..120),
        room in 1_usize..9,
        both_ends: bool,
    ) {
        let mut second = 0;
        let all: Vec<Seen> = steps.into_iter().map(|(who, whom, direction, later)| {
            second += later;
            Seen { who, whom, direction, second }
        }).collect();
        let fields: &[&str] = if both_ends { &["source.pod_name", "destination.pod_name"] } else { &["source.pod_name"] };
        let (start, mut out) = (Instant::now(), Vec::new());
        let mut aggregation = Aggregation::new(&alike(fields), room).unwrap();
        for seen in &all {
            let now = start + Duration::from_secs(seen.second);
            if aggregation.due().is_some_and(|due| due <= now) {
                aggregation.flush(&mut out);
            }
            let direction = TrafficDirection::try_from(seen.direction).unwrap();
            aggregation.add(&flow(*seen), direction, time(seen.second), now, &mut out);
        }
        aggregation.flush(&mut out);
        prop_assert_eq!(aggregation.due(), None);
        let counted: u64 = out.iter().map(|event| match &event.what {
            What::Flow(flow) => sum(&flow.aggregate.unwrap()),
            _ => 0,
        }).sum();
        prop_assert_eq!(counted, all.len() as u64);
        prop_assert_eq!(out.iter().map(told).collect::<Vec<_>>(), model(&all, room, both_ends));
    }
}

fn outflow(selection: &Selection, alike: &Alike) -> Outflow {
    Outflow::new(selection, Some(alike)).unwrap()
}

/// What leaves at once, and what the end of the interval brings.
fn taken(outflow: &mut Outflow, events: &[Event]) -> (Vec<Event>, Vec<Event>) {
    let (mut at_once, mut later, start) = (Vec::new(), Vec::new(), Instant::now());
    for event in events {
        outflow.take(event, start, &mut at_once);
    }
    outflow.end_interval(start + Duration::from_secs(9), &mut at_once);
    outflow.end_interval(start + Duration::from_secs(10), &mut later);
    (at_once, later)
}

const SEEN: Seen = Seen { who: 1, whom: 2, direction: 2, second: 5 };

#[test]
fn what_is_wrong_is_told_one_by_one_unless_somebody_asks_for_its_number() {
    let dropped = Flow { verdict: Verdict::Dropped as i32, ..flow(SEEN) };
    let ended = |way: Way| extension::pack(&Ended { way: way as i32, ..Ended::default() });
    let reset = Flow { extensions: Some(ended(Way::ResetByDestination)), ..flow(SEEN) };
    let closed = Flow { extensions: Some(ended(Way::Closed)), ..flow(SEEN) };
    let lost = Event { time: time(5), what: What::Lost(LostEvent { num_events_lost: 7, ..LostEvent::default() }) };
    let events = [event(dropped), event(flow(SEEN)), lost.clone(), event(reset), event(closed)];
    let mut few = alike(&["verdict"]);
    let (at_once, later) = taken(&mut outflow(&Selection::default(), &few), &events);
    assert_eq!(at_once.len(), 3, "{at_once:?}");
    assert_eq!((&at_once[0], &at_once[1]), (&events[0], &lost));
    assert!(matches!(&at_once[2].what, What::Flow(flow) if flow.uuid == format!("{SEEN:?}")), "{:?}", at_once[2]);
    assert_eq!(later.iter().map(told).collect::<Vec<_>>(), [(5, String::new(), String::new(), [0, 2, 0])]);
    few.all = true;
    let (at_once, later) = taken(&mut outflow(&Selection::default(), &few), &events);
    assert_eq!(at_once, [lost]);
    // Forwarded and dropped are not alike.
    let numbers: Vec<_> = later.iter().map(|event| told(event).3).collect();
    assert_eq!(numbers, [[0, 1, 0], [0, 3, 0]]);
}

/// As Hubble's exporter has it, which counts what it is told: who counts packets denies what policy said, or tells it apart.
#[test]
fn what_policy_said_is_counted_where_nobody_denies_it() {
    let of = |kind| Some(CiliumEventType { r#type: kind, sub_type: 0 });
    let events = [4, 5].map(|kind| event(Flow { event_type: of(kind), ..flow(SEEN) }));
    let counted = |selection: &Selection, fields: &[&str]| {
        let (at_once, later) = taken(&mut outflow(selection, &alike(fields)), &events);
        assert_eq!(at_once, []);
        later.iter().map(|event| told(event).3).collect::<Vec<_>>()
    };
    assert_eq!(counted(&Selection::default(), &["verdict"]), [[0, 2, 0]]);
    assert_eq!(counted(&Selection::default(), &["verdict", "event_type"]), [[0, 1, 0], [0, 1, 0]]);
    let verdicts = EventTypeFilter { r#type: 5, ..EventTypeFilter::default() };
    let denied = FlowFilter { event_type: vec![verdicts], ..FlowFilter::default() };
    let selection = Selection { denylist: vec![denied], ..Selection::default() };
    assert_eq!(counted(&selection, &["verdict"]), [[0, 1, 0]]);
}

#[test]
fn the_lists_the_mask_and_redaction_come_before() {
    let labelled = |who: u32, owner: &str| {
        let mut flow = flow(Seen { who, ..SEEN });
        flow.source.as_mut().unwrap().labels = vec![format!("k8s:owner={owner}")];
        event(flow)
    };
    let events = [labelled(1, "ann"), labelled(1, "ben"), labelled(3, "ann")];
    let by_label = alike(&["source.labels", "source.pod_name", "uuid"]);
    let denied = FlowFilter { source_pod: vec!["shop/p3".into()], ..FlowFilter::default() };
    let selection = Selection {
        denylist: vec![denied],
        // Without the direction: it is counted nevertheless. Nor the uuid: it does not part what may not be told.
        fieldmask: vec!["source".into()],
        redaction: Redaction { labels: vec!["owner".into()], ..Redaction::default() },
        ..Selection::default()
    };
    let (at_once, later) = taken(&mut outflow(&selection, &by_label), &events);
    assert_eq!((at_once.len(), later.len()), (0, 1), "{later:?}");
    assert_eq!(
        line(later[0].clone(), "worker-1"),
        concat!(
            r#"{"flow":{"time":"1970-01-01T00:00:05Z","source":{"labels":["k8s:owner=HUBBLE_REDACTED"],"pod_name":"p1"},"#,
            r#""aggregate":{"egress_flow_count":2}},"node_name":"worker-1","time":"1970-01-01T00:00:05Z"}"#
        )
    );
    assert!(Outflow::new(&Selection::default(), Some(&alike(&["sauce"]))).is_err());
}

#[test]
fn no_more_wait_than_there_is_room_for() {
    let (mut outflow, mut out, start) =
        (outflow(&Selection::default(), &alike(&["IP.source"])), Vec::new(), Instant::now());
    for number in 0..=GROUPS as u32 {
        let ip = Ip { source: number.to_string(), ..Ip::default() };
        assert_eq!(out.len(), 0);
        assert!(outflow.take(&event(Flow { ip: Some(ip), ..flow(SEEN) }), start, &mut out));
    }
    assert_eq!(out.len(), GROUPS);
    outflow.flush(&mut out);
    assert_eq!((out.len(), outflow.due()), (GROUPS + 1, None));
}
