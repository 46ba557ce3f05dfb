//! Builds the kernel programs: `cargo build` for `bpfel-unknown-none` with the stable toolchain and `bpf-linker`.
//!
//! Our own and not `aya_build`, because that overwrites the flags that the target needs (`target-cpu=v3`: without it a
//! 32-bit compare-and-exchange aborts the linker; `--btf`: without it the loader has no types).
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Name of the object that [`build`] makes.
pub const OBJECT: &str = "malla-datapath";

/// Flags of the kernel target.
const FLAGS: &str = "--cfg=bpf_target_arch=\"x86_64\"\u{1f}-Cdebuginfo=2\u{1f}-Clink-arg=--btf\u{1f}-Ctarget-cpu=v3";

/// Builds the package in `programs` with everything it makes below `target`; returns the object's path.
///
/// # Errors
/// In words for whoever builds: what is missing, or what the compiler said.
pub fn build(programs: &Path, target: &Path) -> Result<PathBuf, String> {
    if Command::new("bpf-linker").arg("--version").output().is_err() {
        return Err("bpf-linker is not on the PATH: run `make setup`, or `cargo install bpf-linker --version 0.10.4 \
                    --locked`"
            .to_owned());
    }
    let mut cargo = Command::new("cargo");
    // What cargo tells a build script about the host build must not leak into this one.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_") && text != "CARGO_HOME" || text.starts_with("RUSTC") || text == "RUSTFLAGS" {
            cargo.env_remove(&name);
        }
    }
    let output = cargo
        .current_dir(programs)
        .args(["build", "--release", "--locked", "--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(target)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS)
        .output()
        .map_err(|e| format!("run cargo for the kernel programs: {e}"))?;
    if !output.status.success() {
        return Err(format!("the kernel programs do not build:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(target.join("bpfel-unknown-none/release").join(OBJECT))
}
