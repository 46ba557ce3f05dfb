use super::*;
use serde_json::json;

#[test]
fn labels() {
    let object = json!({ "metadata": { "labels": { "app": "web", "tier": "1" } } });
    for (selector, expected) in [
        ("", true),
        ("app=web", true),
        ("app==web,tier=1", true),
        ("app=web,tier!=1", false),
        ("app in (api, web)", true),
        ("app notin (api,web)", false),
        ("other notin (a)", true),
        ("app", true),
        ("!app", false),
        ("!other", true),
        ("tier>0", true),
        ("tier<1", false),
    ] {
        assert_eq!(LabelSelector::parse(selector).unwrap().matches(&object), expected, "{selector}");
    }
    for broken in ["app in web", "a b c", "=", "app=we b", ",", "a,,b"] {
        assert!(LabelSelector::parse(broken).is_err(), "{broken}");
    }
}

#[test]
fn fields() {
    let registry = crate::registry::Registry::with_builtin();
    let pods = registry.find("", "v1", "pods").unwrap();
    let pod = json!({ "metadata": { "name": "a" }, "spec": { "nodeName": "n" }, "status": {} });
    for (selector, expected) in [
        ("metadata.name=a", true),
        ("metadata.name!=a", false),
        ("spec.nodeName=n,status.phase!=Failed", true),
        ("status.phase=", true),
    ] {
        assert_eq!(FieldSelector::parse(selector, &pods).unwrap().matches(&pod), expected, "{selector}");
    }
    assert!(FieldSelector::parse("spec.containers=x", &pods).is_err());
    assert!(FieldSelector::parse("nonsense", &pods).is_err());
}
