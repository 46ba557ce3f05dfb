//! Whether a connection of this machine is a process's, or one of its children's: the kernel lists the sockets
//! (`sock_diag(7)`), and `/proc` says who has which (proc(5)).

use netlink::{SocketDiag, Transport};
use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;

/// Whether `pid` or one that it started holds the socket of the connection from `client` to `server`, be it one of IPv4 or
/// one of IPv6 that speaks IPv4.
///
/// # Errors
/// When the kernel does not list its sockets.
pub fn is_of(pid: u32, client: SocketAddr, server: SocketAddr) -> netlink::Result<bool> {
    let sockets = SocketDiag::open()?.connected(Transport::Tcp)?;
    let Some(socket) = sockets.iter().find(|socket| socket.local == client && socket.peer == server) else {
        return Ok(false);
    };
    let wanted = format!("socket:[{}]", socket.inode);
    Ok(family(pid).into_iter().any(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.into_iter().any(|file| fs::read_link(file.path()).is_ok_and(|to| to.to_str() == Some(&*wanted)))
    }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn ones_own_connection_is_known_and_init_has_no_part_in_it() {
        // The last is a socket of IPv6 that speaks IPv4, as many programs have it.
        for (address, form) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("127.0.0.1", "::ffff:127.0.0.1")] {
            let listener = TcpListener::bind((address, 0)).unwrap();
            let form: std::net::IpAddr = form.parse().unwrap();
            let _client = TcpStream::connect((form, listener.local_addr().unwrap().port())).unwrap();
            let (accepted, own) = listener.accept().unwrap();
            let server = accepted.local_addr().unwrap();
            assert!(is_of(std::process::id(), own, server).unwrap(), "{form}");
            let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            assert!(!is_of(other.id(), own, server).unwrap(), "a process of another's");
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
