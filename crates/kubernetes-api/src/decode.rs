//! Reading a body into a known kind, as Kubernetes' typed decoding does: a wrong type is refused, an unknown field is
//! dropped (and reported, for `fieldValidation`), null is absence. What is stored can therefore always be read by
//! typed clients.

use crate::error::ApiError;
use crate::schema::{Shape, definitions};
use base64::Engine;
use serde_json::Value;

/// Fields that were dropped, as paths.
pub type Unknown = Vec<String>;

/// Deepest nesting of a body; Kubernetes' JSON decoder has such a limit too.
const MAX_DEPTH: usize = 200;

/// Makes `value` fit the definition `name`; `kind` is for the words of a refusal.
pub fn decode(name: &str, kind: &str, value: &mut Value) -> Result<Unknown, ApiError> {
    let mut unknown = Vec::new();
    fit(&definitions().shape(name), value, "", &mut unknown, 0)
        .map_err(|why| ApiError::bad_request(format!("{kind} in version cannot be handled as a {kind}: {why}")))?;
    Ok(unknown)
}

fn fit(shape: &Shape, value: &mut Value, path: &str, unknown: &mut Unknown, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("exceeded max depth at {path}"));
    }
    match shape {
        Shape::Any => Ok(()),
        Shape::Text => expect(value.is_string(), value, path, "string"),
        Shape::Boolean => expect(value.is_boolean(), value, path, "bool"),
        Shape::Number => expect(value.is_number(), value, path, "float64"),
        Shape::Integer { bits: 32 } => {
            expect(value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()), value, path, "int32")
        }
        Shape::Integer { .. } => expect(value.as_i64().is_some(), value, path, "int64"),
        Shape::IntOrString => {
            let number = value.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
            expect(number || value.is_string(), value, path, "IntOrString")
        }
        Shape::Quantity => {
            if let Value::Number(number) = value {
                *value = Value::String(number.to_string());
            }
            let good = value.as_str().is_some_and(is_quantity);
            if good {
                return Ok(());
            }
            Err(format!(
                "{path}: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            ))
        }
        Shape::DateTime => {
            let good = value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok());
            if good { Ok(()) } else { Err(format!("{path}: parsing time {value} as RFC 3339")) }
        }
        Shape::Bytes => {
            // Line breaks are allowed inside, as Go's decoder skips them.
            let text = value.as_str().ok_or_else(|| mismatch(value, path, "[]byte"))?;
            let compact: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
            base64::engine::general_purpose::STANDARD
                .decode(&compact)
                .map_err(|error| format!("{path}: illegal base64 data: {error}"))?;
            *value = Value::String(compact);
            Ok(())
        }
        Shape::List(items) => {
            let Value::Array(list) = value else { return Err(mismatch(value, path, "list")) };
            for (index, item) in list.iter_mut().enumerate() {
                if item.is_null() {
                    *item = zero(items);
                }
                fit(items, item, &format!("{path}[{index}]"), unknown, depth + 1)?;
            }
            Ok(())
        }
        Shape::Map(items) => {
            let Value::Object(map) = value else { return Err(mismatch(value, path, "map")) };
            for (key, item) in map.iter_mut() {
                if item.is_null() {
                    *item = zero(items);
                }
                fit(items, item, &format!("{path}.{key}"), unknown, depth + 1)?;
            }
            Ok(())
        }
        Shape::Object(index) => {
            let definition = definitions().get(*index);
            let Value::Object(map) = value else {
                return Err(mismatch(value, path, definition.name.rsplit('.').next().unwrap_or("object")));
            };
            let mut gone = Vec::new();
            for (key, item) in map.iter_mut() {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match definition.fields.get(key) {
                    Some(_) if item.is_null() => gone.push(key.clone()),
                    Some(field) => fit(&field.shape, item, &below, unknown, depth + 1)?,
                    None => {
                        unknown.push(below);
                        gone.push(key.clone());
                    }
                }
            }
            for key in gone {
                map.remove(&key);
            }
            Ok(())
        }
    }
}

/// What Go makes of null inside a list or map.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Text | Shape::Bytes => "".into(),
        Shape::Quantity => "0".into(),
        Shape::Integer { .. } | Shape::Number | Shape::IntOrString => 0.into(),
        Shape::Boolean => false.into(),
        Shape::List(_) => Value::Array(Vec::new()),
        Shape::Map(_) | Shape::Object(_) => Value::Object(serde_json::Map::new()),
        Shape::Any | Shape::DateTime => Value::Null,
    }
}

fn expect(good: bool, value: &Value, path: &str, wanted: &str) -> Result<(), String> {
    if good { Ok(()) } else { Err(mismatch(value, path, wanted)) }
}

fn mismatch(value: &Value, path: &str, wanted: &str) -> String {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("json: cannot unmarshal {got} into Go struct field {path} of type {wanted}")
}

/// `<sign>digits[.digits]<suffix>`, apimachinery `pkg/api/resource`.
fn is_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, suffix) = unsigned.split_at(digits);
    let numeric = number.bytes().any(|byte| byte.is_ascii_digit()) && number.matches('.').count() <= 1;
    let exponent = |rest: &str| {
        let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let unit = matches!(
        suffix,
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"
    );
    numeric && (unit || suffix.strip_prefix(['e', 'E']).is_some_and(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const POD: &str = "io.k8s.api.core.v1.Pod";

    #[test]
    fn unknown_fields_go_and_are_named() {
        let mut pod = json!({ "metadata": { "name": "a", "labels": null }, "spec": { "containers": [{ "name": "x", "imagee": "y" }] } });
        let unknown = decode(POD, "Pod", &mut pod).unwrap();
        assert_eq!(unknown, ["spec.containers[0].imagee"]);
        assert_eq!(pod, json!({ "metadata": { "name": "a" }, "spec": { "containers": [{ "name": "x" }] } }));
    }

    #[test]
    fn wrong_types_are_refused() {
        for wrong in [
            json!([]),
            json!({ "metadata": 3 }),
            json!({ "spec": { "containers": {} } }),
            json!({ "spec": { "containers": [{ "name": 3 }] } }),
            json!({ "spec": { "terminationGracePeriodSeconds": 1.5 } }),
            json!({ "spec": { "priority": 3_000_000_000_i64 } }),
            json!({ "metadata": { "creationTimestamp": "yesterday" } }),
            json!({ "spec": { "containers": [{ "resources": { "limits": { "cpu": "many" } } }] } }),
        ] {
            let mut value = wrong.clone();
            assert_eq!(decode(POD, "Pod", &mut value).map_err(|e| e.code), Err(400), "{wrong}");
        }
    }

    #[test]
    fn quantities() {
        for good in ["1", "0.5", "100m", "1Gi", "1e3", "-2", "12E"] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "m", "1.2.3", "1 Gi", "1GiB", "e3", "."] {
            assert!(!is_quantity(bad), "{bad}");
        }
    }
}
