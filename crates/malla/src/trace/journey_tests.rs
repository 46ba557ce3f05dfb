use super::super::made::*;
use super::super::text::render;
use super::*;

fn over_vxlan() -> Gathered {
    let ([mut a, mut b], [back_a, back_b]) = (syn_over_vxlan(), answer_over_vxlan());
    a.extend(back_a);
    b.extend(back_b);
    let client = Some(CLIENT.parse().unwrap());
    Gathered { who: "curl".into(), client, ..told(vec![a, b]) }
}

/// What the nodes told, and nothing else.
fn told(records: Vec<Vec<Record>>) -> Gathered {
    Gathered { account: Account { records, ..Account::default() }, ..Gathered::default() }
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
    for (all, again) in gathered.account.records.iter_mut().zip(more.account.records) {
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
    gathered.account.records[1].iter_mut().for_each(|record| record.time_us -= 500_000);
    gathered.account.lost = 3;
    gathered.account.notes.push("node worker-2 tells nothing".into());
    let journey = assemble(&gathered);
    assert!(!journey.ways[0].reply, "the question precedes the answer, whatever the clocks say");
    let order: Vec<&str> =
        journey.ways.iter().find(|way| !way.reply).unwrap().hops.iter().map(|hop| &*hop.node).collect();
    assert_eq!((order[0], *order.last().unwrap()), ("control-plane", "worker-1"));
    assert!(journey.notes[0].contains("order is that of cause") && journey.notes[1].contains("3 events"));
    assert_eq!(journey.notes[2], "node worker-2 tells nothing");
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
    let journey = assemble(&told(vec![a, b]));
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
    let silent = assemble(&told(vec![a.clone(), b.clone()]));
    assert!(silent.end.what.ends_with("got the packet and did not answer"), "{}", silent.end.what);
    let lost = assemble(&told(vec![a, Vec::new()]));
    assert!(lost.end.what.starts_with("after node control-plane (to-overlay)"), "{}", lost.end.what);
    let mut refused = over_vxlan();
    for record in refused.account.records.iter_mut().flatten().filter(|record| record.source.port != 40000) {
        record.tcp_flags = vec!["RST".into(), "ACK".into()];
    }
    let refused = assemble(&refused);
    assert!(!refused.end.answered && refused.end.what.contains("nothing listens"), "{}", refused.end.what);
    let nothing = assemble(&Gathered { outcome: Some(Err("Operation not permitted".into())), ..Gathered::default() });
    assert!(nothing.end.what.starts_with("no packet was sent"), "{}", nothing.end.what);
    let unseen = assemble(&Gathered::default());
    for (journey, would_help) in [
        (silent, "a process in the Pod that answers"),
        (lost, "what lies between that node and the next"),
        (refused, "a process that listens there"),
        (nothing, "if that is a Service: a ready endpoint"),
        (unseen, "a connection that enters the cluster's network"),
    ] {
        assert!(journey.end.remedy.as_ref().is_some_and(|told| told.starts_with(would_help)), "{:?}", journey.end);
    }
}

/// The answer passes worker-1; what becomes of it behind that, and what the client says.
fn answer_lost(outcome: Result<(), String>, edit: impl Fn(&mut Vec<Record>)) -> End {
    let mut gathered = Gathered { outcome: Some(outcome), ..over_vxlan() };
    edit(&mut gathered.account.records[0]);
    assemble(&gathered).end
}

#[test]
fn the_client_has_the_last_word() {
    let failed = || Err("timed out".to_owned());
    let dropped = answer_lost(failed(), |records| {
        let last = records.last_mut().unwrap();
        (last.kind, last.drop_reason) = (Kind::Drop, Some("POLICY_DENIED".into()));
    });
    assert!(!dropped.answered && dropped.what.starts_with("dropped on node control-plane"), "{dropped:?}");
    let vanished = answer_lost(failed(), |records| records.truncate(3));
    assert!(!vanished.answered, "{vanished:?}");
    assert!(vanished.what.contains("\"timed out\": after node worker-1 (to-overlay) nobody"), "{vanished:?}");
    assert!(vanished.remedy.is_some_and(|told| told.starts_with("what lies between that node and the client")));
    let late = answer_lost(failed(), |_| ());
    assert!(!late.answered && late.what.contains("after node control-plane (to-network)"), "{late:?}");
    // A node that tells nothing takes nothing from the client's word.
    let untold = answer_lost(Ok(()), Vec::clear);
    assert!(untold.answered, "{untold:?}");
    let silent = Gathered { outcome: Some(Ok(())), ..Gathered::default() };
    assert!(assemble(&silent).end.answered);
}

#[test]
fn the_last_line_says_how_the_flow_ended() {
    let ended = |way: Ended, reset: bool| {
        let mut gathered = over_vxlan();
        let mut last = gathered.account.records[1][0].clone();
        let totals = serde_json::json!({"reset": reset, "duration_ns": 1, "handshake_ns": 1, "forward_packets": 5,
            "forward_bytes": 1, "reply_packets": 4, "reply_bytes": 1});
        (last.kind, last.ended, last.totals) = (Kind::End, Some(way), serde_json::from_value(totals).unwrap());
        gathered.account.records[1].push(last);
        assemble(&gathered).end
    };
    let what = |way, reset| ended(way, reset).what;
    assert_eq!(what(Ended::Closed, false), "answered, and closed by both ends; 5 packets there, 4 back");
    assert_eq!(what(Ended::ResetBySource, true), "answered, and reset by the client; 5 packets there, 4 back");
    assert_eq!(what(Ended::ResetByDestination, true), "answered, and reset by the server; 5 packets there, 4 back");
    assert!(what(Ended::PeerGone, false).contains("the Pod at one of its ends"));
    assert!(!ended(Ended::RefusedByServer, true).answered, "though the reset itself was not told");
}

#[test]
fn each_end_names_the_rule_that_let_it_pass_there() {
    let (from, to) = ("10.244.1.9:20001", BACKEND);
    let came = event("worker-1", "from-endpoint", 5, from, to, &["SYN"]);
    let mut left = event("worker-1", "to-endpoint", 6, from, to, &["SYN"]);
    (left.rule, left.ingress) = (8, true);
    let named = |name: &str| {
        let policy = serde_json::json!({"kind": "NetworkPolicy", "namespace": "default", "name": name});
        serde_json::from_value(policy).unwrap()
    };
    left.decided_by = named("in");
    let policies = |opened: Record| {
        let journey = assemble(&told(vec![vec![came.clone(), opened, left.clone()]]));
        let hops = journey.ways[0].hops.iter().filter(|hop| hop.place == Place::Policy);
        hops.map(|hop| (hop.detail.clone(), hop.rule)).collect::<Vec<_>>()
    };
    let both = Record {
        egress_rule: 7,
        egress_allowed_by: named("out"),
        ingress_rule: 8,
        ingress_allowed_by: named("in"),
        ..opening(&left)
    };
    let allowed = |side: &str, name: &str, rule| (format!("{side}: allowed by {name}"), Some(rule));
    let (out, into) = ("NetworkPolicy default/out", "NetworkPolicy default/in");
    assert_eq!(policies(both.clone()), [allowed("egress", out, 7), allowed("ingress", into, 8)]);
    let unruled = |side: &str| (format!("{side}: passes without a rule"), None);
    let only_in = Record { egress_rule: 0, egress_allowed_by: None, ..both.clone() };
    assert_eq!(policies(only_in), [unruled("egress"), allowed("ingress", into, 8)]);
    let only_out = Record { ingress_rule: 0, ingress_allowed_by: None, ..both.clone() };
    assert_eq!(policies(only_out), [allowed("egress", out, 7), unruled("ingress")]);
    let gone = Record { egress_allowed_by: None, ..both };
    assert_eq!(policies(gone)[0].0, "egress: allowed by rule 7, which is not there any more");
    assert_eq!(policies(opening(&left)), [unruled("egress"), allowed("ingress", into, 8)], "held back before");
}

/// A Pod that calls outside, and the answer: what the programs of its node told.
fn masqueraded() -> [Record; 4] {
    let (pod, outside, port) = ("10.244.2.9:20001", "203.0.113.2:53", "172.18.0.4:61007");
    let came = event("worker-2", "from-endpoint", 5, pod, outside, &["SYN"]);
    let left = event("worker-2", "to-network", 6, port, outside, &["SYN"]);
    let opened = Record { source: came.source.clone(), ..opening(&left) };
    let back = Record { reply: true, ..event("worker-2", "to-endpoint", 7, outside, pod, &["SYN", "ACK"]) };
    [came, opened, left, back]
}

#[test]
fn masquerade_is_told_there_behind_policy_and_back_though_nobody_saw_the_answer_come() {
    let [came, opened, left, back] = masqueraded();
    let of = |records: Vec<Record>| assemble(&told(vec![records]));
    let journey = of(vec![came, opened, left, back.clone()]);
    let all = |way: &Told| {
        way.hops.iter().map(|hop| (hop.place, hop.at_us, super::super::text::what(hop))).collect::<Vec<_>>()
    };
    let hop = |place, at: Option<u64>, text: &str| (place, at, text.to_owned());
    let (pod, outside, port) = ("10.244.2.9:20001", "203.0.113.2:53", "172.18.0.4:61007");
    assert_eq!(
        all(&journey.ways[0]),
        [
            hop(Place::Pod, Some(0), &format!("{pod} -> {outside}; out of Pod default/pod-10.244.2.9 ({pod})")),
            hop(Place::Conntrack, Some(1), "opens a flow"),
            hop(Place::Policy, Some(1), "egress: passes without a rule"),
            hop(Place::Masquerade, Some(1), &format!("source {pod} becomes {port}")),
            hop(Place::Route, Some(1), &format!("{port} -> {outside}; out by the node's device")),
        ]
    );
    let known = "known again by the port that masquerade had taken";
    assert_eq!(
        all(&journey.ways[1]),
        [
            hop(Place::Device, None, &format!("{outside} -> {port}")),
            hop(Place::Masquerade, None, &format!("destination {port} becomes {pod}; {known}")),
            hop(Place::Conntrack, Some(2), "a reply in a known flow"),
            hop(Place::Pod, Some(2), &format!("{outside} -> {pod}; into Pod default/pod-10.244.2.9 ({pod})")),
        ]
    );
    // Whoever began to listen later knows the answer alone, and from where it came he does not.
    let alone = of(vec![back.clone()]);
    assert_eq!(all(&alone.ways[0])[0], hop(Place::Masquerade, None, known));
    // Another node's flow, or another flow's port, says nothing of it.
    let [came, opened, left, _] = masqueraded();
    let elsewhere = Record { node: event("worker-1", "", 0, pod, outside, &[]).node, ..back.clone() };
    let other = Record { source: event("worker-2", "", 0, "203.0.113.9:53", pod, &[]).source, ..back };
    for answer in [elsewhere, other] {
        let way = of(vec![came.clone(), opened.clone(), left.clone(), answer]).ways.pop().unwrap();
        assert_eq!(all(&way)[0], hop(Place::Masquerade, None, known));
    }
}

#[test]
fn a_service_whose_endpoint_is_outside_is_found_again_behind_masquerade() {
    let service = "10.96.0.7:80";
    let [mut came, mut opened, left, mut back] = masqueraded();
    let named = event("worker-2", "", 0, service, service, &[]).source;
    came.destination = named.clone();
    opened.source = came.source.clone();
    back.source = named;
    let journey = assemble(&told(vec![vec![came, opened, left, back]]));
    let of = |way: &Told| way.hops.iter().map(|hop| hop.place).collect::<Vec<_>>();
    use Place::{Backend, Conntrack, Device, Masquerade, Pod, Policy, Reverse, Route, Service};
    assert_eq!(of(&journey.ways[0]), [Pod, Service, Backend, Conntrack, Policy, Masquerade, Route]);
    assert_eq!(of(&journey.ways[1]), [Device, Masquerade, Reverse, Conntrack, Pod]);
    let undone = &journey.ways[1].hops[2];
    assert_eq!(super::super::text::what(undone), format!("source 203.0.113.2:53 becomes {service}"));
}

#[test]
fn a_call_that_the_socket_refused_is_told_though_no_packet_was_sent() {
    let pod = "10.244.2.9:20001";
    let mut call = event("worker-2", "from-endpoint", 5, pod, "10.96.0.7:80", &[]);
    (call.kind, call.drop_reason) = (Kind::Drop, Some("SERVICE_BACKEND_NOT_FOUND".into()));
    call.interface.index = 0;
    let refused = Some(Err("Connection refused".to_owned()));
    let journey = assemble(&Gathered { outcome: refused, ..told(vec![vec![call]]) });
    assert_eq!(places(&journey.ways[0]), [("worker-2", Place::Socket), ("worker-2", Place::Dropped)]);
    assert_eq!(
        journey.end.what,
        "refused on node worker-2 at the socket, before any packet to 10.96.0.7:80: SERVICE_BACKEND_NOT_FOUND"
    );
    assert!(!journey.end.answered && journey.end.remedy.unwrap().starts_with("a ready endpoint"));
}

#[test]
fn a_death_in_a_capture_is_at_its_own_node_and_time() {
    let [a, mut b] = syn_over_vxlan();
    b.remove(1);
    let last = b.last_mut().unwrap();
    (last.kind, last.drop_reason) = (Kind::Drop, Some("POLICY_DENIED".into()));
    let file = super::super::pcapng::render(&[assemble(&told(vec![a, b]))]);
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let (mut at, mut death) = (0, None);
    while at < file.len() {
        // Of an enhanced packet block: interface, time, and as many bytes as the packet that died had.
        let block = &file[at..at + word(at + 4) as usize];
        if word(at) == 6 && String::from_utf8_lossy(block).contains("POLICY_DENIED") {
            death = Some((word(at + 8), word(at + 12), word(at + 16), word(at + 20)));
        }
        at += word(at + 4) as usize;
    }
    assert_eq!(death, Some((1, 0, 30, 54)), "worker-1, 30 us after the start");
}

#[test]
fn a_socket_that_was_translated_is_told_before_its_first_packet() {
    let pod = "10.244.2.9:20001";
    let out = event("worker-2", "from-endpoint", 5, pod, BACKEND, &["SYN"]);
    let left = event("worker-2", "to-overlay", 6, pod, BACKEND, &["SYN"]);
    let wanted: SocketAddr = "10.96.0.7:80".parse().unwrap();
    let gathered = Gathered { wanted: Some(wanted), ..told(vec![vec![out, left]]) };
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
fn the_drawing_is_one_picture_with_every_hop_in_its_world_and_room_for_its_words() {
    let (mut journey, mut dead) = (assemble(&over_vxlan()), assemble(&told(vec![])));
    // What a command may be called, and what no document may hold.
    journey.client = "curl <&>\u{1b}[31m\u{0}\" -s".into();
    let long = format!("a & b < c{}", ", or more".repeat(20));
    dead.end.remedy = Some(long.clone());
    let hops: Vec<&Hop> = journey.ways.iter().flat_map(|way| &way.hops).collect();
    let svg = super::super::svg::render(&[journey.clone(), dead]);
    let document = roxmltree::Document::parse(&svg).unwrap();
    let all = |name: &'static str| document.descendants().filter(move |node| node.has_tag_name(name));
    assert_eq!((all("circle").count(), all("polyline").count()), (hops.len(), 2));
    let number = |node: &roxmltree::Node<'_, '_>, name: &str| node.attribute(name).unwrap().parse::<usize>().unwrap();
    let worlds: Vec<_> = all("rect").skip(1).map(|rect| (number(&rect, "x"), number(&rect, "width"))).collect();
    for (circle, hop) in all("circle").zip(hops) {
        let (left, width) = worlds[if hop.place == Place::Pod { 2 } else { 1 }];
        assert!((left..left + width).contains(&number(&circle, "cx")), "{hop:?}");
    }
    let (width, texts) = (number(&document.root_element(), "width"), all("text"));
    let texts: Vec<_> = texts.map(|text| (number(&text, "x"), text.text().unwrap_or_default())).collect();
    assert!(texts.iter().all(|(x, text)| x + text.chars().count() * 73 / 10 <= width), "{width}: {texts:?}");
    let said = |words: &str| texts.iter().any(|(_, text)| *text == words);
    assert!(said("curl <&>[31m\" -s -> ?"), "{texts:?}");
    assert!(said(&format!("end: no packet was seen; would let it pass: {long}")), "{texts:?}");
}

#[test]
fn of_an_end_that_speaks_with_several_only_the_flow_that_was_asked_for_is_told() {
    let other = "172.18.0.2:30081";
    let came = event("control-plane", "from-network", 100, CLIENT, other, &["SYN"]);
    let mut ended = event("control-plane", "to-host", 110, CLIENT, other, &["SYN"]);
    let mut all = over_vxlan();
    let totals = serde_json::json!({"reset": true, "duration_ns": 1, "handshake_ns": 1, "forward_packets": 7,
        "reply_packets": 7, "forward_bytes": 1, "reply_bytes": 1});
    all.account.records[0].push(came);
    all.account.records[0].push(ended.clone());
    (ended.kind, ended.ended, ended.totals) =
        (Kind::End, Some(Ended::ResetBySource), serde_json::from_value(totals).unwrap());
    all.account.records[0].push(ended);
    // What that one says of its own, and what a router says, of whatever it was.
    for from in ["172.18.0.2:0", "172.18.0.9:0"] {
        let mut error = event("control-plane", "from-network", 120, from, CLIENT, &[]);
        error.protocol = "ICMPv4".to_owned();
        error.icmp = serde_json::from_value(serde_json::json!({"type": 3, "code": 1})).unwrap();
        all.account.records[0].push(error);
    }
    let both = assemble(&all);
    assert!(both.ways.len() > 3 && both.notes.is_empty() && both.end.what.contains("7 packets there"), "{both:?}");

    let one = assemble(&Gathered { server: Some(NODE_PORT.parse().unwrap()), ..all.clone() });
    let (of_it, errors) = one.ways.split_at(2);
    assert_eq!(of_it, assemble(&over_vxlan()).ways, "the whole way, also where it bears the backend's address");
    assert_eq!(errors.len(), 1, "a node's and a router's go the same way");
    assert!(one.end.answered && !one.end.what.contains("7 packets"), "{:?}", one.end);
    assert_eq!(one.notes, [format!("the same end spoke with others, too, which is not told: {other}")]);

    let none = assemble(&Gathered { server: Some("10.9.9.9:1".parse().unwrap()), ..all });
    let told: Vec<_> = none.ways.iter().map(|way| &*way.packet).collect();
    assert_eq!((told, none.end.answered), (vec!["ICMPv4"], false), "whose error it is nobody knows: {none:?}");
}

#[test]
fn an_error_is_no_answer() {
    let end = |kind: u8, code: u8| {
        let [a, mut b] = syn_over_vxlan();
        let mut error = event("worker-1", "to-overlay", 60, "10.244.1.2:0", CLIENT, &[]);
        error.protocol = "ICMPv4".to_owned();
        error.icmp = serde_json::from_value(serde_json::json!({"type": kind, "code": code})).unwrap();
        (error.reply, error.related) = (true, true);
        b.push(error);
        assemble(&told(vec![a, b])).end
    };
    let [port, host, too_big] = [(3, 3), (3, 1), (3, 4)].map(|(kind, code)| end(kind, code));
    assert!(!port.answered && port.what.contains("refused: it was reached and nothing listens"), "{port:?}");
    assert!(!host.answered && host.what.contains("says by ICMPv4 (type 3, code 1)"), "{host:?}");
    assert!(
        host.remedy.as_ref().is_some_and(|told| told.starts_with("a way from there to the destination")),
        "{host:?}"
    );
    assert!(!too_big.answered && !too_big.what.contains("ICMP"), "the sender tries again: {too_big:?}");
    let answered = Gathered { outcome: Some(Ok(())), ..told(vec![]) };
    assert!(assemble(&answered).end.answered);
}
