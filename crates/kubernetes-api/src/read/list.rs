use super::shown_list;
use crate::api::{Api, present};
use crate::error::ApiError;
use crate::http::{Accept, Query};
use crate::registry::Resource;
use crate::selectors::{FieldSelector, LabelSelector, Selection};
use base64::Engine;
use object_store::PageRequest;
use serde_json::{Value, json};

/// The selectors of a request.
pub fn selection(resource: &Resource, query: &Query) -> Result<Selection, ApiError> {
    Ok(Selection {
        labels: LabelSelector::parse(query.get("labelSelector"))?,
        fields: FieldSelector::parse(query.get("fieldSelector"), resource)?,
    })
}

/// All selected objects and the revision at which they were so.
pub fn collect(
    api: &Api,
    resource: &Resource,
    namespace: Option<&str>,
    selection: &Selection,
) -> Result<(Vec<Value>, u64), ApiError> {
    let page = api.store.list(&resource.prefix(namespace), &PageRequest::default())?;
    let mut objects = Vec::new();
    for (_, entry) in &page.entries {
        let object = present(resource, entry)?;
        if selection.matches(&object) {
            objects.push(object);
        }
    }
    Ok((objects, page.revision))
}

/// Answers a list request, whole or in pages of one consistent state.
pub fn list(
    api: &Api,
    resource: &Resource,
    namespace: Option<&str>,
    query: &Query,
    accept: &Accept,
) -> Result<Value, ApiError> {
    let selection = selection(resource, query)?;
    let limit = query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0);
    let prefix = resource.prefix(namespace);
    let mut request = starting_point(query)?;
    // The token names the key behind the prefix: it cannot lead out of what the request may read.
    request.after = request.after.map(|after| format!("{prefix}{after}"));
    let mut items = Vec::new();
    let (revision, last, remaining) = loop {
        // Selected objects are what the limit counts, so that a page may take several reads.
        request.limit = if limit == 0 { 0 } else { limit - items.len() };
        let page = api.store.list(&prefix, &request)?;
        let last = page.entries.last().map(|(key, _)| key.clone());
        for (_, entry) in &page.entries {
            let object = present(resource, entry)?;
            if selection.matches(&object) {
                items.push(object);
            }
        }
        if limit == 0 || page.remaining == 0 || items.len() >= limit {
            break (page.revision, last, page.remaining);
        }
        request.after = last;
        request.revision = Some(page.revision);
    };
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if let (true, Some(last)) = (remaining > 0, last) {
        let token = json!({ "v": 1, "rv": revision, "after": last.strip_prefix(&prefix).unwrap_or("") });
        metadata["continue"] = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token.to_string()).into();
        if selection.is_empty() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    Ok(shown_list(resource, accept, query.get("includeObject"), items, metadata))
}

/// Where and at which revision to start, from `continue`, `resourceVersion` and `resourceVersionMatch`.
fn starting_point(query: &Query) -> Result<PageRequest, ApiError> {
    let token = query.get("continue");
    let version = query.get("resourceVersion");
    let matching = query.get("resourceVersionMatch");
    if !token.is_empty() {
        if !matches!(version, "" | "0") {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        let broken = || ApiError::bad_request("continue key is not valid");
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).map_err(|_| broken())?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|_| broken())?;
        let (Some(revision), Some(after)) = (token["rv"].as_u64(), token["after"].as_str()) else {
            return Err(broken());
        };
        return Ok(PageRequest { revision: Some(revision), after: Some(after.to_owned()), limit: 0 });
    }
    if !matches!(matching, "" | "Exact" | "NotOlderThan") {
        return Err(ApiError::bad_request(format!("resourceVersionMatch: Unsupported value: {matching:?}")));
    }
    if !matching.is_empty() && version.is_empty() {
        return Err(ApiError::bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided"));
    }
    if version.is_empty() || version == "0" {
        return Ok(PageRequest::default());
    }
    let number = version
        .parse::<u64>()
        .map_err(|_| ApiError::bad_request(format!("Invalid value: {version:?}: invalid resource version")))?;
    Ok(PageRequest { revision: (matching == "Exact").then_some(number), after: None, limit: 0 })
}
