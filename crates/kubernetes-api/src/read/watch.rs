//! Watching: one JSON event per line, until the client goes, the time is up, or the history has moved past it.

use super::list::{collect, selection};
use super::shown;
use crate::api::{Api, present, present_at};
use crate::error::ApiError;
use crate::http::{Accept, Answer, Query, stream_answer};
use crate::object;
use crate::registry::Resource;
use crate::selectors::Selection;
use bytes::{Bytes, BytesMut};
use object_store::{Change, StoreError, Watcher};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest watch in seconds, where the client names none; Kubernetes ends them after 30 to 60 minutes.
const LONGEST: u64 = 2700;
/// How often a quiet watch tells its revision.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

struct Watching {
    resource: Arc<Resource>,
    selection: Selection,
    accept: Accept,
    include: String,
    watcher: Watcher,
    queue: VecDeque<Bytes>,
    bookmarks: bool,
    next_bookmark: Instant,
    ends: Instant,
    over: bool,
    /// A table's columns are sent once only.
    columns_sent: bool,
}

/// Answers a watch request.
pub fn watch(
    api: &Api,
    resource: Arc<Resource>,
    namespace: Option<&str>,
    query: &Query,
    accept: Accept,
) -> Result<Answer, ApiError> {
    let selection = selection(&resource, query)?;
    let timeout = query.number("timeoutSeconds")?.filter(|seconds| *seconds > 0).unwrap_or(LONGEST).min(86_400);
    let bookmarks = query.flag("allowWatchBookmarks");
    let version = query.get("resourceVersion");
    let send_initial = query.flag("sendInitialEvents");
    if send_initial && query.get("resourceVersionMatch") != "NotOlderThan" {
        return Err(ApiError::bad_request("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
    }
    let suppressed = query.get("sendInitialEvents") == "false";
    let from_now = matches!(version, "" | "0") || send_initial;
    let mut initial = Vec::new();
    let after = if from_now {
        let (objects, revision) = collect(api, &resource, namespace, &selection)?;
        if !suppressed {
            initial = objects;
        }
        revision
    } else {
        version
            .parse()
            .map_err(|_| ApiError::bad_request(format!("Invalid value: {version:?}: invalid resource version")))?
    };
    let now = Instant::now();
    let watcher = match api.store.watch(&resource.prefix(namespace), after) {
        Ok(watcher) => watcher,
        // As Kubernetes does it (`newErrWatcher`): a stream with one ERROR event. kube-rs lists anew only after that; an
        // answer of 410 makes it ask for the same revision for ever.
        // A revision that is yet to come is another server's, or one from before the data were wiped: the same cure.
        Err(error @ (StoreError::Compacted { .. } | StoreError::Future { .. })) => {
            let event = json!({ "type": "ERROR", "object": ApiError::expired(error.to_string()).status() });
            return Ok(stream_answer("application/json", futures::stream::iter([Bytes::from(format!("{event}\n"))])));
        }
        Err(error) => return Err(error.into()),
    };
    let mut watching = Watching {
        resource,
        selection,
        include: query.get("includeObject").to_owned(),
        accept,
        watcher,
        queue: VecDeque::new(),
        bookmarks,
        next_bookmark: now + BOOKMARK_EVERY,
        ends: now + Duration::from_secs(timeout),
        over: false,
        columns_sent: false,
    };
    for object in initial {
        watching.push("ADDED", object);
    }
    if send_initial && bookmarks {
        watching.push_bookmark(true);
    }
    let content_type = if watching.accept.yaml { "application/yaml;stream=watch" } else { "application/json" };
    let stream = futures::stream::unfold(watching, |mut watching| async move {
        let bytes = watching.next().await?;
        Some((bytes, watching))
    });
    Ok(stream_answer(content_type, stream))
}

impl Watching {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.queue.is_empty() {
                // What is ready goes out as one piece: fewer frames for bursts.
                let mut whole = BytesMut::new();
                while let Some(next) = self.queue.pop_front() {
                    whole.extend_from_slice(&next);
                    if whole.len() > 64 * 1024 {
                        break;
                    }
                }
                return Some(whole.freeze());
            }
            if self.over {
                return None;
            }
            let wake = if self.bookmarks { self.ends.min(self.next_bookmark) } else { self.ends };
            tokio::select! {
                changes = self.watcher.next() => match changes {
                    Ok(changes) => changes.iter().for_each(|change| self.change(change)),
                    Err(error) => self.fail(&error.into()),
                },
                () = tokio::time::sleep_until(wake) => {
                    if self.bookmarks {
                        self.push_bookmark(false);
                        self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    }
                    self.over = Instant::now() >= self.ends;
                }
            }
        }
    }

    /// A selector makes objects appear and vanish: what left the selection is DELETED for this client.
    fn change(&mut self, change: &Change) {
        let at = |entry: &Option<object_store::Entry>| -> Result<Option<Value>, ApiError> {
            let Some(entry) = entry else { return Ok(None) };
            let object = present(&self.resource, entry)?;
            Ok(Some(object).filter(|object| self.selection.matches(object)))
        };
        let last_state = || match &change.previous {
            Some(entry) => present_at(&self.resource, entry, change.revision),
            None => Err(ApiError::internal("a deletion without a previous state")),
        };
        let outcome = match (at(&change.previous), at(&change.current)) {
            (Ok(None), Ok(None)) => return,
            (Ok(None), Ok(Some(new))) => Ok(("ADDED", new)),
            (Ok(Some(_)), Ok(Some(new))) => Ok(("MODIFIED", new)),
            (Ok(Some(_)), Ok(None)) => last_state().map(|old| ("DELETED", old)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        match outcome {
            Ok((kind, object)) => self.push(kind, object),
            Err(error) => self.fail(&error),
        }
    }

    fn push(&mut self, kind: &str, object: Value) {
        let mut shown = shown(&self.resource, &self.accept, &self.include, object);
        if self.accept.form == crate::http::Form::Table {
            if self.columns_sent {
                shown["columnDefinitions"] = Value::Null;
            }
            self.columns_sent = true;
        }
        self.line(&json!({ "type": kind, "object": shown }));
    }

    fn push_bookmark(&mut self, initial_end: bool) {
        let mut object = json!({
            "kind": self.resource.kind, "apiVersion": self.resource.api_version(),
            "metadata": { "creationTimestamp": null },
        });
        object::set_resource_version(&mut object, self.watcher.revision());
        if initial_end {
            object["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = match self.accept.form {
            crate::http::Form::Metadata | crate::http::Form::MetadataList => {
                json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
            }
            crate::http::Form::Table => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": null,
                "metadata": { "resourceVersion": object["metadata"]["resourceVersion"] },
                "rows": [{ "cells": [], "object": { "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] } }],
            }),
            _ => object,
        };
        self.line(&json!({ "type": "BOOKMARK", "object": object }));
    }

    fn fail(&mut self, error: &ApiError) {
        self.line(&json!({ "type": "ERROR", "object": error.status() }));
        self.over = true;
    }

    fn line(&mut self, event: &Value) {
        let mut line = event.to_string();
        line.push('\n');
        self.queue.push_back(Bytes::from(line));
    }
}
