//! Durations (`200ms 30s 5m 12h 7d`, `1h30m`) and sizes (`64KiB 8MiB 1GiB`, `MB` and plain bytes).

use std::time::Duration;

use thiserror::Error;

pub(super) const DURATION_FORMS: &str = "a duration such as 200ms, 30s, 5m, 12h, 7d or 1h30m";
pub(super) const SIZE_FORMS: &str = "a size such as 64KiB, 8MiB, 1GiB or 1000000 (bytes)";

/// Why a text is not a quantity, and what was probably meant.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{problem}")]
pub(super) struct UnitError {
    pub problem: &'static str,
    pub suggestion: Option<String>,
}

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 24 * 3_600_000)];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

/// Reads one or more numbers, each with its unit.
pub(super) fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    const TOO_LONG: UnitError = UnitError { problem: "is too long", suggestion: None };
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return Err(UnitError { problem: "is not a duration", suggestion: None });
    }
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)
            .ok_or(UnitError { problem: "is not a duration", suggestion: None })?
            .map_err(|_| TOO_LONG)?;
        let unit_len = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit = after[..unit_len].trim();
        let Some((_, factor)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            let UnitError { problem, suggestion } = wrong_duration_unit(number, unit);
            // With the parts before it, or it would be another duration; of those behind it nothing is known.
            let before = &text.trim()[..text.trim().len() - rest.len()];
            let suggestion = suggestion.filter(|_| after.len() == unit_len).map(|last| format!("{before}{last}"));
            return Err(UnitError { problem, suggestion });
        };
        millis = number.checked_mul(*factor).and_then(|more| millis.checked_add(more)).ok_or(TOO_LONG)?;
        rest = &after[unit_len..];
    }
    Ok(Duration::from_millis(millis))
}

fn wrong_duration_unit(number: u64, unit: &str) -> UnitError {
    let meant = match unit.to_ascii_lowercase().as_str() {
        "" => return UnitError { problem: "has no unit", suggestion: Some(format!("{number}s")) },
        "sec" | "secs" | "second" | "seconds" | "s" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hour" | "hours" | "hr" | "h" => "h",
        "day" | "days" | "d" => "d",
        "msec" | "millis" | "milliseconds" | "ms" => "ms",
        "w" | "week" | "weeks" => {
            let suggestion = number.checked_mul(7).map(|days| format!("{days}d"));
            return UnitError { problem: "has a unit that is not known", suggestion };
        }
        _ => return UnitError { problem: "has a unit that is not known", suggestion: None },
    };
    UnitError { problem: "has a unit that is not known", suggestion: Some(format!("{number}{meant}")) }
}

/// Reads a whole number as YAML's core schema writes it: `16`, `0x10`, `0o20`.
pub(super) fn parse_integer(text: &str) -> Option<u64> {
    match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => u64::from_str_radix(digits, 16).ok(),
        (None, Some(digits)) => u64::from_str_radix(digits, 8).ok(),
        (None, None) => text.parse().ok(),
    }
}

/// Reads a number of bytes, with or without unit; the case of the unit does not matter.
pub(super) fn parse_size(text: &str) -> Result<u64, UnitError> {
    const TOO_LARGE: UnitError = UnitError { problem: "is too large", suggestion: None };
    let (number, unit) = leading_number(text.trim())
        .ok_or(UnitError { problem: "is not a size", suggestion: None })?
        .map_err(|_| TOO_LARGE)?;
    let unit = unit.trim().to_ascii_lowercase();
    if unit.is_empty() {
        return Ok(number);
    }
    if let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
        return number.checked_mul(*factor).ok_or(TOO_LARGE);
    }
    let meant = match unit.as_str() {
        "k" => Some("KiB"),
        "m" => Some("MiB"),
        "g" => Some("GiB"),
        "t" => Some("TiB"),
        _ => None,
    };
    Err(UnitError { problem: "has a unit that is not known", suggestion: meant.map(|unit| format!("{number}{unit}")) })
}

/// The digits a text begins with and what follows; `None` if it begins with none, an error if they are too many.
fn leading_number(text: &str) -> Option<Result<(u64, &str), std::num::ParseIntError>> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (digits > 0).then(|| text[..digits].parse().map(|number| (number, &text[digits..])))
}

/// A duration in its largest whole unit, as a person would write it.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (name, factor) = DURATION_UNITS
        .iter()
        .rev()
        .find(|(_, factor)| millis >= u128::from(*factor) && millis.is_multiple_of(u128::from(*factor)))
        .unwrap_or(&("s", 1_000));
    format!("{}{name}", millis / u128::from(*factor))
}

/// A size in its largest whole unit.
pub(super) fn show_size(bytes: u64) -> String {
    for (name, factor) in [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{name}", bytes / factor);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [
            ("200ms", 200),
            ("30s", 30_000),
            ("5m", 300_000),
            ("12h", 43_200_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
            (" 1h 30m ", 5_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn integers_are_those_of_yaml() {
        for (text, number) in
            [("16", Some(16)), ("0x1F", Some(31)), ("0o17", Some(15)), ("0x", None), ("1e3", None), ("-1", None)]
        {
            assert_eq!(parse_integer(text), number, "{text}");
        }
    }

    #[test]
    fn a_duration_that_is_none_is_answered_with_what_to_write() {
        for (text, suggestion) in [
            ("30", Some("30s")),
            ("5min", Some("5m")),
            ("1h30min", Some("1h30m")),
            ("1h30", Some("1h30s")),
            ("1week2days", None),
            ("2w", Some("14d")),
            ("5parsecs", None),
            ("", None),
            ("s", None),
            ("-5s", None),
            ("1.5s", None),
            ("99999999999999999999s", None),
            ("99999999999999d", None),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert_eq!(error.suggestion.as_deref(), suggestion, "{text}");
        }
    }

    #[test]
    fn sizes_are_binary_decimal_or_plain_bytes() {
        for (text, bytes) in [
            ("64KiB", 65_536),
            ("8MiB", 8 << 20),
            ("1GiB", 1 << 30),
            ("2MB", 2_000_000),
            ("4096", 4096),
            ("1 gib", 1 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_size("8M").unwrap_err().suggestion.as_deref(), Some("8MiB"));
        for text in ["", "MiB", "8 parsecs", "99999999999TiB", "-1"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_are_shown_as_a_person_writes_them() {
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_duration(Duration::from_secs(7 * 86_400)), "7d");
        assert_eq!(show_duration(Duration::ZERO), "0s");
        assert_eq!(show_size(1 << 20), "1MiB");
        assert_eq!(show_size(1000), "1000 bytes");
    }
}
