//! Builds the kernel programs into the crate.

use std::path::PathBuf;

fn main() {
    let manifest = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it"));
    let crates = manifest.parent().expect("a crate lies in crates/");
    for part in ["datapath-programs", "datapath-layouts", "datapath-logic", "packet-headers"] {
        println!("cargo::rerun-if-changed={}", crates.join(part).join("src").display());
    }
    println!("cargo::rerun-if-changed={}", crates.join("datapath-programs/Cargo.toml").display());
    match ebpf_builder::build(&crates.join("datapath-programs"), &out.join("bpf")) {
        Ok(object) => {
            std::fs::copy(object, out.join("malla-datapath.o")).expect("copy the object beside the crate's output");
        }
        Err(why) => {
            eprintln!("{why}");
            std::process::exit(1);
        }
    }
}
