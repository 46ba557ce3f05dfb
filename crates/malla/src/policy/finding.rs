//! What a check finds.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The API would refuse it, or nobody could say what it means.
    Mistake,
    /// It does less than it seems to.
    Warning,
}

/// One thing, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was given.
    pub file: String,
    /// From 1; 0 for the whole file.
    pub line: u64,
    /// `CiliumNetworkPolicy shop/web`; empty where there is no object.
    pub object: String,
    /// Path in the object; empty for the whole of it.
    pub field: String,
    /// What it is, and what to do.
    pub text: String,
}

/// A policy that has a meaning, rule by rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Understood {
    /// The file, as it was given.
    pub file: String,
    /// Its first line.
    pub line: u64,
    /// `CiliumNetworkPolicy shop/web`.
    pub object: String,
    /// Whom it governs.
    pub subject: String,
    /// Whether what nothing allows is denied: `ingress`, `egress`.
    pub default_deny: Vec<&'static str>,
    /// Judged and reported only.
    pub audit: bool,
    /// What it allows and denies.
    pub rules: Vec<UnderstoodRule>,
}

/// A rule in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnderstoodRule {
    /// Path in the object.
    pub field: String,
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// `admin 10`, `normal`, `baseline 10`.
    pub tier: String,
    /// `allow`, `deny` or `pass`.
    pub action: &'static str,
    /// The other end.
    pub peers: String,
    /// What is spoken.
    pub ports: String,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Policies that have a meaning.
    pub policies: Vec<Understood>,
    /// By file and line.
    pub findings: Vec<Finding>,
    /// How many mistakes are among the findings.
    pub mistakes: usize,
    /// How many warnings are.
    pub warnings: usize,
}
