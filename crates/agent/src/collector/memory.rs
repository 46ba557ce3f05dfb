//! The twin of a node's sockets.

use super::Sockets;
use crate::error::Error;
use datapath_layouts::SocketReverseKey;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// Sockets that are open, each by what it is connected to. Clones are the same sockets.
#[derive(Clone, Default)]
pub struct MemorySockets {
    pub open: Arc<Mutex<HashSet<SocketReverseKey>>>,
}

impl Sockets for MemorySockets {
    fn end(&self, bound: &HashSet<SocketReverseKey>, ended: &mut HashSet<SocketReverseKey>) -> Result<(), Error> {
        let mut open = self.open.lock().unwrap();
        ended.extend(bound.iter().filter(|key| open.remove(key)));
        Ok(())
    }
}
