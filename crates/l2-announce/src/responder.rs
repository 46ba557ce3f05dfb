//! Answers questions about addresses on one device, and tells the segment when an address is new here.

use crate::{
    Error,
    frames::{self, Heard},
    packet_socket::{Listen, PacketSocket},
    wanted::Device,
};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv6Addr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::{sync::mpsc::UnboundedSender, task::JoinHandle};

/// For what an address is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Until when: what is not renewed falls silent by itself.
    pub until: Instant,
    /// The version of the Lease, where this node goes on without the API: it does not answer one who wrote it later.
    pub alone: Option<u64>,
}

type Answers = Arc<Mutex<BTreeMap<IpAddr, Answer>>>;

/// What the segment tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Another node announces an address that is answered for here.
    Claim {
        /// Which one.
        address: IpAddr,
        /// The version of the Lease that it wrote, where it says so.
        version: Option<u64>,
    },
    /// A device is down: what happens on the segment meanwhile is not heard.
    Deaf,
}

/// One device. Silent when dropped.
pub struct Responder {
    device: Device,
    answers: Answers,
    arp: Arc<PacketSocket>,
    neighbours: Arc<PacketSocket>,
    /// Member of the groups that questions about IPv6 addresses are sent to.
    groups: UdpSocket,
    tasks: [JoinHandle<()>; 2],
}

impl Responder {
    /// Listens on the device; what concerns the answers is told to `notices`.
    pub fn start(device: Device, notices: &UnboundedSender<Notice>) -> Result<Self, Error> {
        let failed = |operation| {
            let device = device.name.clone();
            move |source| Error::Device { operation, device, source }
        };
        let open =
            |listen| PacketSocket::open(listen, device.index).map(Arc::new).map_err(failed("open a packet socket"));
        let (arp, neighbours) = (open(Listen::Arp)?, open(Listen::NeighbourDiscovery)?);
        let groups =
            UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).map_err(failed("open a socket for multicast groups"))?;
        let answers = Answers::default();
        let tasks = [&arp, &neighbours]
            .map(|socket| tokio::spawn(listen(socket.clone(), device.mac, answers.clone(), notices.clone())));
        Ok(Self { device, answers, arp, neighbours, groups, tasks })
    }

    /// Answers for exactly these addresses, each until its time. Those that are new are announced.
    pub fn answer(&self, wanted: BTreeMap<IpAddr, Answer>) {
        let old = std::mem::replace(&mut *self.lock(), wanted.clone());
        for address in old.keys().filter(|address| !wanted.contains_key(*address)) {
            self.group(*address, Membership::Leave);
        }
        for address in wanted.keys().filter(|address| !old.contains_key(*address)) {
            self.group(*address, Membership::Join);
            self.announce(*address);
        }
    }

    /// Tells the segment that the address is here.
    pub fn announce(&self, address: IpAddr) {
        let socket = if address.is_ipv4() { &self.arp } else { &self.neighbours };
        if let Err(error) = socket.send(&frames::announcement(address, self.device.mac)) {
            tracing::debug!(device = self.device.name, %address, %error, "announce");
        }
    }

    /// Asks whether another node has the address. Its answer is a claim; one that wrote the Lease before `version`, and is
    /// without the API too, yields instead.
    pub fn probe(&self, address: IpAddr, version: Option<u64>) {
        let socket = if address.is_ipv4() { &self.arp } else { &self.neighbours };
        let probe = frames::probe(address, self.device.mac, version);
        if let Some(Err(error)) = probe.map(|probe| socket.send(&probe)) {
            tracing::debug!(device = self.device.name, %address, %error, "probe");
        }
    }

    fn group(&self, address: IpAddr, membership: Membership) {
        let IpAddr::V6(address) = address else { return };
        let group = frames::solicited_node(address);
        let done = match membership {
            Membership::Join => self.groups.join_multicast_v6(&group, self.device.index),
            // Several addresses may have one group: left when the last of them goes.
            Membership::Leave if self.others_of(group) => return,
            Membership::Leave => self.groups.leave_multicast_v6(&group, self.device.index),
        };
        match done {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => tracing::warn!(device = self.device.name, %group, %error, "multicast group"),
        }
    }

    fn others_of(&self, group: Ipv6Addr) -> bool {
        self.lock().keys().any(|address| matches!(address, IpAddr::V6(a) if frames::solicited_node(*a) == group))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<IpAddr, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[derive(Clone, Copy)]
enum Membership {
    Join,
    Leave,
}

async fn listen(socket: Arc<PacketSocket>, own: frames::Mac, answers: Answers, notices: UnboundedSender<Notice>) {
    let mut frame = [0; 1024];
    loop {
        let length = match socket.receive(&mut frame).await {
            Ok(length) => length,
            Err(error) => {
                // A device that went down says so once, and is silent until it is up again.
                tracing::debug!(%error, "packet socket");
                if notices.send(Notice::Deaf).is_err() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match frames::read(&frame[..length]) {
            Some(Heard::Question { address, mac, asker, version }) => {
                let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                // Asked of the clock for every answer: after a pause of the whole process nothing here is true any more.
                let Some(held) = answers.get(&address).filter(|held| held.until >= Instant::now()) else { continue };
                if version.is_some() && held.alone.is_some() && held.alone < version {
                    if notices.send(Notice::Claim { address, version }).is_err() {
                        return;
                    }
                    continue;
                }
                if let Some(Err(error)) = frames::answer(address, own, mac, asker).map(|answer| socket.send(&answer)) {
                    tracing::debug!(%address, %error, "answer");
                }
            }
            Some(Heard::Claim { address, mac }) if mac != own => {
                let mine = answers.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&address);
                if mine && notices.send(Notice::Claim { address, version: None }).is_err() {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// After an error of a socket.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
