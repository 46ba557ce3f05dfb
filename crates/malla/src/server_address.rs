//! Where a server of Hubble's API is, as `hubble --server` writes it, and who asks it.

use anyhow::Context;
use flow_api::client::Credentials;
use flow_relay::Target;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// `unix:///path`, or `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// On this machine.
    Socket(PathBuf),
    /// Anywhere.
    Network(String),
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') {
                Ok(Self::Socket(path.into()))
            } else {
                Err("unix:// wants a path".into())
            };
        }
        let address = ["tcp://", "tls://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
        let (host, port) = address.rsplit_once(':').ok_or("is neither unix:///PATH nor HOST:PORT")?;
        match port.parse::<u16>() {
            Ok(1..) if !host.is_empty() => Ok(Self::Network(address.to_owned())),
            _ => Err("is neither unix:///PATH nor HOST:PORT".to_owned()),
        }
    }
}

impl Server {
    /// The way there, with the name that its certificate must have. One that has a star is that of any node.
    #[must_use]
    pub fn target(&self, server_name: &str) -> Target {
        match self {
            Self::Socket(path) => Target::Socket(path.clone()),
            Self::Network(address) => {
                let server_name = server_name.replacen('*', "any", 1);
                Target::Network { address: address.clone(), server_name: Some(server_name) }
            }
        }
    }
}

/// From a folder that looks like a mounted Secret.
///
/// # Errors
/// When a file can't be read.
pub fn client_credentials(folder: &Path) -> anyhow::Result<Credentials> {
    let own = Some((read(folder, "tls.crt")?, read(folder, "tls.key")?));
    Ok(Credentials { authorities: read(folder, "ca.crt")?, own })
}

/// A file of such a folder.
///
/// # Errors
/// When it can't be read.
pub fn read(folder: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    let path = folder.join(name);
    std::fs::read(&path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_written_as_hubble_has_them() {
        let socket = |path: &str| Ok(Server::Socket(path.into()));
        let network = |address: &str| Ok(Server::Network(address.to_owned()));
        assert_eq!("unix:///run/x.sock".parse::<Server>(), socket("/run/x.sock"));
        assert_eq!("10.0.0.1:4244".parse::<Server>(), network("10.0.0.1:4244"));
        assert_eq!("tls://[fd00::1]:443".parse::<Server>(), network("[fd00::1]:443"));
        for wrong in ["unix://x.sock", "relay", "relay:", "relay:0", ":4244", "relay:http"] {
            assert!(wrong.parse::<Server>().is_err(), "{wrong}");
        }
    }
}
