//! Who controls an object, and which objects a controller may claim (KEP-less, but fixed since Kubernetes 1.6:
//! `controller_ref_manager.go`).

use crate::selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;

/// The one owner that manages this object.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// True when the object with this uid manages `meta`.
pub fn is_controlled_by(meta: &ObjectMeta, owner: &ObjectMeta) -> bool {
    owner.uid.is_some() && controller_of(meta).map(|reference| &reference.uid) == owner.uid.as_ref()
}

/// The reference by which `owner` manages its children.
pub fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// What an owner has to do with a possible child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is ours.
    Ours,
    /// It matches and belongs to nobody: write our reference into it.
    Adopt,
    /// It is ours but no longer matches: take our reference out of it.
    Release,
    /// It is none of our business.
    Foreign,
}

/// Decides about one possible child.
pub fn claim(owner: &ObjectMeta, selector: &LabelSelector, child: &ObjectMeta) -> Claim {
    let matches = selector::matches(selector, child.labels.as_ref());
    match controller_of(child) {
        Some(_) if !is_controlled_by(child, owner) => Claim::Foreign,
        Some(_) if matches => Claim::Ours,
        Some(_) if owner.deletion_timestamp.is_some() => Claim::Foreign,
        Some(_) => Claim::Release,
        None if !matches || owner.deletion_timestamp.is_some() || child.deletion_timestamp.is_some() => Claim::Foreign,
        None => Claim::Adopt,
    }
}

/// The child's metadata with `owner`'s reference added.
pub fn adopt<K: Resource<DynamicType = ()>, C: Resource<DynamicType = ()> + Clone>(owner: &K, child: &C) -> C {
    let mut child = child.clone();
    child.meta_mut().owner_references.get_or_insert_default().push(controller_reference(owner));
    child
}

/// The child without any reference to `owner`.
pub fn release<C: Resource<DynamicType = ()> + Clone>(owner: &ObjectMeta, child: &C) -> C {
    let mut child = child.clone();
    let references = &mut child.meta_mut().owner_references;
    if let Some(list) = references {
        list.retain(|reference| Some(&reference.uid) != owner.uid.as_ref());
        if list.is_empty() {
            *references = None;
        }
    }
    child
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn meta(uid: &str, app: &str, owner: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            uid: Some(uid.into()),
            labels: Some([("app".to_owned(), app.to_owned())].into()),
            owner_references: owner
                .map(|uid| vec![OwnerReference { uid: uid.into(), controller: Some(true), ..Default::default() }]),
            ..Default::default()
        }
    }

    #[test]
    fn claims() {
        let selector =
            LabelSelector { match_labels: Some([("app".into(), "web".into())].into()), match_expressions: None };
        let owner = meta("1", "web", None);
        let mut dying = owner.clone();
        dying.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        let mut ending = meta("2", "web", None);
        ending.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        for (owner, child, expected) in [
            (&owner, meta("2", "web", Some("1")), Claim::Ours),
            (&owner, meta("2", "web", None), Claim::Adopt),
            (&owner, meta("2", "other", None), Claim::Foreign),
            (&owner, meta("2", "web", Some("9")), Claim::Foreign),
            (&owner, meta("2", "other", Some("1")), Claim::Release),
            (&owner, ending, Claim::Foreign),
            (&dying, meta("2", "web", None), Claim::Foreign),
            (&dying, meta("2", "other", Some("1")), Claim::Foreign),
            (&dying, meta("2", "web", Some("1")), Claim::Ours),
        ] {
            assert_eq!(claim(owner, &selector, &child), expected, "{child:?}");
        }
    }
}
