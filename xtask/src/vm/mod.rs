//! Runs static test programs on another kernel: Debian's cloud kernel under qemu, with an initramfs of busybox, the
//! kernel's own modules and the programs. Emulated (KVM is not asked for), so it runs wherever qemu does.

mod archive;
mod boot;
mod initramfs;
mod kernel;

use crate::needs::{Purpose, STATIC_TARGET};
use crate::suite::programs;
use crate::{repository, setup};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::time::Duration;

#[derive(clap::Args)]
pub struct VmArgs {
    /// Which of Debian 12's kernels
    #[arg(long, value_enum)]
    kernel: kernel::Series,
    /// A static program to run; several run one after the other. Without one: the tests of the datapath crate
    #[arg(long = "binary", value_name = "PATH")]
    binaries: Vec<PathBuf>,
    /// A file of this machine to have in the VM as well
    #[arg(long = "file", value_name = "HOST=GUEST")]
    files: Vec<initramfs::ExtraFile>,
    /// An environment variable for the programs
    #[arg(long = "env", value_name = "NAME=VALUE")]
    environment: Vec<String>,
    /// Seconds until the VM is ended, whatever it does
    #[arg(long, default_value_t = 900)]
    timeout: u64,
    /// Show the kernel's messages too
    #[arg(long)]
    verbose: bool,
    /// Arguments for every program
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub fn run(args: &VmArgs) -> Result<()> {
    setup::run(Purpose::All)?;
    let mut environment = args.environment.clone();
    let binaries = if args.binaries.is_empty() {
        // Emulated, each packet takes twenty times as long.
        environment.push("MALLA_POLICY_SETS=300".to_owned());
        datapath_tests()?
    } else {
        args.binaries.clone()
    };
    if binaries.is_empty() {
        bail!("the datapath crate has no tests to run");
    }
    let kernel = kernel::Kernel::fetch(args.kernel)?;
    let modules = kernel.modules(kernel::MODULES)?;
    // The process id keeps several runs beside each other from sharing the file.
    let image = repository::target().join(format!("vm/initramfs-{}.cpio", std::process::id()));
    let guest = initramfs::Guest {
        modules: &modules,
        binaries: &binaries,
        files: &args.files,
        environment: &environment,
        arguments: &args.arguments,
    };
    std::fs::write(&image, guest.pack()?)?;
    let ended = boot::run(&boot::Machine {
        kernel: &kernel.image,
        initramfs: &image,
        timeout: Duration::from_secs(args.timeout),
        verbose: args.verbose,
    });
    std::fs::remove_file(&image)?;
    match ended? {
        0 => {
            println!("Everything passed on Linux {}.", kernel.version);
            Ok(())
        }
        status => bail!("on Linux {} the run ended with status {status}", kernel.version),
    }
}

/// The programs load, attach and pass their fixtures on every kernel: the same tests, linked statically.
fn datapath_tests() -> Result<Vec<PathBuf>> {
    let programs = programs::build_of(&["-p", "datapath", "--features", "sctp", "--tests", "--target", STATIC_TARGET])?;
    Ok(programs.into_iter().filter(|p| !p.name.ends_with("::unit")).map(|p| p.executable).collect())
}
