//! qemu, and the conversation over the serial console.

use super::initramfs::{ENDED, READY};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

pub struct Machine<'a> {
    pub kernel: &'a Path,
    pub initramfs: &'a Path,
    pub timeout: Duration,
    pub verbose: bool,
}

/// Boots, passes on what the programs print, and returns the status that the VM reported.
pub fn run(machine: &Machine<'_>) -> Result<u8> {
    let mut qemu = Running(start(machine)?);
    let stdout = qemu.0.stdout.take().context("qemu's serial console")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });

    let deadline = Instant::now() + machine.timeout;
    let mut ready = machine.verbose;
    let mut hidden = Vec::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line.ends_with(READY) => ready = true,
            Ok(line) => match line.strip_prefix(ENDED) {
                Some(status) => {
                    return status.trim().parse().with_context(|| format!("the VM's status `{status}`"));
                }
                None if ready => println!("{line}"),
                None => hidden.push(line),
            },
            Err(RecvTimeoutError::Timeout) => {
                bail!("the VM was still running after {} s\n{}", machine.timeout.as_secs(), tail(&hidden))
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the VM ended without telling a status\n{}", tail(&hidden))
            }
        }
    }
}

/// What the kernel said before the programs ran: the end of it tells why it did not come that far.
fn tail(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(25)..].join("\n")
}

fn start(machine: &Machine<'_>) -> Result<Child> {
    let console = if machine.verbose { "console=ttyS0" } else { "console=ttyS0 quiet loglevel=4" };
    let mut qemu = Command::new("qemu-system-x86_64");
    // tcg is qemu's own emulation; `max` has RDRAND, without which early boot waits for entropy.
    qemu.args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2048"]);
    qemu.args(["-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot", "-nic", "none"]);
    qemu.arg("-kernel").arg(machine.kernel).arg("-initrd").arg(machine.initramfs);
    // A panic reboots at once, which -no-reboot turns into the end of qemu.
    qemu.args(["-append", &format!("{console} panic=-1 rdinit=/init random.trust_cpu=on")]);
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start qemu-system-x86_64")
}

/// Ends qemu whichever way we leave.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; that is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
