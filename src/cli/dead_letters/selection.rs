//! The dead letters that a command selects.

use clap::Args;

use crate::clock::{self, Timestamp};
use crate::config;
use crate::sink::DeadLetterFilter;

/// The reason of parked messages.
pub(super) const PARKED: &str = "table";

#[derive(Debug, Clone, Default, Args)]
pub(super) struct SelectionArgs {
    /// Only in this database
    #[arg(long, value_name = "NAME")]
    pub(super) database: Option<String>,
    /// Only of this rule
    #[arg(long, value_name = "NAME")]
    pub(super) rule: Option<String>,
    /// Only with this reason: parse, value, required, constraint, size, topic, table, unmatched, lost_range …
    #[arg(long, value_name = "CODE")]
    pub(super) reason: Option<String>,
    /// Only those made at this time or later: a time such as 2026-11-21T08:00:00Z, a date (midnight UTC), or how long ago,
    /// such as 1h or 7d
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) since: Option<Timestamp>,
    /// Only those made before this time, written as for --since
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) until: Option<Timestamp>,
}

impl SelectionArgs {
    /// Whether it selects within a database.
    pub(super) fn is_narrowed(&self) -> bool {
        self.rule.is_some() || self.reason.is_some() || self.since.is_some() || self.until.is_some()
    }

    pub(super) fn of_bridge(&self, bridge: &str) -> DeadLetterFilter {
        DeadLetterFilter {
            bridge: bridge.to_owned(),
            rule: self.rule.clone(),
            reason: self.reason.clone(),
            since: self.since,
            until: self.until,
            ..DeadLetterFilter::default()
        }
    }
}

/// Not before 1970: no dead letter is older, and no database has all times that a duration can lead to.
fn time(text: &str) -> Result<Timestamp, String> {
    let not_before_1970 = |micros: i64| Timestamp(micros.max(0));
    if let Some(ago) = config::duration(text) {
        let ago = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
        return Ok(not_before_1970(clock::now().as_micros().saturating_sub(ago)));
    }
    let time = text.parse::<jiff::Timestamp>().ok().or_else(|| midnight(text));
    time.map(|time| not_before_1970(time.as_microsecond())).ok_or_else(|| {
        "write a time such as 2026-11-21T08:00:00Z, a date such as 2026-11-21 (midnight UTC), or how long ago, such as 30m, \
         1h or 7d"
            .to_owned()
    })
}

/// The begin of a day, UTC; `None` for what is more or less than a date.
fn midnight(text: &str) -> Option<jiff::Timestamp> {
    if text.len() != "2026-11-21".len() {
        return None;
    }
    let day = text.parse::<jiff::civil::Date>().ok()?;
    Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_point_or_how_long_ago() {
        assert_eq!(time("1970-01-01T00:00:01+00:00"), Ok(Timestamp(1_000_000)));
        assert_eq!(time("1970-01-02"), Ok(Timestamp(86_400_000_000)));
        for early in ["99999999999d", "-005000-01-01T00:00:00Z"] {
            assert_eq!(time(early), Ok(Timestamp(0)), "{early}");
        }
        let hour_ago = clock::now().as_micros() - 3_600_000_000;
        let Timestamp(read) = time("1h").unwrap();
        assert!((hour_ago - 1_000_000..=hour_ago + 60_000_000).contains(&read));
        assert!(time("1x").is_err() && time("yesterday").is_err() && time("2026-13-01").is_err() && time("").is_err());
    }
}
