//! Which Services may have one address together.

use crate::Request;

/// Why two Services can't share an address; nothing when they can.
///
/// The same key and no common port are needed; who doesn't share a namespace has to name the other's on both sides. With
/// `externalTrafficPolicy: Local` the address lives only where there are endpoints, so both must have the same Pods.
pub(crate) fn obstacle(one: &Request, other: &Request) -> Option<&'static str> {
    if one.sharing_key.is_none() || one.sharing_key != other.sharing_key {
        return Some("it has another sharing key");
    }
    let admits = |this: &Request, that: &Request| {
        this.sharing_namespaces.contains("*") || this.sharing_namespaces.contains(&*that.name.namespace)
    };
    if one.name.namespace != other.name.namespace && !(admits(one, other) && admits(other, one)) {
        return Some("it is in another namespace, and not both allow that");
    }
    if one.ports.intersection(&other.ports).next().is_some() {
        return Some("it has the same port");
    }
    if one.local != other.local {
        return Some("it has another externalTrafficPolicy");
    }
    if one.local && (one.pods.is_empty() || one.pods != other.pods) {
        return Some("with externalTrafficPolicy Local both must select the same Pods");
    }
    None
}
