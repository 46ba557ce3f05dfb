//! Pods, Services, workloads and clusters by name.

use super::{Field, Test};
use crate::Invalid;
use crate::flow::{Endpoint, Flow, Service, Workload};

/// `[namespace/][beginning of the name]`: `xwing` is every Pod of namespace `default` whose name begins so, `shop/` is
/// the whole namespace, `/xwing` is refused: it would be in no namespace at all.
struct Wanted {
    namespace: String,
    beginning: String,
}

pub fn pod(field: &str, wanted: &[String], side: fn(&Flow) -> Option<&Endpoint>) -> Field {
    let wanted = read(field, wanted)?;
    Ok(test(wanted, move |flow| side(flow).map(|endpoint| (endpoint.namespace.as_str(), endpoint.pod_name.as_str()))))
}

pub fn service(field: &str, wanted: &[String], side: fn(&Flow) -> Option<&Service>) -> Field {
    let wanted = read(field, wanted)?;
    Ok(test(wanted, move |flow| side(flow).map(|service| (service.namespace.as_str(), service.name.as_str()))))
}

/// An empty name or kind is any.
pub fn workload(wanted: &[Workload], side: fn(&Flow) -> Option<&Endpoint>) -> Option<Test> {
    let wanted = wanted.to_vec();
    (!wanted.is_empty()).then(|| -> Test {
        Box::new(move |flow| {
            let workloads = side(flow).map_or(&[][..], |endpoint| &endpoint.workloads);
            workloads.iter().any(|workload| {
                wanted.iter().any(|wanted| {
                    (wanted.name.is_empty() || wanted.name == workload.name)
                        && (wanted.kind.is_empty() || wanted.kind == workload.kind)
                })
            })
        })
    })
}

pub fn cluster(field: &str, wanted: &[String], side: fn(&Flow) -> Option<&Endpoint>) -> Field {
    if wanted.iter().any(String::is_empty) {
        return Err(Invalid::new(field, "the name of a cluster can't be empty"));
    }
    let wanted = wanted.to_vec();
    Ok((!wanted.is_empty())
        .then(|| -> Test { Box::new(move |flow| side(flow).is_some_and(|e| wanted.contains(&e.cluster_name))) }))
}

fn read(field: &str, wanted: &[String]) -> Result<Vec<Wanted>, Invalid> {
    let read = |text: &String| {
        let (namespace, beginning) = text.split_once('/').unwrap_or(("default", text));
        let wrong = || Invalid::new(field, format!("{text:?} is not [namespace/][name]"));
        // Without a slash an empty text is no name; with one, the namespace has to be there.
        if text.is_empty() || namespace.is_empty() || beginning.contains('/') {
            return Err(wrong());
        }
        Ok(Wanted { namespace: namespace.to_owned(), beginning: beginning.to_owned() })
    };
    wanted.iter().map(read).collect()
}

fn test(
    wanted: Vec<Wanted>,
    of: impl for<'a> Fn(&'a Flow) -> Option<(&'a str, &'a str)> + Send + Sync + 'static,
) -> Option<Test> {
    (!wanted.is_empty()).then(|| -> Test {
        Box::new(move |flow| {
            of(flow).is_some_and(|(namespace, name)| {
                wanted.iter().any(|w| w.namespace == namespace && name.starts_with(&w.beginning))
            })
        })
    })
}
