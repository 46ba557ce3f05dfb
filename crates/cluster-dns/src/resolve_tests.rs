//! Tests of [`super`]: codes, sections and aliases.

use super::*;
use crate::table::{Facts, Key};
use tokio::sync::watch;

/// A cluster with one Service, two that lead elsewhere and two that lead to each other.
pub fn zones(synced: bool) -> Zones {
    let mut table = Table::new(name("cluster.local."), vec!["10.96.0.10".parse().unwrap()]);
    let port = crate::table::Port { name: "http".into(), protocol: "tcp".into(), number: 80 };
    let addresses = vec!["10.96.1.1".parse().unwrap(), "fd00:10:96::1".parse().unwrap()];
    table.set_service(Key::new("shop", "web"), Some(Facts::Cluster { addresses, ports: vec![port] }));
    for (service, target) in [
        ("inner", "web.shop.svc.cluster.local."),
        ("outer", "www.example.org."),
        ("gone", "none.shop.svc.cluster.local."),
        ("a", "b.shop.svc.cluster.local."),
        ("b", "a.shop.svc.cluster.local."),
    ] {
        table.set_service(Key::new("shop", service), Some(Facts::External(name(target))));
    }
    let cluster = Cluster {
        table: Arc::new(RwLock::new(table)),
        synced: watch::channel(synced).1,
        ranges: vec!["10.96.0.0/12".parse().unwrap(), "fd00:10:96::/112".parse().unwrap()],
    };
    Zones { cluster: Some(cluster), files: Vec::new() }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn ask(text: &str, kind: RecordType) -> Resolved {
    zones(true).resolve(&Query::query(name(text), kind))
}

/// The reply's code, its answers, and the zone whose SOA record says that there is nothing.
fn check(text: &str, kind: RecordType, code: ResponseCode, answers: &[&str], soa: Option<&str>) {
    let Resolved::Reply(reply) = ask(text, kind) else { panic!("{text}: not answered") };
    let told: Vec<String> =
        reply.answers.iter().map(|record| format!("{} {}", record.record_type(), record.data)).collect();
    assert_eq!((reply.code, told), (code, answers.iter().map(|a| (*a).to_owned()).collect()), "{text}");
    let zone = reply.authorities.first().map(|record| record.name.to_string());
    assert_eq!(zone.as_deref(), soa, "{text}");
    assert!(reply.authoritative);
}

#[test]
fn no_such_name_and_no_such_record_are_two_things() {
    use RecordType::{A, AAAA, MX, PTR, SOA, SRV};
    use ResponseCode::{NXDomain, NoError};
    check("web.shop.svc.cluster.local.", A, NoError, &["A 10.96.1.1"], None);
    check("WEB.Shop.SVC.cluster.LOCAL.", AAAA, NoError, &["AAAA fd00:10:96::1"], None);
    check("web.shop.svc.cluster.local.", MX, NoError, &[], Some("cluster.local."));
    check("shop.svc.cluster.local.", A, NoError, &[], Some("cluster.local."));
    check("none.shop.svc.cluster.local.", A, NXDomain, &[], Some("cluster.local."));
    check("_http._tcp.web.shop.svc.cluster.local.", A, NoError, &[], Some("cluster.local."));
    check("_x._tcp.web.shop.svc.cluster.local.", SRV, NXDomain, &[], Some("cluster.local."));
    check("1.1.96.10.in-addr.arpa.", PTR, NoError, &["PTR web.shop.svc.cluster.local."], None);
    check("1.1.96.10.in-addr.arpa.", A, NoError, &[], Some("96.10.in-addr.arpa."));
    check("1.96.10.in-addr.arpa.", PTR, NoError, &[], Some("96.10.in-addr.arpa."));
    check("9.1.96.10.in-addr.arpa.", PTR, NXDomain, &[], Some("96.10.in-addr.arpa."));
    check("9.97.10.in-addr.arpa.", PTR, NXDomain, &[], Some("97.10.in-addr.arpa."));
    let Resolved::Reply(apex) = ask("96.10.in-addr.arpa.", SOA) else { panic!() };
    assert_eq!(apex.answers.len(), 1);
}

#[test]
fn a_service_record_tells_its_targets_addresses_too() {
    let Resolved::Reply(reply) = ask("_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV) else { panic!() };
    assert_eq!(reply.additionals.len(), 2);
    assert!(reply.additionals.iter().all(|record| record.name == name("web.shop.svc.cluster.local.")));
}

#[test]
fn aliases_are_followed_as_far_as_they_are_ours() {
    use RecordType::{A, CNAME};
    use ResponseCode::{NXDomain, NoError};
    let alias = "CNAME web.shop.svc.cluster.local.";
    check("inner.shop.svc.cluster.local.", A, NoError, &[alias, "A 10.96.1.1"], None);
    check("inner.shop.svc.cluster.local.", CNAME, NoError, &[alias], None);
    let gone = ["CNAME none.shop.svc.cluster.local."];
    check("gone.shop.svc.cluster.local.", A, NXDomain, &gone, Some("cluster.local."));
    match ask("outer.shop.svc.cluster.local.", A) {
        Resolved::Onward { aliases, target } => {
            assert_eq!((aliases.len(), target), (1, name("www.example.org.")));
        }
        other => panic!("{other:?}"),
    }
    let circle = Resolved::Reply(Reply::only(ResponseCode::ServFail));
    assert_eq!(ask("a.shop.svc.cluster.local.", A), circle);
}

#[test]
fn names_of_others_are_not_ours() {
    for other in ["example.org.", "local.", "xcluster.local.", "10.in-addr.arpa.", "1.1.1.8.in-addr.arpa.", "."] {
        assert_eq!(ask(other, RecordType::PTR), Resolved::Outside, "{other}");
    }
}

#[test]
fn nothing_is_denied_before_everything_is_known() {
    let failure = Resolved::Reply(Reply::only(ResponseCode::ServFail));
    for text in ["none.shop.svc.cluster.local.", "9.1.96.10.in-addr.arpa."] {
        assert_eq!(zones(false).resolve(&Query::query(name(text), RecordType::PTR)), failure, "{text}");
    }
    let outside = Query::query(name("example.org."), RecordType::A);
    assert_eq!(zones(false).resolve(&outside), Resolved::Outside);
}
