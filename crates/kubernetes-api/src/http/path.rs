//! From the path of a request to what it is about (apiserver `pkg/endpoints/request`, `RequestInfo`).

/// What a resource request is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// API group, "" for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural name of the kind.
    pub plural: String,
    /// Namespace in the path.
    pub namespace: Option<String>,
    /// Name in the path; None for a collection.
    pub name: Option<String>,
    /// As `status`.
    pub subresource: Option<String>,
}

/// Parses `/api/v1/…` and `/apis/group/version/…`; None where the path names no resource.
pub fn parse_path(path: &str) -> Option<Target> {
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect::<Option<_>>()?;
    let (group, version, rest) = match parts.first()?.as_str() {
        "api" => (String::new(), parts.get(1)?.clone(), parts.get(2..)?),
        "apis" => (parts.get(1)?.clone(), parts.get(2)?.clone(), parts.get(3..)?),
        _ => return None,
    };
    let mut target = Target { group, version, ..Target::default() };
    let rest: &[String] = match rest {
        [first, namespace, kind, ..]
            if first == "namespaces" && !(target.group.is_empty() && is_namespace_subresource(kind)) =>
        {
            target.namespace = Some(namespace.clone());
            &rest[2..]
        }
        other => other,
    };
    match rest {
        [plural] => target.plural = plural.clone(),
        [plural, name] => (target.plural, target.name) = (plural.clone(), Some(name.clone())),
        [plural, name, sub] => {
            (target.plural, target.name, target.subresource) = (plural.clone(), Some(name.clone()), Some(sub.clone()));
        }
        // Deeper paths belong to `proxy` subresources only.
        [plural, name, sub, ..] if sub == "proxy" => {
            (target.plural, target.name, target.subresource) = (plural.clone(), Some(name.clone()), Some(sub.clone()));
        }
        _ => return None,
    }
    Some(target)
}

fn is_namespace_subresource(word: &str) -> bool {
    matches!(word, "status" | "finalize")
}

/// Undoes percent encoding; None where it is broken or not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (high, low) = (bytes.next()?, bytes.next()?);
            let digit = |byte: u8| (byte as char).to_digit(16);
            out.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_they_mean() {
        let show = |path: &str| {
            parse_path(path).map(|t| {
                format!("{}|{}|{}|{:?}|{:?}|{:?}", t.group, t.version, t.plural, t.namespace, t.name, t.subresource)
            })
        };
        assert_eq!(show("/api/v1/pods").unwrap(), "|v1|pods|None|None|None");
        assert_eq!(show("/api/v1/namespaces/x").unwrap(), "|v1|namespaces|None|Some(\"x\")|None");
        assert_eq!(show("/api/v1/namespaces/x/status").unwrap(), "|v1|namespaces|None|Some(\"x\")|Some(\"status\")");
        assert_eq!(show("/api/v1/namespaces/x/pods/p/log").unwrap(), "|v1|pods|Some(\"x\")|Some(\"p\")|Some(\"log\")");
        assert_eq!(
            show("/apis/apps/v1/namespaces/x/deployments/d%2Fe").unwrap(),
            "apps|v1|deployments|Some(\"x\")|Some(\"d/e\")|None"
        );
        assert_eq!(show("/api/v1"), None);
        assert_eq!(show("/apis/apps/v1/a/b/c/d"), None);
        assert_eq!(show("/api/v1/pods/%f"), None);
        assert_eq!(show("/metrics"), None);
    }
}
