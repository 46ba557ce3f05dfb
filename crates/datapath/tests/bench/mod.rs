//! A bpffs of the test's own with the programs loaded over fresh maps.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use datapath::maps::Maps;
use datapath::{EventReader, ProgramInfo, loaded_for_tests};
use datapath_layouts::{Address, NodeConfig, Routing};

/// Loaded programs; the bpffs goes with it.
pub struct Bench {
    pub directory: PathBuf,
    pub programs: Vec<(String, OwnedFd)>,
    pub infos: Vec<ProgramInfo>,
    pub maps: Maps,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A node as the lab has it.
pub fn config() -> NodeConfig {
    NodeConfig {
        node_ipv4: Address::from_ip("172.18.0.2".parse().unwrap()),
        node_ipv6: Address::from_ip("fc00::2".parse().unwrap()),
        tunnel_source: Address::from_ip("172.18.0.2".parse().unwrap()),
        network_ifindex: 1,
        overlay_ifindex: 1,
        routing: Routing::Overlay as u32,
        network_mtu: 1500,
        overlay_mtu: 1450,
        node_port_first: 30000,
        node_port_last: 32767,
        nat_port_first: 61000,
        nat_port_last: 65535,
        ..NodeConfig::ZERO
    }
}

impl Bench {
    pub fn new() -> Self {
        Self::with(&config())
    }

    pub fn with(config: &NodeConfig) -> Self {
        let name = format!("malla-bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let target = std::ffi::CString::new(directory.to_str().unwrap()).unwrap();
        // SAFETY: plain mount(2) with C strings.
        let mounted = unsafe { libc::mount(c"bpf".as_ptr(), target.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
        assert_eq!(mounted, 0, "mount a bpffs (root needed): {}", std::io::Error::last_os_error());
        for part in ["maps", "links"] {
            std::fs::create_dir_all(directory.join(part)).unwrap();
        }
        let loaded = loaded_for_tests(&directory, config);
        let (programs, infos) = match loaded {
            Ok(loaded) => loaded,
            Err(e) => {
                unmount(&directory);
                let mut text = e.to_string();
                let mut source = std::error::Error::source(&e);
                while let Some(s) = source {
                    text += &format!("\n{s}");
                    source = s.source();
                }
                panic!("{}", &text[text.len().saturating_sub(12000)..]);
            }
        };
        let maps = Maps::open(&directory).unwrap();
        Self { directory, programs, infos, maps }
    }

    pub fn events(&self) -> EventReader {
        datapath::EventReader::open_in(&self.directory).unwrap()
    }
}

fn unmount(directory: &PathBuf) {
    let target = std::ffi::CString::new(directory.to_str().unwrap()).unwrap();
    // SAFETY: plain umount2(2) of our own mount.
    unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    let _ = std::fs::remove_dir(directory);
}

impl Drop for Bench {
    fn drop(&mut self) {
        unmount(&self.directory);
    }
}
