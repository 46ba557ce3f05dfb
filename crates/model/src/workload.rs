//! What a Pod belongs to.

/// Whoever made a Pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, ….
    pub kind: Box<str>,
    /// Its name, in the Pod's namespace.
    pub name: Box<str>,
}

impl Workload {
    /// By its kind and name. `None` where one of them is missing, or longer than Kubernetes lets one be: nobody checks what a
    /// Pod says of its owner, and every node is told it.
    #[must_use]
    pub fn new(kind: &str, name: &str) -> Option<Self> {
        let is_fine = (1..=KIND).contains(&kind.len()) && (1..=NAME).contains(&name.len());
        is_fine.then(|| Self { kind: kind.into(), name: name.into() })
    }
}

/// Bytes of a kind, which is a DNS label (RFC 1123 §2.1) but for its case.
const KIND: usize = 63;
/// Bytes of a name, which is a DNS subdomain.
const NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_no_object_is_no_workload() {
        for (kind, name, is_one) in [
            ("Deployment", "web", true),
            (&*"K".repeat(63), &*"n".repeat(253), true),
            ("", "web", false),
            ("Deployment", "", false),
            (&*"K".repeat(64), "web", false),
            ("Deployment", &*"n".repeat(254), false),
        ] {
            assert_eq!(Workload::new(kind, name).is_some(), is_one, "{kind} {name}");
        }
    }
}
