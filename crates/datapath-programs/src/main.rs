//! The kernel programs: one thin file per hook over the stages they share.
//!
//! Rules that hold everywhere here (each measured, see ARCHITECTURE.md):
//! - packets are read and written through helpers with bounded sizes, never through packet pointers;
//! - transport checksums change only through the checksum helpers, because veth carries partial ones;
//! - what many places call is a subprogram (`#[inline(never)]`) that gives one number back (see code.rs);
//! - one per-CPU scratch struct instead of stack (Linux 6.1 allows 512 bytes over the whole call chain); programs on
//!   one CPU never nest in each other: they run with bottom halves disabled, and a redirect takes effect after return.
//!
//! Invariant: no decision is made here that datapath-logic could make.
#![no_std]
#![no_main]

mod alias;
mod answer;
mod asked;
mod backends;
mod code;
mod config;
mod deliver;
mod enforce;
mod events;
mod fragments;
mod hooks;
mod icmp_error;
mod maps;
mod masquerade;
mod origin;
mod refusal;
mod scratch;
mod services;
mod skb;
mod track;
mod translate;
mod xdp;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // A panic that can be reached becomes an endless loop, which the verifier refuses: the program does not load.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
