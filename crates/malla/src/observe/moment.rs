//! Times as `hubble observe --since` reads them.

use jiff::SignedDuration;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use prost_types::Timestamp;

/// So long before now (`5m`, `1h43m`), a time with its offset down to the hour (`2006-01-02T15Z`, RFC 3339, RFC 1123 with
/// digits), or a day, which begins at midnight of UTC.
///
/// # Errors
/// In words: it is none of these.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    before(jiff::Timestamp::now(), text)
}

fn before(now: jiff::Timestamp, text: &str) -> Result<Timestamp, String> {
    let trimmed = text.trim();
    let time = match trimmed.parse::<SignedDuration>() {
        // "1h ago" is a time before now as 1h is.
        Ok(span) => now
            .checked_sub(if trimmed.ends_with("ago") { span.abs() } else { span })
            .map_err(|_| format!("{text:?} ago there was no time"))?,
        Err(_) => written(trimmed).ok_or_else(|| {
            format!("{text:?} is neither so long ago (5m, 2h30m) nor a time (2006-01-02T15:04:05Z, 2006-01-02)")
        })?,
    };
    Ok(Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}

fn written(text: &str) -> Option<jiff::Timestamp> {
    let exact = text.parse().or_else(|_| jiff::Timestamp::strptime("%a, %d %b %Y %H:%M:%S %z", text));
    let day = || Date::strptime("%Y-%m-%d", text)?.to_zoned(TimeZone::UTC).map(|midnight| midnight.timestamp());
    exact.or_else(|_| day()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_times_of_hubble_are_read() {
        let now = "2026-01-02T15:04:05Z".parse().unwrap();
        let read = |text: &str| before(now, text).map(|time| (time.seconds - 1_767_366_245, time.nanos));
        for (text, seconds, nanos) in [
            ("0s", 0, 0),
            ("3s", -3, 0),
            ("1h43m", -6_180, 0),
            ("1.5h", -5_400, 0),
            ("250ms", -1, 750_000_000),
            ("-1h", 3_600, 0),
            ("1h ago", -3_600, 0),
            ("2h 30m ago ", -9_000, 0),
            ("2026-01-02", -54_245, 0),
            ("2026-01-02T15Z", -245, 0),
            ("2026-01-02T16+01:00", -245, 0),
            ("2026-01-02T15:04Z", -5, 0),
            ("2026-01-02T13:04-02:00", -5, 0),
            ("2026-01-02T15:04:05Z", 0, 0),
            ("2026-01-02T15:04:05.12+00:00", 0, 120_000_000),
            ("2026-01-02T15:04:05.123456789Z", 0, 123_456_789),
            ("Fri, 02 Jan 2026 16:04:05 +0100", 0, 0),
        ] {
            assert_eq!(read(text), Ok((seconds, nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_said_to_be_none() {
        for text in ["", "yesterday", "5", "2026-13-01", "2026-01-02T15:04:05", "Jan  2 15:04:05.000", "2026-01-02 x"] {
            let error = moment(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")) && error.contains("2h30m"), "{error}");
        }
        assert!(moment("9999999h").is_ok());
        assert!(moment("99999999999h").unwrap_err().contains("there was no time"));
    }
}
