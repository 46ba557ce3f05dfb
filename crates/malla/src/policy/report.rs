//! A report for people.

use super::finding::{Report, Severity};
use std::fmt::Write;

/// One line per finding, as compilers write them, and a last one with the numbers.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Mistake => "mistake",
            Severity::Warning => "warning",
        };
        let place = if finding.line == 0 { finding.file.clone() } else { format!("{}:{}", finding.file, finding.line) };
        let _ = write!(out, "{place}: {severity}: ");
        for part in [&finding.object, &finding.field].into_iter().filter(|part| !part.is_empty()) {
            let _ = write!(out, "{part}: ");
        }
        let _ = writeln!(out, "{}", finding.text);
    }
    let counted = |count: usize, what: &str, many: &str| format!("{count} {}", if count == 1 { what } else { many });
    let _ = writeln!(
        out,
        "{}, {}, {}",
        counted(report.policies.len(), "policy understood", "policies understood"),
        counted(report.mistakes, "mistake", "mistakes"),
        counted(report.warnings, "warning", "warnings"),
    );
    out
}
