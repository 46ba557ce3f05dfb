//! get, list, watch, create, update, patch, delete, deletecollection.

use crate::api::Api;
use crate::apply::{Applier, apply};
use crate::content::parse_object;
use crate::error::ApiError;
use crate::http::{Accept, Answer, Query, Target, json_answer, media_type, read_body};
use crate::object;
use crate::patch::Patch;
use crate::read::{self, shown};
use crate::registry::Resource;
use crate::selectors::{FieldSelector, LabelSelector, Selection};
use crate::write::{self, DeleteOptions, Deleted, Part, WriteOptions};
use ::http::{Method, Request, header};
use bytes::Bytes;
use hyper::body::Body;
use serde_json::{Value, json};
use std::sync::Arc;

/// A request about a known kind.
pub struct Call {
    /// The server.
    pub api: Arc<Api>,
    /// The kind.
    pub resource: Arc<Resource>,
    /// The path, parsed.
    pub target: Target,
    /// The query.
    pub query: Query,
    /// The form of the answer.
    pub accept: Accept,
    /// Who asks.
    pub user: String,
}

impl Call {
    /// Namespace of the path.
    pub fn namespace(&self) -> Option<&str> {
        self.target.namespace.as_deref()
    }

    /// Name of the path; its absence was handled before.
    pub fn name(&self) -> Result<&str, ApiError> {
        self.target.name.as_deref().ok_or_else(ApiError::method_not_allowed)
    }

    /// An object as the answer.
    pub fn answer(&self, code: u16, object: Value, options: &WriteOptions) -> Answer {
        let shown = shown(&self.resource, &self.accept, self.query.get("includeObject"), object);
        with_warnings(json_answer(code, &shown, self.accept.yaml), &options.warnings)
    }
}

/// RFC 7234 §5.5: code 299, no agent.
pub fn with_warnings(mut answer: Answer, warnings: &[String]) -> Answer {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = header::HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            answer.headers_mut().append(header::WARNING, value);
        }
    }
    answer
}

/// Answers a request without subresource.
pub async fn handle<B>(call: &Call, request: Request<B>) -> Result<Answer, ApiError>
where
    B: Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let (parts, body) = request.into_parts();
    let media = media_type(&parts.headers).to_owned();
    if call.resource.virtual_only && !(parts.method == Method::POST && call.target.name.is_none()) {
        return Err(ApiError::method_not_allowed());
    }
    match (parts.method, call.target.name.is_some()) {
        (Method::GET | Method::HEAD, named) => get(call, named),
        (Method::POST, false) => {
            let object = parse_object(&media, &read_body(body).await?)?;
            if call.resource.virtual_only {
                super::subresource::review(call, object)
            } else {
                create(call, object).await
            }
        }
        (Method::PUT, true) => {
            let object = parse_object(&media, &read_body(body).await?)?;
            let mut options = WriteOptions::from_query(&call.query)?;
            let name = call.name()?.to_owned();
            let updated =
                write::update(&call.api, &call.resource, call.namespace(), &name, Part::Main, &mut options, |_| {
                    Ok(object.clone())
                });
            Ok(call.answer(200, updated.await?, &options))
        }
        (Method::PATCH, true) => {
            let patch = Patch::parse(&media, &read_body(body).await?, &call.resource)?;
            patch_part(call, &patch, Part::Main).await
        }
        (Method::DELETE, true) => {
            let options = delete_options(call, &media, &read_body(body).await?)?;
            let deleted = write::delete(&call.api, &call.resource, call.namespace(), call.name()?, &options).await?;
            Ok(deleted_answer(call, deleted))
        }
        (Method::DELETE, false) => {
            let options = delete_options(call, &media, &read_body(body).await?)?;
            delete_collection(call, &options).await
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn get(call: &Call, named: bool) -> Result<Answer, ApiError> {
    let watching = call.query.flag("watch");
    if named && !watching {
        let (object, _) = call.api.get(&call.resource, call.namespace(), call.name()?)?;
        return Ok(call.answer(200, object, &WriteOptions::default()));
    }
    if watching {
        let mut query = call.query.clone();
        if let Some(name) = &call.target.name {
            query.set("fieldSelector", format!("metadata.name={name}"));
        }
        return read::watch(&call.api, Arc::clone(&call.resource), call.namespace(), &query, call.accept.clone());
    }
    let list = read::list(&call.api, &call.resource, call.namespace(), &call.query, &call.accept)?;
    Ok(json_answer(200, &list, call.accept.yaml))
}

async fn create(call: &Call, object: Value) -> Result<Answer, ApiError> {
    let mut options = WriteOptions::from_query(&call.query)?;
    // `POST /api/v1/pods` with the namespace in the body is refused by Kubernetes too.
    let created = write::create(&call.api, &call.resource, call.namespace(), object, &mut options).await?;
    Ok(call.answer(201, created, &options))
}

/// Applies a patch to one part of an object.
pub async fn patch_part(call: &Call, patch: &Patch, part: Part) -> Result<Answer, ApiError> {
    let mut options = WriteOptions::from_query(&call.query)?;
    let name = call.name()?.to_owned();
    if let Patch::Apply(applied) = patch {
        return server_side_apply(call, applied.clone(), part, options).await;
    }
    let resource = Arc::clone(&call.resource);
    let patched = write::update(&call.api, &call.resource, call.namespace(), &name, part, &mut options, |old| {
        patch.apply(&resource, old)
    })
    .await?;
    Ok(call.answer(200, patched, &options))
}

/// `application/apply-patch+yaml`: creates the object where it does not exist.
async fn server_side_apply(
    call: &Call,
    mut applied: Value,
    part: Part,
    mut options: WriteOptions,
) -> Result<Answer, ApiError> {
    if options.field_manager.is_empty() {
        return Err(ApiError::bad_request(
            "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch",
        ));
    }
    if !applied.is_object() {
        return Err(ApiError::bad_request("the applied configuration is no map"));
    }
    let name = call.name()?.to_owned();
    if !object::list(&applied, "/metadata/managedFields").is_empty() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    if !object::name(&applied).is_empty() && object::name(&applied) != name {
        return Err(ApiError::bad_request("the name of the applied configuration does not match the name on the URL"));
    }
    object::metadata_mut(&mut applied).insert("name".into(), name.clone().into());
    options.applied = true;
    write::known_fields(&call.resource, &mut applied, &mut options)?;
    let subresource = if part == Part::Status { "status".to_owned() } else { String::new() };
    let applier = Applier { manager: options.field_manager.clone(), force: call.query.flag("force"), subresource };
    // Between the look and the write somebody else may create or delete it: then the other way is tried.
    for _ in 0..3 {
        let resource = Arc::clone(&call.resource);
        let updated = write::update(&call.api, &call.resource, call.namespace(), &name, part, &mut options, |old| {
            apply(&resource, Some(old), &applied, &applier)
        });
        match updated.await {
            Err(error) if error.code == 404 && part == Part::Main && error.details["name"] == name.as_str() => {}
            done => return Ok(call.answer(200, done?, &options)),
        }
        let fresh = apply(&call.resource, None, &applied, &applier)?;
        match write::create(&call.api, &call.resource, call.namespace(), fresh, &mut options).await {
            Err(error) if error.reason == "AlreadyExists" => {}
            done => return Ok(call.answer(201, done?, &options)),
        }
    }
    Err(ApiError::conflict(&call.resource.group, &call.resource.plural, &name, "it comes and goes"))
}

fn delete_options(call: &Call, media: &str, body: &[u8]) -> Result<DeleteOptions, ApiError> {
    let body = crate::content::parse_options(media, body)?;
    DeleteOptions::parse(&body, &call.query)
}

/// A `Status` where the object is gone, the object where it is still ending; as Kubernetes answers.
fn deleted_answer(call: &Call, deleted: Deleted) -> Answer {
    match deleted {
        Deleted::Begun(object) => call.answer(200, object, &WriteOptions::default()),
        // A Pod's deletion answers with the Pod either way.
        Deleted::Gone(object) if call.resource.plural == "pods" && call.resource.group.is_empty() => {
            call.answer(200, object, &WriteOptions::default())
        }
        Deleted::Gone(object) => {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": { "name": object::name(&object), "group": call.resource.group, "kind": call.resource.plural, "uid": object::uid(&object) },
            });
            json_answer(200, &status, call.accept.yaml)
        }
    }
}

async fn delete_collection(call: &Call, options: &DeleteOptions) -> Result<Answer, ApiError> {
    let selection = Selection {
        labels: LabelSelector::parse(call.query.get("labelSelector"))?,
        fields: FieldSelector::parse(call.query.get("fieldSelector"), &call.resource)?,
    };
    let (objects, revision) = read::collect(&call.api, &call.resource, call.namespace(), &selection)?;
    for object in &objects {
        let namespace = Some(object::namespace(object)).filter(|namespace| !namespace.is_empty());
        match write::delete(&call.api, &call.resource, namespace, object::name(object), options).await {
            Ok(_) => {}
            // Somebody else deleted it meanwhile: that is what was wanted.
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let metadata = json!({ "resourceVersion": revision.to_string() });
    let list = read::shown_list(&call.resource, &call.accept, call.query.get("includeObject"), objects, metadata);
    Ok(json_answer(200, &list, call.accept.yaml))
}
