//! Whether a connection of this machine is a process's, or one of its children's: by `/proc` alone (proc(5)).

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether `pid` or one that it started holds the socket of the connection from `client` to `server`.
pub fn is_of(pid: u32, client: SocketAddr, server: SocketAddr) -> bool {
    let table = if client.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let Ok(table) = fs::read_to_string(table) else { return false };
    let Some(inode) = inode(&table, client, server) else { return false };
    let wanted = format!("socket:[{inode}]");
    family(pid).into_iter().any(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.into_iter().any(|file| fs::read_link(file.path()).is_ok_and(|to| to.to_str() == Some(&*wanted)))
    })
}

/// A process and all that descend from it.
fn family(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some(parent) = parent(&stat) {
            children.entry(parent).or_default().push(child);
        }
    }
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(pid) = all.get(at) {
        // Each process has one parent; what was there is taken out, so that this ends whatever was read.
        let more = children.remove(pid).unwrap_or_default();
        all.extend(more);
        at += 1;
    }
    all
}

/// The fourth field; the second is a name in brackets and may hold anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn inode(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is = |text: &str, address| address_of(text) == Some(address);
        (is(fields.get(1)?, local) && is(fields.get(2)?, remote)).then(|| fields.get(9)?.parse().ok()).flatten()
    })
}

/// `0100007F:7590`: words of four bytes as this machine has them, and the port.
fn address_of(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            Ipv6Addr::from(<[u8; 16]>::try_from(words.as_flattened()).ok()?).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn ones_own_connection_is_known_and_init_has_no_part_in_it() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (own, server) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            assert!(is_of(std::process::id(), own, server), "{address}");
            let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            assert!(!is_of(other.id(), own, server), "a process of another's");
            other.kill().unwrap();
            other.wait().unwrap();
        }
    }

    #[test]
    fn a_name_may_hold_brackets() {
        assert_eq!(parent("7 (a) b) S 42 7"), Some(42));
        assert_eq!(parent("rubbish"), None);
    }
}
