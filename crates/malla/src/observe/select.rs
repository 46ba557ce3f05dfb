//! Which of the events that nodes still have, and of those to come.

use super::moment::moment;
use clap::Args;
use flow_api::query::Wanted;
use prost_types::Timestamp;

/// As `hubble` has them.
#[derive(Args, Debug)]
#[command(next_help_heading = "Which of them")]
pub struct Selectors {
    /// The last so many [default: 20, unless another choice is made]
    #[arg(long, value_name = "NUMBER")]
    last: Option<u64>,
    /// The first so many that the nodes still have
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["last", "follow"])]
    first: Option<u64>,
    /// All that the nodes still have
    #[arg(long, conflicts_with_all = ["last", "first"])]
    all: bool,
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// Not older than this: so long ago (5m, 2h30m), a time (2006-01-02T15:04:05Z, also without seconds and minutes; RFC
    /// 1123), or a day (2006-01-02)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Not newer than this
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
}

impl Selectors {
    /// What is asked for; all, where no number is named.
    pub fn wanted(&self) -> Wanted {
        let first = named(self.first);
        Wanted {
            number: first.or(named(self.last)).unwrap_or(0),
            first: first.is_some(),
            follow: self.follow,
            since: self.since,
            until: self.until,
        }
    }

    /// The same; the last [`DEFAULT_LAST`], where neither a number nor a time is named.
    pub fn wanted_or_last(&self) -> Wanted {
        let wanted = self.wanted();
        let chosen = wanted.number > 0 || self.all || self.since.is_some() || self.until.is_some();
        Wanted { number: if chosen { wanted.number } else { DEFAULT_LAST }, ..wanted }
    }
}

/// To `hubble` none is as good as no number at all.
fn named(number: Option<u64>) -> Option<u64> {
    number.filter(|number| *number > 0)
}

/// As `hubble observe`.
const DEFAULT_LAST: u64 = 20;
