//! The order of crates. Cargo.toml lists the members in the direction in which data flows, and a crate may depend only
//! on members that stand above it: a later crate is free to change without any earlier one being touched.

use crate::{command, repository};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;

/// Dev-dependencies that look downwards: (crate, the one it uses in its tests, why).
const DOWNWARD_IN_TESTS: &[(&str, &str, &str)] = &[];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

pub fn check(complaints: &mut Vec<String>) -> Result<()> {
    let manifest = std::fs::read_to_string(repository::root().join("Cargo.toml")).context("read Cargo.toml")?;
    let order = members(&manifest);
    let said = command::output(command::new("cargo", &["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&said).context("read cargo's metadata")?;
    complaints.extend(find(&order, &metadata.packages));
    Ok(())
}

/// Names of the members, in the manifest's order: the last part of each path is the crate's name.
fn members(manifest: &str) -> Vec<String> {
    let list = manifest.split_once("members = [").map_or("", |(_, rest)| rest);
    let list = list.split(']').next().unwrap_or_default();
    let paths = list.split('"').skip(1).step_by(2);
    paths.filter_map(|path| Some(Path::new(path).file_name()?.to_str()?.to_owned())).collect()
}

fn find(order: &[String], packages: &[Package]) -> Vec<String> {
    let rank = |name: &str| order.iter().position(|member| member == name);
    let mut complaints = Vec::new();
    for package in packages {
        let Some(own) = rank(&package.name) else {
            complaints.push(format!("crate {} lies in a folder of another name, or is no member", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.path.is_some()) {
            let is_dev = dependency.kind.as_deref() == Some("dev");
            let excused =
                is_dev && DOWNWARD_IN_TESTS.iter().any(|(from, to, _)| *from == package.name && *to == dependency.name);
            if rank(&dependency.name).is_none_or(|other| other >= own) && !excused {
                let which = if is_dev { "dev-depends" } else { "depends" };
                complaints.push(format!(
                    "{} {which} on {}, which stands below it in Cargo.toml's members",
                    package.name, dependency.name
                ));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependency = |(name, kind): &(&str, Option<&str>)| Dependency {
            name: (*name).to_owned(),
            kind: kind.map(str::to_owned),
            path: Some(format!("crates/{name}")),
        };
        Package { name: name.to_owned(), dependencies: dependencies.iter().map(dependency).collect() }
    }

    #[test]
    fn members_are_read_in_order() {
        let manifest = "[workspace]\n# first\nmembers = [\n  \"crates/a\",\n  \"crates/b-c\",\n  \"xtask\",\n]\nexclude = [\"crates/x\"]\n";
        assert_eq!(members(manifest), ["a", "b-c", "xtask"]);
    }

    #[test]
    fn only_what_stands_above_may_be_used() {
        let order = ["a", "b", "c"].map(str::to_owned);
        assert!(find(&order, &[package("c", &[("a", None), ("b", Some("dev"))])]).is_empty());
        assert_eq!(
            find(&order, &[package("a", &[("b", None)])]),
            ["a depends on b, which stands below it in Cargo.toml's members"]
        );
        assert_eq!(
            find(&order, &[package("b", &[("c", Some("dev"))])]),
            ["b dev-depends on c, which stands below it in Cargo.toml's members"]
        );
        assert_eq!(find(&order, &[package("elsewhere", &[])]).len(), 1);
    }
}
