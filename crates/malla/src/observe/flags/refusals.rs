//! Filters of one list that exclude each other, as in `hubble`.
//!
//! All of them are an and. Beside each other these would find nothing, or something else than they seem to ask for.

use crate::observe::switches::yes;

/// Whether a flag asks for anything: `--encrypted=false` does not, and is in nobody's way.
pub fn asks(name: &str, value: &str) -> bool {
    let is_switch = matches!(name, "encrypted" | "unencrypted") || name.ends_with("all-namespaces");
    !is_switch || yes(value) == Ok(true)
}

/// Flags by their names, in the order in which they were written.
///
/// # Errors
/// The first that is excluded by one before it; both are named.
pub fn check(written: &[&str]) -> Result<(), String> {
    for (place, flag) in written.iter().enumerate() {
        if let Some(other) = written[..place].iter().find(|other| exclude(other, flag)) {
            return Err(format!(
                "--{other} and --{flag} exclude each other, as in hubble: leave one of them out, or write all that is asked \
                 for with --allowlist (after --not: --denylist)"
            ));
        }
    }
    Ok(())
}

/// Names that say in which namespace they are, beside namespaces, and Pods beside Services. An end is in one namespace.
///
/// # Errors
/// Two that are not in the same; both are named.
pub fn check_namespaces(namespaces: &[String], pods: &[String], services: &[String]) -> Result<(), String> {
    let elsewhere = |names: &[String], namespace: &str| -> Option<String> {
        names.iter().find(|name| namespace_of(name).is_some_and(|own| own != namespace)).cloned()
    };
    for namespace in namespaces {
        if let Some(name) = elsewhere(pods, namespace).or_else(|| elsewhere(services, namespace)) {
            return Err(format!("{name} is not in namespace {namespace}: leave one of them out"));
        }
    }
    for pod in pods {
        if let Some(service) = namespace_of(pod).and_then(|namespace| elsewhere(services, namespace)) {
            return Err(format!("Service {service} is not in the namespace of Pod {pod}: leave one of them out"));
        }
    }
    Ok(())
}

fn namespace_of(name: &str) -> Option<&str> {
    name.split_once('/').map(|(namespace, _)| namespace).filter(|namespace| !namespace.is_empty())
}

/// Which end of a flow a flag is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
    Either,
}

fn parts(flag: &str) -> (End, &str) {
    match (flag.strip_prefix("from-"), flag.strip_prefix("to-")) {
        (Some(kind), _) => (End::Source, kind),
        (None, Some(kind)) => (End::Destination, kind),
        (None, None) => (End::Either, flag),
    }
}

fn exclude(one: &str, other: &str) -> bool {
    let (one, other) = (parts(one), parts(other));
    let ((end, kind), (other_end, other_kind)) = (one, other);
    if kind == other_kind {
        return end != other_end && (end == End::Either || other_end == End::Either) && EITHER_OR_ONE.contains(&kind);
    }
    let is_met = end == other_end || end == End::Either || other_end == End::Either;
    let is_listed = ONE_OF.iter().any(|pair| *pair == (kind, other_kind) || *pair == (other_kind, kind));
    is_met && is_listed || is_of_either(one, other) || is_of_either(other, one)
}

/// A namespace of either end, and a name of one: whose namespace is it?
fn is_of_either((end, kind): (End, &str), (other_end, other_kind): (End, &str)) -> bool {
    end == End::Either
        && matches!(kind, "namespace" | "all-namespaces")
        && other_end != End::Either
        && matches!(other_kind, "pod" | "service")
}

/// `--x` means either end, and excludes `--from-x` and `--to-x`.
const EITHER_OR_ONE: [&str; 10] =
    ["pod", "namespace", "all-namespaces", "service", "label", "ip", "fqdn", "port", "identity", "workload"];

/// One end is asked for by its address, by its domain name, or by its Pod: each excludes the others at that end.
const ONE_OF: [(&str, &str); 9] = [
    ("ip", "fqdn"),
    ("ip", "pod"),
    ("ip", "namespace"),
    ("ip", "all-namespaces"),
    ("fqdn", "pod"),
    ("fqdn", "namespace"),
    ("fqdn", "all-namespaces"),
    ("namespace", "all-namespaces"),
    ("encrypted", "unencrypted"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_end_excludes_each_of_them_and_both_are_named() {
        for kind in EITHER_OR_ONE {
            let (from, to) = (format!("from-{kind}"), format!("to-{kind}"));
            for one in [&from, &to] {
                let error = check(&["verdict", kind, one.as_str()]).unwrap_err();
                assert!(error.starts_with(&format!("--{kind} and --{one} exclude")), "{error}");
                assert!(check(&[one.as_str(), kind]).is_err(), "in any order");
            }
            assert_eq!(check(&[from.as_str(), to.as_str(), from.as_str()]), Ok(()));
            assert_eq!(check(&[kind, kind]), Ok(()), "two of a kind are an or");
        }
    }

    #[test]
    fn an_end_is_asked_for_in_one_way() {
        for line in [
            "ip fqdn",
            "ip from-fqdn",
            "to-ip fqdn",
            "from-ip from-fqdn",
            "from-ip from-pod",
            "from-ip pod",
            "ip to-pod",
            "to-ip to-namespace",
            "from-ip namespace",
            "ip from-all-namespaces",
            "to-fqdn to-pod",
            "fqdn pod",
            "from-fqdn from-namespace",
            "fqdn to-all-namespaces",
            "from-namespace from-all-namespaces",
            "namespace to-all-namespaces",
            "namespace from-pod",
            "to-pod namespace",
            "namespace to-service",
            "all-namespaces from-service",
            "all-namespaces to-pod",
            "encrypted unencrypted",
        ] {
            let flags: Vec<&str> = line.split(' ').collect();
            assert!(check(&flags).is_err(), "{line}");
        }
        for line in [
            "from-ip to-fqdn",
            "from-ip to-pod",
            "from-pod to-namespace",
            "from-pod from-namespace to-service from-service",
            "namespace pod service",
            "from-namespace pod",
            "from-ip from-service from-label from-port from-identity from-workload",
            "cluster from-cluster",
            "ip snat-ip node-name protocol",
        ] {
            let flags: Vec<&str> = line.split(' ').collect();
            assert_eq!(check(&flags), Ok(()), "{line}");
        }
        assert!(!asks("encrypted", "false") && !asks("from-all-namespaces", "no"));
        assert!(asks("unencrypted", "yes") && asks("pod", "no") && asks("reply", "false"));
    }

    #[test]
    fn what_is_named_with_a_namespace_is_in_no_other() {
        let all = |names: &str| names.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let check = |namespaces, pods, services| check_namespaces(&all(namespaces), &all(pods), &all(services));
        for (namespaces, pods, services) in [
            ("a", "a/web web", "a/s s"),
            ("a b", "web", "s"),
            ("", "a/web", "a/s"),
            ("", "a/web b/web", "s"),
            ("", "web", "b/s"),
        ] {
            assert_eq!(check(namespaces, pods, services), Ok(()), "{namespaces}; {pods}; {services}");
        }
        for (namespaces, pods, services, named) in [
            ("a", "web c/db", "", ["c/db", "namespace a"]),
            ("a", "", "b/s", ["b/s", "namespace a"]),
            ("a b", "a/web", "", ["a/web", "namespace b"]),
            ("", "a/web", "b/s", ["b/s", "a/web"]),
        ] {
            let error = check(namespaces, pods, services).unwrap_err();
            assert!(named.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
