//! pod-runner.
