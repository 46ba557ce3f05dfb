//! status, scale, binding, eviction, finalize, and the reviews that store nothing.

use super::resource::{Call, patch_part, with_warnings};
use crate::api::Api;
use crate::content::parse_object;
use crate::error::ApiError;
use crate::http::{Answer, Target, json_answer, media_type, read_body};
use crate::object;
use crate::patch::Patch;
use crate::registry::ScalePaths;
use crate::selectors::selector_object_text;
use crate::table::json_path as table_path;
use crate::write::{self, DeleteOptions, Part, WriteOptions};
use ::http::{Method, Request};
use bytes::Bytes;
use hyper::body::Body;
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers a request for a subresource.
pub async fn handle<B>(call: &Call, request: Request<B>) -> Result<Answer, ApiError>
where
    B: Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let (parts, body) = request.into_parts();
    let media = media_type(&parts.headers).to_owned();
    let pod = call.resource.group.is_empty() && call.resource.plural == "pods";
    let subresource = call.target.subresource.as_deref().unwrap_or("");
    match (subresource, parts.method) {
        ("status", method) if call.resource.status => match method {
            Method::GET => {
                let (object, _) = call.api.get(&call.resource, call.namespace(), call.name()?)?;
                Ok(call.answer(200, object, &WriteOptions::default()))
            }
            Method::PUT => {
                let object = parse_object(&media, &read_body(body).await?)?;
                replace(call, object, Part::Status).await
            }
            Method::PATCH => {
                let patch = Patch::parse(&media, &read_body(body).await?, &call.resource)?;
                patch_part(call, &patch, Part::Status).await
            }
            _ => Err(ApiError::method_not_allowed()),
        },
        ("scale", method) => {
            let paths = call.resource.scale.clone().ok_or_else(ApiError::no_such_path)?;
            let body = if method == Method::GET { Bytes::new() } else { read_body(body).await? };
            scale(call, &paths, &method, &media, &body).await
        }
        ("binding", Method::POST) if pod => {
            let binding = parse_object(&media, &read_body(body).await?)?;
            bind(&call.api, call.namespace(), call.name()?, &binding, &WriteOptions::from_query(&call.query)?).await
        }
        ("eviction", Method::POST) if pod => {
            let eviction = parse_object(&media, &read_body(body).await?)?;
            let mut options = DeleteOptions::parse(&eviction["deleteOptions"], &call.query)?;
            options.propagation = None;
            write::delete(&call.api, &call.resource, call.namespace(), call.name()?, &options).await?;
            Ok(json_answer(
                201,
                &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" }),
                false,
            ))
        }
        ("finalize", Method::PUT) if call.resource.plural == "namespaces" => {
            let object = parse_object(&media, &read_body(body).await?)?;
            let finalizers = object["spec"]["finalizers"].clone();
            let mut options = WriteOptions::from_query(&call.query)?;
            let name = call.name()?.to_owned();
            let updated = write::update(&call.api, &call.resource, None, &name, Part::Whole, &mut options, |old| {
                let mut new = old.clone();
                new["spec"]["finalizers"] = if finalizers.is_null() { json!([]) } else { finalizers.clone() };
                Ok(new)
            });
            Ok(call.answer(200, updated.await?, &options))
        }
        ("log" | "exec" | "attach" | "portforward" | "proxy", _) if pod => {
            let message = format!("the embedded API serves no Pod {subresource}; see `malla lab --help`");
            Err(ApiError::new(501, "NotImplemented", message))
        }
        _ => Err(ApiError::no_such_path()),
    }
}

async fn replace(call: &Call, object: Value, part: Part) -> Result<Answer, ApiError> {
    let mut options = WriteOptions::from_query(&call.query)?;
    let name = call.name()?.to_owned();
    let updated =
        write::update(&call.api, &call.resource, call.namespace(), &name, part, &mut options, |_| Ok(object.clone()));
    Ok(call.answer(200, updated.await?, &options))
}

/// `POST …/bindings` names its Pod in the body; any other unknown path is just unknown.
pub async fn without_kind<B>(
    api: &Arc<Api>,
    target: &Target,
    request: Request<B>,
    error: ApiError,
) -> Result<Answer, ApiError>
where
    B: Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    if !(target.group.is_empty()
        && target.plural == "bindings"
        && target.name.is_none()
        && request.method() == Method::POST)
    {
        return Err(error);
    }
    let (parts, body) = request.into_parts();
    let binding = parse_object(media_type(&parts.headers), &read_body(body).await?)?;
    let name = object::name(&binding).to_owned();
    bind(api, target.namespace.as_deref(), &name, &binding, &WriteOptions::default()).await
}

async fn bind(
    api: &Arc<Api>,
    namespace: Option<&str>,
    name: &str,
    binding: &Value,
    options: &WriteOptions,
) -> Result<Answer, ApiError> {
    let pods = api.builtin("", "pods")?;
    let node = object::text(binding, "/target/name").to_owned();
    if node.is_empty() || !matches!(object::text(binding, "/target/kind"), "" | "Node") {
        return Err(ApiError::invalid("", "Binding", name, &[crate::error::Cause::required("target.name", "")]));
    }
    let mut options = options.clone();
    write::update(api, &pods, namespace, name, Part::Whole, &mut options, |old| {
        let conflict = |why: &str| Err(ApiError::conflict("", "pods/binding", name, why));
        if object::is_deleting(old) {
            return conflict(&format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        let bound = object::text(old, "/spec/nodeName");
        if !bound.is_empty() {
            return conflict(&format!("pod {name} is already assigned to node {bound:?}"));
        }
        let uid = object::text(binding, "/metadata/uid");
        if !uid.is_empty() && uid != object::uid(old) {
            return conflict("the pod's UID is another one");
        }
        let mut new = old.clone();
        new["spec"]["nodeName"] = node.clone().into();
        let condition = json!({ "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": object::now() });
        let status = object::map_mut(&mut new, "status");
        let conditions = status.entry("conditions").or_insert_with(|| json!([]));
        if let Value::Array(conditions) = conditions {
            conditions.retain(|one| one["type"] != "PodScheduled");
            conditions.push(condition);
        }
        Ok(new)
    })
    .await?;
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" });
    Ok(with_warnings(json_answer(201, &status, false), &options.warnings))
}

async fn scale(call: &Call, paths: &ScalePaths, method: &Method, media: &str, body: &[u8]) -> Result<Answer, ApiError> {
    let name = call.name()?.to_owned();
    if *method == Method::GET {
        let (object, _) = call.api.get(&call.resource, call.namespace(), &name)?;
        return Ok(json_answer(200, &scale_of(&object, paths, call.resource.is_custom()), call.accept.yaml));
    }
    let patch = match *method {
        Method::PUT => None,
        Method::PATCH if media == "application/strategic-merge-patch+json" => {
            Some(Patch::Merge(crate::content::parse_json(body)?))
        }
        Method::PATCH => Some(Patch::parse(media, body, &call.resource)?),
        _ => return Err(ApiError::method_not_allowed()),
    };
    let replacement = if patch.is_none() { parse_object(media, body)? } else { Value::Null };
    let mut options = WriteOptions::from_query(&call.query)?;
    let custom = call.resource.is_custom();
    let resource = Arc::clone(&call.resource);
    let updated = write::update(&call.api, &call.resource, call.namespace(), &name, Part::Main, &mut options, |old| {
        let scale = match &patch {
            Some(patch) => patch.apply(&resource, &scale_of(old, paths, custom))?,
            None => replacement.clone(),
        };
        let replicas = match &scale["spec"]["replicas"] {
            Value::Null => 0,
            value => value.as_i64().ok_or_else(|| ApiError::bad_request("spec.replicas must be a number"))?,
        };
        if !(0..=i64::from(i32::MAX)).contains(&replicas) {
            let cause = crate::error::Cause::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
            return Err(ApiError::invalid("autoscaling", "Scale", &name, &[cause]));
        }
        let mut new = old.clone();
        let version = object::text(&scale, "/metadata/resourceVersion");
        if !version.is_empty() {
            object::metadata_mut(&mut new).insert("resourceVersion".into(), version.into());
        }
        table_path::set(&mut new, &paths.spec_replicas, replicas.into());
        Ok(new)
    });
    let updated = updated.await?;
    Ok(with_warnings(json_answer(200, &scale_of(&updated, paths, custom), call.accept.yaml), &options.warnings))
}

fn scale_of(object: &Value, paths: &ScalePaths, custom: bool) -> Value {
    let number = |path: &str| table_path::get(object, path).and_then(Value::as_i64).unwrap_or(0);
    let selector = paths.selector.as_deref().and_then(|path| table_path::get(object, path));
    let selector = match selector {
        Some(Value::String(text)) => text.clone(),
        Some(value) if !custom => selector_object_text(value),
        _ => String::new(),
    };
    let metadata = &object["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": { "replicas": number(&paths.spec_replicas) },
        "status": { "replicas": number(&paths.status_replicas) },
    });
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// SelfSubjectAccessReview and its like: whoever has a certificate may do everything.
pub fn review(call: &Call, mut object: Value) -> Result<Answer, ApiError> {
    object["apiVersion"] = call.resource.api_version().into();
    object["kind"] = call.resource.kind.clone().into();
    object["status"] = if call.resource.plural == "selfsubjectrulesreviews" {
        json!({
            "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }],
            "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
            "incomplete": false,
        })
    } else {
        json!({ "allowed": true, "reason": format!("{} holds a certificate of this lab", call.user) })
    };
    object::metadata_mut(&mut object);
    Ok(json_answer(201, &object, call.accept.yaml))
}
