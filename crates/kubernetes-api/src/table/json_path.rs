//! The paths that CRDs name their columns and scale fields by.

use serde_json::Value;

/// The part of JSONPath that CRDs use: `.a.b`, `.a[0]`, `.a[?(@.type=="X")].b`, `.a['b.c']`.
pub fn get<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut here = object;
    let mut rest = path.trim().trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("[?(@.") {
            let (test, tail) = after.split_once(")]")?;
            let (field, wanted) = test.split_once("==")?;
            let wanted = wanted.trim().trim_matches(['"', '\'']);
            here =
                here.as_array()?.iter().find(|item| item.get(field.trim()).and_then(Value::as_str) == Some(wanted))?;
            rest = tail;
        } else if let Some(after) = rest.strip_prefix('[') {
            let (inside, tail) = after.split_once(']')?;
            here = match inside.trim().parse::<usize>() {
                Ok(index) => here.get(index)?,
                Err(_) => here.get(inside.trim().trim_matches(['"', '\'']))?,
            };
            rest = tail;
        } else {
            let plain = rest.strip_prefix('.').unwrap_or(rest);
            // `\.` is a dot within a name.
            let mut name = String::new();
            let mut end = plain.len();
            let mut escaped = false;
            for (at, c) in plain.char_indices() {
                match c {
                    '\\' if !escaped => {
                        escaped = true;
                        continue;
                    }
                    '.' | '[' if !escaped => {
                        end = at;
                        break;
                    }
                    other => name.push(other),
                }
                escaped = false;
            }
            if name.is_empty() {
                return None;
            }
            here = here.get(&name)?;
            rest = &plain[end..];
        }
    }
    Some(here)
}

/// Sets the value at a plain dotted path, making the maps on the way.
pub fn set(object: &mut Value, path: &str, value: Value) {
    let mut here = object;
    for name in path.trim_start_matches('.').split('.') {
        if !here.is_object() {
            *here = Value::Object(serde_json::Map::new());
        }
        here = &mut here[name];
    }
    *here = value;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_crds() {
        let object = json!({ "spec": { "a": [1, 2], "x.y": "dot" }, "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        assert_eq!(get(&object, ".spec.a[1]"), Some(&json!(2)));
        assert_eq!(get(&object, ".spec['x.y']"), Some(&json!("dot")));
        assert_eq!(get(&object, ".spec.x\\.y"), Some(&json!("dot")));
        assert_eq!(get(&object, ".status.conditions[?(@.type==\"Ready\")].status"), Some(&json!("True")));
        assert_eq!(get(&object, ".status.nothing"), None);
        assert_eq!(get(&object, "..["), None);
        let mut object = json!({ "spec": {} });
        set(&mut object, ".spec.workers.count", json!(3));
        assert_eq!(object, json!({ "spec": { "workers": { "count": 3 } } }));
    }
}
