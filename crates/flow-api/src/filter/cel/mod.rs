//! Expressions in CEL, the Common Expression Language, over a flow as `_flow`: `_flow.verdict == Verdict.DROPPED &&
//! _flow.l4.TCP.destination_port in [80, 443]`.
//!
//! As in Hubble: messages, fields and enums by their names in the `.proto`, in the package `flow`; a field that is not
//! set has its default; of several expressions one must be true; one that fails on a flow (division by zero, an index
//! out of bounds) does not fit it. Beyond Hubble: where one of several fails, the others are asked still; numbers of different types may be
//! compared, and `_flow.extensions` is a `malla.Ended`. Not here: what makes messages, and `dyn(x).field`.
//!
//! `check` reads an expression once, with its types, so that mistakes are told at once. `run` asks it of a flow, in a
//! bounded number of steps: one client must not be able to keep a node busy.

mod check;
mod evaluate;
mod operation;
mod pattern;
mod run;
mod value;
mod zone;

#[cfg(test)]
mod tests;

use super::{Field, Test};
use crate::flow::{Flow, FlowFilter};
use crate::mask::Mask;
use crate::{Invalid, extension, pool};
use prost_reflect::{DynamicMessage, MessageDescriptor};

/// Of the whole list of filters. Each costs every flow up to [`run::MOST_STEPS`].
pub const MOST_EXPRESSIONS: usize = 16;
/// Bytes of one.
const MOST_BYTES: usize = 4096;
/// Characters of one that is refused.
const MOST_SHOWN: usize = 200;

/// One of them must be true.
pub fn filter(filter: &FlowFilter) -> Field {
    let expressions = written(filter);
    if expressions.is_empty() {
        return Ok(None);
    }
    let (mut nodes, mut paths) = (Vec::new(), Vec::new());
    for (index, text) in expressions.iter().enumerate() {
        let named = |reason| Invalid::new(format!("experimental.cel_expression[{index}]"), reason);
        if text.len() > MOST_BYTES {
            return Err(named(format!("{} bytes; {MOST_BYTES} are the most", text.len())));
        }
        let checked = check::check(text).map_err(|why| named(format!("{}: {why}", shown(text))))?;
        nodes.push(checked.node);
        paths.extend(checked.paths);
    }
    let what = Reflection::new(&paths)?;
    let test: Test = Box::new(move |flow| {
        let seen = what.of(flow);
        nodes.iter().any(|node| run::is_true(node, &seen))
    });
    Ok(Some(test))
}

/// The expressions of a filter.
pub fn written(filter: &FlowFilter) -> &[String] {
    filter.experimental.as_ref().map_or(&[], |experimental| &experimental.cel_expression)
}

/// Enough of an expression to know it by.
fn shown(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{:?} …", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// How a flow becomes what an expression can ask: only with the fields that the expressions name, for that is most of the cost.
struct Reflection {
    flow: MessageDescriptor,
    ended: MessageDescriptor,
    named: Mask,
}

/// A flow, as an expression sees it.
struct Seen {
    flow: DynamicMessage,
    /// `malla.Ended` out of its extensions.
    ended: Option<DynamicMessage>,
}

impl Reflection {
    fn new(paths: &[String]) -> Result<Self, Invalid> {
        // A mask without paths would be all; this field is nothing to copy.
        let paths = paths.iter().map(String::as_str).chain(["uuid"]);
        let whole = Invalid::new("experimental.cel_expression", "not supported");
        let message = |name: &str| pool().get_message_by_name(name).ok_or_else(|| whole.clone());
        Ok(Self { flow: message("flow.Flow")?, ended: message("malla.Ended")?, named: Mask::new(paths)? })
    }

    fn of(&self, flow: &Flow) -> Seen {
        // It was encoded the line before; if it could not be read, nothing is the safe answer.
        let read =
            |descriptor: &MessageDescriptor, bytes: &[u8]| DynamicMessage::decode(descriptor.clone(), bytes).ok();
        let seen = read(&self.flow, &self.named.encode(flow));
        let any = flow.extensions.as_ref().filter(|any| any.type_url == extension::ENDED);
        Seen {
            flow: seen.unwrap_or_else(|| DynamicMessage::new(self.flow.clone())),
            ended: any.and_then(|any| read(&self.ended, &any.value)),
        }
    }
}
