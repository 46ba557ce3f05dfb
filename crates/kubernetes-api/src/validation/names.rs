//! The grammars of names and labels (apimachinery `pkg/util/validation`).

/// RFC 1123 label: at most 63 of `[a-z0-9-]`, alphanumeric at both ends.
pub fn is_dns_label(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.len() <= 63
        && edge(text.as_bytes().first())
        && edge(text.as_bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// RFC 1123 subdomain: labels with dots between, at most 253 long.
pub fn is_dns_subdomain(text: &str) -> bool {
    // Within a subdomain Kubernetes bounds the whole, not each label.
    let label = |part: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        edge(part.as_bytes().first())
            && edge(part.as_bytes().last())
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Label and annotation keys: `[prefix/]name`.
pub fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && !name.is_empty() && is_label_value(name),
        None => !text.is_empty() && is_label_value(text),
    }
}

/// Label values: empty, or at most 63 of `[A-Za-z0-9_.-]`, alphanumeric at both ends.
pub fn is_label_value(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    text.len() <= 63
        && edge(text.as_bytes().first())
        && edge(text.as_bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammars() {
        assert!(
            is_dns_label("a-1") && is_dns_label("1") && !is_dns_label("") && !is_dns_label("-a") && !is_dns_label("A")
        );
        assert!(!is_dns_label(&"a".repeat(64)) && is_dns_subdomain("a.b-c.d") && !is_dns_subdomain("a..b"));
        assert!(is_qualified_name("app.kubernetes.io/name") && is_qualified_name("A_b") && !is_qualified_name("a/b/c"));
        assert!(is_label_value("") && is_label_value("v1.2") && !is_label_value("a b") && !is_label_value("-a"));
    }
}
