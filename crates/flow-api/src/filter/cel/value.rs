//! What an expression deals in.

use super::Seen;
use jiff::{SignedDuration, Timestamp};
use prost_reflect::{Cardinality, DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value as Reflected};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

/// A value; most are the flow's own.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(&'a str),
    /// Text that the expression put together.
    Made(Arc<str>),
    Bytes(Arc<[u8]>),
    Time(Timestamp),
    Duration(SignedDuration),
    /// `None`: one without fields.
    Message(Option<&'a DynamicMessage>),
    Repeated(&'a [Reflected]),
    List(Arc<[Value<'a>]>),
    /// Each key once, and what it stands for.
    Map(Arc<[(Value<'a>, Value<'a>)]>),
    /// What `type()` tells: a name.
    Kind(Arc<str>),
}

impl<'a> Value<'a> {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Made(text) => Some(text),
            _ => None,
        }
    }

    /// Of a list, or of a map's keys.
    pub fn len(&self) -> Option<usize> {
        match self {
            Self::Repeated(items) => Some(items.len()),
            Self::List(items) => Some(items.len()),
            Self::Map(entries) => Some(entries.len()),
            _ => None,
        }
    }

    pub fn is_map(&self) -> bool {
        matches!(self, Self::Map(_))
    }

    /// Whether a map may have it as a key.
    pub fn is_key(&self) -> bool {
        matches!(self, Self::Bool(_) | Self::Int(_) | Self::Uint(_) | Self::Text(_) | Self::Made(_))
    }

    /// What `type()` says of it; `None`: a message that there is not.
    pub fn kind(&self) -> Option<Arc<str>> {
        Some(Arc::from(match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) | Self::Made(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Time(_) => TIMESTAMP,
            Self::Duration(_) => DURATION,
            Self::Repeated(_) | Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Kind(_) => "type",
            Self::Message(message) => return message.map(|message| message.descriptor().full_name().into()),
        }))
    }

    /// Of a list, or of a map's keys, counted from 0.
    pub fn item(&self, index: usize, seen: &'a Seen) -> Option<Self> {
        match self {
            Self::Repeated(items) => of(items.get(index)?, seen),
            Self::List(items) => items.get(index).cloned(),
            Self::Map(entries) => entries.get(index).map(|(key, _)| key.clone()),
            _ => None,
        }
    }

    /// How long it takes to look at: what text, lists and messages add to a step.
    pub fn weight(&self) -> u32 {
        let units = match self {
            Self::Text(text) => text.len() / BYTES_PER_STEP,
            Self::Made(text) => text.len() / BYTES_PER_STEP,
            Self::Bytes(bytes) => bytes.len() / BYTES_PER_STEP,
            Self::Message(_) => MESSAGE_STEPS,
            _ => self.len().unwrap_or(0),
        };
        u32::try_from(units).unwrap_or(u32::MAX)
    }

    /// Numbers of any two types by what they are, others with their own kind; `None` where there is no order.
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        use Value::{Bool, Bytes, Double, Duration, Int, Time, Uint};
        match (self, other) {
            (Bool(a), Bool(b)) => Some(a.cmp(b)),
            (Bytes(a), Bytes(b)) => Some(a.cmp(b)),
            (Int(a), Int(b)) => Some(a.cmp(b)),
            (Uint(a), Uint(b)) => Some(a.cmp(b)),
            (Int(a), Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Uint(a), Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Time(a), Time(b)) => Some(a.cmp(b)),
            (Duration(a), Duration(b)) => Some(a.cmp(b)),
            (Double(_), Int(_) | Uint(_) | Double(_)) | (Int(_) | Uint(_), Double(_)) => {
                self.double()?.partial_cmp(&other.double()?)
            }
            _ => Some(self.text()?.cmp(other.text()?)),
        }
    }

    /// A number as the nearest floating point.
    #[expect(clippy::cast_precision_loss, reason = "the nearest is what is asked for")]
    pub fn double(&self) -> Option<f64> {
        Some(match self {
            Self::Int(number) => *number as f64,
            Self::Uint(number) => *number as f64,
            Self::Double(number) => *number,
            _ => return None,
        })
    }
}

/// A field of a message; the default where it is not set. `None`: the message has no such field.
pub fn field<'a>(message: Option<&'a DynamicMessage>, field: &FieldDescriptor, seen: &'a Seen) -> Option<Value<'a>> {
    let Some(message) = message else { return Some(default(field)) };
    if message.descriptor() != *field.parent_message() {
        return None;
    }
    match message.get_field(field) {
        Cow::Borrowed(value) => of(value, seen),
        Cow::Owned(_) => Some(default(field)),
    }
}

/// `None` for what expressions can't hold: bytes, maps, times that no calendar has.
fn of<'a>(value: &'a Reflected, seen: &'a Seen) -> Option<Value<'a>> {
    Some(match value {
        Reflected::Bool(yes) => Value::Bool(*yes),
        Reflected::I32(number) | Reflected::EnumNumber(number) => Value::Int((*number).into()),
        Reflected::I64(number) => Value::Int(*number),
        Reflected::U32(number) => Value::Uint((*number).into()),
        Reflected::U64(number) => Value::Uint(*number),
        Reflected::F32(number) => Value::Double((*number).into()),
        Reflected::F64(number) => Value::Double(*number),
        Reflected::String(text) => Value::Text(text),
        Reflected::List(items) => Value::Repeated(items),
        Reflected::Message(message) => match message.descriptor().full_name() {
            TIMESTAMP => Value::Time(time(message)?),
            ANY => Value::Message(seen.ended.as_ref()),
            name if is_wrapper(name) => match message.get_field_by_number(1)? {
                Cow::Borrowed(inner) => of(inner, seen)?,
                // Set, to its default.
                Cow::Owned(_) => default(&message.descriptor().get_field(1)?),
            },
            _ => Value::Message(Some(message)),
        },
        Reflected::Bytes(_) | Reflected::Map(_) => return None,
    })
}

fn default<'a>(field: &FieldDescriptor) -> Value<'a> {
    if field.cardinality() == Cardinality::Repeated {
        return Value::Repeated(&[]);
    }
    match field.kind() {
        Kind::Double | Kind::Float => Value::Double(0.0),
        Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64 => Value::Uint(0),
        Kind::Bool => Value::Bool(false),
        Kind::String | Kind::Bytes => Value::Text(""),
        Kind::Message(message) if message.full_name() == TIMESTAMP => Value::Time(Timestamp::UNIX_EPOCH),
        // Unlike a field of that type it can tell that it was not set.
        Kind::Message(message) if is_wrapper(message.full_name()) => Value::Null,
        Kind::Message(_) => Value::Message(None),
        _ => Value::Int(0),
    }
}

fn time(message: &DynamicMessage) -> Option<Timestamp> {
    let seconds = message.get_field_by_number(1)?.as_i64()?;
    Timestamp::new(seconds, message.get_field_by_number(2)?.as_i32()?).ok()
}

/// A message around one scalar, so that "not set" can be told from its default.
pub fn is_wrapper(name: &str) -> bool {
    name.strip_prefix("google.protobuf.")
        .is_some_and(|name| name.ends_with("Value") && name != "Value" && name != "ListValue")
}

pub const TIMESTAMP: &str = "google.protobuf.Timestamp";
pub const DURATION: &str = "google.protobuf.Duration";
pub const ANY: &str = "google.protobuf.Any";
/// So much text is looked at in about the time of a step.
const BYTES_PER_STEP: usize = 16;
const MESSAGE_STEPS: usize = 64;
