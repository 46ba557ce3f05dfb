//! Command lines, and what is asked for by them.

use super::*;
use crate::observe::{Observe, ObserveArgs, Switches};
use clap::{Command, FromArgMatches};
use prost_types::Timestamp;

/// `malla observe`, and what follows.
fn observe(line: &str) -> Result<ObserveArgs, String> {
    let command = ObserveArgs::augment_args(Command::new("observe").no_binary_name(true));
    let matches = command.try_get_matches_from(line.split_whitespace()).map_err(|error| error.to_string())?;
    ObserveArgs::from_arg_matches(&matches).map_err(|error| error.to_string())
}

fn flows(line: &str) -> Result<FlowsArgs, String> {
    let Switches(args) = observe(line)?.flows;
    Ok(args)
}

/// What a line asks for, and in which form it is printed.
fn asked(line: &str) -> Result<(GetFlowsRequest, Options), String> {
    let args = flows(line)?;
    let read = || {
        let options = args.flow_format.complete(args.format.options(args.form()?, false));
        Ok((args.request(&options)?, options))
    };
    read().map_err(|error: anyhow::Error| format!("{error:#}"))
}

fn request(line: &str) -> GetFlowsRequest {
    asked(line).unwrap().0
}

fn options(line: &str) -> Options {
    asked(line).unwrap().1
}

#[test]
fn numbers_and_times_are_hubbles() {
    let number = |line: &str| (request(line).number, request(line).first);
    assert_eq!((number(""), number("--last 0"), number("--first 0")), ((20, false), (20, false), (20, false)));
    assert_eq!((number("--last 7"), number("--first 7"), number("--all")), ((7, false), (7, true), (0, false)));
    for whole in ["-f", "--follow", "--since 5m", "--until 2026-01-02", "--input-file -", "--follow=true"] {
        assert_eq!(number(whole), (0, false), "{whole}");
    }
    assert_eq!(number("-f --last 3"), (3, false));
    assert_eq!((request("-f").follow, request("--follow=false").follow), (true, false));
    assert_eq!(request("--until 2026-01-02").until, Some(Timestamp { seconds: 1_767_312_000, nanos: 0 }));
    assert_eq!(request("--since 2026-01-02T00:00:01+00:00").since.unwrap().seconds, 1_767_312_001);
    for line in ["--first 1 --last 1", "--first 1 -f", "--all --last 1", "--all --first 1"] {
        let error = asked(line).unwrap_err();
        assert!(error.contains("cannot be used with"), "{line}: {error}");
    }
    assert!(asked("--since soon").unwrap_err().contains("--since"));
    assert!(asked("--follow=perhaps").unwrap_err().contains("--follow"));
}

#[test]
fn masks_are_hubbles() {
    let mask = |line: &str| request(line).field_mask.map(|mask| mask.paths);
    assert_eq!(mask(""), None);
    let written = ["time", "source.pod_name", "verdict"].map(str::to_owned);
    for line in [
        "-o json --field-mask time,source.pod_name --field-mask verdict",
        "-o jsonpb --experimental-field-mask time,source.pod_name,verdict --use-default-field-masks",
    ] {
        assert_eq!(mask(line).unwrap(), written, "{line}");
    }
    let default = mask("--use-default-field-masks -o dict").unwrap();
    assert!(default.contains(&"Summary".to_owned()) && !default.contains(&"drop_reason_desc".to_owned()));
    assert!(!default.iter().any(|path| path.contains("allowed_by")), "{default:?}");
    assert!(mask("--use-default-field-masks --why").unwrap().contains(&"drop_reason_desc".to_owned()));
    let names = mask("--use-default-field-masks --print-policy-names").unwrap();
    assert!(names.contains(&"egress_denied_by".to_owned()), "{names:?}");
    assert_eq!(mask("--use-default-field-masks -o jsonpb"), None, "JSON prints all");
    assert_eq!(mask("--use-default-field-masks=false"), None);
    for (line, part) in [
        ("--field-mask time", "--output jsonpb"),
        ("-o json --field-mask sauce", "--field-mask: flow.Flow has no field \"sauce\""),
        ("-o json --field-mask source.", "--field-mask"),
    ] {
        let error = asked(line).unwrap_err();
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn forms_are_hubbles() {
    use flow_api::print::TimeFormat;
    for (line, form) in [
        ("", Form::Compact),
        ("-o dict", Form::Dict),
        ("-o tab", Form::Tab),
        ("--output table", Form::Tab),
        ("-o json", Form::JsonPb),
        ("-o JSON", Form::JsonPb),
        ("-o jsonpb", Form::JsonPb),
    ] {
        assert_eq!(options(line).form, form, "{line}");
    }
    let legacy = flows("-o json").unwrap().format.form(Some("x,Legacy-JSON-output"));
    assert_eq!(legacy, Form::LegacyJson);
    assert_eq!(flows("-o jsonpb").unwrap().format.form(Some("legacy-json-output")), Form::JsonPb);
    assert!(asked("-o tab -f").unwrap_err().contains("--follow"));
    assert!(asked("-o yaml").unwrap_err().contains("--output"));
    for (name, format) in TimeFormat::ALL {
        assert_eq!(options(&format!("--time-format {name}")).time, format);
        assert_eq!(options(&format!("--time-format {}", name.to_lowercase())).time, format);
    }
    assert!(asked("--time-format RFC822").unwrap_err().contains("RFC1123Z"));
    let translated = |line: &str| options(line).ip_translation;
    assert_eq!(
        (translated(""), translated("--ip-translation"), translated("--ip-translation=true")),
        (true, true, true)
    );
    assert_eq!((translated("--ip-translation=false"), translated("--numeric")), (false, false));
    assert!(!translated("--numeric --ip-translation"), "numbers are numbers");
    assert!(options("--print-node-name").node_name && !options("").node_name);
    assert!(options("--print-policy-names").policy_names && options("-D").debug && !options("").debug);
    let silent = |line: &str| flows(line).unwrap().format.silent_errors;
    assert_eq!((silent(""), silent("-s"), silent("--silent-errors=false")), (false, true, false));
    let args = flows("").unwrap();
    let several = |form| args.format.options(form, true).node_name;
    assert_eq!((several(Form::Compact), several(Form::JsonPb)), (true, false));
}

#[test]
fn who_is_asked() {
    let origin = |line: &str| flows(line).unwrap().origin().map_err(|error| format!("{error:#}"));
    assert!(matches!(origin("--input-file - --server relay:80"), Ok(Origin::File(path)) if path.as_os_str() == "-"));
    assert!(matches!(origin("--server relay:80"), Ok(Origin::Server(_))));
    assert!(matches!(origin("--socket /run/a/agent.sock"), Ok(Origin::Nodes(targets)) if targets.len() == 1));
    assert!(origin("--lab no-such-lab").map(drop).unwrap_err().contains("no-such-lab"));
    assert!(origin("--tls").map(drop).unwrap_err().contains("--server"));
    for line in ["--server a:1 --node b", "--server a:1 --why", "--server a", "-P"] {
        assert!(flows(line).is_err(), "{line}");
    }
}

#[test]
fn the_word_flows_changes_nothing() {
    let Some(Observe::Flows(args)) = observe("flows --last 7 --verdict dropped -o json").unwrap().what else {
        panic!("flows are what is asked for")
    };
    let options = args.0.format.options(Form::JsonPb, false);
    assert_eq!(args.0.request(&options).unwrap(), request("--last 7 --verdict dropped -o json"));
    assert!(observe("--last 7 nonsense").is_err());
}
