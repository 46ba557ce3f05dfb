//! What differs from one run to the next.

/// The text without times, ports of the kernel's choosing, and the given addresses.
pub fn masked(text: &str, addresses: &[(String, &str)]) -> String {
    let text = named(text, addresses);
    let mut out = String::new();
    for line in text.lines() {
        // Times are right-aligned in ten places.
        let (head, rest) = line.split_at_checked(10).unwrap_or((line, ""));
        let is_time = head.trim_start().starts_with('+') && head.ends_with("us");
        out.push_str(if is_time { "        +T" } else { head });
        out.push_str(&ports(rest));
        out.push('\n');
    }
    counts(&out)
}

/// What is said of one hop, without the addresses and ports that differ.
pub fn words(text: &str, addresses: &[(String, &str)]) -> String {
    ports(&named(text, addresses))
}

fn named(text: &str, addresses: &[(String, &str)]) -> String {
    let socket = |address: &str| if address.contains(':') { format!("[{address}]:") } else { format!("{address}:") };
    let named = |text: String, (address, name): &(String, &str)| text.replace(&socket(address), &format!("{name}:"));
    addresses.iter().fold(text.to_owned(), named)
}

/// Ports of the machine and of clients become `P`, and those that masquerade takes; those of nodes and Pods stay.
fn ports(line: &str) -> String {
    let mut out = line.to_owned();
    let nodes = ["172.18.0.4:", "[fc00:f853:ccd:e793::4]:"];
    for address in ["127.0.0.1:", "172.18.0.1:", "CLIENT:", "CLIENT6:", "NEIGHBOUR:"].iter().chain(&nodes) {
        let mut from = 0;
        while let Some(at) = out[from..].find(address) {
            let begin = from + at + address.len();
            let digits = out[begin..].chars().take_while(char::is_ascii_digit).count();
            let is_masquerade = out[begin..begin + digits].parse().is_ok_and(|port: u16| port >= MASQUERADE);
            if is_masquerade || !nodes.contains(address) {
                out.replace_range(begin..begin + digits, "P");
            }
            from = begin;
        }
    }
    out
}

/// Numbers of packets: how many acknowledgements TCP sends is nobody's promise.
fn counts(text: &str) -> String {
    text.lines()
        .map(|line| {
            let counted = line.starts_with("then ") || line.starts_with("end: answered, and ");
            let masked =
                |word: &str| if word.bytes().all(|b| b.is_ascii_digit()) { "N".to_owned() } else { word.to_owned() };
            let line =
                if counted { line.split(' ').map(masked).collect::<Vec<_>>().join(" ") } else { line.to_owned() };
            line + "\n"
        })
        .collect()
}

/// The first port of an agent's `--nat-port-range`.
const MASQUERADE: u16 = 61_000;
