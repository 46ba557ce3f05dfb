//! What operators and functions do.

use super::operation::{Operation, Part};
use super::run::Run;
use super::value::Value;
use super::zone;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use std::cmp::Ordering;

/// `None`: it can't be done with these values.
pub fn apply<'a>(operation: Operation, of: &[Value<'a>], run: &mut Run<'a>) -> Option<Value<'a>> {
    use Operation as O;
    run.spend(of.iter().map(Value::weight).fold(0, u32::saturating_add))?;
    let ordered = |fits: fn(Ordering) -> bool| match of {
        [a, b] => a.order(b).map(|order| Value::Bool(fits(order))),
        _ => None,
    };
    match (operation, of) {
        (O::Not, [Value::Bool(yes)]) => Some(Value::Bool(!yes)),
        (O::Negate, [Value::Int(number)]) => number.checked_neg().map(Value::Int),
        (O::Negate, [Value::Double(number)]) => Some(Value::Double(-number)),
        (O::Add | O::Subtract | O::Multiply | O::Divide | O::Remainder, [a, b]) => calculate(operation, a, b, run),
        (O::Equal, [a, b]) => equal(a, b, run).map(Value::Bool),
        (O::NotEqual, [a, b]) => equal(a, b, run).map(|equal| Value::Bool(!equal)),
        (O::Less, _) => ordered(Ordering::is_lt),
        (O::LessOrEqual, _) => ordered(Ordering::is_le),
        (O::Greater, _) => ordered(Ordering::is_gt),
        (O::GreaterOrEqual, _) => ordered(Ordering::is_ge),
        (O::In, [a, list]) => {
            for index in 0..list.len()? {
                if equal(a, &list.item(index, run.seen)?, run)? {
                    return Some(Value::Bool(true));
                }
            }
            Some(Value::Bool(false))
        }
        (O::Index, [Value::Map(entries), key]) => {
            for (known, value) in entries.iter() {
                if equal(known, key, run)? {
                    return Some(value.clone());
                }
            }
            None
        }
        (O::Index, [list, Value::Int(index)]) => list.item(usize::try_from(*index).ok()?, run.seen),
        (O::Index, [list, Value::Uint(index)]) => list.item(usize::try_from(*index).ok()?, run.seen),
        (O::Size, [a]) => {
            let size = match a {
                Value::Bytes(bytes) => bytes.len(),
                _ => a.text().map(|text| text.chars().count()).or_else(|| a.len())?,
            };
            i64::try_from(size).ok().map(Value::Int)
        }
        (O::Contains, [a, b]) => Some(Value::Bool(a.text()?.contains(b.text()?))),
        (O::StartsWith, [a, b]) => Some(Value::Bool(a.text()?.starts_with(b.text()?))),
        (O::EndsWith, [a, b]) => Some(Value::Bool(a.text()?.ends_with(b.text()?))),
        (O::Same, [a]) => Some(a.clone()),
        (O::Matches, [a, pattern]) => run.matches(a, pattern.text()?),
        (O::Part(part), [Value::Duration(whole)]) => part_of_duration(part, *whole).map(Value::Int),
        (O::Part(part), [Value::Time(time)]) => Some(part_of(part, *time, TimeZone::UTC)),
        (O::Part(part), [Value::Time(time), name]) => {
            run.spend(zone::PRICE)?;
            Some(part_of(part, *time, zone::named(name.text()?)?))
        }
        (_, [a]) => convert(operation, a),
        _ => None,
    }
}

/// Of numbers, text, lists, times; nothing wraps.
fn calculate<'a>(operation: Operation, a: &Value<'a>, b: &Value<'a>, run: &Run<'a>) -> Option<Value<'a>> {
    use Operation::{Add, Divide, Multiply, Remainder, Subtract};
    use Value::{Bytes, Double, Duration, Int, Time, Uint};
    Some(match (operation, a, b) {
        (Add, Int(a), Int(b)) => Int(a.checked_add(*b)?),
        (Subtract, Int(a), Int(b)) => Int(a.checked_sub(*b)?),
        (Multiply, Int(a), Int(b)) => Int(a.checked_mul(*b)?),
        (Divide, Int(a), Int(b)) => Int(a.checked_div(*b)?),
        (Remainder, Int(a), Int(b)) => Int(a.checked_rem(*b)?),
        (Add, Uint(a), Uint(b)) => Uint(a.checked_add(*b)?),
        (Subtract, Uint(a), Uint(b)) => Uint(a.checked_sub(*b)?),
        (Multiply, Uint(a), Uint(b)) => Uint(a.checked_mul(*b)?),
        (Divide, Uint(a), Uint(b)) => Uint(a.checked_div(*b)?),
        (Remainder, Uint(a), Uint(b)) => Uint(a.checked_rem(*b)?),
        (Add, Double(a), Double(b)) => Double(a + b),
        (Subtract, Double(a), Double(b)) => Double(a - b),
        (Multiply, Double(a), Double(b)) => Double(a * b),
        (Divide, Double(a), Double(b)) => Double(a / b),
        (Add, Duration(a), Duration(b)) => Duration(a.checked_add(*b)?),
        (Subtract, Duration(a), Duration(b)) => Duration(a.checked_sub(*b)?),
        (Add, Time(time), Duration(by)) | (Add, Duration(by), Time(time)) => Time(time.checked_add(*by).ok()?),
        (Subtract, Time(time), Duration(by)) => Time(time.checked_sub(*by).ok()?),
        (Subtract, Time(a), Time(b)) => Duration(a.duration_since(*b)),
        (Add, Bytes(a), Bytes(b)) => Bytes([&**a, &**b].concat().into()),
        (Add, a, b) if a.text().is_some() => Value::Made([a.text()?, b.text()?].concat().into()),
        (Add, a, b) if !a.is_map() && !b.is_map() => {
            let items = |list: &Value<'a>| (0..list.len()?).map(|i| list.item(i, run.seen)).collect::<Option<Vec<_>>>();
            Value::List([items(a)?, items(b)?].concat().into())
        }
        _ => return None,
    })
}

/// Entries whose keys are told apart. `None`: one of them is none, or there twice.
pub fn map<'a>(entries: Vec<(Value<'a>, Value<'a>)>, run: &mut Run<'a>) -> Option<Value<'a>> {
    for (index, (key, _)) in entries.iter().enumerate() {
        if !key.is_key() {
            return None;
        }
        for (other, _) in &entries[..index] {
            if equal(key, other, run)? {
                return None;
            }
        }
    }
    Some(Value::Map(entries.into()))
}

/// Values of different types are not equal, but for numbers.
fn equal<'a>(a: &Value<'a>, b: &Value<'a>, run: &mut Run<'a>) -> Option<bool> {
    run.spend(a.weight().min(b.weight()).saturating_add(1))?;
    Some(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Kind(a), Value::Kind(b)) => a == b,
        (Value::Map(a), Value::Map(b)) if a.len() == b.len() => {
            for (key, value) in a.iter() {
                let mut found = None;
                for (other, its) in b.iter() {
                    if equal(key, other, run)? {
                        found = Some(its);
                        break;
                    }
                }
                match found {
                    Some(its) if equal(value, its, run)? => {}
                    _ => return Some(false),
                }
            }
            true
        }
        (a, b) if a.is_map() || b.is_map() => false,
        (Value::Message(Some(a)), Value::Message(Some(b))) => a == b,
        // One without fields equals one that has none.
        (Value::Message(a), Value::Message(b)) => a.or(*b).is_none_or(|message| message.fields().next().is_none()),
        _ => match (a.len(), b.len()) {
            (Some(length), Some(other)) if length == other => {
                for index in 0..length {
                    if !equal(&a.item(index, run.seen)?, &b.item(index, run.seen)?, run)? {
                        return Some(false);
                    }
                }
                true
            }
            _ => a.order(b).is_some_and(Ordering::is_eq),
        },
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only what is in range is converted")]
fn convert<'a>(to: Operation, value: &Value<'a>) -> Option<Value<'a>> {
    use Value::{Bool, Bytes, Double, Duration, Int, Time, Uint};
    Some(match (to, value) {
        (Operation::Int, Int(_)) | (Operation::Uint, Uint(_)) => value.clone(),
        (Operation::Int, Uint(number)) => Int(i64::try_from(*number).ok()?),
        (Operation::Uint, Int(number)) => Uint(u64::try_from(*number).ok()?),
        // Their ends are no floating point numbers, the next power of two is.
        (Operation::Int, Double(number)) if (-TWO_TO_63..TWO_TO_63).contains(number) => Int(*number as i64),
        (Operation::Uint, Double(number)) if (0.0..2.0 * TWO_TO_63).contains(number) => Uint(*number as u64),
        (Operation::Int, Time(time)) => Int(time.as_second()),
        (Operation::Double, _) if value.text().is_none() => Double(value.double()?),
        (Operation::Time, Time(_)) | (Operation::Duration, Duration(_)) => value.clone(),
        (Operation::Time, Int(seconds)) => Time(Timestamp::from_second(*seconds).ok()?),
        (Operation::Text, Bool(yes)) => Value::Made(yes.to_string().into()),
        (Operation::Text, Int(number)) => Value::Made(number.to_string().into()),
        (Operation::Text, Uint(number)) => Value::Made(number.to_string().into()),
        (Operation::Text, Double(number)) => Value::Made(number.to_string().into()),
        (Operation::Text, Time(time)) => Value::Made(time.to_string().into()),
        (Operation::Text, Duration(time)) => Value::Made(format!("{}s", time.as_secs_f64()).into()),
        (Operation::Text, Bytes(bytes)) => Value::Made(std::str::from_utf8(bytes).ok()?.into()),
        (Operation::Text, text) if text.text().is_some() => text.clone(),
        (Operation::Bytes, Bytes(_)) => value.clone(),
        (Operation::Bytes, text) => Bytes(text.text()?.as_bytes().into()),
        (Operation::Int, text) => Int(text.text()?.parse().ok()?),
        (Operation::Uint, text) => Uint(text.text()?.parse().ok()?),
        (Operation::Double, text) => Double(text.text()?.parse().ok()?),
        (Operation::Time, text) => Time(text.text()?.parse().ok()?),
        (Operation::Duration, text) => Duration(text.text()?.parse::<SignedDuration>().ok()?),
        _ => return None,
    })
}

fn part_of_duration(part: Part, whole: SignedDuration) -> Option<i64> {
    Some(match part {
        Part::Hours => whole.as_hours(),
        Part::Minutes => whole.as_mins(),
        Part::Seconds => whole.as_secs(),
        Part::Milliseconds => whole.subsec_millis().into(),
        _ => return None,
    })
}

/// What a clock there says at that time.
pub fn part_of<'a>(part: Part, time: Timestamp, zone: TimeZone) -> Value<'a> {
    let at = time.to_zoned(zone);
    Value::Int(match part {
        Part::FullYear => at.year().into(),
        Part::Month => i64::from(at.month()) - 1,
        Part::DayOfYear => i64::from(at.day_of_year()) - 1,
        Part::DayOfMonth => i64::from(at.day()) - 1,
        Part::Date => at.day().into(),
        Part::DayOfWeek => at.weekday().to_sunday_zero_offset().into(),
        Part::Hours => at.hour().into(),
        Part::Minutes => at.minute().into(),
        Part::Seconds => at.second().into(),
        Part::Milliseconds => at.millisecond().into(),
    })
}

/// The first floating point number that is no `i64`.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
