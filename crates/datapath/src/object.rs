//! The object file with the kernel programs, embedded.

/// Aligned as the ELF reader wants it.
#[repr(C, align(32))]
struct Aligned<B: ?Sized>(B);

static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/malla-datapath.o")));

/// The ELF object.
pub static OBJECT: &[u8] = &ALIGNED.0;
