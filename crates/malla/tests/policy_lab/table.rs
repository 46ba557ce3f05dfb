//! Who reaches whom on what: a table of all pairs, and a short language for writing one by hand.

use crate::pods::{PODS, Pod};

pub const PORTS: [u16; 3] = [80, 81, 82];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// One port of one protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port {
    pub protocol: Protocol,
    pub number: u16,
}

impl Port {
    /// Every one, in the order of the table's columns.
    pub fn all() -> impl Iterator<Item = Self> {
        Protocol::ALL.into_iter().flat_map(|protocol| PORTS.into_iter().map(move |number| Self { protocol, number }))
    }
}

/// Ports of a Pod.
pub const COLUMNS: usize = 9;

/// Whether each Pod reaches each Pod on each port. Nobody is kept from themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table([[[bool; COLUMNS]; PODS]; PODS]);

impl Table {
    /// Everybody reaches everybody.
    pub const ALL: Self = Self([[[true; COLUMNS]; PODS]; PODS]);

    pub fn from_fn(reaches: impl Fn(Pod, Pod, Port) -> bool) -> Self {
        let mut table = Self::ALL;
        for (from, to) in pairs() {
            for (column, port) in Port::all().enumerate() {
                table.0[from.0][to.0][column] = reaches(from, to, port);
            }
        }
        table
    }

    /// What both let through.
    pub fn and(&self, other: &Self) -> Self {
        let mut table = self.clone();
        for (from, to) in pairs() {
            for (column, reaches) in table.0[from.0][to.0].iter_mut().enumerate() {
                *reaches &= other.get(from, to, column);
            }
        }
        table
    }

    pub fn get(&self, from: Pod, to: Pod, column: usize) -> bool {
        self.0[from.0][to.0][column]
    }

    /// The same, but that these don't reach those on these ports.
    pub fn deny(self, from: &str, to: &str, ports: &str) -> Self {
        self.set(from, to, ports, false)
    }

    /// The same, but that these do reach those on these ports.
    pub fn allow(self, from: &str, to: &str, ports: &str) -> Self {
        self.set(from, to, ports, true)
    }

    fn set(mut self, from: &str, to: &str, ports: &str, value: bool) -> Self {
        for (f, t) in pairs().filter(|(f, t)| is_in(f.name(), from) && is_in(t.name(), to)) {
            for (column, _) in Port::all().enumerate().filter(|(_, port)| speaks(*port, t, ports)) {
                self.0[f.0][t.0][column] = value;
            }
        }
        self
    }
}

/// Every Pod with every other one.
pub fn pairs() -> impl Iterator<Item = (Pod, Pod)> {
    Pod::all().flat_map(|from| Pod::all().map(move |to| (from, to))).filter(|(from, to)| from != to)
}

/// `x/a`, `x/*`, `*/a`, `*`, several with commas; empty: nobody.
fn is_in(name: &str, patterns: &str) -> bool {
    let (namespace, pod) = name.split_once('/').expect("a Pod's name");
    patterns.split(',').filter(|pattern| !pattern.is_empty()).any(|pattern| match pattern.split_once('/') {
        None => pattern == "*",
        Some((n, p)) => (n == "*" || n == namespace) && (p == "*" || p == pod),
    })
}

/// `tcp/80`, `tcp/*`, `*`, `web` (the port that has this name at the destination), several with commas.
fn speaks(port: Port, to: Pod, patterns: &str) -> bool {
    patterns.split(',').filter(|pattern| !pattern.is_empty()).any(|pattern| match pattern.split_once('/') {
        None if pattern == "web" => port == to.web(),
        None => pattern == "*",
        Some((protocol, number)) => {
            protocol == port.protocol.name() && (number == "*" || number == port.number.to_string())
        }
    })
}

#[test]
fn the_short_language() {
    let table = Table::ALL.deny("*", "x/a", "*").allow("x/*,y/b", "x/a", "tcp/80,udp/*");
    let of = |from: &str, to: &str, what: &str| {
        let find = |name: &str| Pod::all().find(|pod| pod.name() == name).unwrap();
        let column = Port::all().position(|p| format!("{}/{}", p.protocol.name(), p.number) == what).unwrap();
        table.get(find(from), find(to), column)
    };
    for (from, to, what, expected) in [
        ("x/b", "x/a", "tcp/80", true),
        ("x/b", "x/a", "tcp/81", false),
        ("y/b", "x/a", "udp/82", true),
        ("y/b", "x/a", "sctp/80", false),
        ("z/b", "x/a", "tcp/80", false),
        ("z/b", "x/b", "tcp/82", true),
        ("x/a", "x/a", "sctp/82", true),
    ] {
        assert_eq!(of(from, to, what), expected, "{from} to {to} on {what}");
    }
    let by_name = Table::ALL.deny("*", "*", "*").allow("x/a", "*", "web");
    let reached = by_name.clone().deny("*", "x/*,y/*", "tcp/80").deny("*", "z/*", "tcp/81");
    assert_ne!(by_name, reached);
    assert_eq!(reached, Table::ALL.deny("*", "*", "*"), "a name is another port in z");
}
