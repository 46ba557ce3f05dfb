//! Documents of YAML (JSON is YAML) that remember their lines.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use std::fmt;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// From 1; 0 where it is not known.
    pub line: u64,
    inner: Inner,
}

#[derive(Clone, Debug)]
enum Inner {
    Scalar(Value),
    List(Vec<Node>),
    /// With the line of each key.
    Map(Vec<(String, u64, Node)>),
}

/// What is wrong with a whole text.
#[derive(Clone, Debug)]
pub struct NotYaml {
    /// From 1; 0 where it is not known.
    pub line: u64,
    /// What is wrong.
    pub text: String,
}

/// The documents of a text; empty ones are left out.
pub fn parse(text: &str) -> Result<Vec<Node>, NotYaml> {
    let read: Result<Vec<Node>, _> = serde_saphyr::from_multiple(text);
    let documents = read.map_err(|error| {
        let line = error.location().map_or(0, |at| at.line());
        let text = error.without_snippet().to_string();
        // The location stands in front already; the crate appends it once more.
        let text = text.split(" at line ").next().unwrap_or(&text).trim_end_matches(':').to_owned();
        NotYaml { line, text }
    })?;
    Ok(documents.into_iter().filter(|node| !matches!(node.inner, Inner::Scalar(Value::Null))).collect())
}

impl Node {
    /// Without the lines.
    pub fn value(&self) -> Value {
        match &self.inner {
            Inner::Scalar(value) => value.clone(),
            Inner::List(list) => list.iter().map(Self::value).collect(),
            Inner::Map(map) => {
                Value::Object(map.iter().map(|(key, _, node)| (key.clone(), node.value())).collect::<Map<_, _>>())
            }
        }
    }

    /// A field of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, node)| node)
    }

    /// A field of a map that is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.inner {
            Inner::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The items of a list.
    pub fn items(&self) -> Option<&[Self]> {
        match &self.inner {
            Inner::List(list) => Some(list),
            _ => None,
        }
    }

    fn entry(&self, key: &str) -> Option<(u64, &Self)> {
        let Inner::Map(map) = &self.inner else { return None };
        map.iter().find(|(one, _, _)| one == key).map(|(_, line, node)| (*line, node))
    }

    /// The line of a field by its path, `spec.ingress[0].fromEndpoints` or `metadata.annotations["a.b/c"]`; that of the
    /// nearest field around it where it isn't there.
    pub fn line_of(&self, path: &str) -> u64 {
        let (mut node, mut line) = (self, self.line);
        let mut rest = path;
        while !rest.is_empty() {
            let Some((step, after)) = self::step(rest) else { break };
            let next = match step {
                Step::Index(index) => node.items().and_then(|list| list.get(index)).map(|one| (one.line, one)),
                Step::Key(key) => node.entry(key),
            };
            let Some((at, one)) = next else { break };
            (node, line, rest) = (one, if at > 0 { at } else { line }, after);
        }
        line
    }
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The first step of a path, and what follows.
fn step(path: &str) -> Option<(Step<'_>, &str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    if let Some(quoted) = path.strip_prefix("[\"") {
        let (key, after) = quoted.split_once("\"]")?;
        return Some((Step::Key(key), after));
    }
    if let Some(bracket) = path.strip_prefix('[') {
        let (index, after) = bracket.split_once(']')?;
        return Some((Step::Index(index.parse().ok()?), after));
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    (end > 0).then(|| (Step::Key(&path[..end]), &path[end..]))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned: Spanned<Inner> = Spanned::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), inner: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Inner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Inner;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Inner, E> {
        Ok(Inner::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Inner, E> {
        Ok(Inner::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Inner, E> {
        Ok(Inner::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Inner, E> {
        Ok(Inner::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Inner, E> {
        Ok(Inner::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Inner, E> {
        Ok(Inner::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Inner, E> {
        Ok(Inner::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Inner, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Inner, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element()? {
            list.push(node);
        }
        Ok(Inner::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Inner, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            map.push((key.value, key.referenced.line(), access.next_value()?));
        }
        Ok(Inner::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
kind: A
metadata:
  annotations:
    malla.dev/audit: 'x'
spec:
  ingress:
  - fromEndpoints:
    - {}
    toPorts:
    - ports:
      - port: '80'
---
---
kind: B
spec: {a: [1, true, null, 1.5]}
";

    #[test]
    fn every_field_knows_its_line() {
        let documents = parse(TEXT).unwrap();
        assert_eq!(documents.len(), 2);
        for (path, line) in [
            ("kind", 2),
            ("metadata.annotations[\"malla.dev/audit\"]", 5),
            ("spec", 6),
            ("spec.ingress[0]", 8),
            ("spec.ingress[0].fromEndpoints[0]", 9),
            ("spec.ingress[0].toPorts[0].ports[0].port", 12),
            // What isn't there: the nearest around it.
            ("spec.ingress[0].toPorts[0].ports[0].endPort", 12),
            ("spec.egress[7].toCIDR", 6),
            ("nothing", 2),
        ] {
            assert_eq!(documents[0].line_of(path), line, "{path}");
        }
        assert_eq!(documents[1].line_of("spec.a[1]"), 16);
        assert_eq!(documents[1].value(), serde_json::json!({ "kind": "B", "spec": { "a": [1, true, null, 1.5] } }));
    }

    #[test]
    fn what_is_no_yaml_has_a_line_too() {
        let error = parse("kind: A\nspec: [1, 2\nmore: 3\n").unwrap_err();
        assert!(error.line >= 2 && !error.text.is_empty(), "{error:?}");
        assert_eq!(parse("a: 1\na: 2\n").unwrap_err().line, 2);
    }

    #[test]
    fn hostile_paths_end() {
        let node = &parse("a: {b: [1]}").unwrap()[0];
        for path in ["[", "[\"", "a.", "..", "a.b[", "a.b[x]", "a.b[99999999999999999999]", "]", "a]b", "é.ß[0]"] {
            assert_eq!(node.line_of(path), 1, "{path}");
        }
    }
}
