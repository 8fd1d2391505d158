//! Instants as RFC 3339 text, for formats with a timestamp type.

/// Nanoseconds since 1970 UTC; `None` outside the years 0 to 9999.
pub(super) fn rfc3339(nanoseconds: i128) -> Option<String> {
    let instant = jiff::Timestamp::from_nanosecond(nanoseconds).ok()?;
    let text = instant.to_string();
    text.as_bytes()[0].is_ascii_digit().then_some(text)
}

/// Seconds since 1970 UTC, with every digit of the shortest decimal number that is this float; finer than a nanosecond is
/// cut off.
pub(super) fn from_float(seconds: f64) -> Option<String> {
    if !seconds.is_finite() {
        return None;
    }
    let text = seconds.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let nanoseconds: i128 = format!("{whole}{fraction:0<9.9}").parse().ok()?;
    rfc3339(if seconds < 0.0 { -nanoseconds } else { nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_keep_every_digit() {
        assert_eq!(rfc3339(1_670_380_342_000_000_001).as_deref(), Some("2022-12-07T02:32:22.000000001Z"));
        assert_eq!(rfc3339(-1).as_deref(), Some("1969-12-31T23:59:59.999999999Z"));
        assert_eq!(rfc3339(-62_167_219_200_000_000_001), None);
        assert_eq!(rfc3339(i128::MAX), None);
        assert_eq!(from_float(1_363_896_240.5).as_deref(), Some("2013-03-21T20:04:00.5Z"));
        assert_eq!(from_float(-0.25).as_deref(), Some("1969-12-31T23:59:59.75Z"));
        assert_eq!(from_float(1_670_380_342.123_456).as_deref(), Some("2022-12-07T02:32:22.123456Z"));
        assert_eq!(from_float(f64::MAX), None);
        assert_eq!(from_float(f64::NAN), None);
        assert_eq!(from_float(5e-324).as_deref(), Some("1970-01-01T00:00:00Z"));
    }
}
