//! Which backend a new flow gets: the one that its client had before, the one that the row's Maglev table names, or any.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use datapath_layouts::{Affinity, AffinityKey, AffinityMemberKey, Backend, BackendKey, DropReason, Frontend};
use datapath_logic::maglev;
use datapath_logic::service::{Row, is_remembered, random_slot};

use crate::maps::{AFFINITY, AFFINITY_MEMBER, BACKENDS, MAGLEV};

/// Chooses for `client`, whose flow has this `hash`; the choice is left in `chosen`.
#[inline(always)]
pub fn choose(
    client: &AffinityKey,
    frontend: &Frontend,
    row: &Row,
    hash: u32,
    now: u64,
    chosen: &mut Affinity,
) -> Result<(), DropReason> {
    if row.backends == 0 {
        return Err(row.empty);
    }
    let sticky = frontend.affinity_seconds != 0;
    if sticky && recall(client, frontend.affinity_seconds, now, chosen) {
        return Ok(());
    }
    let Some(backend) = in_slot(row, slot(row, hash)) else { return Err(DropReason::NoBackend) };
    chosen.last_used_ns = now;
    chosen.address = backend.address;
    chosen.backend_id = backend.id;
    chosen.port = backend.port;
    chosen.reserved = 0;
    if sticky {
        // Refused only when the table can't take it: the client is served all the same.
        let _ = AFFINITY.insert(client, &*chosen, 0);
    }
    Ok(())
}

/// The backend that the client had last, while it may still have it.
#[inline(always)]
fn recall(client: &AffinityKey, seconds: u32, now: u64, chosen: &mut Affinity) -> bool {
    let Some(entry) = AFFINITY.get_ptr_mut(client) else { return false };
    // SAFETY: a map value; only its time is written, a word.
    let entry = unsafe { &mut *entry };
    if !is_remembered(entry.last_used_ns, now, seconds) {
        return false;
    }
    let member = AffinityMemberKey { service_id: client.service_id, backend_id: entry.backend_id };
    if AFFINITY_MEMBER.get_ptr(member).is_none() {
        return false;
    }
    entry.last_used_ns = now;
    chosen.address = entry.address;
    chosen.backend_id = entry.backend_id;
    chosen.port = entry.port;
    true
}

#[inline(always)]
fn slot(row: &Row, hash: u32) -> u32 {
    if row.maglev
        && let Some(table) = MAGLEV.get_ptr(row.id)
    {
        // SAFETY: a map value; it lives at least as long as this program runs (RCU).
        let slot = u32::from(unsafe { (*table).slots[maglev::place(hash)] });
        if slot < row.backends {
            return slot;
        }
    }
    // SAFETY: plain helper call.
    random_slot(unsafe { bpf_get_prandom_u32() }, row.backends)
}

#[inline(always)]
fn in_slot(row: &Row, slot: u32) -> Option<&'static Backend> {
    let mut key = BackendKey { service_id: row.id, slot };
    if let Some(backend) = BACKENDS.get_ptr(key) {
        // SAFETY: a map value; it lives at least as long as this program runs (RCU).
        return Some(unsafe { &*backend });
    }
    // The last slot went between the two reads; the first one is there as long as any is.
    key.slot = 0;
    // SAFETY: as above.
    BACKENDS.get_ptr(key).map(|backend| unsafe { &*backend })
}
