use super::pod;
use crate::object::{default, map_mut};
use serde_json::{Map, Value, json};

fn template(spec: &mut Map<String, Value>) {
    if let Some(template) = spec.get_mut("template").filter(|template| template.is_object()) {
        pod::spec(map_mut(template, "spec"));
        // Go writes this for a zero time; controllers compare templates, so it must not come and go.
        map_mut(template, "metadata").remove("creationTimestamp");
    }
}

/// apps/v1 Deployment.
pub fn deployment(object: &mut Value) {
    let spec = map_mut(object, "spec");
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
    default(spec, "strategy", json!({}));
    if let Some(strategy) = spec.get_mut("strategy").and_then(Value::as_object_mut) {
        default(strategy, "type", "RollingUpdate");
        rolling(strategy, "25%", Some("25%"));
    }
    template(spec);
}

/// apps/v1 ReplicaSet.
pub fn replica_set(object: &mut Value) {
    let spec = map_mut(object, "spec");
    default(spec, "replicas", 1);
    template(spec);
}

/// core/v1 ReplicationController: its selector and labels come from the template.
pub fn replication_controller(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    let spec = map_mut(object, "spec");
    default(spec, "replicas", 1);
    default(spec, "selector", labels);
    template(spec);
}

/// apps/v1 DaemonSet.
pub fn daemon_set(object: &mut Value) {
    let spec = map_mut(object, "spec");
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "updateStrategy", json!({}));
    if let Some(strategy) = spec.get_mut("updateStrategy").and_then(Value::as_object_mut) {
        default(strategy, "type", "RollingUpdate");
        rolling(strategy, 1, Some(0));
    }
    template(spec);
}

/// apps/v1 StatefulSet.
pub fn stateful_set(object: &mut Value) {
    let spec = map_mut(object, "spec");
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "podManagementPolicy", "OrderedReady");
    default(spec, "persistentVolumeClaimRetentionPolicy", json!({ "whenDeleted": "Retain", "whenScaled": "Retain" }));
    default(spec, "updateStrategy", json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } }));
    template(spec);
}

fn rolling(strategy: &mut Map<String, Value>, unavailable: impl Into<Value>, surge: Option<impl Into<Value>>) {
    if strategy.get("type") != Some(&json!("RollingUpdate")) {
        return;
    }
    default(strategy, "rollingUpdate", json!({}));
    if let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
        default(rolling, "maxUnavailable", unavailable);
        if let Some(surge) = surge {
            default(rolling, "maxSurge", surge);
        }
    }
}

/// batch/v1 Job.
pub fn job(object: &mut Value) {
    job_spec(map_mut(object, "spec"));
    let uid = crate::object::uid(object).to_owned();
    let name = crate::object::name(object).to_owned();
    let spec = map_mut(object, "spec");
    if spec.get("manualSelector") != Some(&json!(true))
        && spec.get("selector").is_none_or(Value::is_null)
        && !uid.is_empty()
    {
        spec.insert("selector".into(), json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": uid } }));
        if let Some(template) = spec.get_mut("template") {
            let labels = map_mut(template, "metadata").entry("labels").or_insert_with(|| json!({}));
            for (key, value) in [("controller-uid", &uid), ("job-name", &name)] {
                labels[key] = value.clone().into();
                labels[format!("batch.kubernetes.io/{key}")] = value.clone().into();
            }
        }
    }
}

fn job_spec(spec: &mut Map<String, Value>) {
    default(spec, "completions", 1);
    default(spec, "parallelism", 1);
    default(spec, "backoffLimit", 6);
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    default(spec, "podReplacementPolicy", "TerminatingOrFailed");
    template(spec);
}

/// batch/v1 CronJob.
pub fn cron_job(object: &mut Value) {
    let spec = map_mut(object, "spec");
    default(spec, "concurrencyPolicy", "Allow");
    default(spec, "suspend", false);
    default(spec, "successfulJobsHistoryLimit", 3);
    default(spec, "failedJobsHistoryLimit", 1);
    if let Some(template) = spec.get_mut("jobTemplate") {
        job_spec(map_mut(template, "spec"));
    }
}
