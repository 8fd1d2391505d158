//! Dates, times and instants: from a source's value to the column's.
//!
//! A string is read as RFC 3339, `YYYY-MM-DD HH:MM:SS[.fraction]`, a date or a time of day; with the column's `time`
//! format instead if it has one. A time without an offset is in the column's zone (`tz`, default UTC); where clocks
//! are turned, the hour that comes twice is taken the first time, and the one that is skipped counts on from before.
//! What is finer than a microsecond, the databases' resolution, is cut off. A date column takes a time's date and a
//! time column its time of day, both in the column's zone.

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::fmt::temporal::{DateTimeParser, Pieces};
use jiff::tz::{Offset, TimeZone};

use super::TimeFormat;
use super::decimal::Decimal;
use super::value::{Misfit, Value, expected};

/// 4714-11-24 BC, the first day Postgres has, as days and as microseconds from 1970. The last time that jiff has, near
/// the end of the year 9999, bounds the other side.
const DAYS_MIN: i64 = -2_440_588;
const MICROS_MIN: i64 = DAYS_MIN * MICROS_PER_DAY;
/// 0000-01-01: text of earlier times does not sort.
const SORTABLE_MICROS_MIN: i64 = -62_167_219_200_000_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;

const OUT_OF_RANGE: &str = "a time outside the years that databases hold (4713 BC to 9999)";

/// How a column's times are written and in which zone those without one are.
#[derive(Debug, Clone)]
pub(super) struct Clockface {
    pub(super) format: Option<TimeFormat>,
    pub(super) zone: TimeZone,
}

/// What a value says about time.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    /// Microseconds since 1970, UTC.
    Instant(i64),
    Local(DateTime),
    Date(Date),
    TimeOfDay(Time),
}

impl Clockface {
    /// Microseconds since 1970 UTC.
    pub(super) fn instant(&self, value: Value<'_>) -> Result<i64, Misfit> {
        let local = match self.read(value)? {
            Moment::Instant(micros) => return Ok(micros),
            Moment::Local(local) => local,
            Moment::Date(date) => date.to_datetime(Time::midnight()),
            Moment::TimeOfDay(_) => return Err("a time of day without a date where a time is expected".into()),
        };
        let timestamp = match local_offset(&self.zone) {
            Some(offset) => offset.to_timestamp(local),
            None => self.zone.to_ambiguous_timestamp(local).compatible(),
        };
        in_range(timestamp.map_err(|_| OUT_OF_RANGE)?)
    }

    /// As [`Clockface::instant`], for a text form that must sort.
    pub(super) fn sortable_instant(&self, value: Value<'_>) -> Result<i64, Misfit> {
        let micros = self.instant(value)?;
        if micros < SORTABLE_MICROS_MIN {
            Err("a time before the year 0 has no text that sorts".into())
        } else {
            Ok(micros)
        }
    }

    /// Microseconds since 1970-01-01T00:00:00 on the local clock. A string without an offset stays as it stands.
    pub(super) fn local(&self, value: Value<'_>) -> Result<i64, Misfit> {
        let local = match self.read(value)? {
            Moment::Instant(micros) => self.at(micros)?,
            Moment::Local(local) => local,
            Moment::Date(date) => date.to_datetime(Time::midnight()),
            Moment::TimeOfDay(_) => return Err("a time of day without a date where a time is expected".into()),
        };
        in_range(Offset::UTC.to_timestamp(local).map_err(|_| OUT_OF_RANGE)?)
    }

    /// Days since 1970-01-01.
    pub(super) fn date(&self, value: Value<'_>) -> Result<i32, Misfit> {
        let date = match self.read(value)? {
            Moment::Instant(micros) => self.at(micros)?.date(),
            Moment::Local(local) => local.date(),
            Moment::Date(date) => date,
            Moment::TimeOfDay(_) => return Err("a time of day where a date is expected".into()),
        };
        let midnight = date.to_datetime(Time::midnight()).duration_since(DateTime::from(Date::constant(1970, 1, 1)));
        let days = midnight.as_secs().div_euclid(86_400);
        if days < DAYS_MIN { Err(OUT_OF_RANGE.into()) } else { i32::try_from(days).map_err(|_| OUT_OF_RANGE.into()) }
    }

    /// Microseconds since midnight.
    pub(super) fn time_of_day(&self, value: Value<'_>) -> Result<i64, Misfit> {
        let time = match self.read(value)? {
            Moment::Instant(micros) => self.at(micros)?.time(),
            Moment::Local(local) => local.time(),
            Moment::TimeOfDay(time) => time,
            Moment::Date(_) => return Err("a date where a time of day is expected".into()),
        };
        let seconds = (i64::from(time.hour()) * 60 + i64::from(time.minute())) * 60 + i64::from(time.second());
        Ok(seconds * 1_000_000 + i64::from(time.subsec_nanosecond()) / 1_000)
    }

    fn at(&self, micros: i64) -> Result<DateTime, Misfit> {
        let timestamp = jiff::Timestamp::from_microsecond(micros).map_err(|_| OUT_OF_RANGE)?;
        Ok(self.zone.to_datetime(timestamp))
    }

    fn read(&self, value: Value<'_>) -> Result<Moment, Misfit> {
        if let Value::Instant(micros) = value {
            return Ok(Moment::Instant(micros));
        }
        // A leap second has no place on a database's clock, and becoming :59 would change it silently.
        if matches!(value, Value::Text(text) if text.contains(":60")) {
            return Err("a leap second, which databases cannot hold".into());
        }
        match (&self.format, value) {
            (Some(TimeFormat::Seconds), _) => epoch(value, 6),
            (Some(TimeFormat::Millis), _) => epoch(value, 3),
            (Some(TimeFormat::Micros), _) => epoch(value, 0),
            (Some(TimeFormat::Nanos), _) => epoch(value, -3),
            (Some(TimeFormat::Pattern(pattern)), Value::Text(text) | Value::Number(text)) => {
                by_pattern(pattern, text.trim())
            }
            (None | Some(TimeFormat::Rfc3339), Value::Text(text)) => by_standard(text.trim()),
            (None | Some(TimeFormat::Rfc3339), Value::Number(_) | Value::Int(_)) => {
                Err("a number where a time is expected: say what it counts with `time: s`, ms, us or ns".into())
            }
            _ => Err(expected("a time", &value)),
        }
    }
}

/// The offset of a zone that has but one, which spares the search for it.
fn local_offset(zone: &TimeZone) -> Option<Offset> {
    zone.to_fixed_offset().ok()
}

fn in_range(timestamp: jiff::Timestamp) -> Result<i64, Misfit> {
    // Both parts have the same sign, so rounding the second one down rounds the whole down.
    let micros = timestamp.as_second() * 1_000_000 + i64::from(timestamp.subsec_nanosecond().div_euclid(1_000));
    if micros < MICROS_MIN { Err(OUT_OF_RANGE.into()) } else { Ok(micros) }
}

/// A count since 1970; 10^`shift` microseconds each.
fn epoch(value: Value<'_>, shift: i64) -> Result<Moment, Misfit> {
    let number = match value {
        Value::Number(text) => Decimal::parse(text),
        Value::Text(text) => Decimal::parse(text.trim()),
        Value::Int(count) => return epoch(Value::Number(&count.to_string()), shift),
        _ => return Err(expected("a number that counts time", &value)),
    };
    let number = number.ok_or("a string that is no number where a number that counts time is expected")?;
    let (micros, _) = number.scaled_floor(shift).ok_or(OUT_OF_RANGE)?;
    in_range(jiff::Timestamp::from_microsecond(micros).map_err(|_| OUT_OF_RANGE)?).map(Moment::Instant)
}

fn by_pattern(pattern: &str, text: &str) -> Result<Moment, Misfit> {
    const NO_FIT: &str = "a string that does not fit the column's time pattern";
    let read = BrokenDownTime::parse(pattern, text).map_err(|_| NO_FIT)?;
    if let Some(timestamp) = read.timestamp() {
        return in_range(timestamp).map(Moment::Instant);
    }
    if read.iana_time_zone().is_some() {
        return in_range(read.to_zoned().map_err(|_| NO_FIT)?.timestamp()).map(Moment::Instant);
    }
    let time = if read.hour().is_some() { Some(read.to_time().map_err(|_| NO_FIT)?) } else { None };
    match (read.to_date(), time, read.offset()) {
        (Ok(date), Some(time), Some(offset)) => {
            in_range(offset.to_timestamp(date.to_datetime(time)).map_err(|_| OUT_OF_RANGE)?).map(Moment::Instant)
        }
        (Ok(date), Some(time), None) => Ok(Moment::Local(date.to_datetime(time))),
        (Ok(date), None, _) => Ok(Moment::Date(date)),
        // A pattern without a date has a time of day (checked when it was parsed); with one, the date is impossible.
        (Err(_), Some(time), _) if read.year().is_none() && read.month().is_none() => Ok(Moment::TimeOfDay(time)),
        (Err(_), ..) => Err(NO_FIT.into()),
    }
}

fn by_standard(text: &str) -> Result<Moment, Misfit> {
    const NO_FIT: &str = "a string that is no time as RFC 3339 or `YYYY-MM-DD HH:MM:SS` writes it; \
                          describe another with `time`";
    let Ok(pieces) = Pieces::parse(text) else {
        return match DateTimeParser::new().parse_time(text) {
            Ok(time) => Ok(Moment::TimeOfDay(time)),
            Err(_) => Err(NO_FIT.into()),
        };
    };
    if pieces.time_zone_annotation().is_some() {
        return Err(NO_FIT.into());
    }
    match (pieces.time(), pieces.to_numeric_offset()) {
        (Some(time), Some(offset)) => {
            let timestamp = offset.to_timestamp(pieces.date().to_datetime(time)).map_err(|_| OUT_OF_RANGE)?;
            in_range(timestamp).map(Moment::Instant)
        }
        (Some(time), None) => Ok(Moment::Local(pieces.date().to_datetime(time))),
        (None, _) => Ok(Moment::Date(pieces.date())),
    }
}

/// Appends the one text form of an instant: RFC 3339 in UTC with milliseconds, so that texts sort as times do.
pub(super) fn write_instant(micros: i64, out: &mut String) {
    use std::fmt::Write;
    let written = match jiff::Timestamp::from_microsecond(micros) {
        Ok(timestamp) => write!(out, "{timestamp:.3}"),
        Err(_) => write!(out, "{micros}us"),
    };
    written.expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(format: Option<&str>, zone: &str) -> Clockface {
        let format = format.map(|format| TimeFormat::parse(format).unwrap());
        Clockface { format, zone: TimeZone::get(zone).unwrap() }
    }

    fn utc(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
    }

    fn instant(format: Option<&str>, zone: &str, value: Value<'_>) -> Result<i64, String> {
        face(format, zone).instant(value).map_err(|misfit| misfit.0.into_owned())
    }

    #[test]
    fn strings_are_read_as_the_standards_write_them() {
        for (text, expected) in [
            ("2026-11-21T08:26:00.123456Z", "2026-11-21T08:26:00.123456Z"),
            ("2026-11-21t08:26:00+02:00", "2026-11-21T06:26:00Z"),
            ("2026-11-21 08:26:00", "2026-11-21T08:26:00Z"),
            ("2026-11-21 08:26:00.5", "2026-11-21T08:26:00.5Z"),
            (" 2026-11-21 ", "2026-11-21T00:00:00Z"),
            ("2026-11-21T08:26:00.123456999Z", "2026-11-21T08:26:00.123456Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(instant(None, "UTC", Value::Text(text)), Ok(utc(expected)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "soon",
            "2026-02-30",
            "2026-13-01T00:00:00Z",
            "2026-11-21T25:00:00Z",
            "1700000000",
            "08:26",
            "2026-12-31T23:59:60Z",
            "2026-11-21T08:26:00Z[Europe/Berlin]",
            "-009999-01-01T00:00:00Z",
        ] {
            assert!(instant(None, "UTC", Value::Text(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_without_offset_is_in_the_columns_zone() {
        let berlin = |text| instant(None, "Europe/Berlin", Value::Text(text));
        assert_eq!(berlin("2026-07-01 12:00:00"), Ok(utc("2026-07-01T10:00:00Z")));
        assert_eq!(berlin("2026-07-01 12:00:00Z"), Ok(utc("2026-07-01T12:00:00Z")));
        assert_eq!(berlin("2026-10-25 02:30:00"), Ok(utc("2026-10-25T00:30:00Z")), "the first of two");
        assert_eq!(berlin("2026-03-29 02:30:00"), Ok(utc("2026-03-29T01:30:00Z")), "skipped");
    }

    #[test]
    fn a_number_needs_to_be_told_what_it_counts() {
        assert!(instant(None, "UTC", Value::Number("1700000000")).unwrap_err().contains("`time: s`"));
        for (format, text, expected) in [
            ("s", "1700000000", 1_700_000_000_000_000),
            ("s", "1700000000.123456789", 1_700_000_000_123_456),
            ("s", "1.7e9", 1_700_000_000_000_000),
            ("s", "-0.0000001", -1),
            ("ms", "1700000000123", 1_700_000_000_123_000),
            ("us", "1700000000123456", 1_700_000_000_123_456),
            ("ns", "1700000000123456789", 1_700_000_000_123_456),
        ] {
            assert_eq!(instant(Some(format), "UTC", Value::Number(text)), Ok(expected), "{format} {text}");
            assert_eq!(instant(Some(format), "UTC", Value::Text(text)), Ok(expected), "{format} {text} as a string");
        }
        for text in ["1e30", "-9e12", "9e12", "1e999999999"] {
            assert!(instant(Some("s"), "UTC", Value::Number(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_read_what_they_describe() {
        let berlin = |pattern, text| instant(Some(pattern), "Europe/Berlin", Value::Text(text));
        assert_eq!(berlin("%d.%m.%Y %H:%M", "01.07.2026 12:00"), Ok(utc("2026-07-01T10:00:00Z")));
        assert_eq!(berlin("%Y-%m-%d %H:%M:%S %z", "2026-07-01 12:00:00 +0000"), Ok(utc("2026-07-01T12:00:00Z")));
        assert_eq!(instant(Some("%Y%m%d"), "UTC", Value::Number("20260701")), Ok(utc("2026-07-01T00:00:00Z")));
        assert!(berlin("%d.%m.%Y", "31.02.2026").is_err());
        assert!(berlin("%d.%m.%Y %H:%M", "31.02.2026 12:00").is_err());
        assert!(berlin("%Y-%m-%d %H:%M:%S", "2026-12-31 23:59:60").is_err(), "a leap second");
        let named = Some("%Y-%m-%d %H:%M %Q");
        assert_eq!(
            instant(named, "UTC", Value::Text("2026-07-01 12:00 Europe/Berlin")),
            Ok(utc("2026-07-01T10:00:00Z"))
        );
        assert_eq!(face(Some("%H.%M"), "UTC").time_of_day(Value::Text("12.30")), Ok(45_000_000_000));
    }

    #[test]
    fn dates_and_times_of_day_are_taken_in_the_columns_zone() {
        let berlin = face(None, "Europe/Berlin");
        let late = Value::Text("2026-07-01T23:30:00Z");
        assert_eq!(berlin.date(late), Ok(20_636));
        assert_eq!(berlin.date(Value::Text("2026-07-02")), Ok(20_636));
        assert_eq!(berlin.date(Value::Text("1969-12-31")), Ok(-1));
        assert_eq!(berlin.time_of_day(late), Ok(90 * 60_000_000));
        assert_eq!(berlin.time_of_day(Value::Text("01:30:00.5")), Ok(90 * 60_000_000 + 500_000));
        assert!(berlin.time_of_day(Value::Text("2026-07-01")).is_err());
        assert!(berlin.date(Value::Text("10:00")).is_err());
        assert!(berlin.date(Value::Text("-005000-01-01")).is_err());
    }

    #[test]
    fn a_local_column_keeps_what_has_no_offset_and_shifts_what_has_one() {
        let berlin = face(None, "Europe/Berlin");
        assert_eq!(berlin.local(Value::Text("2026-07-01 12:00:00")), Ok(utc("2026-07-01T12:00:00Z")));
        assert_eq!(berlin.local(Value::Text("2026-07-01T12:00:00Z")), Ok(utc("2026-07-01T14:00:00Z")));
        assert_eq!(berlin.local(Value::Instant(utc("2026-07-01T12:00:00Z"))), Ok(utc("2026-07-01T14:00:00Z")));
    }

    #[test]
    fn the_text_form_has_milliseconds_always() {
        let mut out = String::new();
        write_instant(utc("2026-11-21T08:26:00.123999Z"), &mut out);
        assert_eq!(out, "2026-11-21T08:26:00.123Z");
        out.clear();
        write_instant(utc("2026-11-21T08:26:00Z"), &mut out);
        assert_eq!(out, "2026-11-21T08:26:00.000Z");
    }
}
