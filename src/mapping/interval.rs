//! Intervals: ISO 8601 durations, `[N days] HH:MM[:SS[.fraction]]`, or a number of seconds. Digits of a second below the
//! microsecond are cut off, towards zero.

use super::decimal::Decimal;

/// Months, days and microseconds, as Postgres keeps an interval: none converts into another.
pub(super) type Interval = (i32, i32, i64);

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Postgres 17 and later read these as `-infinity` and `infinity`.
const INFINITE: [Interval; 2] = [(i32::MIN, i32::MIN, i64::MIN), (i32::MAX, i32::MAX, i64::MAX)];

/// `None` if the text is none of the three, or too long for a database.
pub(super) fn parse(text: &str) -> Option<Interval> {
    parse_any(text).filter(|interval| !INFINITE.contains(interval))
}

fn parse_any(text: &str) -> Option<Interval> {
    if let Some(designated) = text.strip_prefix("-P") {
        return negate(iso(designated)?);
    }
    if let Some(designated) = text.strip_prefix('P') {
        return iso(designated);
    }
    match Decimal::parse(text) {
        Some(seconds) => Some((0, 0, micros_of(seconds)?)),
        None => clock(text),
    }
}

fn negate((months, days, micros): Interval) -> Option<Interval> {
    Some((months.checked_neg()?, days.checked_neg()?, micros.checked_neg()?))
}

/// What follows the `P`: `1Y2M3W4DT5H6M7.8S`, each part once at most and in this order, one part at least.
fn iso(text: &str) -> Option<Interval> {
    let (dates, times) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((dates, times)) => (dates, times),
        None if text.is_empty() => return None,
        None => (text, ""),
    };
    let (mut months, mut days, mut micros) = (0i32, 0i32, 0i64);
    for (number, unit) in parts(dates, "YMWD")? {
        let count = i32::try_from(Decimal::parse(number)?.to_i64().ok()?).ok()?;
        match unit {
            b'Y' => months = months.checked_add(count.checked_mul(12)?)?,
            b'M' => months = months.checked_add(count)?,
            b'W' => days = days.checked_add(count.checked_mul(7)?)?,
            _ => days = days.checked_add(count)?,
        }
    }
    for (number, unit) in parts(times, "HMS")? {
        let number = Decimal::parse(number)?;
        let part = match unit {
            b'H' => number.to_i64().ok()?.checked_mul(3_600 * MICROS_PER_SECOND)?,
            b'M' => number.to_i64().ok()?.checked_mul(60 * MICROS_PER_SECOND)?,
            _ => micros_of(number)?,
        };
        micros = micros.checked_add(part)?;
    }
    Some((months, days, micros))
}

/// Splits `1Y2M` into numbers and units; the units come in the order of `units`.
fn parts<'t>(mut text: &'t str, mut units: &str) -> Option<Vec<(&'t str, u8)>> {
    let mut found = Vec::new();
    while !text.is_empty() {
        let end = text.find(|c: char| c.is_ascii_uppercase())?;
        let unit = text.as_bytes()[end];
        let order = units.find(char::from(unit))?;
        found.push((&text[..end], unit));
        units = &units[order + 1..];
        text = &text[end + 1..];
    }
    Some(found)
}

/// `[N day[s]] [-]HH:MM[:SS[.fraction]]`, either part alone too.
fn clock(text: &str) -> Option<Interval> {
    let mut words = text.split_ascii_whitespace().peekable();
    let mut days = 0;
    let first = *words.peek()?;
    if !first.contains(':') {
        words.next();
        days = first.parse().ok()?;
        if !matches!(words.next()?, "day" | "days") {
            return None;
        }
    }
    let micros = match words.next() {
        Some(time) => time_micros(time)?,
        None => 0,
    };
    words.next().is_none().then_some((0, days, micros))
}

fn time_micros(time: &str) -> Option<i64> {
    let (negative, time) = match time.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, time.strip_prefix('+').unwrap_or(time)),
    };
    let mut fields = time.split(':');
    let hours: u32 = digits(fields.next()?)?.parse().ok()?;
    let minutes: u32 = digits(fields.next()?)?.parse().ok().filter(|minutes| *minutes < 60)?;
    let seconds = match fields.next() {
        Some(seconds) if seconds.starts_with(|c: char| c.is_ascii_digit()) => micros_of(Decimal::parse(seconds)?)?,
        Some(_) => return None,
        None => 0,
    };
    if fields.next().is_some() || seconds >= 60 * MICROS_PER_SECOND {
        return None;
    }
    let micros =
        (i64::from(hours) * 60 + i64::from(minutes)).checked_mul(60 * MICROS_PER_SECOND)?.checked_add(seconds)?;
    Some(if negative { -micros } else { micros })
}

fn micros_of(seconds: Decimal<'_>) -> Option<i64> {
    let (floor, is_exact) = seconds.scaled_floor(6)?;
    Some(floor + i64::from(floor < 0 && !is_exact))
}

fn digits(text: &str) -> Option<&str> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_way_of_writing_is_read() {
        for (text, interval) in [
            ("P1Y2M3W4DT5H6M7.8S", (14, 25, ((5 * 60 + 6) * 60) * 1_000_000 + 7_800_000)),
            ("PT0S", (0, 0, 0)),
            ("P-1D", (0, -1, 0)),
            ("-P1M", (-1, 0, 0)),
            ("PT1M", (0, 0, 60_000_000)),
            ("01:02:03.5", (0, 0, 3_723_500_000)),
            ("-00:30", (0, 0, -1_800_000_000)),
            ("3 days", (0, 3, 0)),
            ("1 day 100:00:00", (0, 1, 360_000_000_000)),
            ("90.5", (0, 0, 90_500_000)),
            ("-1", (0, 0, -1_000_000)),
            ("1.0000019", (0, 0, 1_000_001)),
            ("-1.0000019", (0, 0, -1_000_001)),
            ("PT-1.0000019S", (0, 0, -1_000_001)),
            ("-PT1.0000019S", (0, 0, -1_000_001)),
            ("-0.0000001", (0, 0, 0)),
            ("2562047788:00:54", (0, 0, 9_223_372_036_854_000_000)),
        ] {
            assert_eq!(parse(text), Some(interval), "{text}");
        }
    }

    #[test]
    fn what_is_no_interval_is_refused() {
        for text in [
            "",
            "P",
            "PT",
            "P1",
            "P1H",
            "PT1D",
            "P1D1Y",
            "P1.5D",
            "soon",
            "1 week",
            "01:60",
            "01:02:61",
            "1:2:3:4",
            "P99999999999Y",
            "1e30",
            "01:-1",
            "3 days 4 days",
            "2562047788:00:59",
            "P-2147483648M-2147483648DT-9223372036854.775808S",
            "P2147483647M2147483647DT9223372036854.775807S",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[-P0-9YMWDTHS:. day]{0,20}") {
            if let Some((months, _, _)) = parse(&text) {
                prop_assert!(months == 0 || text.contains('P'));
            }
        }
    }
}
