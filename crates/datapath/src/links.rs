//! Attaching: links that are pinned and replaced in place; on kernels without tcx, filters of clsact.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use netlink::{BpfFilter, Direction, Netlink};

use crate::adopt::Adoption;
use crate::error::Error;
use crate::programs::XDP;
use crate::sys;

/// Priority and handle of our filters: fixed, so that the next agent finds and replaces them.
const PRIORITY: u16 = 1;
const HANDLE: u32 = 0x4d;

/// One place where a program of ours runs.
pub(crate) struct Hook<'a> {
    /// Interface, or what names the cgroup.
    pub owner: &'a str,
    pub program: &'a str,
    /// Interface index or cgroup descriptor.
    pub target: u32,
    pub attach_type: u32,
    /// Of XDP: which mode. A link keeps the one it was made with.
    pub flags: u32,
}

impl Hook<'_> {
    fn pin(&self, links: &Path) -> PathBuf {
        links.join(pin_name(self.owner, self.program))
    }
    fn name(&self) -> String {
        format!("{}/{}", self.owner, self.program)
    }
    fn has_device(&self) -> bool {
        self.is_tc() || self.attach_type == sys::XDP
    }
    fn is_tc(&self) -> bool {
        matches!(self.attach_type, sys::TCX_INGRESS | sys::TCX_EGRESS)
    }
}

/// What the link of `program` on `owner` is called in the bpffs, which reserves names with dots (kernel/bpf/inode.c,
/// `bpf_lookup`) while interfaces may have them. A colon stands for a dot: no interface has one (`dev_valid_name`).
pub(crate) fn pin_name(owner: &str, program: &str) -> String {
    format!("{}_{program}", owner.replace('.', ":"))
}

/// Whose link of `program` a pin of that name is; the inverse of [`pin_name`].
pub(crate) fn owner_of(pin: &str, program: &str) -> Option<String> {
    let owner = pin.strip_suffix(program)?.strip_suffix('_')?;
    // One program's name ends with another's, and an interface may end with anything.
    if program != XDP && pin.ends_with(XDP) {
        return None;
    }
    Some(owner.replace(':', "."))
}

/// Makes `hook` run `program`: in place where our link is already there.
pub(crate) fn attach(
    links: &Path,
    hook: &Hook<'_>,
    program: BorrowedFd<'_>,
    adoption: &mut Adoption,
) -> Result<(), Error> {
    let pin = hook.pin(links);
    match sys::open_pin(&pin) {
        Ok(link) => {
            let (_, device) =
                sys::link_info(link.as_fd()).map_err(|e| Error::kernel("ask about link", hook.name(), e))?;
            // A link whose device is gone (or was made anew under the same name) is a shell without effect.
            if !hook.has_device() || device == hook.target {
                sys::link_update(link.as_fd(), program)
                    .map_err(|e| Error::kernel("replace the program of link", hook.name(), e))?;
                adoption.links_adopted.push(hook.name());
                return Ok(());
            }
            unpin(&pin)?;
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::File { operation: "open pinned link", path: pin, source }),
    }
    match sys::link_create(program, hook.target, hook.attach_type, hook.flags) {
        Ok(link) => {
            sys::pin(link.as_fd(), &pin).map_err(|source| Error::File { operation: "pin link", path: pin, source })?;
        }
        // 6.1 knows no tcx: a filter does the same, and stays by itself.
        Err(e) if hook.is_tc() && e.raw_os_error() == Some(libc::EINVAL) => {
            let was_there = has_filter(hook);
            attach_filter(hook, program)?;
            if was_there {
                adoption.links_adopted.push(hook.name());
                return Ok(());
            }
        }
        Err(e) => return Err(Error::kernel("attach", hook.name(), e)),
    }
    adoption.links_created.push(hook.name());
    Ok(())
}

fn attach_filter(hook: &Hook<'_>, program: BorrowedFd<'_>) -> Result<(), Error> {
    let netlink = Netlink::open().map_err(Error::Filter)?;
    netlink.ensure_clsact(hook.target).map_err(Error::Filter)?;
    netlink.ensure_bpf_filter(hook.target, &filter(hook.program, hook.attach_type), program).map_err(Error::Filter)
}

fn filter(program: &str, attach_type: u32) -> BpfFilter {
    let direction = if attach_type == sys::TCX_INGRESS { Direction::Ingress } else { Direction::Egress };
    BpfFilter { direction, priority: PRIORITY, handle: HANDLE, name: program.to_owned(), program_id: None }
}

/// Whether our program runs there.
pub(crate) fn is_attached(links: &Path, hook: &Hook<'_>) -> bool {
    if let Ok(link) = sys::open_pin(&hook.pin(links)) {
        return sys::link_info(link.as_fd()).is_ok_and(|(_, device)| device == hook.target);
    }
    has_filter(hook)
}

/// Whether a filter of ours is there.
fn has_filter(hook: &Hook<'_>) -> bool {
    let direction = filter(hook.program, hook.attach_type).direction;
    Netlink::open()
        .and_then(|n| n.bpf_filters(hook.target, direction))
        .is_ok_and(|filters| filters.iter().any(|f| f.priority == PRIORITY && f.handle == HANDLE))
}

/// Removes a pin; one that is not there is fine. The device's end takes the link with it.
pub(crate) fn unpin(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::File { operation: "unpin", path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_have_no_dots_and_lead_back_to_their_interface() {
        for owner in ["eth0", "malla.vxlan", "eth0.100", "a_b"] {
            let pin = pin_name(owner, "from_pod");
            assert!(!pin.contains('.'), "{pin}");
            assert_eq!(owner_of(&pin, "from_pod").as_deref(), Some(owner));
            assert_eq!(owner_of(&pin, "to_pod"), None);
            let (tc, xdp) = (pin_name(owner, "from_network"), pin_name(owner, XDP));
            assert_eq!([owner_of(&tc, XDP), owner_of(&xdp, "from_network")], [None, None]);
            assert_eq!(owner_of(&xdp, XDP).as_deref(), Some(owner));
        }
    }
}
