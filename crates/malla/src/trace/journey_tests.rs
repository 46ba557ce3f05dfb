use super::super::made::*;
use super::super::text::render;
use super::*;

fn over_vxlan() -> Gathered {
    let ([mut a, mut b], [back_a, back_b]) = (syn_over_vxlan(), answer_over_vxlan());
    a.extend(back_a);
    b.extend(back_b);
    let client = Some(CLIENT.parse().unwrap());
    Gathered { who: "curl".into(), client, records: vec![a, b], ..Gathered::default() }
}

fn places(way: &Told) -> Vec<(&str, Place)> {
    way.hops.iter().map(|hop| (&*hop.node, hop.place)).collect()
}

#[test]
fn a_node_port_over_vxlan_there_and_back() {
    let journey = assemble(&over_vxlan());
    let (a, b) = ("control-plane", "worker-1");
    assert_eq!(
        places(&journey.ways[0]),
        [
            (a, Place::Device),
            (a, Place::NodePort),
            (a, Place::Backend),
            (a, Place::Conntrack),
            (a, Place::Encapsulation),
            (b, Place::Decapsulation),
            (b, Place::Conntrack),
            (b, Place::Policy),
            (b, Place::Pod),
        ]
    );
    assert_eq!(
        places(&journey.ways[1]),
        [
            (b, Place::Pod),
            (b, Place::Conntrack),
            (b, Place::Encapsulation),
            (a, Place::Decapsulation),
            (a, Place::Reverse),
            (a, Place::Conntrack),
            (a, Place::Route),
        ]
    );
    assert_eq!(journey.ways.len(), 2);
    assert!(journey.end.answered && journey.notes.is_empty(), "{journey:?}");
    let text = render(&journey);
    assert!(text.contains("destination 172.18.0.2:30080 becomes 10.244.1.2:8080; default/pod-10.244.1.2"), "{text}");
    assert!(text.contains("source 10.244.1.2:8080 becomes 172.18.0.2:30080"), "{text}");
}

#[test]
fn packets_that_go_the_same_way_are_counted() {
    let mut gathered = over_vxlan();
    let more = gathered.clone();
    for (all, again) in gathered.records.iter_mut().zip(more.records) {
        all.extend(again.into_iter().filter(|r| r.kind == Kind::Trace).map(|r| Record {
            tcp_flags: vec!["ACK".into()],
            time_us: r.time_us + 1000,
            ..r
        }));
    }
    let journey = assemble(&gathered);
    assert_eq!((journey.ways.len(), journey.others), (2, Others { there: 1, back: 1 }));
}

#[test]
fn clocks_that_disagree_are_confessed_and_losses_too() {
    let mut gathered = over_vxlan();
    gathered.records[1].iter_mut().for_each(|record| record.time_us -= 500_000);
    gathered.lost = 3;
    let journey = assemble(&gathered);
    assert!(!journey.ways[0].reply, "the question precedes the answer, whatever the clocks say");
    let order: Vec<&str> =
        journey.ways.iter().find(|way| !way.reply).unwrap().hops.iter().map(|hop| &*hop.node).collect();
    assert_eq!((order[0], *order.last().unwrap()), ("control-plane", "worker-1"));
    assert!(journey.notes[0].contains("order is that of cause") && journey.notes[1].contains("3 events"));
}

#[test]
fn a_death_tells_where_why_and_what_would_help() {
    let [a, mut b] = syn_over_vxlan();
    b.remove(1);
    let last = b.last_mut().unwrap();
    (last.kind, last.drop_reason, last.point) = (Kind::Drop, Some("POLICY_DENIED".into()), "from-overlay".into());
    last.default_deny =
        serde_json::from_value(serde_json::json!([{"kind": "NetworkPolicy", "namespace": "default", "name": "shut"}]))
            .unwrap();
    let journey = assemble(&Gathered { records: vec![a, b], ..Gathered::default() });
    assert!(!journey.end.answered);
    assert_eq!(
        journey.end.what,
        "dropped on node worker-1 (from-overlay): POLICY_DENIED by default deny of NetworkPolicy default/shut"
    );
    let remedy = journey.end.remedy.unwrap();
    assert!(
        remedy.starts_with("an ingress rule for Pod default/pod-10.244.1.2") && remedy.contains("TCP 8080"),
        "{remedy}"
    );
    assert_eq!(journey.ways[0].hops.last().unwrap().place, Place::Dropped);
}

#[test]
fn silence_and_refusal_are_not_the_same() {
    let [a, b] = syn_over_vxlan();
    let silent = assemble(&Gathered { records: vec![a.clone(), b.clone()], ..Gathered::default() });
    assert!(silent.end.what.ends_with("got the packet and did not answer"), "{}", silent.end.what);
    let lost = assemble(&Gathered { records: vec![a, Vec::new()], ..Gathered::default() });
    assert!(lost.end.what.starts_with("after node control-plane (to-overlay)"), "{}", lost.end.what);
    let mut refused = over_vxlan();
    for record in refused.records.iter_mut().flatten().filter(|record| record.source.port != 40000) {
        record.tcp_flags = vec!["RST".into(), "ACK".into()];
    }
    let refused = assemble(&refused);
    assert!(!refused.end.answered && refused.end.what.contains("nothing listens"), "{}", refused.end.what);
    let nothing = assemble(&Gathered { failure: Some("Operation not permitted".into()), ..Gathered::default() });
    assert!(nothing.end.what.starts_with("no packet was sent"), "{}", nothing.end.what);
}

#[test]
fn a_socket_that_was_translated_is_told_before_its_first_packet() {
    let pod = "10.244.2.9:20001";
    let out = event("worker-2", "from-endpoint", 5, pod, BACKEND, &["SYN"]);
    let left = event("worker-2", "to-overlay", 6, pod, BACKEND, &["SYN"]);
    let wanted: SocketAddr = "10.96.0.7:80".parse().unwrap();
    let gathered = Gathered { wanted: Some(wanted), records: vec![vec![out, left]], ..Gathered::default() };
    let journey = assemble(&gathered);
    let first = &journey.ways[0].hops[0];
    assert_eq!(
        (first.place, first.destination, first.at_us),
        (Place::Socket, Some((wanted, BACKEND.parse().unwrap())), None)
    );
    let direct = assemble(&Gathered { wanted: Some(BACKEND.parse().unwrap()), ..gathered });
    assert_eq!(direct.ways[0].hops[0].place, Place::Pod, "nothing was translated");
}

#[test]
fn the_diagram_has_everybody_once_and_no_line_breaks() {
    let text = super::super::mermaid::render(&[assemble(&over_vxlan())]);
    assert_eq!(text.matches("participant").count(), 2, "{text}");
    assert!(
        text.starts_with("sequenceDiagram\n")
            && text.contains("N0->>N1: TCP SYN")
            && text.contains("N1-->>N0: TCP SYN ACK"),
        "{text}"
    );
    assert!(!text.contains(';'), "{text}");
}

#[test]
fn a_capture_is_whole_blocks_with_a_comment_for_every_hop() {
    let journey = assemble(&over_vxlan());
    let file = super::super::pcapng::render(&[journey]);
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let (mut at, mut kinds) = (0, Vec::new());
    while at < file.len() {
        let length = word(at + 4) as usize;
        assert!(length.is_multiple_of(4) && word(at + length - 4) as usize == length, "a block at {at}");
        kinds.push(word(at));
        at += length;
    }
    // A section, two nodes, and a packet per hop that bears both addresses.
    assert_eq!((at, &kinds[..3], kinds.len()), (file.len(), &[0x0a0d_0d0a, 1, 1][..], 3 + 8));
    let said = String::from_utf8_lossy(&file).into_owned();
    for part in ["control-plane NodePort", "worker-1 policy: ingress", "10.244.1.2:8080 becomes 172.18.0.2:30080"] {
        assert!(said.contains(part), "{part}");
    }
}

#[test]
fn the_drawing_is_one_picture_with_every_hop() {
    let journey = assemble(&over_vxlan());
    let hops: usize = journey.ways.iter().map(|way| way.hops.len()).sum();
    let svg = super::super::svg::render(&[journey]);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!((svg.matches("<circle").count(), svg.matches("<polyline").count()), (hops, 1));
    assert!(!svg.contains("->") && svg.contains("-&gt;"), "what XML reserves is written as entities");
}
