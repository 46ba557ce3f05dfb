//! Operators and functions by their names, and which types they take. What they do is in `evaluate`.

use super::check::Type;
use cel::common::ast::operators;

/// What to do with values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Not,
    Negate,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Index,
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Time,
    Duration,
    Same,
    /// By a pattern that is put together.
    Matches,
    Part(Part),
}

/// Of a time, in UTC or another zone, or of a duration as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    FullYear,
    Month,
    DayOfYear,
    DayOfMonth,
    Date,
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// The operation of that name for these types, and the type of what comes out; a method's object is the first of them.
pub fn find(name: &str, is_method: bool, of: &[Type]) -> Option<(Operation, Type)> {
    use Operation as O;
    use Type as T;
    let operation = named(name)?;
    let methods = matches!(operation, O::Size | O::Contains | O::StartsWith | O::EndsWith | O::Part(_));
    let may = |kind: &Type, any: &[Type]| any.iter().any(|one| kind.may_be(one));
    // These are both.
    if is_method != methods && !matches!(operation, O::Size | O::Matches) {
        return None;
    }
    let out = match (operation, of) {
        (O::Not, [a]) if may(a, &[T::Bool]) => T::Bool,
        (O::Negate, [a]) if may(a, &[T::Int, T::Double]) => a.clone(),
        (O::Add, [a, b]) if a.may_be(b) && may(a, &[T::Int, T::Uint, T::Double, T::Text, T::Bytes, T::Duration]) => {
            a.join(b)
        }
        (O::Add, [T::List(_), T::List(_)]) => of[0].join(&of[1]),
        (O::Add, [a, b]) if may(a, &[T::Time]) && may(b, &[T::Duration]) => T::Time,
        (O::Add, [a, b]) if may(a, &[T::Duration]) && may(b, &[T::Time]) => T::Time,
        (O::Subtract, [T::Time, T::Time]) => T::Duration,
        (O::Subtract, [a, b]) if may(a, &[T::Time]) && may(b, &[T::Duration]) => a.clone(),
        (O::Subtract, [a, b]) if a.may_be(b) && may(a, &[T::Int, T::Uint, T::Double, T::Duration]) => a.join(b),
        (O::Multiply | O::Divide, [a, b]) if a.may_be(b) && a.is_number() => a.join(b),
        (O::Remainder, [a, b]) if a.may_be(b) && may(a, &[T::Int, T::Uint]) => a.join(b),
        (O::Equal | O::NotEqual, [a, b]) if a.may_be(b) || a.is_number() && b.is_number() || are_absence(a, b) => {
            T::Bool
        }
        (O::Less | O::LessOrEqual | O::Greater | O::GreaterOrEqual, [a, b])
            if a.is_number() && b.is_number()
                || a.may_be(b) && may(a, &[T::Bool, T::Text, T::Bytes, T::Time, T::Duration]) =>
        {
            T::Bool
        }
        (O::In, [a, T::List(b) | T::Map(b, _)]) if a.may_be(b) || a.is_number() && b.is_number() => T::Bool,
        (O::In, [_, T::Any]) => T::Bool,
        (O::Index, [T::List(item), index]) if may(index, &[T::Int, T::Uint]) => (**item).clone(),
        (O::Index, [T::Map(key, value), index]) if index.may_be(key) || index.is_number() && key.is_number() => {
            (**value).clone()
        }
        (O::Index, [T::Any, index]) if index.is_key() => T::Any,
        (O::Size, [a]) if may(a, &[T::Text, T::Bytes]) || matches!(a, T::List(_) | T::Map(..)) => T::Int,
        (O::Matches, [a, b]) if may(a, &[T::Text]) && may(b, &[T::Text]) => T::Bool,
        (O::Contains | O::StartsWith | O::EndsWith, [a, b]) if may(a, &[T::Text]) && may(b, &[T::Text]) => T::Bool,
        (O::Int, [a]) if may(a, &[T::Int, T::Uint, T::Double, T::Text, T::Time]) => T::Int,
        (O::Uint, [a]) if may(a, &[T::Int, T::Uint, T::Double, T::Text]) => T::Uint,
        (O::Double, [a]) if may(a, &[T::Int, T::Uint, T::Double, T::Text]) => T::Double,
        (O::Text, [a]) if may(a, &[T::Bool, T::Int, T::Uint, T::Double, T::Text, T::Bytes, T::Time, T::Duration]) => {
            T::Text
        }
        (O::Bytes, [a]) if may(a, &[T::Text, T::Bytes]) => T::Bytes,
        (O::Time, [a]) if may(a, &[T::Text, T::Time, T::Int]) => T::Time,
        (O::Duration, [a]) if may(a, &[T::Text, T::Duration]) => T::Duration,
        (O::Same, [_]) => T::Any,
        (O::Part(Part::Hours | Part::Minutes | Part::Seconds | Part::Milliseconds), [a])
            if may(a, &[T::Time, T::Duration]) =>
        {
            T::Int
        }
        (O::Part(_), [a]) if may(a, &[T::Time]) => T::Int,
        (O::Part(_), [a, zone]) if may(a, &[T::Time]) && may(zone, &[T::Text]) => T::Int,
        _ => return None,
    };
    Some((operation, out))
}

/// Why there is none.
pub fn wrong(name: &str, is_method: bool, of: &[Type]) -> String {
    let shown = name.replace(['_', '@'], " ");
    let shown = shown.trim();
    let kinds = of.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
    let known = named(name).is_some() || matches!(name, operators::LOGICAL_AND | operators::LOGICAL_OR);
    match (known || name.starts_with(['_', '!', '-', '@']), is_method) {
        (true, _) => format!("{shown} is nothing that can be done with {kinds}"),
        (false, true) => format!("there is no method {shown}"),
        (false, false) => format!("there is no function {shown}"),
    }
}

/// `x == null` asks whether there is an x.
fn are_absence(a: &Type, b: &Type) -> bool {
    let may_lack = |kind: &Type| matches!(kind, Type::Message(_) | Type::Time | Type::Duration | Type::Null);
    *a == Type::Null && may_lack(b) || *b == Type::Null && may_lack(a)
}

fn named(name: &str) -> Option<Operation> {
    use Operation as O;
    Some(match name {
        operators::LOGICAL_NOT => O::Not,
        operators::NEGATE => O::Negate,
        operators::ADD => O::Add,
        operators::SUBSTRACT => O::Subtract,
        operators::MULTIPLY => O::Multiply,
        operators::DIVIDE => O::Divide,
        operators::MODULO => O::Remainder,
        operators::EQUALS => O::Equal,
        operators::NOT_EQUALS => O::NotEqual,
        operators::LESS => O::Less,
        operators::LESS_EQUALS => O::LessOrEqual,
        operators::GREATER => O::Greater,
        operators::GREATER_EQUALS => O::GreaterOrEqual,
        operators::IN => O::In,
        operators::INDEX => O::Index,
        "size" => O::Size,
        "contains" => O::Contains,
        "startsWith" => O::StartsWith,
        "endsWith" => O::EndsWith,
        "int" => O::Int,
        "uint" => O::Uint,
        "double" => O::Double,
        "string" => O::Text,
        "bytes" => O::Bytes,
        "timestamp" => O::Time,
        "duration" => O::Duration,
        "dyn" => O::Same,
        "matches" => O::Matches,
        "getFullYear" => O::Part(Part::FullYear),
        "getMonth" => O::Part(Part::Month),
        "getDayOfYear" => O::Part(Part::DayOfYear),
        "getDayOfMonth" => O::Part(Part::DayOfMonth),
        "getDate" => O::Part(Part::Date),
        "getDayOfWeek" => O::Part(Part::DayOfWeek),
        "getHours" => O::Part(Part::Hours),
        "getMinutes" => O::Part(Part::Minutes),
        "getSeconds" => O::Part(Part::Seconds),
        "getMilliseconds" => O::Part(Part::Milliseconds),
        _ => return None,
    })
}
