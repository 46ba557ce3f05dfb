//! Which server is asked, how, and as who: `hubble`'s flags and variables.
//!
//! What is written on the command line comes before what a variable `HUBBLE_…` says. Whoever names a lab's nodes has named
//! whom to ask: then no variable counts.

mod credentials;

use super::switches::yes;
use crate::server_address::Server;
use crate::units::read_duration;
use anyhow::{anyhow, bail};
use clap::Args;
use flow_api::client::Credentials;
use flow_relay::Target;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::Channel;

/// What was written.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Ask a relay, or one node, instead of a lab: unix:///PATH, tls://HOST:PORT, or HOST:PORT (in clear, unless a flag or
    /// variable is about TLS) [env: HUBBLE_SERVER]
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["node", "socket"])]
    server: Option<Server>,
    /// Over TLS; as who a folder says, with tls.crt, tls.key and ca.crt [env: HUBBLE_TLS]
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = "true", value_parser = tls)]
    tls: Option<Tls>,
    /// Take whoever answers for the server: others can read what it is asked, and answer [env: HUBBLE_TLS_ALLOW_INSECURE]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = yes
    )]
    tls_allow_insecure: Option<bool>,
    /// Authorities of which one has signed the server's certificate (PEM) [default: the machine's] [env:
    /// HUBBLE_TLS_CA_CERT_FILES]
    #[arg(long, value_name = "FILES", value_delimiter = ',')]
    tls_ca_cert_files: Vec<PathBuf>,
    /// Who asks (PEM) [env: HUBBLE_TLS_CLIENT_CERT_FILE]
    #[arg(long, value_name = "FILE")]
    tls_client_cert_file: Option<PathBuf>,
    /// And the key to that (PEM) [env: HUBBLE_TLS_CLIENT_KEY_FILE]
    #[arg(long, value_name = "FILE")]
    tls_client_key_file: Option<PathBuf>,
    /// The name that the server's certificate must have [default: the host of --server; with a folder
    /// *.hubble-relay.cilium.io] [env: HUBBLE_TLS_SERVER_NAME]
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// Longest wait for a connection [default: 5s] [env: HUBBLE_TIMEOUT]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Longest wait for an answer that is no stream (`malla list`) [default: 12s] [env: HUBBLE_REQUEST_TIMEOUT]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    request_timeout: Option<Duration>,
}

/// What `--tls` says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tls {
    On,
    /// As if it were not written.
    Off,
    /// On, as it looks in a mounted Secret.
    Folder(PathBuf),
}

/// A server, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Way {
    target: Target,
    credentials: Option<Credentials>,
    timeout: Duration,
}

impl Way {
    /// A channel that is open.
    ///
    /// # Errors
    /// When nobody answers there, or somebody else.
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        let connected = self.target.connect_within(self.timeout, self.credentials.as_ref()).await;
        connected.map_err(|why| anyhow!("{}: {why}", self.target.address()))
    }
}

impl ServerArgs {
    /// The way to the server; `None`: a lab's nodes are asked. `variable` is what the environment says.
    ///
    /// # Errors
    /// Flags or variables that contradict each other, or files that can't be read.
    pub fn way(&self, variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Option<Way>> {
        let written = self.clone().or(variable)?;
        let Some(server) = &written.server else {
            if let Some(flag) = self.about_tls() {
                bail!("{flag} is about a server: name it with --server");
            }
            return Ok(None);
        };
        let credentials = written.credentials(server)?;
        let name = written.tls_server_name.as_deref().or(match &written.tls {
            Some(Tls::Folder(_)) => Some(OF_RELAYS),
            _ => server.host(),
        });
        Ok(Some(Way {
            target: server.target(credentials.as_ref(), name.unwrap_or(OF_RELAYS))?,
            credentials,
            timeout: written.timeout.unwrap_or(TIMEOUT),
        }))
    }

    /// Longest wait for an answer that is no stream.
    ///
    /// # Errors
    /// The variable for it is no duration.
    pub fn request_timeout(&self, variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Duration> {
        Ok(self.clone().or(variable)?.request_timeout.unwrap_or(REQUEST_TIMEOUT))
    }

    /// What is not written is taken from the environment.
    fn or(mut self, variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        fill(&mut self.server, variable, "HUBBLE_SERVER", |text| text.parse())?;
        // Who writes `--tls=false` means it, whatever variables say of TLS; only the server's own scheme says otherwise.
        let is_tls = matches!(self.server, Some(Server::Network { tls: Some(true), .. }));
        let in_clear = self.tls == Some(Tls::Off) && !is_tls;
        let of_tls = |name: &str| if in_clear { None } else { variable(name) };
        fill(&mut self.tls, &of_tls, "HUBBLE_TLS", tls)?;
        fill(&mut self.tls_allow_insecure, &of_tls, "HUBBLE_TLS_ALLOW_INSECURE", yes)?;
        fill(&mut self.tls_client_cert_file, &of_tls, "HUBBLE_TLS_CLIENT_CERT_FILE", path)?;
        fill(&mut self.tls_client_key_file, &of_tls, "HUBBLE_TLS_CLIENT_KEY_FILE", path)?;
        fill(&mut self.tls_server_name, &of_tls, "HUBBLE_TLS_SERVER_NAME", |text| Ok(text.to_owned()))?;
        fill(&mut self.timeout, variable, "HUBBLE_TIMEOUT", duration)?;
        fill(&mut self.request_timeout, variable, "HUBBLE_REQUEST_TIMEOUT", duration)?;
        if self.tls_ca_cert_files.is_empty() {
            let files = of_tls("HUBBLE_TLS_CA_CERT_FILES").unwrap_or_default();
            self.tls_ca_cert_files =
                files.split([',', ' ']).filter(|file| !file.is_empty()).map(PathBuf::from).collect();
        }
        Ok(self)
    }
}

fn fill<T>(
    written: &mut Option<T>,
    variable: &dyn Fn(&str) -> Option<String>,
    name: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> anyhow::Result<()> {
    if written.is_none() {
        *written = match variable(name).filter(|text| !text.is_empty()) {
            Some(text) => Some(read(&text).map_err(|why| anyhow!("{name}={text}: {why}"))?),
            None => None,
        };
    }
    Ok(())
}

/// What is neither yes nor no is a folder.
fn tls(text: &str) -> Result<Tls, String> {
    Ok(match yes(text) {
        Ok(true) => Tls::On,
        Ok(false) => Tls::Off,
        Err(_) => Tls::Folder(text.into()),
    })
}

fn path(text: &str) -> Result<PathBuf, String> {
    Ok(text.into())
}

/// Nobody answers in no time at all.
fn duration(text: &str) -> Result<Duration, String> {
    let long = read_duration(text)?;
    if long.is_zero() { Err("is no time to wait".to_owned()) } else { Ok(long) }
}

/// The names of relays, to those who show who they are by a folder.
const OF_RELAYS: &str = "*.hubble-relay.cilium.io";
/// As `hubble`.
const TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(12);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, Command, FromArgMatches};
    use flow_api::client::Believed;

    fn args(line: &str) -> ServerArgs {
        let command = Command::new("observe").no_binary_name(true).args([Arg::new("node"), Arg::new("socket")]);
        let matches = ServerArgs::augment_args(command).try_get_matches_from(line.split_whitespace());
        ServerArgs::from_arg_matches(&matches.unwrap()).unwrap()
    }

    fn way(line: &str, variables: &[(&str, &str)]) -> Result<Option<Way>, String> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        args(line).way(&variable).map_err(|error| format!("{error:#}"))
    }

    /// A folder with a certificate, its key and an authority, which nobody has looked into.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        folder
    }

    /// The name that is asked for, the own certificate, and whose word is taken.
    fn shown(way: &Way) -> (Option<&str>, Option<&[u8]>, Option<&[u8]>) {
        let credentials = way.credentials.as_ref();
        let believed = credentials.and_then(|credentials| match &credentials.believed {
            Believed::Authorities(pem) => Some(pem.as_slice()),
            Believed::Anybody => None,
        });
        let own = credentials.and_then(|credentials| credentials.own.as_ref()).map(|(own, _)| own.as_slice());
        (way.target.server_name(), own, believed)
    }

    #[test]
    fn hubbles_files_say_who_asks_and_whom_it_believes() {
        let folder = folder();
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (own, key, ca) = (file("tls.crt"), file("tls.key"), file("ca.crt"));
        let line = format!(
            "--server relay:4245 --tls --tls-ca-cert-files {ca},{ca} --tls-client-cert-file {own} \
                            --tls-client-key-file {key}"
        );
        let found = way(&line, &[]).unwrap().unwrap();
        assert_eq!(shown(&found), (Some("relay"), Some(&b"tls.crt"[..]), Some(&b"ca.crt\nca.crt"[..])));
        // They mean TLS without its switch; and a name is a name.
        let line = line.replace("--tls ", "--tls-server-name any.x ");
        assert_eq!(shown(&way(&line, &[]).unwrap().unwrap()).0, Some("any.x"));
        let careless = way(&format!("--server [fd00::1]:4245 --tls-ca-cert-files {ca} --tls-allow-insecure"), &[]);
        assert_eq!(shown(&careless.unwrap().unwrap()), (Some("fd00::1"), None, None));
        let wary = way(&format!("--server relay:1 --tls-ca-cert-files {ca} --tls-allow-insecure=false"), &[]);
        assert_eq!(shown(&wary.unwrap().unwrap()).2, Some(&b"ca.crt"[..]));
    }

    #[test]
    fn a_folder_is_all_that_and_the_name_is_a_relays() {
        let folder = folder();
        let path = folder.path().to_str().unwrap();
        let found = way(&format!("--server relay:4245 --tls {path}"), &[]).unwrap().unwrap();
        assert_eq!(shown(&found), (Some("any.hubble-relay.cilium.io"), Some(&b"tls.crt"[..]), Some(&b"ca.crt"[..])));
        let error = way(&format!("--server relay:1 --tls {path} --tls-ca-cert-files {path}/ca.crt"), &[]).unwrap_err();
        assert!(error.contains("--tls FOLDER"), "{error}");
        let error = way("--server relay:1 --tls /nowhere", &[]).unwrap_err();
        assert!(error.contains("/nowhere/"), "{error}");
    }

    #[test]
    fn what_is_not_written_is_in_the_environment() {
        let folder = folder();
        let ca = folder.path().join("ca.crt").to_str().unwrap().to_owned();
        let variables = [
            ("HUBBLE_SERVER", "tls://relay:4245"),
            ("HUBBLE_TLS_CA_CERT_FILES", ca.as_str()),
            ("HUBBLE_TLS_SERVER_NAME", "any.x"),
            ("HUBBLE_TIMEOUT", "1m30s"),
        ];
        let found = way("", &variables).unwrap().unwrap();
        assert_eq!((shown(&found).0, found.timeout), (Some("any.x"), Duration::from_secs(90)));
        let found = way("--server tls://other:1 --tls-server-name y --timeout 2s", &variables).unwrap().unwrap();
        assert_eq!((found.target.address().as_str(), shown(&found).0), ("other:1", Some("y")));
        assert_eq!(found.timeout, Duration::from_secs(2));
        assert!(way("", &variables[1..]).unwrap().is_none(), "without a server nothing else matters");
        let clear = way("--server relay:80 --tls=false", &[("HUBBLE_TLS", "true")]).unwrap().unwrap();
        assert_eq!((shown(&clear), clear.timeout), ((None, None, None), TIMEOUT));
        let of_tls = [("HUBBLE_TLS_ALLOW_INSECURE", "true"), variables[1], variables[2]];
        let clear = way("--server relay:80 --tls=false", &of_tls).unwrap().unwrap();
        assert_eq!(shown(&clear), (None, None, None), "whatever the variables say");
        let found = way("--server tls://relay:1 --tls=false", &variables[1..]).unwrap().unwrap();
        assert_eq!(shown(&found).0, Some("any.x"), "the scheme is the server's own");
        let answer = |line: &str| args(line).request_timeout(&|_| None).unwrap();
        assert_eq!((answer(""), answer("--request-timeout 1s")), (REQUEST_TIMEOUT, Duration::from_secs(1)));
    }

    #[test]
    fn what_makes_no_sense_names_the_flag_or_the_variable() {
        for (line, variables, part) in [
            ("--tls", &[][..], "--tls is about a server"),
            ("--tls-ca-cert-files a", &[], "--tls-ca-cert-files is about a server"),
            ("--server a:1 --tls-client-cert-file a", &[], "needs --tls-client-key-file"),
            ("--server a:1 --tls-client-key-file a", &[], "needs --tls-client-cert-file"),
            ("--server a:1 --tls-ca-cert-files /nowhere", &[], "read /nowhere"),
            ("--server tcp://a:1 --tls-allow-insecure", &[], "in clear"),
            ("", &[("HUBBLE_SERVER", "relay")], "HUBBLE_SERVER=relay: is neither"),
            ("--server a:1", &[("HUBBLE_TIMEOUT", "soon")], "HUBBLE_TIMEOUT=soon: is no duration"),
        ] {
            let error = way(line, variables).map(drop).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
        for wrong in ["0s", "-5s", "5"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
