//! Flags of `hubble` that have no meaning here. Who writes one is told what does the same.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// None of them was written.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere;

impl Args for Elsewhere {
    fn augment_args(mut command: Command) -> Command {
        for (name, _) in FLAGS {
            let arg = Arg::new(name).long(name).action(ArgAction::Append).num_args(0..=1).hide(true);
            command = command.arg(if name == PORT_FORWARD { arg.short('P').require_equals(true) } else { arg });
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Elsewhere {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match FLAGS.iter().find(|(name, _)| matches.contains_id(name)) {
            None => Ok(Self),
            Some((name, instead)) => {
                let why = format!("--{name} is not for malla: {instead}\n");
                Err(clap::Error::raw(ErrorKind::UnknownArgument, why))
            }
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

const PORT_FORWARD: &str = "port-forward";
const REACH: &str = "run `kubectl port-forward` to the relay, and name its end with --server localhost:PORT";
const CERTIFICATES: &str =
    "a relay knows its clients by their certificates: --tls-client-cert-file and --tls-client-key-file";

/// Their names, and what to do instead.
const FLAGS: [(&str, &str); 9] = [
    (PORT_FORWARD, REACH),
    ("port-forward-port", REACH),
    ("kube-context", REACH),
    ("kube-namespace", REACH),
    ("kubeconfig", REACH),
    ("basic-auth-username", CERTIFICATES),
    ("basic-auth-password", CERTIFICATES),
    (
        "ip-trace-option",
        "flows don't tell which option of IP their trace stood in: ask for the trace, with --ip-trace-id",
    ),
    ("config", "it reads no file: write the flags, or the variables that `malla observe --help` names"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_one_is_told_what_to_write_instead() {
        let read = |line: &str| {
            let command = Elsewhere::augment_args(Command::new("observe").no_binary_name(true));
            let matches = command.try_get_matches_from(line.split_whitespace()).unwrap();
            Elsewhere::from_arg_matches(&matches).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(read(""), Ok(()));
        for (line, flag, instead) in [
            ("-P", "--port-forward", "--server localhost"),
            ("--port-forward=true", "--port-forward", "kubectl port-forward"),
            ("--kubeconfig a.yaml", "--kubeconfig", "--server"),
            ("--basic-auth-password=x", "--basic-auth-password", "--tls-client-cert-file"),
            ("--config c.yaml", "--config", "the flags"),
            ("--ip-trace-option 136", "--ip-trace-option", "--ip-trace-id"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(&format!("{flag} is not")) && error.contains(instead), "{line}: {error}");
        }
    }
}
