//! bpf(2), for what the loader library does not do: links, pins, batches, test runs, shapes of maps
//! (`include/uapi/linux/bpf.h`).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_DELETE_ELEM: u32 = 3;
const MAP_GET_NEXT_KEY: u32 = 4;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const PROG_TEST_RUN: u32 = 10;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const MAP_LOOKUP_BATCH: u32 = 24;
const MAP_UPDATE_BATCH: u32 = 26;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;

/// tc hooks as links (since Linux 6.6).
pub const TCX_INGRESS: u32 = 46;
/// As above, on the way out.
pub const TCX_EGRESS: u32 = 47;

/// `union bpf_attr`, by words; every command below fills its own prefix.
#[repr(C, align(8))]
struct Attr<const N: usize>([u32; N]);

fn bpf<const N: usize>(command: u32, attr: &mut Attr<N>) -> io::Result<i32> {
    // SAFETY: the attribute is as long as we say; pointers in it are to live buffers of the caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<Attr<N>>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

const fn low(pointer: u64) -> u32 {
    pointer as u32
}
const fn high(pointer: u64) -> u32 {
    (pointer >> 32) as u32
}
fn address<T: ?Sized>(reference: &T) -> u64 {
    std::ptr::from_ref(reference).cast::<u8>() as u64
}
fn word(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}
fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just given us this descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Pins an object's descriptor.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let p = path.as_ptr() as u64;
    bpf(OBJ_PIN, &mut Attr([low(p), high(p), word(fd), 0])).map(drop)
}

/// Opens a pinned object.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let p = path.as_ptr() as u64;
    bpf(OBJ_GET, &mut Attr([low(p), high(p), 0, 0])).map(owned)
}

fn element(command: u32, map: BorrowedFd<'_>, key: u64, value: u64, flags: u64) -> io::Result<()> {
    let mut attr = Attr([word(map), 0, low(key), high(key), low(value), high(value), low(flags), high(flags)]);
    bpf(command, &mut attr).map(drop)
}

/// Copies a value out; false when there is none. `value` is as long as the kernel will write.
pub fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    match element(MAP_LOOKUP_ELEM, map, address(key), address(value), 0) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Writes a value.
pub fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    element(MAP_UPDATE_ELEM, map, address(key), address(value), 0)
}

/// Deletes; false when there was nothing.
pub fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    match element(MAP_DELETE_ELEM, map, address(key), 0, 0) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The key behind `key` (or the first); false at the end.
pub fn next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    match element(MAP_GET_NEXT_KEY, map, key.map_or(0, address), address(next), 0) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Reads up to `count` entries behind `cursor` (None: from the start) into `keys`/`values`; the number read, and
/// whether that was the end. `cursor_out` takes what the next call needs (at least 4 bytes or a key).
pub fn lookup_batch(
    map: BorrowedFd<'_>,
    cursor: Option<&[u8]>,
    cursor_out: &mut [u8],
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<(u32, bool)> {
    let (c, o, k, v) = (cursor.map_or(0, address), address(cursor_out), address(keys), address(values));
    let mut attr =
        Attr([low(c), high(c), low(o), high(o), low(k), high(k), low(v), high(v), count, word(map), 0, 0, 0, 0]);
    match bpf(MAP_LOOKUP_BATCH, &mut attr) {
        Ok(_) => Ok((attr.0[8], false)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok((attr.0[8], true)),
        Err(e) => Err(e),
    }
}

/// Writes `count` entries; the number written before an error is lost, so callers fall back to one by one.
pub fn update_batch(map: BorrowedFd<'_>, keys: &[u8], values: &[u8], count: u32) -> io::Result<()> {
    let (k, v) = (address(keys), address(values));
    let mut attr = Attr([0, 0, 0, 0, low(k), high(k), low(v), high(v), count, word(map), 0, 0, 0, 0]);
    bpf(MAP_UPDATE_BATCH, &mut attr).map(drop)
}

/// `BPF_XDP`: in a device's driver, or (generic) in front of the stack.
pub const XDP: u32 = 37;
/// `XDP_FLAGS_SKB_MODE` of `linux/if_link.h`: generic, whatever the driver can.
pub const XDP_GENERIC: u32 = 2;
/// `XDP_FLAGS_DRV_MODE`: in the driver or not at all.
pub const XDP_NATIVE: u32 = 4;

/// Attaches a program to a device or cgroup as a link; `flags` are those of the attach type.
pub fn link_create(program: BorrowedFd<'_>, target: u32, attach_type: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attr = Attr([word(program), target, attach_type, flags, 0, 0, 0, 0, 0, 0]);
    bpf(LINK_CREATE, &mut attr).map(owned)
}

/// Replaces a link's program in place.
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    bpf(LINK_UPDATE, &mut Attr([word(link), word(program), 0, 0])).map(drop)
}

fn info<const N: usize>(fd: BorrowedFd<'_>) -> io::Result<[u32; N]> {
    let words = [0u32; N];
    let p = address(&words);
    bpf(OBJ_GET_INFO_BY_FD, &mut Attr([word(fd), (N * 4) as u32, low(p), high(p)]))?;
    Ok(words)
}

/// A map's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries.
    pub max_entries: u32,
}

/// `struct bpf_map_info`.
pub fn map_shape(map: BorrowedFd<'_>) -> io::Result<MapShape> {
    let i = info::<20>(map)?;
    Ok(MapShape { kind: i[0], key_size: i[2], value_size: i[3], max_entries: i[4] })
}

/// `struct bpf_link_info`: program id, and the device of a tcx link (0 when the device is gone).
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    let i = info::<16>(link)?;
    Ok((i[2], i[4]))
}

/// `struct bpf_prog_info`: the program's id and the instructions that the verifier went through (since Linux 5.16).
pub fn program_info(program: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    let i = info::<58>(program)?;
    Ok((i[1], i[54]))
}

/// What a test run said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// What the program returned.
    pub verdict: u32,
    /// Bytes written to `out`.
    pub length: u32,
    /// How long the program took, ns, the kernel's clock readings included.
    pub duration_ns: u32,
}

/// `BPF_PROG_TEST_RUN`, once: `context` is a `struct __sk_buff` that goes in and comes back; empty for XDP.
pub fn test_run(program: BorrowedFd<'_>, packet: &[u8], context: &mut [u8], out: &mut [u8]) -> io::Result<TestRun> {
    let (i, o) = (address(packet), address(out));
    let c = if context.is_empty() { 0 } else { address(context) };
    let size = context.len() as u32;
    let mut attr = Attr([
        word(program),
        0,
        packet.len() as u32,
        out.len() as u32,
        low(i),
        high(i),
        low(o),
        high(o),
        1, // repeat
        0, // duration
        size,
        size,
        low(c),
        high(c),
        low(c),
        high(c),
        0,
        0,
        0,
        0,
    ]);
    bpf(PROG_TEST_RUN, &mut attr)?;
    Ok(TestRun { verdict: attr.0[1], length: attr.0[3], duration_ns: attr.0[9] })
}

/// Number of possible CPUs: how many values a per-CPU map has for each key.
pub fn possible_cpus() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = text.trim().rsplit([',', '-']).next().unwrap_or("0");
    last.parse::<usize>().map(|n| n + 1).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}
