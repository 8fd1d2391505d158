//! Times in payloads: `s ms us ns rfc3339 auto`, a strftime pattern with a zone, or several of them tried in turn.

use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZone;
use thiserror::Error;

/// How a payload writes a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TimeFormat {
    Seconds,
    Millis,
    Micros,
    Nanos,
    Rfc3339,
    /// A number whose digits before the point tell the unit, or RFC 3339.
    Auto,
    /// As `jiff::fmt::strtime` reads it.
    Pattern(String),
    /// Tried in turn. None of them is of this kind.
    OneOf(Box<[TimeFormat]>),
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TimeFormatError(pub String);

/// 2026-11-21T13:26:35.123456 UTC: every field differs from its neighbours and from what a parser might assume.
const PROBE_MICROS: i64 = 1_795_267_595_123_456;

/// Abbreviations of time zones that mean one offset wherever they are used; CST, BST and IST do not.
const ABBREVIATIONS: [(&str, &str); 19] = [
    ("UTC", "+0000"),
    ("GMT", "+0000"),
    ("UT", "+0000"),
    ("Z", "+0000"),
    ("WET", "+0000"),
    ("WEST", "+0100"),
    ("CET", "+0100"),
    ("CEST", "+0200"),
    ("EET", "+0200"),
    ("EEST", "+0300"),
    ("MSK", "+0300"),
    ("KST", "+0900"),
    ("JST", "+0900"),
    ("EST", "-0500"),
    ("EDT", "-0400"),
    ("MST", "-0700"),
    ("MDT", "-0600"),
    ("PST", "-0800"),
    ("PDT", "-0700"),
];

impl TimeFormat {
    /// Also checks a pattern by formatting and re-reading a probe.
    pub fn parse(text: &str) -> Result<TimeFormat, TimeFormatError> {
        match text.trim() {
            "s" => Ok(TimeFormat::Seconds),
            "ms" => Ok(TimeFormat::Millis),
            "us" => Ok(TimeFormat::Micros),
            "ns" => Ok(TimeFormat::Nanos),
            "rfc3339" => Ok(TimeFormat::Rfc3339),
            "auto" => Ok(TimeFormat::Auto),
            pattern if pattern.contains('%') => check_pattern(pattern),
            _ => Err(TimeFormatError(format!(
                "`{text}` is no time format; accepted are s, ms, us, ns, rfc3339, auto or a strftime pattern such as \
                 `%Y-%m-%d %H:%M:%S`"
            ))),
        }
    }

    /// Whether it takes numbers as a count of time: of two such formats the second would never be asked.
    pub fn counts(&self) -> bool {
        use TimeFormat::{Auto, Micros, Millis, Nanos, Seconds};
        matches!(self, Seconds | Millis | Micros | Nanos | Auto)
    }
}

/// The parts that a strftime pattern reads from a text. `%Z` reads the abbreviations of [`ABBREVIATIONS`], which jiff
/// does not read.
pub(crate) fn parse_pattern(pattern: &str, text: &str) -> Result<BrokenDownTime, jiff::Error> {
    let Some(by_offset) = with_offset(pattern) else { return BrokenDownTime::parse(pattern, text) };
    let is_letter = |character: char| character.is_ascii_alphabetic();
    let words = text.split(|character| !is_letter(character)).filter(|word| !word.is_empty());
    let known = |word: &str| ABBREVIATIONS.iter().find(|(name, _)| *name == word).map(|(_, offset)| *offset);
    // The weekday and the month may stand before it, am and pm too.
    let Some((word, offset)) = words.filter_map(|word| Some((word, known(word)?))).next_back() else {
        return BrokenDownTime::parse(pattern, text);
    };
    let at = word.as_ptr().addr() - text.as_ptr().addr();
    let text = format!("{}{offset}{}", &text[..at], &text[at + word.len()..]);
    BrokenDownTime::parse(by_offset, text)
}

/// The pattern with `%z` for `%Z`; `None` if it has none.
fn with_offset(pattern: &str) -> Option<String> {
    let at = pattern.find("%Z")?;
    // `%%Z` is a percent sign and a letter.
    let is_escaped = pattern[..at].bytes().rev().take_while(|byte| *byte == b'%').count() % 2 == 1;
    (!is_escaped).then(|| format!("{}%z{}", &pattern[..at], &pattern[at + 2..]))
}

fn check_pattern(pattern: &str) -> Result<TimeFormat, TimeFormatError> {
    let refuse = |why: String| Err(TimeFormatError(format!("`{pattern}` is no usable time pattern: {why}")));
    let probe = jiff::Timestamp::from_microsecond(PROBE_MICROS)
        .expect("the probe lies in the year 2026")
        .to_zoned(TimeZone::UTC);
    let text = match strtime::format(pattern, &probe) {
        Ok(text) => text,
        Err(error) => return refuse(error.to_string()),
    };
    let read = match parse_pattern(pattern, &text) {
        Ok(read) => read,
        Err(error) => return refuse(format!("what it writes (`{text}`) cannot be read back: {error}")),
    };
    if read.timestamp().is_none() && read.hour().is_some_and(|hour| hour != probe.hour()) {
        return refuse("it has the hour of a 12-hour clock (%I) without AM or PM (%p)".to_owned());
    }
    // Without the hour they would be lost.
    if read.timestamp().is_none() && read.hour().is_none() && (read.minute().is_some() || read.second().is_some()) {
        return refuse("it has minutes or seconds and no hour (%H)".to_owned());
    }
    let has_part_of_date = read.year().is_some() || read.month().is_some() || read.day().is_some();
    if read.timestamp().is_none() && has_part_of_date && read.to_date().is_err() && read.hour().is_some() {
        return refuse("it has a part of a date and no whole date (%Y-%m-%d)".to_owned());
    }
    // A date, a time of day or an instant: one of them must result, as the column requires.
    if read.timestamp().is_none() && read.to_date().is_err() && (read.hour().is_none() || read.to_time().is_err()) {
        return refuse("it gives neither a date (%Y-%m-%d) nor a time of day (%H:%M) nor an instant (%s)".to_owned());
    }
    Ok(TimeFormat::Pattern(pattern.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_day_s_hours_need_am_or_pm() {
        let refused = TimeFormat::parse("%Y-%m-%d %I:%M").unwrap_err();
        assert!(refused.0.contains("%p"), "{}", refused.0);
        assert!(TimeFormat::parse("%Y-%m-%d %I:%M %p").is_ok());
    }

    #[test]
    fn the_named_formats_are_read() {
        for (text, format) in [
            ("s", TimeFormat::Seconds),
            ("ms", TimeFormat::Millis),
            ("us", TimeFormat::Micros),
            ("ns", TimeFormat::Nanos),
            (" rfc3339 ", TimeFormat::Rfc3339),
            ("auto", TimeFormat::Auto),
        ] {
            assert_eq!(TimeFormat::parse(text), Ok(format));
        }
    }

    #[test]
    fn patterns_that_can_be_read_back_are_taken() {
        for text in [
            "%Y-%m-%d %H:%M:%S",
            "%d.%m.%Y %H:%M",
            "%Y-%m-%d",
            "%H:%M:%S%.f",
            "%s",
            "%a, %d %b %Y %T %z",
            "%Y%m%dT%H%M%S%:z",
            "%m/%d/%y %I:%M %p",
            "%Y-%j",
        ] {
            assert_eq!(TimeFormat::parse(text), Ok(TimeFormat::Pattern(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_no_format_is_refused_with_what_is_accepted() {
        for text in ["", "S", "seconds", "yyyy-mm-dd"] {
            assert!(TimeFormat::parse(text).unwrap_err().0.contains("rfc3339"), "{text}");
        }
    }

    #[test]
    fn abbreviations_of_one_offset_are_read_as_it() {
        let instant =
            |pattern: &str, text: &str| Some(parse_pattern(pattern, text).ok()?.to_timestamp().ok()?.as_second());
        for (pattern, text, second) in [
            ("%a, %d %b %Y %H:%M:%S %Z", "Wed, 07 Dec 2022 02:32:22 GMT", 1_670_380_342),
            ("%a, %d %b %Y %H:%M:%S %Z", "Wed, 07 Dec 2022 11:32:22 KST", 1_670_380_342),
            ("%a %b %e %H:%M:%S %Z %Y", "Tue Dec  6 21:32:22 EST 2022", 1_670_380_342),
            ("%Y-%m-%d %I:%M:%S %p %Z", "2022-07-01 02:32:22 AM CET", 1_656_639_142),
            ("%Y-%m-%d %H:%M:%S%Z", "2022-12-07 02:32:22Z", 1_670_380_342),
        ] {
            assert_eq!(instant(pattern, text), Some(second), "{text}");
        }
        for text in ["2022-12-07 02:32:22 CST", "2022-12-07 02:32:22 gmt", "2022-12-07 02:32:22"] {
            assert_eq!(instant("%Y-%m-%d %H:%M:%S %Z", text), None, "{text}");
        }
        assert!(parse_pattern("%H:%M 100%%Z", "12:30 100%Z").is_ok());
        assert!(TimeFormat::parse("%a, %d %b %Y %H:%M:%S %Z").is_ok());
    }

    #[test]
    fn patterns_that_cannot_give_a_time_are_refused_with_the_reason() {
        for (text, reason) in [
            ("%", "%"),
            ("%Y-%!", "%!"),
            ("%Y", "neither a date"),
            ("%Y-%m-%d %S", "no hour"),
            ("%Y-%m-%d %M:%S", "no hour"),
            ("%b %e %H:%M:%S", "no whole date"),
            ("%b %Z", "neither a date"),
            ("100%%", "neither a date"),
        ] {
            let error = TimeFormat::parse(text).unwrap_err().0;
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
