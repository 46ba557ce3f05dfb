use super::{is_dns_label, is_dns_subdomain, is_label_value, is_qualified_name};
use crate::error::Cause;
use crate::object;
use crate::registry::Resource;
use serde_json::Value;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
                         start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
                     end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                        character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
                        validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                         alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                         '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
                     start and end with an alphanumeric character";
/// Bytes of all annotations together.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

pub fn validate(resource: &Resource, object: &Value, causes: &mut Vec<Cause>) {
    let name = object::name(object);
    let rbac = resource.group == "rbac.authorization.k8s.io";
    let (good, rule) = match resource.kind.as_str() {
        "Namespace" if resource.group.is_empty() => (is_dns_label(name), LABEL),
        "Service" if resource.group.is_empty() => {
            (is_dns_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase()), DNS_1035)
        }
        // RBAC names are path segments: anything but "/", "%", "." and "..".
        _ if rbac => {
            (!name.is_empty() && !name.contains(['/', '%']) && name != "." && name != "..", "must be a path segment")
        }
        _ => (is_dns_subdomain(name), SUBDOMAIN),
    };
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if !good {
        causes.push(Cause::invalid("metadata.name", name, rule));
    }
    labels(object.pointer("/metadata/labels"), "metadata.labels", causes);
    if let Some(annotations) = object.pointer("/metadata/annotations").and_then(Value::as_object) {
        let mut total = 0;
        for (key, value) in annotations {
            if !is_qualified_name(&key.to_lowercase()) {
                causes.push(Cause::invalid("metadata.annotations", key.as_str(), QUALIFIED));
            }
            total += key.len() + value.as_str().map_or(0, str::len);
        }
        if total > ANNOTATIONS_LIMIT {
            let message = format!("Too long: may not be more than {ANNOTATIONS_LIMIT} bytes");
            causes.push(Cause { reason: "FieldValueTooLong", message, field: "metadata.annotations".into() });
        }
    }
    for (index, owner) in object::list(object, "/metadata/ownerReferences").iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().unwrap_or("").is_empty() {
                causes.push(Cause::invalid(
                    format!("metadata.ownerReferences[{index}].{field}"),
                    "",
                    "must not be empty",
                ));
            }
        }
    }
    for (index, finalizer) in object::finalizers(object).iter().enumerate() {
        if !is_qualified_name(finalizer) {
            causes.push(Cause::invalid(format!("metadata.finalizers[{index}]"), finalizer.as_str(), QUALIFIED));
        }
    }
}

/// Keys and values of a label map.
pub fn labels(labels: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        if !is_qualified_name(key) {
            causes.push(Cause::invalid(path, key.as_str(), QUALIFIED));
        }
        let value = value.as_str().unwrap_or("");
        if !is_label_value(value) {
            causes.push(Cause::invalid(path, value, VALUE));
        }
    }
}
