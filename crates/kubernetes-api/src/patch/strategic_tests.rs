use super::*;
use serde_json::json;

fn check(kind: &str, target: Value, patch: Value, expected: Value) {
    let mut patched = target.clone();
    strategic_patch(&definitions().shape(kind), &mut patched, &patch).unwrap();
    assert_eq!(patched, expected, "{target} + {patch}");
}

const POD: &str = "io.k8s.api.core.v1.Pod";
const SERVICE: &str = "io.k8s.api.core.v1.Service";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

#[test]
fn containers_merge_by_name() {
    check(
        POD,
        json!({ "spec": { "containers": [{ "name": "a", "image": "1", "args": ["x"] }, { "name": "b" }] } }),
        json!({ "spec": { "containers": [{ "name": "a", "image": "2" }, { "name": "c" }] } }),
        json!({ "spec": { "containers": [{ "name": "a", "image": "2", "args": ["x"] }, { "name": "b" }, { "name": "c" }] } }),
    );
}

#[test]
fn containers_are_deleted_and_ordered() {
    check(
        POD,
        json!({ "spec": { "containers": [{ "name": "a" }, { "name": "b" }, { "name": "c" }] } }),
        json!({ "spec": { "$setElementOrder/containers": [{ "name": "c" }, { "name": "a" }],
                "containers": [{ "name": "b", "$patch": "delete" }] } }),
        json!({ "spec": { "containers": [{ "name": "c" }, { "name": "a" }] } }),
    );
}

#[test]
fn service_ports_merge_by_port_and_plain_lists_are_replaced() {
    check(
        SERVICE,
        json!({ "spec": { "ports": [{ "port": 80, "nodePort": 30080 }], "externalIPs": ["1.2.3.4"] } }),
        json!({ "spec": { "ports": [{ "port": 80, "targetPort": 8080 }, { "port": 443 }], "externalIPs": ["5.6.7.8"] } }),
        json!({ "spec": { "ports": [{ "port": 80, "nodePort": 30080, "targetPort": 8080 }, { "port": 443 }], "externalIPs": ["5.6.7.8"] } }),
    );
}

#[test]
fn retain_keys_drop_the_rest() {
    check(
        DEPLOYMENT,
        json!({ "spec": { "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } } } }),
        json!({ "spec": { "strategy": { "$retainKeys": ["type"], "type": "Recreate" } } }),
        json!({ "spec": { "strategy": { "type": "Recreate" } } }),
    );
}

#[test]
fn directives_on_maps_and_sets() {
    check(
        POD,
        json!({ "metadata": { "labels": { "a": "b" } } }),
        json!({ "metadata": { "labels": { "$patch": "replace", "c": "d" } } }),
        json!({ "metadata": { "labels": { "c": "d" } } }),
    );
    check(
        POD,
        json!({ "metadata": { "labels": { "a": "b" } } }),
        json!({ "metadata": { "labels": { "a": null } } }),
        json!({ "metadata": { "labels": {} } }),
    );
    check(
        POD,
        json!({ "metadata": { "finalizers": ["x/a", "x/b"] } }),
        json!({ "metadata": { "finalizers": ["x/c"], "$deleteFromPrimitiveList/finalizers": ["x/a"] } }),
        json!({ "metadata": { "finalizers": ["x/b", "x/c"] } }),
    );
    check(
        POD,
        json!({ "spec": { "containers": [{ "name": "a" }] } }),
        json!({ "spec": { "containers": [{ "$patch": "replace" }, { "name": "z" }] } }),
        json!({ "spec": { "containers": [{ "name": "z" }] } }),
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let shape = definitions().shape(POD);
    for wrong in [
        json!({ "spec": { "containers": [{ "image": "without a name" }] } }),
        json!({ "spec": { "containers": ["text"] } }),
        json!({ "spec": { "$patch": "explode" } }),
    ] {
        let mut pod = json!({ "spec": { "containers": [{ "name": "a" }] } });
        assert_eq!(strategic_patch(&shape, &mut pod, &wrong).map_err(|error| error.code), Err(400), "{wrong}");
    }
}
