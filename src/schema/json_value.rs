//! Values of a database as JSON: in the answers to queries, and in published rows.
//!
//! | type | JSON |
//! |---|---|
//! | bool | `true`, `false` |
//! | integers | a number with all of its digits: an int64 may exceed what JavaScript holds exactly (2^53) |
//! | decimal, numeric | a number with all of its digits, `12.50` with its zero; NaN and infinities: a string |
//! | real, double | the shortest number that parses to the same value; NaN and infinities: a string |
//! | text, uuid, inet, enums, intervals, all other types | a string, as the database writes it |
//! | bytes | a string: base64 (RFC 4648) with padding |
//! | json, jsonb | the value itself |
//! | date, time | a string: `2026-11-28`, `22:10:00.5` |
//! | timestamptz | a string: RFC 3339 in UTC, `2026-11-28T22:10:00.123456Z`; or a number, an epoch in the requested unit |
//! | timestamp | as timestamptz without a zone; as an epoch it counts as UTC |
//! | arrays | an array of these |
//! | NULL | `null` |
//!
//! An epoch is rounded down to its unit. A time that has no epoch (`infinity`, years before Christ) is the string
//! that the database writes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::rule::GoLayout;

/// How timestamps are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeForm {
    /// In this zone; UTC is written `Z`.
    Rfc3339(TimeZone),
    /// Whole units since 1970, rounded down: so many make a second.
    Epoch(i64),
    /// A strftime pattern, in this zone.
    Pattern(String, TimeZone),
    /// A layout of Go, in this zone.
    Layout(GoLayout, TimeZone),
}

/// A time as the database wrote it, `2026-11-28T22:10:00.123456+00:00` (a space in place of the `T` and `Z` for the offset
/// are taken too). One without an offset counts as UTC. `None`: it is none on this scale.
fn parsed(text: &str) -> Option<(Timestamp, bool)> {
    // First, for the other one passes over an offset.
    match text.parse::<Timestamp>() {
        Ok(time) => Some((time, true)),
        Err(_) => Some((text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(), false)),
    }
}

/// What is in a column of timestamps, as text without quotes, and whether JSON has it as a number. `text`: as the database
/// wrote it in ISO 8601.
pub fn timestamp(text: &str, form: &TimeForm) -> (String, bool) {
    // A date alone would be taken for its midnight.
    let is_time = text.contains(':');
    let Some((time, has_zone)) = parsed(text).filter(|_| is_time) else { return (text.to_owned(), false) };
    let shown = |zone: &TimeZone| time.to_zoned(if has_zone { zone.clone() } else { TimeZone::UTC });
    match form {
        TimeForm::Rfc3339(zone) if *zone == TimeZone::UTC || !has_zone => {
            let plain = text.strip_suffix("+00:00").map(|plain| format!("{plain}Z"));
            (plain.unwrap_or_else(|| text.to_owned()).replacen(' ', "T", 1), false)
        }
        TimeForm::Rfc3339(zone) => {
            let zoned = time.to_zoned(zone.clone());
            (strtime::format("%Y-%m-%dT%H:%M:%S%.f%:z", &zoned).unwrap_or_else(|_| text.to_owned()), false)
        }
        TimeForm::Epoch(units) => {
            (time.as_nanosecond().div_euclid(1_000_000_000 / i128::from(*units)).to_string(), true)
        }
        TimeForm::Pattern(pattern, zone) => {
            (strtime::format(pattern, &shown(zone)).unwrap_or_else(|_| text.to_owned()), false)
        }
        TimeForm::Layout(layout, zone) => (layout.write(&shown(zone)), false),
    }
}

/// A JSON string.
pub fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Bytes as text without quotes.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A float as JSON.
pub fn float(value: f64) -> String {
    match serde_json::Number::from_f64(value) {
        Some(number) => number.to_string(),
        None if value.is_nan() => "\"NaN\"".to_owned(),
        None if value > 0.0 => "\"Infinity\"".to_owned(),
        None => "\"-Infinity\"".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, form: &TimeForm) -> String {
        timestamp(text, form).0
    }

    #[test]
    fn a_timestamp_is_text_of_rfc_3339_or_a_number() {
        let with_zone = "2026-11-28T22:10:00.123456+00:00";
        let utc = TimeForm::Rfc3339(TimeZone::UTC);
        assert_eq!(written(with_zone, &utc), "2026-11-28T22:10:00.123456Z");
        assert_eq!(written("2026-11-28T22:10:00.123Z", &utc), "2026-11-28T22:10:00.123Z");
        assert_eq!(written("2026-11-28 22:10:00", &utc), "2026-11-28T22:10:00");
        for (units, expected) in [
            (1, "1795903800"),
            (1_000, "1795903800123"),
            (1_000_000, "1795903800123456"),
            (1_000_000_000, "1795903800123456000"),
        ] {
            assert_eq!(timestamp(with_zone, &TimeForm::Epoch(units)), (expected.to_owned(), true));
        }
        assert_eq!(written("1969-12-31T23:59:59.999Z", &TimeForm::Epoch(1)), "-1");
        // As a program may have written it into SQLite.
        assert_eq!(written("2026-11-29T00:10:00+02:00", &TimeForm::Epoch(1)), "1795903800");
    }

    #[test]
    fn a_timestamp_is_shown_in_a_zone_and_by_a_pattern() {
        let seoul = TimeZone::get("Asia/Seoul").unwrap();
        let time = "2026-11-28T22:10:00.5+00:00";
        assert_eq!(written(time, &TimeForm::Rfc3339(seoul.clone())), "2026-11-29T07:10:00.5+09:00");
        assert_eq!(written(time, &TimeForm::Pattern("%Y/%m/%d %H:%M".to_owned(), seoul.clone())), "2026/11/29 07:10");
        let layout = GoLayout::parse("02/Jan/2006 3:04 PM.00 MST").unwrap();
        assert_eq!(written(time, &TimeForm::Layout(layout.clone(), seoul.clone())), "29/Nov/2026 7:10 AM.50 KST");
        // Without a zone it is nobody's hour but its own.
        assert_eq!(
            written("2026-11-28T22:10:00", &TimeForm::Layout(layout, seoul.clone())),
            "28/Nov/2026 10:10 PM.00 UTC"
        );
        assert_eq!(written("2026-11-28T22:10:00", &TimeForm::Rfc3339(seoul)), "2026-11-28T22:10:00");
    }

    #[test]
    fn what_is_no_point_in_time_stays_as_it_is() {
        for text in ["infinity", "0044-03-15T00:00:00+00:00 BC", "294276-12-31T23:59:59+00:00", "2026-11-28", "noon"] {
            assert_eq!(timestamp(text, &TimeForm::Epoch(1)), (text.to_owned(), false));
        }
    }

    #[test]
    fn every_float_has_a_form() {
        for (value, expected) in [
            (21.5, "21.5"),
            (0.1, "0.1"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(float(value), expected);
        }
    }
}
