//! What the runtime says through environment variables ("Parameters" in the specification).

use std::{fmt, str::FromStr};

use crate::{CniError, ErrorCode};

/// The operation (`CNI_COMMAND`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Command {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The operation is about one container's one interface.
    #[must_use]
    pub fn needs_container(self) -> bool {
        matches!(self, Self::Add | Self::Del | Self::Check)
    }

    /// `CNI_NETNS` must be given. DEL comes without it when the namespace is gone already.
    #[must_use]
    pub fn needs_netns(self) -> bool {
        matches!(self, Self::Add | Self::Check)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Command {
    type Err = CniError;

    fn from_str(text: &str) -> Result<Self, CniError> {
        [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version]
            .into_iter()
            .find(|command| command.as_str() == text)
            .ok_or_else(|| wrong("CNI_COMMAND", text, "one of ADD, DEL, CHECK, GC, STATUS, VERSION"))
    }
}

/// The variables, validated for their command. What a command does not need is kept if given, empty if not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    pub command: Command,
    pub container_id: String,
    /// Path of the network namespace.
    pub netns: String,
    /// Name of the interface inside the container.
    pub ifname: String,
    /// `CNI_ARGS` as it came.
    pub args: String,
    /// `CNI_PATH` as it came: colon-separated directories of plugins.
    pub path: String,
}

impl Environment {
    /// Reads the variables through `get` (absent: `None`) and validates them for the command.
    pub fn read(mut get: impl FnMut(&'static str) -> Option<String>) -> Result<Self, CniError> {
        let mut get = |name| get(name).unwrap_or_default();
        let command = get("CNI_COMMAND");
        if command.is_empty() {
            return Err(missing("CNI_COMMAND"));
        }
        let environment = Self {
            command: command.parse()?,
            container_id: get("CNI_CONTAINERID"),
            netns: get("CNI_NETNS"),
            ifname: get("CNI_IFNAME"),
            args: get("CNI_ARGS"),
            path: get("CNI_PATH"),
        };
        environment.validate()?;
        Ok(environment)
    }

    /// Checks every variable that the command needs, and every one that is given. The agent does this again: its
    /// socket may be spoken to by others than the plugin.
    pub fn validate(&self) -> Result<(), CniError> {
        let command = self.command;
        if command == Command::Version {
            return Ok(());
        }
        let required = [
            ("CNI_CONTAINERID", &self.container_id, command.needs_container()),
            ("CNI_IFNAME", &self.ifname, command.needs_container()),
            ("CNI_NETNS", &self.netns, command.needs_netns()),
            ("CNI_PATH", &self.path, true),
        ];
        if let Some((name, ..)) = required.into_iter().find(|(_, value, needed)| *needed && value.is_empty()) {
            return Err(missing(name));
        }
        if !self.container_id.is_empty() && !is_container_id(&self.container_id) {
            let expected = "a letter or digit, then letters, digits, '_', '.' and '-', at most 200";
            return Err(wrong("CNI_CONTAINERID", &self.container_id, expected));
        }
        if !self.ifname.is_empty() && !is_interface_name(&self.ifname) {
            return Err(wrong(
                "CNI_IFNAME",
                &self.ifname,
                "an interface name of 1 to 15 bytes without '/', ':' and blanks",
            ));
        }
        if self.netns.contains('\0') || self.netns.len() > PATH_MAX {
            return Err(wrong("CNI_NETNS", &self.netns, "a path"));
        }
        Arguments::parse(&self.args)?;
        Ok(())
    }
}

/// "Must start with an alphanumeric character, optionally followed by any combination of one or more alphanumeric
/// characters, underscore, dot or hyphen." The bound of 200 is ours: ids become file names.
#[must_use]
pub fn is_container_id(text: &str) -> bool {
    text.len() <= MAX_CONTAINER_ID && is_identifier(text)
}

/// As libcni's `ValidateInterfaceName`: what the kernel takes, no more.
#[must_use]
pub fn is_interface_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text != "."
        && text != ".."
        && !text.chars().any(|c| c == '/' || c == ':' || c == '\0' || c.is_whitespace())
}

pub(crate) fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-'))
}

/// The key-value pairs of `CNI_ARGS`: `K8S_POD_NAMESPACE=default;K8S_POD_NAME=spink-0`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments(Vec<(String, String)>);

impl Arguments {
    pub fn parse(text: &str) -> Result<Self, CniError> {
        let mut pairs = Vec::new();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) if !key.is_empty() => pairs.push((key.to_owned(), value.to_owned())),
                _ => return Err(wrong("CNI_ARGS", text, "KEY=VALUE pairs separated by ';'")),
            }
        }
        Ok(Self(pairs))
    }

    /// The last value given for `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }
}

fn missing(name: &str) -> CniError {
    CniError::new(ErrorCode::INVALID_ENVIRONMENT, format!("required environment variable {name} is missing"))
}

fn wrong(name: &str, value: &str, expected: &str) -> CniError {
    let shown: String = value.chars().take(64).collect();
    CniError::new(ErrorCode::INVALID_ENVIRONMENT, format!("environment variable {name} is invalid"))
        .with_details(format!("{shown:?} is not {expected}"))
}

const MAX_CONTAINER_ID: usize = 200;
const PATH_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Result<Environment, CniError> {
        Environment::read(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    const FULL: [(&str, &str); 5] = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c0ffee"),
        ("CNI_NETNS", "/run/netns/x"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
    ];

    #[test]
    fn each_missing_variable_is_named() {
        assert_eq!(read(&FULL).unwrap().container_id, "c0ffee");
        for missing in FULL.map(|(name, _)| name) {
            let pairs: Vec<_> = FULL.into_iter().filter(|(name, _)| *name != missing).collect();
            let error = read(&pairs).unwrap_err();
            assert_eq!(error.code, ErrorCode::INVALID_ENVIRONMENT);
            assert!(error.msg.contains(missing), "{error}");
        }
    }

    #[test]
    fn del_needs_no_namespace_and_gc_no_container() {
        let del = FULL.map(|(n, v)| {
            (
                n,
                match n {
                    "CNI_COMMAND" => "DEL",
                    "CNI_NETNS" => "",
                    _ => v,
                },
            )
        });
        assert_eq!(read(&del).unwrap().netns, "");
        for command in ["GC", "STATUS"] {
            assert!(read(&[("CNI_COMMAND", command), ("CNI_PATH", "/opt/cni/bin")]).is_ok());
            assert!(read(&[("CNI_COMMAND", command)]).is_err(), "CNI_PATH is required");
        }
        assert!(read(&[("CNI_COMMAND", "VERSION")]).is_ok());
    }

    #[test]
    fn invalid_values_are_refused() {
        let cases = [
            ("CNI_COMMAND", "add"),
            ("CNI_CONTAINERID", "../etc/passwd"),
            ("CNI_CONTAINERID", "-rf"),
            ("CNI_CONTAINERID", "a b"),
            ("CNI_IFNAME", "sixteen-bytes-xx"),
            ("CNI_IFNAME", ".."),
            ("CNI_IFNAME", "a/b"),
            ("CNI_IFNAME", "eth0:1"),
            ("CNI_IFNAME", "a\tb"),
        ];
        for (name, bad) in cases {
            let pairs = FULL.map(|(n, v)| (n, if n == name { bad } else { v }));
            let error = read(&pairs).unwrap_err();
            assert!(error.msg.contains(name), "{name}={bad}: {error}");
        }
        let long = "a".repeat(201);
        assert!(!is_container_id(&long) && is_container_id(&long[..200]));
    }

    #[test]
    fn arguments_are_pairs() {
        let args = Arguments::parse("IgnoreUnknown=1;K8S_POD_NAME=a=b;;EMPTY=;K8S_POD_NAME=last").unwrap();
        assert_eq!(args.get("K8S_POD_NAME"), Some("last"));
        assert_eq!(args.get("EMPTY"), Some(""));
        assert_eq!(args.get("NONE"), None);
        assert!(Arguments::parse("novalue").is_err());
        assert!(Arguments::parse("=x").is_err());
    }
}
