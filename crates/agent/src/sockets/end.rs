//! Ending sockets wherever they are: in the node's network and in that of each of its Pods.

use super::PodSockets;
use crate::collector::Sockets;
use crate::error::Error;
use datapath_layouts::{Address, SocketReverseKey};
use netlink::{ConnectedSocket, SocketDiag, Transport};
use network_namespace::NetNs;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The sockets of the kernel. One list of TCP and of UDP sockets per network namespace and call, and none of those that
/// nobody asks for.
pub struct KernelSockets {
    pods: Arc<PodSockets>,
    /// The kernel can't (`CONFIG_INET_DIAG_DESTROY`), and that was told.
    unable: AtomicBool,
}

impl KernelSockets {
    /// Those of the calling thread's network namespace and of `pods`.
    #[must_use]
    pub const fn new(pods: Arc<PodSockets>) -> Self {
        Self { pods, unable: AtomicBool::new(false) }
    }

    /// Those of one namespace, into `ended`.
    fn end_in(
        diag: &SocketDiag,
        bound: &HashSet<SocketReverseKey>,
        ended: &mut HashSet<SocketReverseKey>,
    ) -> Result<(), netlink::Error> {
        for (transport, protocol) in [(Transport::Tcp, TCP), (Transport::Udp, UDP)] {
            if !bound.iter().any(|key| key.protocol == protocol) {
                continue;
            }
            for socket in diag.connected(transport)? {
                let key = key(&socket, protocol);
                if bound.contains(&key) {
                    diag.destroy(&socket)?;
                    ended.insert(key);
                }
            }
        }
        Ok(())
    }

    fn open(namespace: &Path) -> Result<SocketDiag, netlink::Error> {
        SocketDiag::open_in(&NetNs::open(namespace)?)
    }
}

impl Sockets for KernelSockets {
    fn end(&self, bound: &HashSet<SocketReverseKey>, ended: &mut HashSet<SocketReverseKey>) -> Result<(), Error> {
        if self.unable.load(Relaxed) {
            return Ok(());
        }
        let mut result = SocketDiag::open().and_then(|diag| Self::end_in(&diag, bound, ended));
        for namespace in self.pods.namespaces() {
            if ended.len() == bound.len() {
                break;
            }
            match Self::open(&namespace) {
                Ok(diag) => result = result.and(Self::end_in(&diag, bound, ended)),
                // The Pod ends, and its sockets with it.
                Err(netlink::Error::Namespace(error)) if error.is_not_found() => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        match result {
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => {
                self.unable.store(true, Relaxed);
                tracing::warn!(
                    "sockets keep backends that are gone until they find out: this kernel can't end sockets \
                     (CONFIG_INET_DIAG_DESTROY)"
                );
                Ok(())
            }
            result => result.map_err(Error::facts(ENDING)),
        }
    }
}

fn key(socket: &ConnectedSocket, protocol: u8) -> SocketReverseKey {
    SocketReverseKey {
        cookie: socket.cookie,
        address: Address::from_ip(socket.peer.ip()),
        port: socket.peer.port(),
        protocol,
        reserved: [0; 5],
    }
}

const ENDING: &str = "end the sockets of backends that are gone";
const TCP: u8 = 6;
const UDP: u8 = 17;
