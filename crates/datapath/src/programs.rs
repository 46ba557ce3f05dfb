//! Loading the programs with the node's settings.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::programs::{CgroupSockAddr, Program, SchedClassifier, SockOps, Xdp};
use aya::{Ebpf, EbpfLoader};
use datapath_layouts::NodeConfig;
use datapath_layouts::maps::{ALL, MapInfo};
use zerocopy::IntoBytes;

use crate::datapath::Profile;
use crate::error::Error;
use crate::maps::pin_path;
use crate::object::OBJECT;
use crate::sys;

/// The tc programs.
pub(crate) const CLASSIFIERS: [&str; 6] =
    ["from_pod", "to_pod", "from_overlay", "to_overlay", "from_network", "to_network"];
/// The program in the device's driver.
pub(crate) const XDP: &str = "xdp_from_network";
/// The socket programs with their `enum bpf_attach_type`.
pub(crate) const SOCKET_HOOKS: [(&str, u32); 8] = [
    ("connect4", 10),
    ("connect6", 11),
    ("sendmsg4", 14),
    ("sendmsg6", 15),
    ("recvmsg4", 19),
    ("recvmsg6", 20),
    ("getpeername4", 29),
    ("getpeername6", 30),
];

/// What keeps what closing TCP sockets know, with `BPF_CGROUP_SOCK_OPS`.
pub(crate) const TCP_END: (&str, u32) = ("tcp_end", 3);

/// All that run on the node's cgroup.
pub(crate) fn on_the_cgroup() -> impl Iterator<Item = (&'static str, u32)> {
    SOCKET_HOOKS.into_iter().chain([TCP_END])
}

/// A loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Its name.
    pub name: String,
    /// The kernel's number for it.
    pub id: u32,
    /// Instructions that the verifier went through.
    pub verified_instructions: u32,
}

/// The loaded object; the programs live as long as this or a link.
pub(crate) struct Programs {
    object: Ebpf,
}

pub(crate) const fn entries(info: MapInfo, profile: Profile) -> u32 {
    match profile {
        Profile::Lab => info.lab,
        Profile::Node => info.node,
    }
}

impl Programs {
    /// Loads everything; maps are those pinned below `directory`, made where they are missing.
    pub(crate) fn load(directory: &Path, config: &NodeConfig, profile: Profile) -> Result<Self, Error> {
        Self::load_object(OBJECT, directory, config, profile)
    }

    fn load_object(bytes: &[u8], directory: &Path, config: &NodeConfig, profile: Profile) -> Result<Self, Error> {
        let mut loader = EbpfLoader::new();
        loader.override_global("CONFIG", config.as_bytes(), true);
        for info in ALL {
            loader.map_pin_path(info.name, pin_path(directory, *info));
            loader.map_max_entries(info.name, entries(*info, profile));
        }
        let mut object = loader.load(bytes).map_err(|e| Error::Load(Box::new(e)))?;
        for name in CLASSIFIERS {
            let program: &mut SchedClassifier = typed(&mut object, name)?;
            program.load().map_err(|e| refused(name, e))?;
        }
        let program: &mut Xdp = typed(&mut object, XDP)?;
        program.load().map_err(|e| refused(XDP, e))?;
        for (name, _) in SOCKET_HOOKS {
            let program: &mut CgroupSockAddr = typed(&mut object, name)?;
            program.load().map_err(|e| refused(name, e))?;
        }
        let program: &mut SockOps = typed(&mut object, TCP_END.0)?;
        program.load().map_err(|e| refused(TCP_END.0, e))?;
        Ok(Self { object })
    }

    /// A program's descriptor.
    pub(crate) fn fd(&self, name: &str) -> Result<BorrowedFd<'_>, Error> {
        let program = self.object.program(name).ok_or_else(|| missing(name))?;
        Ok(program.fd().map_err(|e| refused(name, e))?.as_fd())
    }

    /// What was loaded.
    pub(crate) fn infos(&self) -> Result<Vec<ProgramInfo>, Error> {
        CLASSIFIERS
            .into_iter()
            .chain([XDP])
            .chain(on_the_cgroup().map(|(name, _)| name))
            .map(|name| {
                let (id, verified) =
                    sys::program_info(self.fd(name)?).map_err(|e| Error::kernel("ask about program", name, e))?;
                Ok(ProgramInfo { name: name.to_owned(), id, verified_instructions: verified })
            })
            .collect()
    }
}

fn typed<'a, P>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut P, Error>
where
    &'a mut P: TryFrom<&'a mut Program, Error = aya::programs::ProgramError>,
{
    let program = object.program_mut(name).ok_or_else(|| missing(name))?;
    program.try_into().map_err(|e| refused(name, e))
}

fn missing(name: &str) -> Error {
    Error::Map { name: name.to_owned(), what: "the object has no such program".to_owned() }
}

fn refused(name: &str, source: aya::programs::ProgramError) -> Error {
    Error::Program { program: name.to_owned(), source: Box::new(source) }
}

/// Names another object file for [`loaded_for_tests`]: one with a fault in it, which the fixtures must find.
pub const OBJECT_FOR_TESTS: &str = "MALLA_DATAPATH_OBJECT";

/// tc and XDP programs by their names.
pub type NamedPrograms = Vec<(String, OwnedFd)>;

/// The programs over maps pinned below `directory`, for test runs: name and descriptor, and what the verifier did.
/// Those of the file that [`OBJECT_FOR_TESTS`] names, where it names one.
///
/// # Errors
/// As for a real start.
pub fn loaded_for_tests(directory: &Path, config: &NodeConfig) -> Result<(NamedPrograms, Vec<ProgramInfo>), Error> {
    let programs = match std::env::var_os(OBJECT_FOR_TESTS) {
        Some(path) => {
            let path = std::path::PathBuf::from(path);
            let bytes = std::fs::read(&path).map_err(|source| Error::File { operation: "read", path, source })?;
            Programs::load_object(&bytes, directory, config, Profile::Lab)?
        }
        None => Programs::load(directory, config, Profile::Lab)?,
    };
    let mut all = Vec::new();
    for name in CLASSIFIERS.into_iter().chain([XDP]) {
        let fd = programs.fd(name)?.try_clone_to_owned().map_err(|e| Error::kernel("keep program", name, e))?;
        all.push((name.to_owned(), fd));
    }
    Ok((all, programs.infos()?))
}
