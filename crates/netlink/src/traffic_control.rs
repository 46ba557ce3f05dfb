//! The clsact qdisc and BPF filters in it: how programs are attached where the kernel has no tcx (before 6.6).
//!
//! A filter is known by link, direction, priority and handle, all of them fixed by the caller. Putting another program
//! in the same place swaps it in one step, without a packet in between that meets none (`cls_bpf_change` in
//! net/sched/cls_bpf.c).

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};

use crate::{
    connection::{Netlink, Request},
    error::{Result, unless_exists, unless_missing},
};

/// As seen from the link: `Ingress` is what arrives on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    Ingress,
    Egress,
}

/// A direct-action BPF filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BpfFilter {
    pub direction: Direction,
    /// Lower runs first; never 0.
    pub priority: u16,
    /// Place within the priority; never 0.
    pub handle: u32,
    /// Shown by `tc filter`.
    pub name: String,
    /// The kernel's id of the program; only set in lists.
    pub program_id: Option<u32>,
}

impl Netlink {
    /// Makes sure that the link has a clsact qdisc; tells whether it was added.
    pub fn ensure_clsact(&self, interface: u32) -> Result<bool> {
        let object = format!("on link {interface}");
        let request = Request { operation: "add clsact qdisc", object: &object };
        let message = RouteNetlinkMessage::NewQueueDiscipline(clsact(interface));
        unless_exists(self.change(request, message, NLM_F_CREATE | NLM_F_EXCL))
    }

    /// Removes the clsact qdisc with all its filters, if it is there; tells whether it was.
    pub fn ensure_clsact_deleted(&self, interface: u32) -> Result<bool> {
        let object = format!("on link {interface}");
        let request = Request { operation: "delete clsact qdisc", object: &object };
        let result = self.change(request, RouteNetlinkMessage::DelQueueDiscipline(clsact(interface)), 0);
        match result {
            // "Cannot find specified qdisc on specified device": EINVAL in older kernels, ENOENT in newer ones.
            Err(error) if error.errno() == Some(libc::EINVAL) => Ok(false),
            result => unless_missing(result),
        }
    }

    /// Attaches `program`, or puts it in the place of the one with the same direction, priority and handle.
    pub fn ensure_bpf_filter(&self, interface: u32, filter: &BpfFilter, program: BorrowedFd<'_>) -> Result<()> {
        let object = format!("{} on link {interface}", filter.name);
        let request = Request { operation: "attach BPF filter", object: &object };
        let program = u32::try_from(program.as_raw_fd()).map_err(|_| request.invalid("the program is closed"))?;
        let mut message = place(interface, filter);
        message.attributes = vec![
            TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
            TcAttribute::Options(vec![
                TcOption::Bpf(TcFilterBpfOption::ProgFd(program)),
                TcOption::Bpf(TcFilterBpfOption::ProgName(filter.name.clone())),
                TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
            ]),
        ];
        self.change(request, RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE)
    }

    /// Detaches the filter in that place if it is there; tells whether it was.
    pub fn ensure_bpf_filter_deleted(&self, interface: u32, filter: &BpfFilter) -> Result<bool> {
        let object = format!("{} on link {interface}", filter.name);
        let request = Request { operation: "detach BPF filter", object: &object };
        let mut message = place(interface, filter);
        message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
        match self.change(request, RouteNetlinkMessage::DelTrafficFilter(message), 0) {
            // Without the qdisc the kernel says EINVAL ("Parent Qdisc doesn't exists").
            Err(error) if error.errno() == Some(libc::EINVAL) && self.link_by_index(interface)?.is_some() => Ok(false),
            result => unless_missing(result),
        }
    }

    /// The BPF filters of one direction of a link; none if it has no clsact qdisc.
    pub fn bpf_filters(&self, interface: u32, direction: Direction) -> Result<Vec<BpfFilter>> {
        let object = format!("on link {interface}");
        let mut message = TcMessage::with_index(index(interface));
        message.header.parent = parent(direction);
        let request = Request { operation: "list BPF filters", object: &object };
        let answers = match self.dump(request, RouteNetlinkMessage::GetTrafficFilter(message)) {
            Err(error) if error.is_not_found() || error.errno() == Some(libc::EINVAL) => return Ok(Vec::new()),
            answers => answers?,
        };
        Ok(answers.into_iter().filter_map(|answer| decode(direction, answer)).collect())
    }
}

fn clsact(interface: u32) -> TcMessage {
    let mut message = TcMessage::with_index(index(interface));
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: u16::MAX, minor: 0 };
    message.attributes.push(TcAttribute::Kind("clsact".to_owned()));
    message
}

fn place(interface: u32, filter: &BpfFilter) -> TcMessage {
    let mut message = TcMessage::with_index(index(interface));
    message.header.parent = parent(filter.direction);
    message.header.handle = TcHandle::from(filter.handle);
    message.header.info = (u32::from(filter.priority) << 16) | u32::from(ETH_P_ALL.to_be());
    message
}

fn parent(direction: Direction) -> TcHandle {
    let minor = match direction {
        Direction::Ingress => TcHandle::MIN_INGRESS,
        Direction::Egress => TcHandle::MIN_EGRESS,
    };
    TcHandle { major: u16::MAX, minor }
}

fn decode(direction: Direction, message: RouteNetlinkMessage) -> Option<BpfFilter> {
    let RouteNetlinkMessage::NewTrafficFilter(message) = message else { return None };
    let handle = u32::from(message.header.handle);
    let is_bpf = message.attributes.iter().any(|a| matches!(a, TcAttribute::Kind(kind) if kind == TcFilterBpf::KIND));
    // The chain's head is listed too, as handle 0.
    if !is_bpf || handle == 0 {
        return None;
    }
    let priority = u16::try_from(message.header.info >> 16).ok()?;
    let mut filter = BpfFilter { direction, priority, handle, name: String::new(), program_id: None };
    for attribute in &message.attributes {
        let TcAttribute::Options(options) = attribute else { continue };
        for option in options {
            match option {
                TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => filter.name.clone_from(name),
                TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => filter.program_id = Some(*id),
                _ => {}
            }
        }
    }
    Some(filter)
}

/// The kernel counts links in a signed int.
fn index(interface: u32) -> i32 {
    i32::try_from(interface).unwrap_or(0)
}

/// Every protocol (include/uapi/linux/if_ether.h).
const ETH_P_ALL: u16 = 0x0003;
