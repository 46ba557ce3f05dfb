//! Where a server of Hubble's API is, as `hubble --server` writes it, and who asks it.

use anyhow::bail;
use flow_api::client::Credentials;
use flow_relay::Target;
use std::path::PathBuf;
use std::str::FromStr;

/// `unix:///path`, or `HOST:PORT`, with `tcp://` (in clear) or `tls://` before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// On this machine.
    Socket(PathBuf),
    /// Anywhere. Without a scheme it is spoken to over TLS if there are certificates for it.
    Network {
        /// With port.
        address: String,
        /// What the scheme says.
        tls: Option<bool>,
    },
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
        let scheme = [("tcp://", false), ("tls://", true)];
        let written = scheme.iter().find_map(|(scheme, tls)| Some((text.strip_prefix(scheme)?, Some(*tls))));
        let (address, tls) = written.unwrap_or((text, None));
        let (host, port) = address.rsplit_once(':').ok_or("is neither unix:///PATH nor HOST:PORT")?;
        match port.parse::<u16>() {
            Ok(1..) if !host.is_empty() => Ok(Self::Network { address: address.to_owned(), tls }),
            _ => Err("is neither unix:///PATH nor HOST:PORT".to_owned()),
        }
    }
}

impl Server {
    /// The machine that is named, as a certificate has it; of a socket none.
    pub fn host(&self) -> Option<&str> {
        let Self::Network { address, .. } = self else { return None };
        let (host, _) = address.rsplit_once(':')?;
        Some(host.trim_start_matches('[').trim_end_matches(']'))
    }

    /// The way there for who has certificates or none, with the name that its certificate must have. One that has a star is
    /// that of any node.
    ///
    /// # Errors
    /// When the certificates would not be asked for, or are missing.
    pub fn target(&self, credentials: Option<&Credentials>, server_name: &str) -> anyhow::Result<Target> {
        let (address, tls) = match self {
            Self::Socket(path) => return Ok(Target::Socket(path.clone())),
            Self::Network { address, tls } => (address.clone(), tls.unwrap_or(credentials.is_some())),
        };
        match (tls, credentials) {
            (true, None) => bail!("tls://{address} wants --tls: a folder with tls.crt, tls.key and ca.crt"),
            (false, Some(_)) => bail!("tcp://{address} is in clear: leave --tls out, or write tls://{address}"),
            _ => {}
        }
        Ok(Target::Network { address, server_name: tls.then(|| server_name.replacen('*', "any", 1)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_api::client::Believed;

    #[test]
    fn servers_are_written_as_hubble_has_them() {
        let socket = |path: &str| Ok(Server::Socket(path.into()));
        let network = |address: &str, tls| Ok(Server::Network { address: address.to_owned(), tls });
        assert_eq!("unix:///run/x.sock".parse::<Server>(), socket("/run/x.sock"));
        assert_eq!("10.0.0.1:4244".parse::<Server>(), network("10.0.0.1:4244", None));
        assert_eq!("tls://[fd00::1]:443".parse::<Server>(), network("[fd00::1]:443", Some(true)));
        let host = |text: &str| text.parse::<Server>().unwrap().host().map(str::to_owned);
        assert_eq!(
            (host("tls://[fd00::1]:443"), host("relay:80")),
            (Some("fd00::1".to_owned()), Some("relay".to_owned()))
        );
        assert_eq!(host("unix:///run/x.sock"), None);
        for wrong in ["unix://x.sock", "relay", "relay:", "relay:0", ":4244", "relay:http"] {
            assert!(wrong.parse::<Server>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_secret_is_never_spoken_in_clear_and_nothing_is_ignored() {
        let credentials = Credentials { believed: Believed::Authorities(Vec::new()), own: None };
        let target = |text: &str, with: bool| {
            let target = text.parse::<Server>().unwrap().target(with.then_some(&credentials), "*.x");
            target.map(|target| target.server_name().map(str::to_owned)).map_err(|error| error.to_string())
        };
        assert_eq!(target("relay:80", false), Ok(None));
        assert_eq!(target("relay:80", true), Ok(Some("any.x".to_owned())));
        assert_eq!(target("tcp://relay:80", false), Ok(None));
        assert_eq!(target("tls://relay:80", true), Ok(Some("any.x".to_owned())));
        assert!(target("tls://relay:80", false).unwrap_err().contains("--tls"));
        assert!(target("tcp://relay:80", true).unwrap_err().contains("in clear"));
    }
}
