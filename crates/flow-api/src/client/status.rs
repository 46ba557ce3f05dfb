//! Why there is no answer, in words.

use crate::words;
use std::error::Error;
use tonic::Status;

/// What was said, or what its code stands for where nothing was; behind it the cause, if it did not come from the other side:
/// then the connection broke.
#[must_use]
pub fn status_words(status: &Status) -> String {
    let text = if status.message().is_empty() { status.code().description() } else { status.message() };
    let cause = status.source().map(words).filter(|cause| !text.contains(cause.as_str()));
    cause.map_or_else(|| text.to_owned(), |cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn something_is_always_said_and_nothing_twice() {
        assert_eq!(status_words(&Status::invalid_argument("number: too many")), "number: too many");
        assert_eq!(status_words(&Status::unavailable("")), "The service is currently unavailable");
        let broken = |message| {
            let mut status = Status::unknown(message);
            status.set_source(Arc::new(std::io::Error::other("connection reset")));
            status_words(&status)
        };
        assert_eq!(broken("transport error"), "transport error: connection reset");
        assert_eq!(broken("read: connection reset"), "read: connection reset");
    }
}
