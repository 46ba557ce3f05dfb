//! One journey in every form: each says, hop by hop and in the same order, what the golden text says.

use super::{World, capture, commands::text, mask};
use serde_json::Value;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::process::Command;
use std::time::{Duration, Instant};

/// What is said of one hop, masked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    reply: bool,
    has_time: bool,
    node: String,
    place: String,
    what: String,
}

/// The packet by a NodePort of worker-2 to the Pod on worker-1, and its answer.
pub fn are_the_same(world: &World) {
    let url = format!("http://127.0.0.1:{}/", world.port("worker-2", 30080));
    let curl = ["--", "curl", "-s", "--noproxy", "*", "-m", "3", &url];
    let golden = hops(include_str!("golden/vxlan-other-node.txt"));
    let form = |form: &str| {
        let output = world.trace(&[&["-o", form], &curl[..]].concat());
        String::from_utf8(output.stdout.clone()).unwrap_or_else(|_| panic!("{}", text(&output)))
    };
    let addresses = world.addresses();
    settles(|| is_json(&form("json"), &golden, &addresses));
    settles(|| is_sequence(&form("mermaid"), &golden, &addresses));
    settles(|| is_drawing(&form("svg"), &golden, &addresses));
    let file = capture::taken(world, &curl);
    let read = Command::new("tcpdump").args(["-n", "-r", file.to_str().unwrap()]).output().unwrap();
    let packets = String::from_utf8_lossy(&read.stdout).into_owned();
    assert!(read.status.success() && packets.matches("Flags [S.]").count() >= 4, "{}", text(&read));
    capture::is_read(&file, &[("worker-2", "NodePort"), ("worker-2", "backend choice"), ("worker-1", "into Pod")]);
    // A command that sends nothing into the lab has no journey; what it prints is not the account's.
    let nothing = world.trace(&["-o", "json", "--", "echo", "printed"]);
    assert_eq!((nothing.status.code(), &*nothing.stdout), (Some(3), &b"[]\n"[..]), "{}", text(&nothing));
}

/// A journey may have a segment that was sent again, or an end that is not told yet: as with the golden texts, another one is looked at.
fn settles(is_right: impl Fn()) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if std::panic::catch_unwind(AssertUnwindSafe(&is_right)).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    is_right();
}

/// Of the lines of a journey's text, those that are hops: time in ten places, node, place in eighteen, and the rest.
fn hops(golden: &str) -> Vec<Said> {
    let mut reply = false;
    let mut all = Vec::new();
    for line in golden.lines() {
        reply |= line.starts_with("back: ");
        let Some((time, rest)) = line.split_at_checked(10).filter(|(time, _)| time.starts_with("        ")) else {
            continue;
        };
        let (node, rest) = rest.trim_start().split_once("  ").unwrap();
        let (place, what) = rest.trim_start().split_at(18);
        let [node, place, what] = [node, place, what].map(|word| word.trim().to_owned());
        all.push(Said { reply, has_time: time.ends_with("+T"), node, place, what });
    }
    assert!(all.len() > 10, "{all:?}");
    all
}

fn is_json(json: &str, golden: &[Said], addresses: &[(String, &str)]) {
    let journeys: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let [journey] = journeys.as_array().unwrap().as_slice() else { panic!("{json}") };
    assert_eq!(journey["end"]["answered"], true, "{json}");
    let mut said = Vec::new();
    for way in journey["ways"].as_array().unwrap() {
        let reply = way["reply"].as_bool().unwrap();
        let hops = way["hops"].as_array().unwrap();
        for hop in hops {
            let place = PLACES.iter().find(|(_, place)| hop["place"] == *place);
            said.push(Said {
                reply,
                has_time: hop["at_us"].is_u64(),
                node: hop["node"].as_str().unwrap().to_owned(),
                place: place.unwrap_or_else(|| panic!("{hop}")).0.to_owned(),
                what: mask::words(&in_words(hop), addresses),
            });
        }
        // The forwarder's clock is its own.
        let times: Vec<u64> =
            hops.iter().filter(|hop| hop["node"] != "machine").filter_map(|hop| hop["at_us"].as_u64()).collect();
        assert!(times.is_sorted() && times.len() >= 4, "since the start, hop after hop: {way}");
    }
    assert_eq!(said, golden, "{json}");
}

/// As the text has it: both ends or one of them, before and after, and the words.
fn in_words(hop: &Value) -> String {
    let ends = |name: &str| hop[name].as_array().map(|both| [0, 1].map(|at| both[at].as_str().unwrap()));
    let changed = |end: &str, [before, after]: [&str; 2]| {
        if before == after { format!("{end} {before}") } else { format!("{end} {before} becomes {after}") }
    };
    let addresses = match (ends("source"), ends("destination")) {
        (Some(source), Some(destination)) => {
            let [before, after] = [0, 1].map(|at| format!("{} -> {}", source[at], destination[at]));
            Some(if before == after { before } else { format!("{before} becomes {after}") })
        }
        (Some(source), None) => Some(changed("source", source)),
        (None, Some(destination)) => Some(changed("destination", destination)),
        (None, None) => None,
    };
    let detail = hop["detail"].as_str().map(str::to_owned);
    addresses.into_iter().chain(detail).collect::<Vec<_>>().join("; ")
}

/// Everybody is named once; each hop is a note at its node, and an arrow leads to every node that is another.
fn is_sequence(diagram: &str, golden: &[Said], addresses: &[(String, &str)]) {
    let mut lines = diagram.lines().map(str::trim);
    assert_eq!((lines.next(), lines.next()), (Some("sequenceDiagram"), Some("autonumber")), "{diagram}");
    let (mut names, mut notes, mut arrows) = (BTreeMap::new(), Vec::new(), Vec::new());
    for line in lines {
        if let Some((id, name)) = line.strip_prefix("participant ").and_then(|line| line.split_once(" as ")) {
            assert!(!names.values().any(|known| *known == name) && names.insert(id, name).is_none(), "{diagram}");
        } else if let Some((id, note)) = line.strip_prefix("Note over ").and_then(|line| line.split_once(": ")) {
            notes.push((names[id].to_owned(), mask::words(note, addresses)));
        } else {
            let (ends, packet) = line.split_once(": ").unwrap();
            let (ends, reply) = match ends.split_once("-->>") {
                Some(ends) => (ends, true),
                None => (ends.split_once("->>").unwrap_or_else(|| panic!("{line}")), false),
            };
            arrows.push((names[ends.0], names[ends.1], packet, reply));
        }
    }
    let end = notes.pop().unwrap();
    assert!(end.0 == "machine" && end.1.starts_with("end: answered, and closed by both ends"), "{diagram}");
    let wanted = |hop: &Said| (hop.node.clone(), format!("{}: {}", hop.place, hop.what).replace(';', ","));
    assert_eq!(notes, golden.iter().map(wanted).collect::<Vec<_>>(), "{diagram}");
    let (there, back) = ("TCP SYN", "TCP SYN ACK");
    let ways = [
        ("machine", "worker-2", there, false),
        ("worker-2", "worker-1", there, false),
        ("worker-1", "worker-2", back, true),
        ("worker-2", "machine", back, true),
    ];
    assert_eq!(arrows, ways, "{diagram}");
}

/// Three worlds side by side; each hop is a point in its own one with its words beside it, and one line goes through all points.
fn is_drawing(svg: &str, golden: &[Said], addresses: &[(String, &str)]) {
    let document = roxmltree::Document::parse(svg).unwrap_or_else(|error| panic!("{error}: {svg}"));
    let all = |name: &'static str| document.root_element().children().filter(move |node| node.has_tag_name(name));
    let number = |node: &roxmltree::Node<'_, '_>, name: &str| node.attribute(name).unwrap().parse::<u32>().unwrap();
    // The first rectangle is the paper.
    let worlds: BTreeMap<&str, _> = all("rect")
        .skip(1)
        .map(|rect| {
            let name = rect.next_sibling_element().and_then(|name| name.text()).unwrap();
            (name, number(&rect, "x")..number(&rect, "x") + number(&rect, "width"))
        })
        .collect();
    assert_eq!(worlds.keys().copied().collect::<Vec<_>>(), ["Pods", "machine", "nodes"], "{svg}");
    assert!(worlds["machine"].end <= worlds["nodes"].start && worlds["nodes"].end <= worlds["Pods"].start, "{svg}");

    let points: Vec<_> = all("circle").collect();
    let labels = points.iter().map(|point| {
        let label = mask::words(point.next_sibling_element().and_then(|label| label.text()).unwrap(), addresses);
        match label.strip_prefix('+').and_then(|label| label.split_once("us ")) {
            Some((time, label)) => (time.parse::<u64>().is_ok(), label.to_owned()),
            None => (false, label),
        }
    });
    let wanted = golden.iter().map(|hop| (hop.has_time, format!("{} {}: {}", hop.node, hop.place, hop.what)));
    assert_eq!(labels.collect::<Vec<_>>(), wanted.collect::<Vec<_>>(), "{svg}");
    for (point, hop) in points.iter().zip(golden) {
        let world = match &*hop.place {
            "host forwarder" => "machine",
            "Pod interface" | "socket hook" => "Pods",
            _ => "nodes",
        };
        assert!(worlds[world].contains(&number(point, "cx")), "{hop:?} is no point of {world}: {svg}");
    }
    let line: Vec<String> =
        points.iter().map(|point| format!("{},{}", number(point, "cx"), number(point, "cy"))).collect();
    assert_eq!(
        all("polyline").map(|line| line.attribute("points").unwrap()).collect::<Vec<_>>(),
        [line.join(" ")],
        "{svg}"
    );
    let end = all("text").next_back().and_then(|end| end.text()).unwrap();
    assert!(end.starts_with("end: answered, and closed by both ends"), "{svg}");
}

/// Places as the text has them and as data.
const PLACES: [(&str, &str); 11] = [
    ("host forwarder", "forwarder"),
    ("node device", "device"),
    ("NodePort", "node-port"),
    ("backend choice", "backend"),
    ("translation undone", "reverse"),
    ("conntrack", "conntrack"),
    ("policy", "policy"),
    ("encapsulation", "encapsulation"),
    ("decapsulation", "decapsulation"),
    ("route", "route"),
    ("Pod interface", "pod"),
];
