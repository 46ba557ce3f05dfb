//! What an annotation says about the sockets of a Pod. Pure.

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;

/// `"off"` leaves the sockets of a Pod (on the Pod) or of all Pods (on their Namespace) to the translation of each packet;
/// `"on"`, on a Pod, counts against its Namespace's.
pub const ANNOTATION: &str = "service.malla.dev/socket-translation";

/// What one object says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Whether sockets are translated; `None` where the object has no opinion.
    pub translate: Option<bool>,
    /// What is wrong with the annotation, and what to do.
    pub problem: Option<String>,
}

/// A Pod's. Every Pod has one, so that who waits for it knows when it has come.
#[must_use]
pub fn of_pod(pod: &Pod) -> Option<Wish> {
    let mut wish = read(pod.annotations().get(ANNOTATION));
    if wish.translate.is_some() && pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)) {
        wish.problem = Some(format!(
            "annotation {ANNOTATION} says nothing about a Pod with hostNetwork, which shares the node's sockets; remove it"
        ));
    }
    Some(wish)
}

/// A Namespace's, where it has one.
#[must_use]
pub fn of_namespace(namespace: &Namespace) -> Option<Wish> {
    let wish = read(namespace.annotations().get(ANNOTATION));
    (wish != Wish::default()).then_some(wish)
}

fn read(value: Option<&String>) -> Wish {
    match value.map(String::as_str) {
        None => Wish::default(),
        Some("on") => Wish { translate: Some(true), problem: None },
        Some("off") => Wish { translate: Some(false), problem: None },
        Some(other) => Wish {
            translate: None,
            problem: Some(format!(
                "annotation {ANNOTATION} is {other:?} and counts as absent; set it to \"on\" or \"off\""
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(value: Option<&str>, host_network: bool) -> Pod {
        let mut pod = Pod::default();
        pod.annotations_mut().extend(value.map(|v| (ANNOTATION.to_owned(), v.to_owned())));
        pod.spec = Some(k8s_openapi::api::core::v1::PodSpec { host_network: Some(host_network), ..Default::default() });
        pod
    }

    #[test]
    fn only_on_and_off_mean_something() {
        let translate = |value| of_pod(&pod(value, false)).unwrap().translate;
        assert_eq!([translate(None), translate(Some("on")), translate(Some("off"))], [None, Some(true), Some(false)]);
        for wrong in ["", "Off", "false", "off "] {
            let wish = of_pod(&pod(Some(wrong), false)).unwrap();
            assert_eq!(wish.translate, None);
            assert!(wish.problem.is_some_and(|p| p.contains(ANNOTATION) && p.contains("\"off\"")), "{wrong}");
        }
        let mut namespace = Namespace::default();
        assert_eq!(of_namespace(&namespace), None, "of no interest");
        namespace.annotations_mut().insert(ANNOTATION.to_owned(), "off".to_owned());
        assert_eq!(of_namespace(&namespace).unwrap().translate, Some(false));
    }

    #[test]
    fn a_pod_in_the_nodes_network_is_told_that_it_has_no_sockets_of_its_own() {
        assert!(of_pod(&pod(Some("off"), true)).unwrap().problem.is_some());
        assert_eq!(of_pod(&pod(None, true)), Some(Wish::default()));
    }
}
