//! Dates, times and instants: from a source's value to the column's.
//!
//! A string is parsed as RFC 3339, `YYYY-MM-DD HH:MM:SS[.fraction]`, a date or a time of day; with the column's `time`
//! format instead if it has one. A time without an offset is in the column's zone (`tz`, default UTC). If clocks are
//! set back, the first of the two equal hours counts; in the hour that is skipped the offset from before the change
//! applies. Digits below a microsecond, the databases' resolution, are cut off. A date column accepts a time of day
//! only if it is midnight in its zone, and a time column accepts no date, because either would be lost. From the time
//! of reception, which the rule chose and not the payload, they take the date or the time of day in their zone.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::fmt::temporal::{DateTimeParser, Pieces};
use jiff::tz::{Offset, TimeZone};

use super::decimal::Decimal;
use super::value::{Misfit, Value, expected};
use crate::rule::{TimeFormat, parse_pattern};

/// 4714-11-24 BC, the first day Postgres has, as days and as microseconds from 1970.
const DAYS_MIN: i64 = -2_440_588;
const MICROS_MIN: i64 = DAYS_MIN * MICROS_PER_DAY;
/// 9999-12-31, the last day that RFC 3339 can write and that sorts as text. Postgres goes on to the year 294276, but a
/// count of such a time is one in another unit than the column's `time` says (milliseconds read as seconds).
const DAYS_MAX: i64 = 2_932_896;
/// Exclusive: the end of that day.
const MICROS_END: i64 = (DAYS_MAX + 1) * MICROS_PER_DAY;
/// 0000-01-01: text of earlier times does not sort.
const SORTABLE_MICROS_MIN: i64 = -62_167_219_200_000_000;
/// How far a local clock can be from UTC. A time that is read may lie so far outside of the bounds, because the column
/// may hold it on another clock than the one it was written on.
const OFFSET_MICROS_MAX: i64 = 26 * 3_600_000_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;

const OUT_OF_RANGE: &str = "a time outside the years 4713 BC to 9999";
const NO_FIT: &str = "a string that does not fit the column's time pattern";
/// It has no place on a database's clock, and becoming :59 would change it silently.
const LEAP_SECOND: &str = "a leap second, which databases cannot hold";
const DATE_WITH_TIME: &str = "a time of day with the date, which a date column would drop: make the column timestamptz, or \
                              send the date alone (midnight in the column's `tz` is one too)";
const TIME_WITH_DATE: &str = "a date with the time of day, which a time column would drop: make the column timestamptz, \
                              or send the time of day alone";

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
        in_range(self.any_instant(value)?)
    }

    /// As [`Clockface::instant`], unless the year in UTC is outside the bounds.
    fn any_instant(&self, value: &Value<'_>) -> Result<i64, Misfit> {
        match self.read(value)? {
            Moment::Instant(micros) => Ok(micros),
            Moment::Local(local) => Ok(self.to_utc(local)),
            Moment::Date(date) => Ok(self.to_utc(date.to_datetime(Time::midnight()))),
            Moment::TimeOfDay(_) => Err("a time of day without a date where a time is expected".into()),
        }
    }

    /// As [`Clockface::instant`], for a text form that must sort.
    pub(super) fn sortable_instant(&self, value: &Value<'_>) -> Result<i64, Misfit> {
        let micros = self.any_instant(value)?;
        if (SORTABLE_MICROS_MIN..MICROS_END).contains(&micros) {
            Ok(micros)
        } else {
            Err("a time outside the years 0 to 9999 (UTC), which has no sortable text".into())
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
        let local = match self.read(value)? {
            Moment::Instant(micros) => self.to_local(micros),
            Moment::Local(local) => micros_of(local),
            Moment::Date(date) => days_of(date) * MICROS_PER_DAY,
            Moment::TimeOfDay(_) => return Err("a time of day where a date is expected".into()),
        };
        if local.rem_euclid(MICROS_PER_DAY) != 0 && !is_reception(value) {
            return Err(DATE_WITH_TIME.into());
        }
        let days = local.div_euclid(MICROS_PER_DAY);
        let days = Some(days).filter(|days| (DAYS_MIN..=DAYS_MAX).contains(days));
        days.and_then(|days| i32::try_from(days).ok()).ok_or(OUT_OF_RANGE.into())
    }

    /// Microseconds since midnight.
    pub(super) fn time_of_day(&self, value: &Value<'_>) -> Result<i64, Misfit> {
        match self.read(value)? {
            Moment::Instant(micros) if is_reception(value) => Ok(self.to_local(micros).rem_euclid(MICROS_PER_DAY)),
            Moment::TimeOfDay(time) => Ok(micros_of_day(time)),
            Moment::Date(_) => Err("a date where a time of day is expected".into()),
            Moment::Instant(_) | Moment::Local(_) => Err(TIME_WITH_DATE.into()),
        }
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
        let is_standard = matches!(self.format, None | Some(TimeFormat::Rfc3339 | TimeFormat::Auto));
        if is_standard && matches!(value, Value::Text(text) if text.contains(":60")) {
            return Err(LEAP_SECOND.into());
        }
        read_as(self.format.as_ref(), value)
    }
}

/// Reads a value by a format.
fn read_as(format: Option<&TimeFormat>, value: &Value<'_>) -> Result<Moment, Misfit> {
    match (format, value) {
        (Some(TimeFormat::Auto), _) => auto(value),
        (Some(TimeFormat::OneOf(formats)), _) => {
            let read = formats.iter().find_map(|format| read_as(Some(format), value).ok());
            read.ok_or_else(|| format!("{} that none of the column's time formats reads", value.kind()).into())
        }
        (Some(TimeFormat::Seconds), _) => epoch(value, 6),
        (Some(TimeFormat::Millis), _) => epoch(value, 3),
        (Some(TimeFormat::Micros), _) => epoch(value, 0),
        (Some(TimeFormat::Nanos), _) => epoch(value, -3),
        (Some(TimeFormat::Pattern(pattern)), Value::Text(text) | Value::Number(text)) => {
            not_a_leap_second(text.trim(), |text| by_pattern(pattern, text)).map(|(moment, _)| moment)
        }
        (None | Some(TimeFormat::Rfc3339), Value::Text(text)) => not_a_leap_second(text.trim(), by_standard),
        (None | Some(TimeFormat::Rfc3339), Value::Number(_) | Value::Int(_)) => {
            Err("a number where a time is expected: say what it counts with `time: s`, ms, us or ns".into())
        }
        _ => Err(expected("a time", value)),
    }
}

/// An epoch whose digits before the point tell its unit, from 1973-03-03 (100,000,000 s) to 2286-11-20 in each; or RFC 3339.
fn auto(value: &Value<'_>) -> Result<Moment, Misfit> {
    let text = match *value {
        Value::Number(text) => text,
        Value::Text(text) => text.trim(),
        Value::Int(count) => return auto(&Value::Number(itoa::Buffer::new().format(count))),
        _ => return Err(expected("a time", value)),
    };
    let Some(number) = Decimal::parse(text) else { return not_a_leap_second(text, by_standard) };
    let shift = match number.significant_places().0 {
        _ if number.is_negative() => None,
        9..=10 => Some(6),
        12..=13 => Some(3),
        15..=16 => Some(0),
        18..=19 => Some(-3),
        _ => None,
    };
    match shift {
        Some(shift) => epoch(value, shift),
        None => {
            Err("a number whose digits do not tell the unit of a time (9 or 10 are seconds, 12 or 13 ms, 15 or 16 us, \
                     18 or 19 ns); say it with `time: s`, ms, us or ns"
                .into())
        }
    }
}

/// Whether it is the time at which the bridge received the message.
fn is_reception(value: &Value<'_>) -> bool {
    matches!(value, Value::Instant(_))
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

/// For a time as it is stored: in UTC, or on the clock of a column without time zone.
fn in_range(micros: i64) -> Result<i64, Misfit> {
    if (MICROS_MIN..MICROS_END).contains(&micros) { Ok(micros) } else { Err(OUT_OF_RANGE.into()) }
}

/// For an instant that is read: [`in_range`] on some clock on earth.
fn near_range(micros: i64) -> Result<i64, Misfit> {
    let near = MICROS_MIN - OFFSET_MICROS_MAX..MICROS_END + OFFSET_MICROS_MAX;
    if near.contains(&micros) { Ok(micros) } else { Err(OUT_OF_RANGE.into()) }
}

fn instant_at(local: DateTime, offset: Offset) -> Result<Moment, Misfit> {
    const DAY_SECONDS: u32 = 24 * 60 * 60;
    if offset.seconds().unsigned_abs() >= DAY_SECONDS {
        return Err("a time whose offset is a day or more".into());
    }
    near_range(micros_of(local) - micros_of_offset(offset)).map(Moment::Instant)
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
        return near_range(micros).map(Moment::Instant);
    }
    let number =
        Decimal::parse(text).ok_or("a string that is no number where a number that counts time is expected")?;
    let (micros, _) = number.scaled_floor(shift).ok_or(OUT_OF_RANGE)?;
    near_range(micros).map(Moment::Instant)
}

/// `count` × 10^`shift`, rounded down; `None` if it does not fit. What devices send, without looking at each digit.
fn scaled(count: i64, shift: i64) -> Option<i64> {
    let power = 10_i64.pow(shift.unsigned_abs() as u32);
    if shift < 0 { Some(count.div_euclid(power)) } else { count.checked_mul(power) }
}

/// Reads a text, unless seconds of 60 are read in it as 59, which jiff does: a text that says 59 there is the same time then.
fn not_a_leap_second<T: PartialEq>(text: &str, read: impl Fn(&str) -> Result<T, Misfit>) -> Result<T, Misfit> {
    let moment = read(text)?;
    let is_same = |(at, sixty): (usize, &str)| {
        let with_59 = format!("{}59{}", &text[..at], &text[at + sixty.len()..]);
        !is_below_microseconds(&text[..at]) && read(&with_59).is_ok_and(|other| other == moment)
    };
    if text.match_indices("60").any(is_same) { Err(LEAP_SECOND.into()) } else { Ok(moment) }
}

/// Whether what follows are digits of a fraction that make no difference to a [`Moment`].
fn is_below_microseconds(before: &str) -> bool {
    let rest = before.trim_end_matches(|character: char| character.is_ascii_digit());
    before.len() - rest.len() >= 6 && rest.ends_with(['.', ','])
}

/// With the nanoseconds below a microsecond, which a [`Moment`] lacks.
fn by_pattern(pattern: &str, text: &str) -> Result<(Moment, i64), Misfit> {
    let mut read = parse_pattern(pattern, text).map_err(|_| NO_FIT)?;
    let nanos = read.subsec_nanosecond().map_or(0, i64::from);
    let moment = match read.timestamp() {
        // Seconds (`%s`), whose fraction is apart from them.
        Some(timestamp) => {
            let is_negative = timestamp.as_second() < 0 || text.starts_with('-');
            let fraction = if is_negative { -nanos } else { nanos };
            near_range(timestamp.as_microsecond() + fraction.div_euclid(1_000)).map(Moment::Instant)
        }
        None => by_fields(&mut read),
    };
    Ok((moment?, nanos % 1_000))
}

fn by_fields(read: &mut BrokenDownTime) -> Result<Moment, Misfit> {
    let date = read.to_date();
    if date.is_err() && is_of_another_weekday(read) {
        return Err("a weekday that is not the weekday of the date".into());
    }
    if read.iana_time_zone().is_some() {
        let timestamp = read.to_zoned().map_err(|_| NO_FIT)?.timestamp();
        return instant_at(Offset::UTC.to_datetime(timestamp), Offset::UTC);
    }
    let time = if read.hour().is_some() { Some(read.to_time().map_err(|_| NO_FIT)?) } else { None };
    let has_no_date = read.year().is_none() && read.month().is_none();
    match (date, time, read.offset()) {
        (Ok(date), Some(time), Some(offset)) => instant_at(date.to_datetime(time), offset),
        (Ok(date), Some(time), None) => Ok(Moment::Local(date.to_datetime(time))),
        (Ok(date), None, Some(offset)) => instant_at(date.to_datetime(Time::midnight()), offset),
        (Ok(date), None, None) => Ok(Moment::Date(date)),
        (Err(_), Some(_), Some(_)) if has_no_date => {
            Err("a time of day with an offset, which would be lost without a date".into())
        }
        // A pattern without a date has a time of day (checked when it was parsed); with one, the date is impossible.
        (Err(_), Some(time), _) if has_no_date => Ok(Moment::TimeOfDay(time)),
        (Err(_), ..) => Err(NO_FIT.into()),
    }
}

/// Whether there is a date without the weekday. Removes the weekday.
fn is_of_another_weekday(read: &mut BrokenDownTime) -> bool {
    read.weekday().is_some() && {
        read.set_weekday(None);
        read.to_date().is_ok()
    }
}

fn by_standard(text: &str) -> Result<Moment, Misfit> {
    const NO_FIT: &str = "a string that is no time as RFC 3339 or `YYYY-MM-DD HH:MM:SS` writes it; \
                          describe another with `time`";
    let Ok(pieces) = Pieces::parse(text) else {
        // An offset would be passed over.
        let is_plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b':' | b'.' | b',' | b'T' | b't'));
        return match DateTimeParser::new().parse_time(text) {
            Ok(time) if is_plain => Ok(Moment::TimeOfDay(time)),
            _ => without_long_fraction(text).map_or(Err(NO_FIT.into()), |shorter| by_standard(&shorter)),
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

/// The text with nine digits of a fraction of a second, if it has more: so many are read, and two thirds of them count.
fn without_long_fraction(text: &str) -> Option<String> {
    const DIGITS_MAX: usize = 9;
    let start = text.find(['.', ','])? + 1;
    let digits = text[start..].bytes().take_while(u8::is_ascii_digit).count();
    (digits > DIGITS_MAX).then(|| format!("{}{}", &text[..start + DIGITS_MAX], &text[start + digits..]))
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
mod tests;
