//! Runs one thing after the other, counts, and says how it ended.

use super::programs::Program;
use crate::{command, repository};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::process::Child;
use std::time::{Duration, Instant};

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(20);

#[derive(Default)]
pub struct Tally {
    passed: usize,
    failed: usize,
    ignored: usize,
    /// What failed, by name, for the end.
    failures: Vec<String>,
}

/// The counts of one or more `test result:` lines.
#[derive(Default, PartialEq, Debug)]
struct Counts {
    passed: usize,
    failed: usize,
    ignored: usize,
}

impl Tally {
    /// Something that passes or fails as a whole.
    pub fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        println!("==> {name}");
        let started = Instant::now();
        match check() {
            Ok(()) => {
                self.passed += 1;
                println!("ok      {name} ({:.1} s)", started.elapsed().as_secs_f32());
            }
            Err(error) => {
                println!("FAILED  {name}: {error:#}");
                self.fail(1, name);
            }
        }
    }

    /// A test program; its output is shown only if it failed.
    pub fn program(&mut self, program: &Program, with_ignored: bool) {
        if std::io::stdout().is_terminal() {
            print!("        {} ...\r", program.name);
            let _ = std::io::stdout().flush();
        }
        let started = Instant::now();
        let (said, ended) = match execute(program, with_ignored) {
            Ok(done) => done,
            Err(error) => {
                println!("FAILED  {}: {error:#}", program.name);
                return self.fail(1, &program.name);
            }
        };
        let counts = count(&said);
        self.passed += counts.passed;
        self.ignored += counts.ignored;
        let seconds = started.elapsed().as_secs_f32();
        if ended.is_ok() && counts.failed == 0 {
            if counts != Counts::default() {
                let ignored = if counts.ignored > 0 {
                    format!(", {} for `make test-all`", counts.ignored)
                } else {
                    String::new()
                };
                println!("ok      {}: {} passed{ignored} ({seconds:.1} s)", program.name, counts.passed);
            }
            return;
        }
        println!("{said}");
        let why = ended.err().map(|why| format!(", {why}")).unwrap_or_default();
        println!("FAILED  {}: {} passed, {} failed{why} ({seconds:.1} s)", program.name, counts.passed, counts.failed);
        // A program that crashed or was ended told no counts: that is one failure at least.
        self.fail(counts.failed.max(1), &program.name);
    }

    fn fail(&mut self, count: usize, name: &str) {
        self.failed += count;
        self.failures.push(name.to_owned());
    }

    /// The closing lines; an error if anything failed.
    pub fn finish(self, took: Duration) -> Result<()> {
        let minutes = took.as_secs_f32() / 60.0;
        if self.ignored > 0 {
            println!("\n{} long tests were left to `make test-all`.", self.ignored);
        }
        println!("\n{} passed, {} failed", self.passed, self.failed);
        if self.failed > 0 {
            bail!("not everything passed, after {minutes:.1} minutes: see {} above", self.failures.join(", "));
        }
        if self.passed == 0 {
            bail!("nothing was tested");
        }
        println!("Everything passed, in {minutes:.1} minutes.");
        Ok(())
    }
}

/// Runs a program to its end or to the end of our patience: what it said, and what was wrong with its end.
fn execute(program: &Program, with_ignored: bool) -> Result<(String, Result<(), String>)> {
    let folder = repository::target().join("test-logs");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let log = program.log(&folder);
    let file = File::create(&log).with_context(|| format!("write {}", log.display()))?;
    let mut command = program.command(with_ignored);
    command.stdin(std::process::Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let child = command.spawn().with_context(|| format!("start {}", program.executable.display()))?;
    let pid = child.id();
    let ended = wait(child, program.patience(with_ignored))?;
    if ended.is_err() {
        remove_labs_of(pid);
    }
    let said = std::fs::read(&log).with_context(|| format!("read {}", log.display()))?;
    Ok((String::from_utf8_lossy(&said).into_owned(), ended))
}

fn wait(mut child: Child, patience: Duration) -> Result<Result<(), String>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() { Ok(()) } else { Err(status.to_string()) });
        }
        if started.elapsed() > patience {
            child.kill()?;
            child.wait()?;
            return Ok(Err(format!("ended after {} s without an end", patience.as_secs())));
        }
        std::thread::sleep(POLL);
    }
}

/// A test program that was ended could not take down its labs. Tests name them `<letter><pid>-<number>`.
fn remove_labs_of(pid: u32) {
    let malla = repository::target().join("debug/malla");
    for folder in std::fs::read_dir("/run/malla").into_iter().flatten().flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        if name.get(1..).is_some_and(|rest| rest.starts_with(&format!("{pid}-"))) {
            println!("removing lab {name}, which the test left behind");
            if let Err(error) = command::output(command::new(&malla, &["lab", "down", "--name", &name])) {
                println!("lab {name} is still there: {error:#}");
            }
        }
    }
}

/// Adds up `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
fn count(said: &str) -> Counts {
    let mut counts = Counts::default();
    for line in said.lines().filter(|line| line.starts_with("test result: ")) {
        let number = |word: &str| {
            let before = line.split(word).next().filter(|before| before.len() < line.len());
            before.and_then(|before| before.split_whitespace().last()?.parse().ok()).unwrap_or(0)
        };
        counts.passed += number(" passed");
        counts.failed += number(" failed;");
        counts.ignored += number(" ignored");
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_results() {
        let said = "running 4 tests\ntest result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert_eq!(count(said), Counts { passed: 2, failed: 1, ignored: 1 });
        assert_eq!(count("nothing\n"), Counts::default());
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let ended = wait(child, Duration::from_millis(50)).unwrap();
        assert!(ended.unwrap_err().contains("without an end"));
    }

    #[test]
    fn a_failure_is_an_error_and_so_is_nothing_at_all() {
        let mut tally = Tally::default();
        tally.check("one", || Ok(()));
        tally.check("two", || bail!("no"));
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert!(tally.finish(Duration::ZERO).unwrap_err().to_string().contains("two"));
        assert!(Tally::default().finish(Duration::ZERO).is_err());
    }
}
