//! Tests of [`super`]: sizes, cases, refusals, and packets that nobody should have sent.

use hickory_proto::rr::{Name, RData, Record, rdata::A};
use proptest::prelude::*;

use super::*;
use crate::{
    resolve::tests::zones,
    server::{Begun, Server},
};

fn query(name: &str, kind: RecordType, edns: Option<u16>) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(payload) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message
}

fn request(edns: Option<u16>, transport: Transport) -> Request {
    Request::read(&query("many.example.", RecordType::A, edns).to_vec().unwrap(), transport).unwrap()
}

fn many(count: u32) -> Reply {
    let record = |n: u32| {
        Record::from_rdata(Name::from_ascii("many.example.").unwrap(), 5, RData::A(A((0x0a00_0000 + n).into())))
    };
    Reply { answers: (0..count).map(record).collect(), ..Reply::only(ResponseCode::NoError) }
}

fn refused(bytes: &[u8]) -> (u8, ResponseCode) {
    match Request::read(bytes, Transport::Udp) {
        Err(NoQuestion::Refusal(answer)) => {
            let message = Message::from_vec(&answer).unwrap();
            (answer[2], message.metadata.response_code)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_does_not_fit_is_cut_at_a_record_and_said_so() {
    for (edns, limit) in [(None, 512), (Some(100), 512), (Some(1000), 1000), (Some(4096), 1232)] {
        let request = request(edns, Transport::Udp);
        let bytes = request.write(&many(200), Recursion::Available);
        assert!(bytes.len() <= limit && bytes.len() + 16 + 11 > limit, "{} of {limit}", bytes.len());
        let message = Message::from_vec(&bytes).unwrap();
        assert!(message.metadata.truncation);
        assert_eq!(message.edns.is_some(), edns.is_some(), "EDNS is answered with EDNS");
        assert!(message.answers.len() > 20);
    }
    let over_tcp = request(None, Transport::Tcp).write(&many(200), Recursion::Available);
    let message = Message::from_vec(&over_tcp).unwrap();
    assert!(!message.metadata.truncation);
    assert_eq!(message.answers.len(), 200);
    let far_too_many = request(None, Transport::Tcp).write(&many(10_000), Recursion::Available);
    let message = Message::from_vec(&far_too_many).unwrap();
    assert!(message.metadata.truncation && message.answers.len() > 2000);
}

#[test]
fn what_is_only_nice_to_know_goes_first_and_silently() {
    let reply = Reply { additionals: many(100).answers, ..many(3) };
    let message = Message::from_vec(&request(None, Transport::Udp).write(&reply, Recursion::Available)).unwrap();
    assert!(!message.metadata.truncation);
    assert_eq!((message.answers.len(), message.additionals.len()), (3, 0));
}

#[test]
fn the_question_comes_back_letter_by_letter() {
    let asked = query("wEb.ShOp.sVc.ClUsTeR.lOcAl.", RecordType::A, None).to_vec().unwrap();
    let server = Server { zones: zones(true), forwarder: None };
    let Begun::Reply(answer) = server.begin(&asked, Transport::Udp) else { panic!() };
    assert_eq!(answer[..2], asked[..2]);
    assert_eq!(answer[HEADER..asked.len()], asked[HEADER..]);
    let message = Message::from_vec(&answer).unwrap();
    assert!(message.metadata.authoritative && message.metadata.recursion_desired);
    assert!(!message.metadata.recursion_available, "nobody to ask");
    assert!(message.answers[0].name.eq_case(&message.queries[0].name));
}

#[test]
fn what_is_no_question_is_refused_with_its_reason_or_met_with_silence() {
    let plain = query("a.example.", RecordType::A, None).to_vec().unwrap();
    let with = |at: usize, value: u8| {
        let mut bytes = plain.clone();
        bytes[at] = value;
        bytes
    };
    assert_eq!(refused(&with(2, 0x29)), (0xa9, ResponseCode::NotImp), "UPDATE");
    assert_eq!(refused(&with(5, 0)).1, ResponseCode::FormErr, "no question");
    assert_eq!(refused(&with(4, 0xff)).1, ResponseCode::FormErr, "65,281 questions");
    let mut two = query("a.example.", RecordType::A, None);
    two.queries.push(two.queries[0].clone());
    assert_eq!(refused(&two.to_vec().unwrap()).1, ResponseCode::FormErr, "two questions");
    assert_eq!(refused(&with(HEADER, 0x80)).1, ResponseCode::FormErr, "a label of no kind");
    assert_eq!(refused(&plain[..plain.len() - 1]).1, ResponseCode::FormErr, "cut short");
    assert_eq!(refused(&query("a.example.", RecordType::AXFR, None).to_vec().unwrap()).1, ResponseCode::Refused);
    let mut chaos = query("version.bind.", RecordType::TXT, None);
    chaos.queries[0].query_class = DNSClass::CH;
    assert_eq!(refused(&chaos.to_vec().unwrap()).1, ResponseCode::Refused);
    let mut newer = query("a.example.", RecordType::A, Some(1232));
    newer.edns.as_mut().unwrap().set_version(1);
    // 16 is BADVERS here, and BADSIG elsewhere.
    assert_eq!(u16::from(refused(&newer.to_vec().unwrap()).1), 16);
    for silent in [&with(2, 0x81)[..], &plain[..11], &[]] {
        assert_eq!(Request::read(silent, Transport::Udp).unwrap_err(), NoQuestion::Silence);
    }
}

/// Whatever came: an answer, if there is one, is to this packet, can be read, and is no longer than it may be.
fn check(packet: &[u8], transport: Transport) {
    let server = Server { zones: zones(true), forwarder: None };
    match server.begin(packet, transport) {
        Begun::Silence => assert!(packet.len() < HEADER || packet[2] & RESPONSE != 0),
        Begun::Reply(answer) => {
            assert_eq!(answer[..2], packet[..2]);
            assert_ne!(answer[2] & RESPONSE, 0);
            assert!(answer.len() <= if transport == Transport::Udp { 1232 } else { 65_535 });
            Message::from_vec(&answer).unwrap();
        }
        Begun::Waits(_) => panic!("there is nobody to wait for"),
    }
}

fn names() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        Just("web".to_owned()),
        Just("shop".to_owned()),
        Just("svc".to_owned()),
        Just("pod".to_owned()),
        Just("_http".to_owned()),
        Just("_tcp".to_owned()),
        Just("a".to_owned()),
        Just("10".to_owned()),
        "[a-zA-Z0-9_-]{1,20}",
    ];
    let zone = prop_oneof![Just("cluster.local."), Just("in-addr.arpa."), Just("ip6.arpa."), Just("")];
    (proptest::collection::vec(label, 0..8), zone).prop_map(|(labels, zone)| format!("{}.{zone}", labels.join(".")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_at_all(packet in proptest::collection::vec(any::<u8>(), 0..700), tcp in any::<bool>()) {
        check(&packet, if tcp { Transport::Tcp } else { Transport::Udp });
    }

    #[test]
    fn a_header_that_is_a_questions_and_any_bytes_behind_it(
        id in any::<u16>(), rest in proptest::collection::vec(any::<u8>(), 0..300), counts in any::<[u8; 3]>()
    ) {
        let mut packet = id.to_be_bytes().to_vec();
        packet.extend([1, 0, 0, 1, 0, counts[0] % 4, 0, counts[1] % 4, 0, counts[2] % 4]);
        packet.extend(rest);
        check(&packet, Transport::Udp);
    }

    #[test]
    fn questions_with_some_bytes_changed(
        name in names(), kind in any::<u16>(), edns in proptest::option::of(any::<u16>()),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let Ok(parsed) = Name::from_ascii(&name) else { return Ok(()) };
        let mut message = query("x.", RecordType::from(kind), edns);
        message.queries[0].name = parsed;
        let mut packet = message.to_vec().unwrap();
        for (at, value) in changes {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        if let Some(cut) = cut {
            packet.truncate(cut.index(packet.len() + 1));
        }
        check(&packet, Transport::Udp);
        check(&packet, Transport::Tcp);
    }
}
