//! How events are printed.

use super::select::Selectors;
use anyhow::bail;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use flow_api::print::{Colour, Form, Options, TimeFormat};
use std::io::IsTerminal;

/// Of everything that is observed.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct Format {
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    output: Style,
    /// How times are written, all of them in UTC
    #[arg(long, value_name = "FORMAT", default_value = "StampMilli", ignore_case = true, value_parser = time_format())]
    time_format: TimeFormat,
    /// Print which node has seen it
    #[arg(long)]
    print_node_name: bool,
    /// Print nothing of what goes wrong with a node
    #[arg(short, long)]
    pub silent_errors: bool,
    /// Print which nodes are heard, too
    #[arg(short = 'D', long)]
    debug: bool,
}

/// Of flows alone.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct FlowFormat {
    /// Colour
    #[arg(long, value_enum, default_value_t)]
    color: When,
    /// Print names rather than addresses [default: true]
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL",
        value_parser = super::switches::yes
    )]
    ip_translation: Option<bool>,
    /// Print addresses rather than names
    #[arg(long)]
    numeric: bool,
    /// Print which policies decided
    #[arg(long)]
    print_policy_names: bool,
}

/// One event after the other, or all at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// One line each
    #[default]
    Compact,
    /// One line per field
    Dict,
    /// A table
    #[value(alias = "table")]
    Tab,
    /// One JSON object per line, with the node and what was lost
    Jsonpb,
    /// The same; the event alone, if HUBBLE_COMPAT is legacy-json-output
    #[value(alias = "JSON")]
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum When {
    /// On a terminal
    #[default]
    Auto,
    Always,
    Never,
}

impl Format {
    /// In which form: `compat` is what `HUBBLE_COMPAT` says.
    pub fn form(&self, compat: Option<&str>) -> Form {
        let is_legacy = || compat.is_some_and(|all| all.split(',').any(|one| one.eq_ignore_ascii_case(LEGACY)));
        match self.output {
            Style::Compact => Form::Compact,
            Style::Dict => Form::Dict,
            Style::Tab => Form::Tab,
            Style::Json if is_legacy() => Form::LegacyJson,
            Style::Json | Style::Jsonpb => Form::JsonPb,
        }
    }

    /// In which form, here and now.
    ///
    /// # Errors
    /// When that is printed at an end that never comes.
    pub fn form_for(&self, selectors: &Selectors) -> anyhow::Result<Form> {
        let form = self.form(std::env::var("HUBBLE_COMPAT").ok().as_deref());
        if form == Form::Tab && selectors.follow {
            bail!("--output tab is printed at the end, and --follow has none: leave one of them out");
        }
        Ok(form)
    }

    /// In this form; events of several nodes with the node's name.
    pub fn options(&self, form: Form, several: bool) -> Options {
        let is_json = matches!(form, Form::JsonPb | Form::LegacyJson);
        Options {
            form,
            time: self.time_format,
            node_name: self.print_node_name || several && !is_json,
            debug: self.debug,
            ..Options::default()
        }
    }
}

impl FlowFormat {
    /// What else there is to say about flows.
    pub fn complete(&self, options: Options) -> Options {
        let colour = match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Options {
            colour: if colour { Colour::Always } else { Colour::Never },
            ip_translation: !self.numeric && self.ip_translation.unwrap_or(true),
            policy_names: self.print_policy_names,
            ..options
        }
    }
}

fn time_format() -> impl TypedValueParser<Value = TimeFormat> {
    PossibleValuesParser::new(TimeFormat::ALL.map(|(name, _)| name)).try_map(|name| {
        let known = TimeFormat::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
        known.map(|(_, format)| *format).ok_or("is no format of times")
    })
}

/// In `HUBBLE_COMPAT`.
const LEGACY: &str = "legacy-json-output";
