//! HTTP around the API: paths, content types, bodies, answers.

mod accept;
mod body;
mod path;
mod query;

pub use accept::{Accept, Form};
pub use body::{Answer, empty, json_answer, media_type, raw_answer, read_body, stream_answer};
pub use path::{Target, parse_path};
pub use query::Query;
