//! Which labels make an identity. Every label that differs from Pod to Pod would make one of its own for each of them.

use regex::Regex;

/// A list of patterns that keep or leave out labels, with the syntax and the meaning of Cilium's `--labels`
/// (`pkg/labelsfilter/filter.go`): `[source:][!]pattern`, a regular expression that has to match at the key's beginning.
///
/// The contract: a label that no `!` pattern matches is kept, and so is one that a pattern without `!` matches over a longer
/// stretch than the shortest matching `!` one. As soon as somebody adds a pattern without `!` to the defaults, a label must be
/// matched by one to be kept.
#[derive(Clone, Debug)]
pub struct Filter {
    patterns: Vec<Pattern>,
    /// Only what is named is kept.
    only_named: bool,
}

#[derive(Clone, Debug)]
struct Pattern {
    source: Option<Box<str>>,
    leaves_out: bool,
    key: Regex,
}

/// A pattern that can't be understood.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// There is nothing after the source.
    #[error("label pattern {0:?} names no key: write [source:][!]pattern")]
    Empty(String),
    /// Its key is no regular expression.
    #[error("label pattern {pattern:?}: its key is no regular expression")]
    Expression {
        /// As it was given.
        pattern: String,
        #[source]
        source: Box<regex::Error>,
    },
}

impl Default for Filter {
    fn default() -> Self {
        Self { patterns: DEFAULTS.iter().filter_map(|text| parse(text).ok()).collect(), only_named: false }
    }
}

impl Filter {
    /// The defaults and more patterns.
    ///
    /// # Errors
    /// When one can't be understood.
    pub fn with<'a>(more: impl IntoIterator<Item = &'a str>) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for text in more {
            let pattern = parse(text)?;
            filter.only_named |= !pattern.leaves_out;
            filter.patterns.push(pattern);
        }
        Ok(filter)
    }

    /// Whether a label is part of an identity.
    #[must_use]
    pub fn keeps(&self, source: &str, key: &str) -> bool {
        let (mut kept, mut left_out) = (0, None::<usize>);
        for pattern in &self.patterns {
            let Some(length) = pattern.matched(source, key) else { continue };
            if pattern.leaves_out {
                left_out = Some(left_out.map_or(length, |shortest| shortest.min(length)));
            } else {
                kept = kept.max(length);
            }
        }
        (!self.only_named && left_out.is_none()) || kept > left_out.unwrap_or(0)
    }
}

impl Pattern {
    /// Length of the match at the key's beginning.
    fn matched(&self, source: &str, key: &str) -> Option<usize> {
        if self.source.as_deref().is_some_and(|wanted| wanted != source) {
            return None;
        }
        self.key.find(key).filter(|found| found.start() == 0).map(|found| found.end())
    }
}

fn parse(text: &str) -> Result<Pattern, FilterError> {
    let (source, key) = match text.split_once(':') {
        Some((source, key)) => (Some(source).filter(|source| !source.is_empty() && *source != "any"), key),
        None => (None, text),
    };
    let (leaves_out, key) = key.strip_prefix('!').map_or((false, key), |key| (true, key));
    if key.is_empty() {
        return Err(FilterError::Empty(text.to_owned()));
    }
    let expression = Regex::new(key)
        .map_err(|source| FilterError::Expression { pattern: text.to_owned(), source: Box::new(source) })?;
    Ok(Pattern { source: source.map(Into::into), leaves_out, key: expression })
}

/// Cilium's own, and those labels of Jobs that are another for every run of them: a CronJob would make a new identity with
/// each (`job-name` stays, for policies select by it).
const DEFAULTS: &[&str] = &[
    r"reserved:.*",
    r"io\.kubernetes\.pod\.namespace",
    r"io\.cilium\.k8s\.namespace\.labels",
    r"app\.kubernetes\.io",
    r"io\.cilium\.k8s\.policy\.cluster",
    r"!io\.kubernetes",
    r"!kubernetes\.io",
    r"!statefulset\.kubernetes\.io/pod-name",
    r"!apps\.kubernetes\.io/pod-index",
    r"!batch\.kubernetes\.io/job-completion-index",
    r"!batch\.kubernetes\.io/controller-uid",
    r"!controller-uid",
    r"!.*beta\.kubernetes\.io",
    r"!k8s\.io",
    r"!pod-template-generation",
    r"!pod-template-hash",
    r"!controller-revision-hash",
    r"!annotation.*",
    r"!etcd_node",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_understood() {
        assert_eq!(Filter::default().patterns.len(), DEFAULTS.len());
    }

    #[test]
    fn what_differs_from_pod_to_pod_makes_no_identity() {
        let filter = Filter::default();
        for key in [
            "pod-template-hash",
            "pod-template-generation",
            "controller-revision-hash",
            "statefulset.kubernetes.io/pod-name",
            "apps.kubernetes.io/pod-index",
            "batch.kubernetes.io/job-completion-index",
            "batch.kubernetes.io/controller-uid",
            "controller-uid",
            "io.kubernetes.container.name",
            "kubernetes.io/hostname",
            "failure-domain.beta.kubernetes.io/zone",
            "k8s.io/x",
        ] {
            assert!(!filter.keeps("k8s", key), "{key}");
        }
        for key in [
            "app",
            "app.kubernetes.io/name",
            "io.kubernetes.pod.namespace",
            "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name",
            "io.cilium.k8s.policy.serviceaccount",
            "io.cilium.k8s.policy.cluster",
            "job-name",
            "my-pod-template-hash",
        ] {
            assert!(filter.keeps("k8s", key), "{key}");
        }
    }

    #[test]
    fn the_longer_match_wins_and_naming_one_leaves_out_the_others() {
        let filter = Filter::with(["k8s:!team", "k8s:team\\.example/tier"]).unwrap();
        assert!(!filter.keeps("k8s", "team") && filter.keeps("k8s", "team.example/tier"));
        assert!(!filter.keeps("k8s", "app"), "only what is named, now that something is");
        assert!(filter.keeps("k8s", "io.kubernetes.pod.namespace"), "the defaults name it");
        let filter = Filter::with(["!team", "any:!tier"]).unwrap();
        assert!(filter.keeps("k8s", "app") && !filter.keeps("k8s", "team") && !filter.keeps("x", "tier"));
        assert!(Filter::with(["other:!app"]).unwrap().keeps("k8s", "app"), "another source");
    }

    #[test]
    fn nonsense_is_told() {
        assert!(matches!(Filter::with(["k8s:!"]), Err(FilterError::Empty(_))));
        assert!(Filter::with(["k8s:("]).unwrap_err().to_string().contains("\"k8s:(\""));
    }
}
