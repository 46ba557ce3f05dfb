//! `Flow.extensions`: what Hubble has no field for.
//!
//! A client that does not know the type of an `Any` can't print it: Hubble's own fails at `-o json`. So it is told only to
//! those who say that they know it.

use crate::flow::Flow;
use crate::malla::Ended;
use prost::Message;
use prost_types::Any;

/// Type of [`Ended`] in an `Any`.
pub const ENDED: &str = "type.googleapis.com/malla.Ended";

/// For a flow.
#[must_use]
pub fn pack(ended: &Ended) -> Any {
    Any { type_url: ENDED.to_owned(), value: ended.encode_to_vec() }
}

/// How the flow ended, where it says so.
#[must_use]
pub fn ended(flow: &Flow) -> Option<Ended> {
    let any = flow.extensions.as_ref().filter(|any| any.type_url == ENDED)?;
    Ended::decode(any.value.as_slice()).ok()
}

/// In a request: "I can read it".
#[must_use]
pub fn asked() -> Any {
    Any { type_url: ENDED.to_owned(), value: Vec::new() }
}

/// Whether a request says so.
#[must_use]
pub fn is_asked(extensions: Option<&Any>) -> bool {
    extensions.is_some_and(|any| any.type_url == ENDED)
}
