//! `malla policy prove`: answers for people and for pipelines.

use crate::xml::escaped;
use policy::prove::{Answer, Claim, Known, MOST_STEPS, NoAnswer, Question, Somebody, Witness, prove};
use policy::told::Told;
use serde::Serialize;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// One question and what came of it.
#[derive(Debug, Serialize)]
pub struct Result {
    /// File and line.
    pub place: String,
    pub question: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub claim: Claim,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip)]
    pub took: Duration,
}

/// Answers all questions.
pub fn answers(known: &Known, questions: Vec<(String, Question)>) -> Vec<Result> {
    let one = |(place, question): (String, Question)| {
        let started = Instant::now();
        let answer = prove(known, &question, MOST_STEPS);
        let error = answer.as_ref().err().map(NoAnswer::to_string);
        Result {
            place,
            question: question.metadata.name,
            description: question.spec.description,
            claim: question.spec.claim,
            answer: answer.ok(),
            error,
            took: started.elapsed(),
        }
    };
    questions.into_iter().map(one).collect()
}

/// 0 all hold, 1 one doesn't, 2 one has no answer.
pub fn status(results: &[Result]) -> u8 {
    let of = |result: &Result| match &result.answer {
        None => 2,
        Some(answer) => u8::from(!answer.holds),
    };
    results.iter().map(of).max().unwrap_or(0)
}

/// For people.
pub fn text(results: &[Result], about: &str) -> String {
    let mut out = format!("about {about}\n");
    for result in results {
        let word = match &result.answer {
            None => "NO ANSWER",
            Some(answer) if answer.holds => "yes",
            Some(_) => "NO",
        };
        let _ = writeln!(out, "{}: {word}", result.question);
        if let Some(description) = result.description.as_deref().filter(|_| word != "yes") {
            let _ = writeln!(out, "  {description}");
        }
        if let Some(error) = &result.error {
            let _ = writeln!(out, "  {error}");
        }
        if let Some(witness) = result.answer.as_ref().and_then(|answer| answer.witness.as_ref()) {
            out.push_str(&refuted(witness));
        }
    }
    let hold = results.iter().filter(|one| one.answer.as_ref().is_some_and(|answer| answer.holds)).count();
    let _ = writeln!(out, "{hold} of {} hold", results.len());
    out
}

fn refuted(witness: &Witness) -> String {
    let mut out = String::new();
    let word = if witness.allowed { "gets through" } else { "does not get through" };
    let _ = writeln!(out, "  refuted: this {word}, on {}", witness.spoken);
    let _ = writeln!(out, "    from {}", somebody(&witness.from));
    let _ = writeln!(out, "    to   {}", somebody(&witness.to));
    let end = |name: &str, told: &Option<Told>| match told {
        Some(told) => format!("    {name}: {}: {told}\n", if told.allowed { "allowed" } else { "denied" }),
        None => String::new(),
    };
    out + &end("egress", &witness.egress) + &end("ingress", &witness.ingress)
}

fn somebody(one: &Somebody) -> String {
    let mut out = if one.what == "Pod" { "a Pod".to_owned() } else { one.what.clone() };
    let labels = |labels: &std::collections::BTreeMap<String, String>| {
        labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    };
    match labels(&one.labels) {
        none if none.is_empty() && one.what == "Pod" => out.push_str(" without any of the labels that are asked for"),
        none if none.is_empty() => {}
        some => out.push_str(&format!(" with {some}")),
    }
    if let Some(namespace) = &one.namespace {
        out.push_str(&format!(" in namespace {namespace}"));
    }
    if !one.namespace_labels.is_empty() {
        out.push_str(&format!(" ({})", labels(&one.namespace_labels)));
    }
    if let Some(account) = &one.service_account {
        out.push_str(&format!(", service account {account}"));
    }
    if one.runs_api_server {
        out.push_str(", where the API server runs");
    }
    if !one.port_names.is_empty() {
        out.push_str(&format!(", which calls the port {}", one.port_names.join(", ")));
    }
    out + &format!(", address {}", one.address)
}

/// As CI systems read it (the format of Ant's task, which has no other specification).
pub fn junit(results: &[Result], about: &str) -> String {
    let failures = results.iter().filter(|one| one.answer.as_ref().is_some_and(|answer| !answer.holds)).count();
    let errors = results.iter().filter(|one| one.answer.is_none()).count();
    let seconds: f64 = results.iter().map(|one| one.took.as_secs_f64()).sum();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"malla policy prove: {}\" \
         tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{seconds:.3}\">\n",
        escaped(about),
        results.len()
    );
    for result in results {
        let _ = write!(
            out,
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
            escaped(&result.place),
            escaped(&result.question),
            result.took.as_secs_f64()
        );
        match (&result.answer, &result.error) {
            (Some(answer), _) => match &answer.witness {
                Some(witness) => {
                    let text = escaped(&refuted(witness));
                    let _ = writeln!(out, ">\n      <failure message=\"refuted\">{text}</failure>\n    </testcase>");
                }
                None => out.push_str("/>\n"),
            },
            (None, error) => {
                let text = escaped(error.as_deref().unwrap_or_default());
                let _ = writeln!(out, ">\n      <error message=\"no answer\">{text}</error>\n    </testcase>");
            }
        }
    }
    out + "  </testsuite>\n</testsuites>\n"
}
