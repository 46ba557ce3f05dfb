//! Events are kept for an hour, as Kubernetes keeps them (`--event-ttl`): nobody else deletes them.

use crate::api::Api;
use crate::object;
use object_store::{Expect, PageRequest, Write};
use serde_json::Value;

/// Seconds.
const KEPT: i64 = 3600;

/// Deletes Events that were last seen too long ago.
pub async fn events(api: &Api) {
    let Ok(events) = api.builtin("", "events") else { return };
    let Ok(page) = api.store.list(&events.prefix(None), &PageRequest::default()) else { return };
    let now = jiff::Timestamp::now().as_second();
    for (key, entry) in page.entries {
        let event: Value = serde_json::from_slice(&entry.value).unwrap_or(Value::Null);
        if is_expired(&event, now) {
            // Changed meanwhile means seen again: then it stays.
            let _ = api.store.write(Write { key, value: None, expect: Expect::Revision(entry.revision) }).await;
        }
    }
}

fn is_expired(event: &Value, now: i64) -> bool {
    let times = ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"];
    let newest = times.iter().filter_map(|pointer| object::text(event, pointer).parse::<jiff::Timestamp>().ok()).max();
    newest.is_some_and(|newest| now - newest.as_second() > KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_hour_after_it_was_last_seen() {
        let event = json!({ "metadata": { "creationTimestamp": "2026-01-01T00:00:00Z" }, "lastTimestamp": "2026-01-01T01:00:00Z" });
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second();
        assert!(!is_expired(&event, at("2026-01-01T01:59:00Z")));
        assert!(is_expired(&event, at("2026-01-01T02:00:01Z")));
        assert!(!is_expired(&json!({}), at("2026-01-01T02:00:01Z")), "what has no time stays");
    }
}
