use super::*;
use crate::registry::Registry;

fn deployments() -> std::sync::Arc<Resource> {
    Registry::with_builtin().find("apps", "v1", "deployments").unwrap()
}

fn by(manager: &str, live: Option<&Value>, applied: &Value, force: bool) -> Result<Value, ApiError> {
    apply(&deployments(), live, applied, &Applier { manager: manager.into(), force, subresource: String::new() })
}

fn deployment(replicas: Option<i64>, containers: &Value) -> Value {
    let mut object =
        json!({ "metadata": { "name": "d" }, "spec": { "template": { "spec": { "containers": containers } } } });
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = replicas.into();
    }
    object
}

#[test]
fn fields_round_trip() {
    let shape = shape_of(&deployments());
    let object = json!({ "metadata": { "name": "d", "labels": { "a": "b" }, "finalizers": ["x/y"] }, "spec": { "replicas": 1, "selector": {},
        "template": { "spec": { "containers": [{ "name": "c", "image": "i", "ports": [{ "containerPort": 80 }] }] } } } });
    let set = fields::fields(&shape, &object);
    let json = fields::to_json(&set);
    assert_eq!(fields::from_json(&json), set);
    assert_eq!(json["f:metadata"], json!({ "f:labels": { "f:a": {} }, "f:finalizers": { "v:\"x/y\"": {} } }));
    let container = &json["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"];
    assert_eq!(container["."], json!({}));
    assert!(container["f:ports"]["k:{\"containerPort\":80,\"protocol\":\"TCP\"}"].is_object(), "{container}");
    for path in &set {
        assert!(fields::get(&object, path).is_some(), "{}", fields::shown(path));
    }
}

#[test]
fn what_is_no_longer_applied_goes_and_others_stay() {
    let first = deployment(Some(3), &json!([{ "name": "a", "image": "1" }, { "name": "b", "image": "1" }]));
    let live = by("one", None, &first, false).unwrap();
    let sidecar = deployment(None, &json!([{ "name": "side", "image": "s" }]));
    let live = by("two", Some(&live), &sidecar, false).unwrap();
    assert_eq!(object::list(&live, "/spec/template/spec/containers").len(), 3);
    let second = deployment(None, &json!([{ "name": "a", "image": "2" }]));
    let live = by("one", Some(&live), &second, false).unwrap();
    let names: Vec<&str> =
        object::list(&live, "/spec/template/spec/containers").iter().map(|one| object::text(one, "/name")).collect();
    assert_eq!(names, ["a", "side"]);
    assert_eq!(live["spec"].get("replicas"), None);
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "2");
}

#[test]
fn what_is_applied_empty_stays() {
    let selecting = |selector: Value| json!({ "metadata": { "name": "d" }, "spec": { "selector": selector } });
    let live = by("one", None, &selecting(json!({ "matchLabels": { "a": "b" } })), false).unwrap();
    let live = by("one", Some(&live), &selecting(json!({})), false).unwrap();
    assert_eq!(live["spec"]["selector"], json!({}), "everything is selected, and not nothing said");
}

#[test]
fn two_that_want_different_values_conflict() {
    let live = by("one", None, &deployment(Some(3), &json!([])), false).unwrap();
    let same = by("two", Some(&live), &deployment(Some(3), &json!([])), false).unwrap();
    assert_eq!(object::list(&same, "/metadata/managedFields").len(), 2, "the same value is shared");
    let refused = by("two", Some(&live), &deployment(Some(5), &json!([])), false).unwrap_err();
    assert_eq!((refused.code, refused.reason), (409, "Conflict"));
    assert_eq!(refused.details["causes"][0]["field"], ".spec.replicas");
    let forced = by("two", Some(&live), &deployment(Some(5), &json!([])), true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 5);
    // Now it is the other's: the first one conflicts.
    assert!(by("one", Some(&forced), &deployment(Some(3), &json!([])), false).is_err());
}

#[test]
fn a_plain_update_takes_what_it_changes() {
    let live = by("one", None, &deployment(Some(3), &json!([])), false).unwrap();
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = 7.into();
    note_update(&deployments(), Some(&live), &mut scaled, "scaler", "");
    let refused = by("one", Some(&scaled), &deployment(Some(3), &json!([])), false).unwrap_err();
    assert!(refused.message.contains("\"scaler\""), "{}", refused.message);
    // Not naming the field leaves it to the other.
    let left = by("one", Some(&scaled), &deployment(None, &json!([])), false).unwrap();
    assert_eq!(left["spec"]["replicas"], 7);
}
