//! The machine's own network and mounts, as they must be before and after.

use std::{collections::BTreeMap, fs, process::Command};

/// What a lab could have disturbed, without counters and lifetimes.
pub fn snapshot() -> BTreeMap<&'static str, String> {
    let mut all = BTreeMap::new();
    for (what, arguments) in [
        ("links", &["-o", "link"][..]),
        ("addresses", &["-br", "addr"]),
        ("routes", &["route", "show", "table", "all"]),
        ("IPv6 routes", &["-6", "route", "show", "table", "all"]),
        ("rules", &["rule"]),
        ("IPv6 rules", &["-6", "rule"]),
    ] {
        let output = Command::new("ip").args(arguments).output().unwrap();
        assert!(output.status.success(), "ip {arguments:?}");
        all.insert(what, without_lifetimes(&String::from_utf8_lossy(&output.stdout)));
    }
    all.insert("sysctls", sysctls());
    all
}

fn without_lifetimes(text: &str) -> String {
    let words = |line: &str| {
        let mut kept = Vec::new();
        let mut skip = false;
        for word in line.split_whitespace() {
            if !std::mem::take(&mut skip) {
                skip = word == "expires";
                if !skip {
                    kept.push(word.to_owned());
                }
            }
        }
        kept.join(" ")
    };
    text.lines().map(words).collect::<Vec<_>>().join("\n")
}

/// Every sysctl under net/ that can be read and does not count something.
fn sysctls() -> String {
    fn walk(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if let Ok(value) = fs::read_to_string(&path)
                && !path.ends_with("nf_conntrack_count")
                && !path.ends_with("nf_conntrack_buckets")
            {
                found.push(format!("{} {value}", path.display()));
            }
        }
    }
    let mut found = Vec::new();
    walk("/proc/sys/net".as_ref(), &mut found);
    found.sort();
    found.join("")
}
