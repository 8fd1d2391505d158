//! Numbers formatted for people.

use crate::clock;

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 message`, `2 messages`.
pub(super) fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// The verb for a number of things.
pub(super) fn stay(number: u64) -> &'static str {
    if number == 1 { "stays" } else { "stay" }
}

/// `12.3 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be shown as 1024.0 is the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let rounded = format!("{value:.1}");
    format!("{} {}", rounded.strip_suffix(".0").unwrap_or(&rounded), UNITS[unit])
}

/// `1,234/s`; below ten with a decimal.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 0.05 => "0/s".to_owned(),
        rate if rate < 9.95 => format!("{rate:.1}/s"),
        rate => format!("{}/s", count(rate.round() as u64)),
    }
}

/// `0.3 s`, `45 s`, `3 min`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 0.05 {
        return "0 s".to_owned();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let seconds = seconds.round() as u64;
    let two = |large: u64, name: &str, small: u64, small_name: &str| match small {
        0 => format!("{} {name}", count(large)),
        _ => format!("{} {name} {small} {small_name}", count(large)),
    };
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// How long ago a time such as `2026-11-21T08:00:00Z` was; `None` for what is no time.
pub(super) fn ago(time: &str) -> Option<String> {
    let time = time.parse::<jiff::Timestamp>().ok()?;
    Some(span((clock::now().as_micros() - time.as_microsecond()).max(0) as f64 / 1e6))
}

/// Text from outside for a terminal: control characters, which might move the cursor or change its colours, are escaped.
/// Line ends stay.
pub(super) fn plain(text: &str) -> String {
    let is_harmless = |c: char| !c.is_control() || c == '\n';
    if text.chars().all(is_harmless) {
        return text.to_owned();
    }
    text.chars().fold(String::new(), |mut plain, c| {
        if is_harmless(c) {
            plain.push(c)
        } else {
            plain.extend(c.escape_default())
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((counted(1, "row"), counted(1_000, "row")), ("1 row".to_owned(), "1,000 rows".to_owned()));
        assert_eq!((stay(1), stay(0), stay(2)), ("stays", "stay", "stay"));
        let sizes = [0, 1_023, 1_024, 1_536, (1 << 20) - 1, 12_897_485, 1 << 30, 5 << 50];
        let expected = ["0 B", "1023 B", "1 KiB", "1.5 KiB", "1 MiB", "12.3 MiB", "1 GiB", "5120 TiB"];
        assert_eq!(sizes.map(bytes), expected);
        assert_eq!([0.0, 0.04, 0.4, 9.96, 1_233.6].map(rate), ["0/s", "0/s", "0.4/s", "10/s", "1,234/s"]);
        assert_eq!(
            [0.0, 0.31, 9.97, 59.4, 200.0, 7_500.0, 7_200.0, 273_600.0].map(span),
            ["0 s", "0.3 s", "10 s", "59 s", "3 min", "2 h 5 min", "2 h", "3 d 4 h"]
        );
        assert_eq!(ago("2999-01-01T00:00:00Z").as_deref(), Some("0 s"));
        assert_eq!(ago("yesterday"), None);
        assert_eq!(plain("Škoda\x1b[2J\n\r"), "Škoda\\u{1b}[2J\n\\r");
    }
}
