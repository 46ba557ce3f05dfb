//! Times as `hubble` writes them: Go's layouts, in UTC.

use prost_types::Timestamp;

/// `--time-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// `Jan  2 15:04:05.000`.
    #[default]
    StampMilli,
    /// `2006-01-02T15:04:05Z`.
    Rfc3339,
    /// With three digits of the second.
    Rfc3339Milli,
    /// With six.
    Rfc3339Micro,
    /// With as many as there are, up to nine.
    Rfc3339Nano,
    /// `Mon, 02 Jan 2006 15:04:05 +0000`.
    Rfc1123Z,
}

impl TimeFormat {
    /// All, with the names that `hubble` gives them.
    pub const ALL: [(&'static str, Self); 6] = [
        ("StampMilli", Self::StampMilli),
        ("RFC3339", Self::Rfc3339),
        ("RFC3339Milli", Self::Rfc3339Milli),
        ("RFC3339Micro", Self::Rfc3339Micro),
        ("RFC3339Nano", Self::Rfc3339Nano),
        ("RFC1123Z", Self::Rfc1123Z),
    ];

    /// `N/A` for what is no time.
    pub(super) fn write(self, time: Option<&Timestamp>) -> String {
        let time = time.filter(|time| (0..1_000_000_000).contains(&time.nanos));
        let Some(time) = time.and_then(|time| jiff::Timestamp::new(time.seconds, time.nanos).ok()) else {
            return "N/A".to_owned();
        };
        let layout = match self {
            Self::StampMilli => "%b %e %H:%M:%S.%3f",
            Self::Rfc3339 => "%Y-%m-%dT%H:%M:%SZ",
            Self::Rfc3339Milli => "%Y-%m-%dT%H:%M:%S.%3fZ",
            Self::Rfc3339Micro => "%Y-%m-%dT%H:%M:%S.%6fZ",
            // `%.f`: as many digits as are needed, and no dot without them.
            Self::Rfc3339Nano => "%Y-%m-%dT%H:%M:%S%.fZ",
            Self::Rfc1123Z => "%a, %d %b %Y %H:%M:%S +0000",
        };
        time.strftime(layout).to_string()
    }
}
