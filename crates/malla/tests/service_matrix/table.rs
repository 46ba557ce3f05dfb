//! The table of `docs/features.md` that says what each cell is: written from the model that the cells are compared with.

use std::{fmt::Write as _, path::Path};

use crate::{
    matrix::{POSITIONS, ROWS, service},
    model::{Client, Entry, Expect, Path as Way, Policy},
};

const BEGIN: &str = "<!-- the table of malla::service_matrix begins -->\n";
const END: &str = "<!-- it ends -->";

pub fn markdown() -> String {
    let mut out = String::from("| asked by | policy |");
    for (name, _) in POSITIONS {
        let _ = write!(out, " {name} |");
    }
    out.push_str("\n|---|---|");
    POSITIONS.iter().for_each(|_| out.push_str("---|"));
    out.push('\n');
    for (name, entry) in ROWS {
        for policy in [Policy::Cluster, Policy::Local] {
            let _ = write!(out, "| {name} | {policy:?} |");
            for (_, client) in POSITIONS {
                let _ = write!(out, " {} |", cell(entry, policy, client));
            }
            out.push('\n');
        }
    }
    out
}

fn cell(entry: Entry, policy: Policy, client: Client) -> String {
    if client == Client::Outside && matches!(entry, Entry::ClusterIp | Entry::Unused) {
        return "–".to_owned();
    }
    let said = |datagram| match service(policy).expect(Way { client, entry, family: 0, datagram }) {
        Expect::By { servers, .. } if servers.len() > 1 => "all",
        Expect::By { .. } => "its node's",
        Expect::Refused => "refused",
        Expect::Silence => "dropped",
        Expect::Nobody => "no answer",
    };
    let (tcp, udp) = (said(false), said(true));
    if tcp == udp { tcp.to_owned() } else { format!("{tcp}; UDP: {udp}") }
}

#[test]
fn the_page_has_this_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/features.md");
    let text = std::fs::read_to_string(page).unwrap();
    let inside = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(inside, _)| inside);
    let table = markdown();
    assert!(inside == Some(&table), "docs/features.md wants between its two marks:\n{table}");
}
