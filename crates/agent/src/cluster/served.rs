//! Whether the API has a kind at all: what it does not have is no secret, and what it only doesn't tell is.
//!
//! The contract: "there are no objects of this kind" is believed when a list was answered with 404 *and* discovery, asked
//! after it, answers whole and does not name the kind. Everything else (no answer, forbidden, half an answer, the kind in
//! another version) is not known, and what is not known is never taken for nothing.

use kube::Resource;
use kube::runtime::watcher;

/// A kind, as discovery names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// API group.
    pub group: String,
    /// Version in which it is read.
    pub version: String,
    /// As in paths.
    pub plural: String,
}

impl Wanted {
    /// A kind of this program.
    pub fn of<O: Resource<DynamicType = ()>>() -> Self {
        Self {
            group: O::group(&()).into_owned(),
            version: O::version(&()).into_owned(),
            plural: O::plural(&()).into_owned(),
        }
    }
}

/// What discovery says of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// It is there.
    Yes,
    /// In no version.
    No,
    /// In these versions alone: there may be objects, and they can't be read.
    Otherwise(Vec<String>),
}

/// Whether a watch failed because there is nothing at the kind's path.
pub fn is_not_found(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        WatchError(status) => status.code == 404,
        WatchFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}

/// Every API has it. An answer without it is none: of somebody in between, or of a server that is not whole yet.
const ALWAYS_THERE: &str = "networking.k8s.io";

/// Asks discovery.
///
/// # Errors
/// What is wrong, in words, when any part of the answer is missing.
pub async fn served(client: &kube::Client, wanted: &Wanted) -> Result<Served, String> {
    let groups = client.list_api_groups().await.map_err(|error| crate::error::chain(&error))?.groups;
    if !groups.iter().any(|group| group.name == ALWAYS_THERE) {
        return Err(format!("the list of API groups is not whole: it does not name {ALWAYS_THERE}"));
    }
    let Some(group) = groups.iter().find(|group| group.name == wanted.group) else { return Ok(Served::No) };
    let mut has_it = Vec::new();
    for version in &group.versions {
        let listed = client.list_api_group_resources(&version.group_version).await;
        let resources = listed.map_err(|error| crate::error::chain(&error))?;
        if resources.resources.iter().any(|resource| resource.name == wanted.plural) {
            has_it.push(version.version.clone());
        }
    }
    Ok(match has_it {
        none if none.is_empty() => Served::No,
        some if some.contains(&wanted.version) => Served::Yes,
        others => Served::Otherwise(others),
    })
}
