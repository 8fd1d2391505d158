//! Dates, times and instants: from a source's value to the column's.
//!
//! A string is read as RFC 3339, `YYYY-MM-DD HH:MM:SS[.fraction]`, a date or a time of day; with the column's `time`
//! format instead if it has one. A time without an offset is in the column's zone (`tz`, default UTC); where clocks
//! are turned, the hour that comes twice is taken the first time, and the one that is skipped counts on from before.
//! What is finer than a microsecond, the databases' resolution, is cut off. A date column takes a time's date and a
//! time column its time of day, both in the column's zone.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::fmt::temporal::{DateTimeParser, Pieces};
use jiff::tz::{Offset, TimeZone};

use super::TimeFormat;
use super::decimal::Decimal;
use super::value::{Misfit, Value, expected};

/// 4714-11-24 BC, the first day Postgres has, as days and as microseconds from 1970.
const DAYS_MIN: i64 = -2_440_588;
const MICROS_MIN: i64 = DAYS_MIN * MICROS_PER_DAY;
/// 9999-12-31, the last day that RFC 3339 can write and that sorts as text. Postgres goes on to the year 294276, but a
/// count of such a time is one in another unit than the column's `time` says (milliseconds read as seconds).
const DAYS_MAX: i64 = 2_932_896;
/// Exclusive: after the last microsecond of that day wherever on earth, for offsets reach 26 hours.
const MICROS_END: i64 = (DAYS_MAX + 1) * MICROS_PER_DAY + 26 * 3_600_000_000;
/// 0000-01-01, and exclusive the end of 9999: text of other times does not sort.
const SORTABLE_MICROS_MIN: i64 = -62_167_219_200_000_000;
const SORTABLE_MICROS_END: i64 = (DAYS_MAX + 1) * MICROS_PER_DAY;
const MICROS_PER_DAY: i64 = 86_400_000_000;

const OUT_OF_RANGE: &str = "a time outside the years 4713 BC to 9999";

/// How a column's times are written and in which zone those without one are.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub(super) fn instant(&self, value: &Value<'_>) -> Result<i64, Misfit> {
        let local = match self.read(value)? {
            Moment::Instant(micros) => return Ok(micros),
            Moment::Local(local) => local,
            Moment::Date(date) => date.to_datetime(Time::midnight()),
            Moment::TimeOfDay(_) => return Err("a time of day without a date where a time is expected".into()),
        };
        in_range(self.to_utc(local))
    }

    /// As [`Clockface::instant`], for a text form that must sort.
    pub(super) fn sortable_instant(&self, value: &Value<'_>) -> Result<i64, Misfit> {
        let micros = self.instant(value)?;
        if (SORTABLE_MICROS_MIN..SORTABLE_MICROS_END).contains(&micros) {
            Ok(micros)
        } else {
            Err("a time outside the years 0 to 9999 (UTC), which has no text that sorts".into())
        }
    }

    /// Microseconds since 1970-01-01T00:00:00 on the local clock. A string without an offset stays as it stands.
    pub(super) fn local(&self, value: &Value<'_>) -> Result<i64, Misfit> {
        in_range(match self.read(value)? {
            Moment::Instant(micros) => self.to_local(micros),
            Moment::Local(local) => micros_of(local),
            Moment::Date(date) => days_of(date) * MICROS_PER_DAY,
            Moment::TimeOfDay(_) => return Err("a time of day without a date where a time is expected".into()),
        })
    }

    /// Days since 1970-01-01.
    pub(super) fn date(&self, value: &Value<'_>) -> Result<i32, Misfit> {
        let days = match self.read(value)? {
            Moment::Instant(micros) => self.to_local(micros).div_euclid(MICROS_PER_DAY),
            Moment::Local(local) => days_of(local.date()),
            Moment::Date(date) => days_of(date),
            Moment::TimeOfDay(_) => return Err("a time of day where a date is expected".into()),
        };
        let days = Some(days).filter(|days| (DAYS_MIN..=DAYS_MAX).contains(days));
        days.and_then(|days| i32::try_from(days).ok()).ok_or(OUT_OF_RANGE.into())
    }

    /// Microseconds since midnight.
    pub(super) fn time_of_day(&self, value: &Value<'_>) -> Result<i64, Misfit> {
        Ok(match self.read(value)? {
            Moment::Instant(micros) => self.to_local(micros).rem_euclid(MICROS_PER_DAY),
            Moment::Local(local) => micros_of_day(local.time()),
            Moment::TimeOfDay(time) => micros_of_day(time),
            Moment::Date(_) => return Err("a date where a time of day is expected".into()),
        })
    }

    /// From the zone's clock to UTC.
    fn to_utc(&self, local: DateTime) -> i64 {
        // A zone of one offset spares the search for it.
        let offset = match self.zone.to_fixed_offset() {
            Ok(offset) => offset,
            Err(_) => match self.zone.to_ambiguous_timestamp(local).compatible() {
                Ok(timestamp) => return micros_of(Offset::UTC.to_datetime(timestamp)),
                // In the last hours of 9999, which jiff's timestamps leave out.
                Err(_) => self.zone.to_offset(nearest_timestamp(micros_of(local))),
            },
        };
        micros_of(local) - micros_of_offset(offset)
    }

    /// From UTC to the zone's clock, in microseconds as if that were UTC.
    fn to_local(&self, micros: i64) -> i64 {
        let offset = self.zone.to_fixed_offset().unwrap_or_else(|_| self.zone.to_offset(nearest_timestamp(micros)));
        micros.saturating_add(micros_of_offset(offset))
    }

    fn read(&self, value: &Value<'_>) -> Result<Moment, Misfit> {
        if let Value::Instant(micros) = *value {
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
            _ => Err(expected("a time", value)),
        }
    }
}

/// Reckoned here and not with [`jiff::Timestamp`], which ends 26 hours before the year 9999 does.
fn micros_of(local: DateTime) -> i64 {
    days_of(local.date()) * MICROS_PER_DAY + micros_of_day(local.time())
}

/// Days since 1970-01-01: the days of the years before, counted from a March so that leap days come last.
fn days_of(date: Date) -> i64 {
    let (year, month, day) = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 0000-03-01 lies 719,468 days before 1970-01-01.
    365 * year + leap_days + day_of_year - 719_468
}

/// What is finer than a microsecond is cut off.
fn micros_of_day(time: Time) -> i64 {
    let seconds = (i64::from(time.hour()) * 60 + i64::from(time.minute())) * 60 + i64::from(time.second());
    seconds * 1_000_000 + i64::from(time.subsec_nanosecond()) / 1_000
}

fn micros_of_offset(offset: Offset) -> i64 {
    i64::from(offset.seconds()) * 1_000_000
}

/// For questions about a zone's offset: no zone changes its clocks in the hours that jiff leaves out.
fn nearest_timestamp(micros: i64) -> jiff::Timestamp {
    let nearest = if micros < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_microsecond(micros).unwrap_or(nearest)
}

fn in_range(micros: i64) -> Result<i64, Misfit> {
    if (MICROS_MIN..MICROS_END).contains(&micros) { Ok(micros) } else { Err(OUT_OF_RANGE.into()) }
}

fn instant_at(local: DateTime, offset: Offset) -> Result<Moment, Misfit> {
    in_range(micros_of(local) - micros_of_offset(offset)).map(Moment::Instant)
}

/// A count since 1970; 10^`shift` microseconds each.
fn epoch(value: &Value<'_>, shift: i64) -> Result<Moment, Misfit> {
    let text = match *value {
        Value::Number(text) => text,
        Value::Text(text) => text.trim(),
        Value::Int(count) => return epoch(&Value::Number(&count.to_string()), shift),
        _ => return Err(expected("a number that counts time", value)),
    };
    if let Some(micros) = text.parse().ok().and_then(|count| scaled(count, shift)) {
        return in_range(micros).map(Moment::Instant);
    }
    let number =
        Decimal::parse(text).ok_or("a string that is no number where a number that counts time is expected")?;
    let (micros, _) = number.scaled_floor(shift).ok_or(OUT_OF_RANGE)?;
    in_range(micros).map(Moment::Instant)
}

/// `count` × 10^`shift`, rounded down; `None` if it does not fit. What devices send, without looking at each digit.
fn scaled(count: i64, shift: i64) -> Option<i64> {
    let power = 10_i64.pow(shift.unsigned_abs() as u32);
    if shift < 0 { Some(count.div_euclid(power)) } else { count.checked_mul(power) }
}

fn by_pattern(pattern: &str, text: &str) -> Result<Moment, Misfit> {
    const NO_FIT: &str = "a string that does not fit the column's time pattern";
    let read = BrokenDownTime::parse(pattern, text).map_err(|_| NO_FIT)?;
    if let Some(timestamp) = read.timestamp() {
        return instant_at(Offset::UTC.to_datetime(timestamp), Offset::UTC);
    }
    if read.iana_time_zone().is_some() {
        let timestamp = read.to_zoned().map_err(|_| NO_FIT)?.timestamp();
        return instant_at(Offset::UTC.to_datetime(timestamp), Offset::UTC);
    }
    let time = if read.hour().is_some() { Some(read.to_time().map_err(|_| NO_FIT)?) } else { None };
    match (read.to_date(), time, read.offset()) {
        (Ok(date), Some(time), Some(offset)) => instant_at(date.to_datetime(time), offset),
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
        (Some(time), Some(offset)) => instant_at(pieces.date().to_datetime(time), offset),
        (Some(time), None) => Ok(Moment::Local(pieces.date().to_datetime(time))),
        (None, _) => Ok(Moment::Date(pieces.date())),
    }
}

/// Appends the one text form of an instant: RFC 3339 in UTC with milliseconds, so that texts sort as times do.
pub(super) fn write_instant(micros: i64, out: &mut String) {
    use std::fmt::Write;
    let since_1970 = SignedDuration::from_micros(micros);
    let written = match DateTime::constant(1970, 1, 1, 0, 0, 0, 0).checked_add(since_1970) {
        Ok(utc) => write!(out, "{utc:.3}Z"),
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
        face(format, zone).instant(&value).map_err(|misfit| misfit.0.into_owned())
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
    fn the_last_hours_of_the_year_9999_are_times_like_others() {
        const LAST: i64 = 253_402_300_799_000_000;
        const HOUR: i64 = 3_600_000_000;
        let text = Value::Text;
        for (zone, written, expected) in [
            ("UTC", "9999-12-31T23:59:59Z", LAST),
            ("UTC", "9999-12-31T23:59:59-05:00", LAST + 5 * HOUR),
            ("UTC", "9999-12-31T23:59:59+05:00", LAST - 5 * HOUR),
            ("UTC", "9999-12-31 23:59:59.999999", LAST + 999_999),
            ("Europe/Berlin", "9999-12-31 23:59:59", LAST - HOUR),
            ("America/New_York", "9999-12-31 23:59:59", LAST + 5 * HOUR),
        ] {
            assert_eq!(instant(None, zone, text(written)), Ok(expected), "{written} {zone}");
        }
        assert_eq!(instant(Some("s"), "UTC", Value::Number("253402300799")), Ok(LAST));
        assert_eq!(instant(Some("%Y-%m-%d %H:%M:%S %z"), "UTC", text("9999-12-31 23:59:59 +0000")), Ok(LAST));
        let (utc, berlin) = (face(None, "UTC"), face(None, "Europe/Berlin"));
        assert_eq!(utc.sortable_instant(&text("9999-12-31T23:59:59Z")), Ok(LAST));
        assert!(utc.sortable_instant(&text("9999-12-31T23:59:59-05:00")).is_err(), "10000-01-01 in UTC");
        assert_eq!(utc.local(&text("9999-12-31T23:59:59Z")), Ok(LAST));
        assert_eq!(utc.date(&text("9999-12-31T23:59:59Z")), Ok(2_932_896));
        assert_eq!(berlin.date(&text("9999-12-31T22:59:59Z")), Ok(2_932_896));
        assert!(berlin.date(&text("9999-12-31T23:30:00Z")).is_err(), "10000-01-01 in Berlin");
        assert_eq!(berlin.time_of_day(&text("9999-12-31T23:30:00Z")), Ok(HOUR / 2));
        let mut written = String::new();
        write_instant(LAST + 999_999, &mut written);
        assert_eq!(written, "9999-12-31T23:59:59.999Z");
        assert_eq!(instant(Some("ms"), "UTC", Value::Number("253402500000000")).unwrap_err(), OUT_OF_RANGE);
    }

    #[test]
    fn days_are_counted_as_jiff_counts_them() {
        for day in (-2_440_588..2_932_897_i64).step_by(97).chain(-800..800) {
            let date = Date::constant(1970, 1, 1).checked_add(SignedDuration::from_hours(day * 24)).unwrap();
            assert_eq!(days_of(date), day, "{date}");
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
        assert_eq!(face(Some("%H.%M"), "UTC").time_of_day(&Value::Text("12.30")), Ok(45_000_000_000));
    }

    #[test]
    fn dates_and_times_of_day_are_taken_in_the_columns_zone() {
        let berlin = face(None, "Europe/Berlin");
        let late = Value::Text("2026-07-01T23:30:00Z");
        assert_eq!(berlin.date(&late), Ok(20_636));
        assert_eq!(berlin.date(&Value::Text("2026-07-02")), Ok(20_636));
        assert_eq!(berlin.date(&Value::Text("1969-12-31")), Ok(-1));
        assert_eq!(berlin.time_of_day(&late), Ok(90 * 60_000_000));
        assert_eq!(berlin.time_of_day(&Value::Text("01:30:00.5")), Ok(90 * 60_000_000 + 500_000));
        assert!(berlin.time_of_day(&Value::Text("2026-07-01")).is_err());
        assert!(berlin.date(&Value::Text("10:00")).is_err());
        assert!(berlin.date(&Value::Text("-005000-01-01")).is_err());
    }

    #[test]
    fn a_local_column_keeps_what_has_no_offset_and_shifts_what_has_one() {
        let berlin = face(None, "Europe/Berlin");
        assert_eq!(berlin.local(&Value::Text("2026-07-01 12:00:00")), Ok(utc("2026-07-01T12:00:00Z")));
        assert_eq!(berlin.local(&Value::Text("2026-07-01T12:00:00Z")), Ok(utc("2026-07-01T14:00:00Z")));
        assert_eq!(berlin.local(&Value::Instant(utc("2026-07-01T12:00:00Z"))), Ok(utc("2026-07-01T14:00:00Z")));
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
