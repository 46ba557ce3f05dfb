//! JSON merge patches (RFC 7396) as the difference between two objects.

use serde_json::{Map, Value};

/// The merge patch that turns `old` into `new`, or `None` when they are equal.
///
/// Arrays are replaced whole, as RFC 7396 has it; the caller guards them with a resourceVersion.
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = Map::new();
            for (key, new_value) in new {
                match old.get(key) {
                    Some(old_value) => {
                        if let Some(inner) = difference(old_value, new_value) {
                            patch.insert(key.clone(), inner);
                        }
                    }
                    None => {
                        patch.insert(key.clone(), new_value.clone());
                    }
                }
            }
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (old, new) if old == new => None,
        (_, new) => Some(new.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn removed_fields_become_null_and_equal_ones_are_left_out() {
        let old = json!({"a": 1, "b": {"c": 2, "d": 3}, "list": [1, 2]});
        let new = json!({"a": 1, "b": {"c": 5}, "list": [1], "e": {"f": true}});
        let patch = difference(&old, &new);
        assert_eq!(patch, Some(json!({"b": {"c": 5, "d": null}, "list": [1], "e": {"f": true}})));
        assert_eq!(difference(&old, &old), None);
    }

    /// RFC 7396 §2, word by word: the judge of our differences.
    fn apply(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        if let Value::Object(target) = target {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(key);
                } else {
                    apply(target.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
    }

    /// Values without null, which a merge patch cannot express (and Kubernetes objects do not hold).
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..4i32).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_difference_applied_gives_the_new_value(old in values(), new in values()) {
            let mut target = old.clone();
            match difference(&old, &new) {
                Some(patch) => apply(&mut target, &patch),
                None => prop_assert_eq!(&old, &new),
            }
            prop_assert_eq!(target, new);
        }
    }
}
