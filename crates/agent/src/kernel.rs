//! The allocator's own interface, and what the process costs.

/// Arenas of glibc's allocator: each holds on to memory of its own, and few threads here allocate at all.
const ARENAS: libc::c_int = 2;
/// Free memory at the heap's top above this goes back to the kernel, bytes.
const TRIM: libc::c_int = 256 * 1024;

/// Keeps the allocator from holding on to memory that was needed once. To be called before threads are started.
#[expect(unsafe_code, reason = "the allocator has no other interface than mallopt(3)")]
pub fn limit_memory() {
    // SAFETY: mallopt only stores numbers, and no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM);
        libc::mallopt(libc::M_MMAP_THRESHOLD, TRIM);
    }
}

/// Gives back what a burst (a first list of many objects) has left free.
#[expect(unsafe_code, reason = "the allocator has no other interface than malloc_trim(3)")]
pub fn trim_memory() {
    // SAFETY: no preconditions; it takes the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Resident memory of this process in bytes; `VmRSS` of proc(5).
#[must_use]
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_answers() {
        assert!(super::resident_bytes() > 100_000);
    }
}
