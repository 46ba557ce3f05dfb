//! Captures, judged by Wireshark's reader.

use super::World;
use super::commands::text;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The capture of a trace.
pub fn taken(world: &World, arguments: &[&str]) -> PathBuf {
    let capture = world.trace(&[&["-o", "pcapng"], arguments].concat());
    let file = world.folder.path().join("journey.pcapng");
    std::fs::write(&file, &capture.stdout).unwrap();
    file
}

/// Every packet of it is read, none is malformed, each has a comment that names its node, and they go forward in time. For each node
/// and words there is a packet of that node whose comment has them.
pub fn is_read(file: &Path, wanted: &[(&str, &str)]) {
    let fields = ["frame.time_epoch", "frame.interface_name", "frame.comment", "frame.protocols", "_ws.malformed"];
    let mut reader = Command::new("tshark");
    reader.args(["-n", "-T", "fields", "-r"]).arg(file).args(fields.iter().flat_map(|field| ["-e", field]));
    let output = reader.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let told = String::from_utf8(output.stdout).unwrap();
    let packets: Vec<Vec<&str>> = told.lines().map(|line| line.split('\t').collect()).collect();
    assert!(!packets.is_empty() && packets.len() == blocks(file), "{told}");
    let mut before = 0.0;
    for packet in &packets {
        let &[time, node, comment, protocols, malformed] = packet.as_slice() else { panic!("{packet:?}") };
        let time: f64 = time.parse().unwrap();
        assert!(time >= before, "back in time: {told}");
        before = time;
        assert!(comment.contains(&format!("{node} ")), "{packet:?}");
        assert!(protocols.ends_with(":tcp") || protocols.ends_with(":udp"), "{packet:?}");
        assert_eq!(malformed, "", "{packet:?}");
    }
    for (node, words) in wanted {
        assert!(
            packets.iter().any(|packet| packet[1] == *node && packet[2].contains(words)),
            "{node}: {words}: {told}"
        );
    }
}

/// Packets of the file, by the type and length that each of its blocks begins with.
fn blocks(file: &Path) -> usize {
    let bytes = std::fs::read(file).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, mut packets) = (0, 0);
    while at < bytes.len() {
        packets += usize::from(word(at) == 6);
        at += word(at + 4) as usize;
    }
    packets
}
