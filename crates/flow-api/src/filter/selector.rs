//! Kubernetes label selectors over labels with a source: `k8s:app=shop`, `tier in (web, db)`, `!k8s:canary`.
//!
//! A key without a source (or with `any:`) fits a label from every source. A flow's label without a source has none.

use super::{Field, Test};
use crate::Invalid;
use crate::flow::Flow;

/// Requirements, all of which have to hold. None: everything fits.
#[derive(Debug, PartialEq, Eq)]
struct Selector(Vec<Requirement>);

#[derive(Debug, PartialEq, Eq)]
struct Requirement {
    /// `None`: any.
    source: Option<String>,
    key: String,
    operator: Operator,
}

#[derive(Debug, PartialEq, Eq)]
enum Operator {
    Exists,
    Missing,
    In(Vec<String>),
    /// A label that is not there has none of the values.
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

pub fn filter(field: &str, wanted: &[String], of: fn(&Flow) -> &[String]) -> Field {
    let read = |text: &String| parse(text).map_err(|reason| Invalid::new(field, format!("{text:?}: {reason}")));
    let selectors = wanted.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok((!selectors.is_empty()).then(|| -> Test {
        Box::new(move |flow| selectors.iter().any(|selector| selector.0.iter().all(|r| r.holds(of(flow)))))
    }))
}

impl Requirement {
    fn holds(&self, labels: &[String]) -> bool {
        let value = labels.iter().find_map(|label| self.value(label));
        match &self.operator {
            Operator::Exists => value.is_some(),
            Operator::Missing => value.is_none(),
            Operator::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Operator::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
            Operator::Above(limit) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v > *limit),
            Operator::Below(limit) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v < *limit),
        }
    }

    /// The label's value, if it is the one that is asked for.
    fn value<'a>(&self, label: &'a str) -> Option<&'a str> {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        let (source, key) = name.split_once(':').unwrap_or(("", name));
        (key == self.key && self.source.as_ref().is_none_or(|wanted| wanted == source)).then_some(value)
    }
}

fn parse(text: &str) -> Result<Selector, String> {
    if text.trim().is_empty() {
        return Ok(Selector(Vec::new()));
    }
    requirements(text)?.into_iter().map(requirement).collect::<Result<_, _>>().map(Selector)
}

/// Cut at the commas that are not inside of parentheses.
fn requirements(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' if inside => return Err("a parenthesis inside of another".to_owned()),
            ')' if !inside => return Err("a parenthesis is closed that was not opened".to_owned()),
            '(' | ')' => inside = letter == '(',
            ',' if !inside => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err("a parenthesis is not closed".to_owned());
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let text = text.trim();
    let named = |name: &str, operator| {
        let (source, key) = name_of(name.trim())?;
        Ok(Requirement { source, key, operator })
    };
    if let Some(name) = text.strip_prefix('!') {
        return named(name, Operator::Missing);
    }
    if let Some((name, list)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let words: Vec<&str> = name.split_whitespace().collect();
        return match words[..] {
            [name, "in"] => named(name, Operator::In(values(list)?)),
            [name, "notin"] => named(name, Operator::NotIn(values(list)?)),
            _ => Err("before a parenthesis stands `key in` or `key notin`".to_owned()),
        };
    }
    // The longer ones first: `a!=b` is also `a!` `=` `b`.
    for (sign, is) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((name, text)) = text.split_once(sign) {
            let values = vec![value(text.trim())?];
            return named(name, if is { Operator::In(values) } else { Operator::NotIn(values) });
        }
    }
    for (sign, above) in [('>', true), ('<', false)] {
        if let Some((name, limit)) = text.split_once(sign) {
            let limit = limit.trim().parse().map_err(|_| format!("{:?} is no whole number", limit.trim()))?;
            return named(name, if above { Operator::Above(limit) } else { Operator::Below(limit) });
        }
    }
    named(text, Operator::Exists)
}

fn name_of(name: &str) -> Result<(Option<String>, String), String> {
    let (source, key) = match name.split_once(':') {
        Some((source, key)) if source.is_empty() || !source.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {
            return Err(format!("{source:?} (before {key:?}) is no source of labels"));
        }
        Some(("any", key)) => (None, key),
        Some((source, key)) => (Some(source.to_owned()), key),
        None => (None, name),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let whole = ends(key.bytes().next()) && ends(key.bytes().last()) && key.bytes().all(plain);
    if !whole || key.matches('/').count() > 1 || key.len() > LONGEST_KEY {
        return Err(format!("{key:?} is no key of a label"));
    }
    Ok((source, key.to_owned()))
}

/// `()` holds the empty value.
fn values(list: &str) -> Result<Vec<String>, String> {
    list.split(',').map(|text| value(text.trim())).collect()
}

fn value(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.len() > LONGEST_VALUE || !text.bytes().all(plain) {
        return Err(format!("{text:?} is no value of a label"));
    }
    Ok(text.to_owned())
}

/// A DNS subdomain, a slash and a name (Kubernetes' `IsQualifiedName`).
const LONGEST_KEY: usize = 253 + 1 + 63;
/// Kubernetes' `IsValidLabelValue`.
const LONGEST_VALUE: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(selector: &str, labels: &[&str]) -> bool {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        parse(selector).unwrap().0.iter().all(|requirement| requirement.holds(&labels))
    }

    #[test]
    fn what_is_written_is_what_is_meant() {
        for (selector, labels, expected) in [
            ("", &[][..], true),
            ("app", &["k8s:app=shop"], true),
            ("any:app", &["k8s:app=shop"], true),
            ("k8s:app", &["container:app=shop"], false),
            ("reserved:host", &["reserved:host"], true),
            ("app=shop", &["app=shop"], true),
            ("app=shop", &["app=shop=more"], false),
            ("app = shop , !canary", &["k8s:app=shop"], true),
            ("app==shop,!canary", &["k8s:app=shop", "k8s:canary="], false),
            ("app!=shop", &[], true),
            ("app!=shop", &["k8s:app=shop"], false),
            ("tier in (web, db),app", &["k8s:tier=db", "k8s:app"], true),
            ("tier in (web, db),app", &["k8s:tier=db"], false),
            ("tier notin (web,db)", &["k8s:tier=cache"], true),
            ("tier notin ()", &["k8s:tier="], false),
            ("replicas > 3", &["k8s:replicas=4"], true),
            ("replicas<4", &["k8s:replicas=4"], false),
            ("k8s:io.kubernetes.pod.namespace=shop", &["k8s:io.kubernetes.pod.namespace=shop"], true),
            ("app.kubernetes.io/name=shop", &["k8s:app.kubernetes.io/name=shop"], true),
            ("k8s.app", &["k8s:app"], false),
        ] {
            assert_eq!(fits(selector, labels), expected, "{selector} on {labels:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let wrong = [
            "()",
            "=",
            "!",
            ",",
            "a,",
            "a=(",
            "a in b",
            "a in (b",
            "a)b",
            "a in ((b))",
            "any:k8s:b",
            ":a",
            "a b",
            "a=b=c",
            "-a",
            "a/b/c",
            "a > x",
            "a=ü",
            "in (a)",
            "a of (b)",
        ];
        for selector in wrong {
            assert!(parse(selector).is_err(), "{selector} is taken as {:?}", parse(selector));
        }
        assert!(parse(&format!("a={}", "x".repeat(64))).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8192))]
        /// `in` is an OR of `=`, `notin` the contrary of it, `!k` the contrary of `k`: whatever the labels are.
        #[test]
        fn operators_agree_with_one_another(
            key in "(k8s:|any:|)[ab]",
            values in proptest::collection::vec("[xyz]", 1..4),
            labels in proptest::collection::vec("(k8s:|reserved:|)[abc](=[xyz])?", 0..5),
        ) {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let within = fits(&format!("{key} in ({})", values.join(",")), &labels);
            prop_assert_eq!(within, values.iter().any(|value| fits(&format!("{key}={value}"), &labels)));
            prop_assert_eq!(!within, fits(&format!("{key} notin ({})", values.join(",")), &labels));
            prop_assert_eq!(fits(&key, &labels), !fits(&format!("!{key}"), &labels));
            prop_assert_eq!(within && fits(&key, &labels), within, "what has a value is there");
        }

        #[test]
        fn nothing_from_outside_is_a_panic(text in "[!=<>(),:a-c/. in]{0,24}|.{0,16}") {
            let _ = parse(&text);
        }
    }
}
