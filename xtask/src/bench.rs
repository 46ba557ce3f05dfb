//! `bench`: builds the benchmarks as the product is built, and runs one.

use crate::needs::Purpose;
use crate::{command, preconditions, repository, setup};
use anyhow::Result;

pub fn run(arguments: &[String]) -> Result<()> {
    preconditions::check()?;
    setup::run(Purpose::Bench)?;
    command::check(command::new("cargo", &["build", "--locked", "--release", "-p", "bench"]))?;
    let mut bench = command::new(repository::target().join("release/bench"), &[]);
    bench.args(arguments).current_dir(repository::root());
    command::check(bench)
}
