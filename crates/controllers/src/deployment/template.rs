//! Pod templates: are two the same, and what is one's short name?

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// The label that tells the Pods of one template from those of another.
pub const HASH_LABEL: &str = "pod-template-hash";

/// Equal but for the hash label, which only the ReplicaSet's copy carries.
pub fn same(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    without_hash(a) == without_hash(b)
}

/// The template's hash as ten or fewer of Kubernetes' safe characters.
///
/// Kubernetes hashes a dump of Go's memory layout, which nobody else can repeat; the name only has to look alike and
/// be stable. `collisions` makes another name after one was found taken by a stranger.
pub fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    // A typed template always encodes; should it not, an empty text still gives a valid name.
    let mut bytes = serde_json::to_vec(template).unwrap_or_default();
    if let Some(collisions) = collisions {
        bytes.extend(collisions.to_le_bytes());
    }
    fnv1a(&bytes).to_string().bytes().map(|byte| SAFE[usize::from(byte) % SAFE.len()] as char).collect()
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let meta = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(HASH_LABEL);
        if labels.is_empty() {
            meta.labels = None;
        }
    }
    // Servers differ in whether they write `creationTimestamp: null` into templates.
    meta.creation_timestamp = None;
    template
}

/// FNV-1a, 32 bits.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// No vowels, no look-alikes: no words by accident (`k8s.io/apimachinery/pkg/util/rand`).
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(image: &str, labels: serde_json::Value) -> PodTemplateSpec {
        serde_json::from_value(json!({
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]},
        }))
        .expect("a template")
    }

    #[test]
    fn fnv_is_fnv() {
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
    }

    #[test]
    fn the_hash_label_makes_no_difference_and_the_image_does() {
        let plain = template("echo:1", json!({"app": "web"}));
        assert!(same(&plain, &template("echo:1", json!({"app": "web", "pod-template-hash": "x"}))));
        assert!(!same(&plain, &template("echo:2", json!({"app": "web"}))));
        assert!(!same(&plain, &template("echo:1", json!({"app": "api"}))));
    }

    #[test]
    fn hashes_are_stable_short_and_differ_after_a_collision() {
        let plain = template("echo:1", json!({"app": "web"}));
        let first = hash(&plain, None);
        assert_eq!(first, hash(&plain, None));
        assert_ne!(first, hash(&plain, Some(1)));
        assert!(first.len() <= 10 && first.bytes().all(|byte| SAFE.contains(&byte)), "{first}");
    }
}
