//! What people see while they wait: a spinner on a terminal, one plain line per step elsewhere. On standard error.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Tells one step after the other.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    step: Option<Step>,
}

#[derive(Debug)]
struct Step {
    text: String,
    started: Instant,
    spinner: Option<ProgressBar>,
}

impl Progress {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now(), step: None }
    }

    /// Ends the step before, if any, and begins this one.
    pub fn step(&mut self, text: &str) {
        self.end_step("✓");
        let spinner = stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})") {
                spinner.set_style(style);
            }
            spinner.set_message(text.to_owned());
            spinner.enable_steady_tick(Duration::from_millis(80));
            spinner
        });
        self.step = Some(Step { text: text.to_owned(), started: Instant::now(), spinner });
    }

    /// Says more about the step that is under way.
    pub fn detail(&mut self, detail: &str) {
        if let Some(Step { text, spinner: Some(spinner), .. }) = &self.step {
            spinner.set_message(if detail.is_empty() { text.clone() } else { format!("{text}: {detail}") });
        }
    }

    /// Ends the last step. Returns how long all of it took.
    pub fn finish(mut self) -> Duration {
        self.end_step("✓");
        self.started.elapsed()
    }

    /// Leaves the step that is under way, which did not succeed.
    pub fn fail(mut self) {
        self.end_step("✗");
    }

    fn end_step(&mut self, mark: &str) {
        let Some(step) = self.step.take() else { return };
        if let Some(spinner) = &step.spinner {
            spinner.finish_and_clear();
        }
        eprintln!("  {mark} {} ({:.1} s)", step.text, step.started.elapsed().as_secs_f32());
    }
}

/// A note that is not a step.
pub fn note(text: &str) {
    eprintln!("  ! {text}");
}
