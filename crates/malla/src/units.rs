//! Numbers as people read and write them.

use jiff::SignedDuration;
use std::time::Duration;

/// Bytes with a binary unit and one digit behind the point.
pub fn bytes(value: u64) -> String {
    let mut scaled = value as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{value} B") } else { format!("{scaled:.1} {unit}") }
}

/// A count with thin groups: 12,345,678.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Seconds, with the two largest units: 3d4h, 5m12s.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// A duration as it is written: 10s, 1m30s, or ISO 8601.
///
/// # Errors
/// In words that stand behind the text: it is none, or before now.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    let long = text.parse::<SignedDuration>().ok().and_then(|long| Duration::try_from(long).ok());
    long.ok_or_else(|| "is no duration (10s, 1m30s)".to_owned())
}

/// Nanoseconds in a unit that fits.
pub fn nanoseconds(value: u64) -> String {
    match value {
        0..1_000_000 => format!("{}us", value / 1000),
        1_000_000..1_000_000_000 => format!("{:.1}ms", value as f64 / 1e6),
        _ => format!("{:.1}s", value as f64 / 1e9),
    }
}

/// The first few, and how many more.
pub fn few(all: &[impl AsRef<str>]) -> String {
    let named = all.iter().take(NAMED).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if all.len() > NAMED { format!("{named} and {} more", all.len() - NAMED) } else { named }
}

/// Names in a line.
const NAMED: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_well() {
        assert_eq!((bytes(0).as_str(), bytes(1023).as_str(), bytes(1536).as_str()), ("0 B", "1023 B", "1.5 KiB"));
        assert_eq!((count(0).as_str(), count(999).as_str(), count(1_234_567).as_str()), ("0", "999", "1,234,567"));
        assert_eq!((duration(59).as_str(), duration(61).as_str(), duration(90_000).as_str()), ("59s", "1m1s", "1d1h"));
        assert_eq!((nanoseconds(1500).as_str(), nanoseconds(2_500_000).as_str()), ("1us", "2.5ms"));
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        let seconds = |text: &str| read_duration(text).map(|long| long.as_secs_f64());
        assert_eq!((seconds("1m30s"), seconds("250ms"), seconds("0s")), (Ok(90.0), Ok(0.25), Ok(0.0)));
        for wrong in ["", "5", "soon", "-5s"] {
            assert!(seconds(wrong).unwrap_err().starts_with("is no duration"), "{wrong}");
        }
    }
}
