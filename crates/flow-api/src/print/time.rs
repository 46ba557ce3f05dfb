//! Times as `hubble` writes them: Go's layouts, in UTC.

use prost_types::Timestamp;

/// `--time-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// `Jan  2 15:04:05.000`.
    #[default]
    StampMilli,
    /// `2006-01-02`.
    YearMonthDay,
    /// `2006-01-02T15Z`.
    YearMonthDayHour,
    /// `2006-01-02T15:04Z`.
    YearMonthDayHourMinute,
    /// `2006-01-02T15:04:05Z`.
    Rfc3339,
    /// With up to three digits of the second, without the zeros at their end.
    Rfc3339Milli,
    /// With up to six.
    Rfc3339Micro,
    /// With up to nine.
    Rfc3339Nano,
    /// `Mon, 02 Jan 2006 15:04:05 +0000`.
    Rfc1123Z,
}

impl TimeFormat {
    /// All, with the names that `hubble` gives them.
    pub const ALL: [(&'static str, Self); 9] = [
        ("StampMilli", Self::StampMilli),
        ("YearMonthDay", Self::YearMonthDay),
        ("YearMonthDayHour", Self::YearMonthDayHour),
        ("YearMonthDayHourMinute", Self::YearMonthDayHourMinute),
        ("RFC3339", Self::Rfc3339),
        ("RFC3339Milli", Self::Rfc3339Milli),
        ("RFC3339Micro", Self::Rfc3339Micro),
        ("RFC3339Nano", Self::Rfc3339Nano),
        ("RFC1123Z", Self::Rfc1123Z),
    ];

    /// `N/A` for what is no time.
    pub(super) fn write(self, time: Option<&Timestamp>) -> String {
        let time = time.filter(|time| (0..1_000_000_000).contains(&time.nanos));
        let cut = |time: &Timestamp| time.nanos - time.nanos % self.unit();
        let Some(time) = time.and_then(|time| jiff::Timestamp::new(time.seconds, cut(time)).ok()) else {
            return "N/A".to_owned();
        };
        let layout = match self {
            Self::StampMilli => "%b %e %H:%M:%S.%3f",
            Self::YearMonthDay => "%Y-%m-%d",
            Self::YearMonthDayHour => "%Y-%m-%dT%HZ",
            Self::YearMonthDayHourMinute => "%Y-%m-%dT%H:%MZ",
            Self::Rfc3339 => "%Y-%m-%dT%H:%M:%SZ",
            // `%.f`: as many digits as are needed, and no dot without them.
            Self::Rfc3339Milli | Self::Rfc3339Micro | Self::Rfc3339Nano => "%Y-%m-%dT%H:%M:%S%.fZ",
            Self::Rfc1123Z => "%a, %d %b %Y %H:%M:%S +0000",
        };
        time.strftime(layout).to_string()
    }

    /// What is smaller is cut off; in nanoseconds.
    fn unit(self) -> i32 {
        match self {
            Self::Rfc3339Milli => 1_000_000,
            Self::Rfc3339Micro => 1_000,
            _ => 1,
        }
    }
}
