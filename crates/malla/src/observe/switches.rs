//! Switches as Go's flags have them: `--follow`, and `--follow=false`.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// Arguments of which every switch takes `=false`, too.
#[derive(Debug)]
pub struct Switches<T>(pub T);

impl<T: Args> Args for Switches<T> {
    fn augment_args(command: Command) -> Command {
        T::augment_args(command).mut_args(with_a_value)
    }

    fn augment_args_for_update(command: Command) -> Command {
        T::augment_args_for_update(command).mut_args(with_a_value)
    }
}

impl<T: FromArgMatches> FromArgMatches for Switches<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

fn with_a_value(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
        .value_name("BOOL")
        .value_parser(yes)
}

/// As Go's flags have it, and as it reads in words.
pub fn yes(value: &str) -> Result<bool, String> {
    match value.to_lowercase().as_str() {
        "yes" | "true" | "t" | "1" => Ok(true),
        "no" | "false" | "f" | "0" => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}
