//! Reading: one object, lists, watches, and the forms in which clients want them.

mod form;
mod list;
mod watch;

pub use form::{shown, shown_list};
pub use list::{collect, list};
pub use watch::watch;
