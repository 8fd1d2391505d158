//! Layouts of Go's `time` package, by which times are written: `2006-01-02 15:04:05.000`.
//!
//! A layout is the reference time Mon Jan 2 15:04:05 2006 -0700 in the wanted form. Each element of it stands for a part of
//! the time; all other text is written as it is. The result is that of Go's `Time.Format`.
//!
//! | element | written |
//! |---|---|
//! | `2006` `06`, `January` `Jan` `01` `1`, `02` `_2` `2`, `002` `__2` | year, month, day, day of the year |
//! | `Monday` `Mon` | weekday |
//! | `15` `03` `3`, `PM` `pm`, `04` `4`, `05` `5` | hour, half of the day, minute, second |
//! | `.000` `,000` | as many digits of the second's fraction as zeros, cut off and not rounded |
//! | `.999` `,999` | as many at most, without zeros at the end; without digits nothing |
//! | `-0700` `-07:00` `-07` `-070000` `-07:00:00` | offset of the zone |
//! | `Z0700` `Z07:00` `Z07` `Z070000` `Z07:00:00` | the same, or `Z` for UTC |
//! | `MST` | abbreviation of the zone |

use std::fmt::Write as _;

use jiff::Zoned;

/// A layout with at least one element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoLayout(Box<[Piece]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// One of [`ELEMENTS`].
    Element(&'static str),
    Fraction {
        separator: char,
        digits: usize,
        /// Without zeros at the end.
        is_trimmed: bool,
    },
}

/// All elements except fractions, longer ones before their beginnings.
const ELEMENTS: [&str; 33] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "002",
    "15",
    "1",
    "2006",
    "2",
    "_2",
    "__2",
    "3",
    "4",
    "5",
    "PM",
    "pm",
    "-070000",
    "-07:00:00",
    "-0700",
    "-07:00",
    "-07",
    "Z070000",
    "Z07:00:00",
    "Z0700",
    "Z07:00",
    "Z07",
];

/// Machbase Neo's names of layouts, in lower case.
const NAMES: [(&str, &str); 27] = [
    ("default", "2006-01-02 15:04:05.999"),
    ("default_ms", "2006-01-02 15:04:05.999"),
    ("default_us", "2006-01-02 15:04:05.999999"),
    ("default_ns", "2006-01-02 15:04:05.999999999"),
    ("default.ms", "2006-01-02 15:04:05.000"),
    ("default.us", "2006-01-02 15:04:05.000000"),
    ("default.ns", "2006-01-02 15:04:05.000000000"),
    ("numeric", "01/02 03:04:05PM '06 -0700"),
    ("ansic", "Mon Jan _2 15:04:05 2006"),
    ("unix", "Mon Jan _2 15:04:05 MST 2006"),
    ("ruby", "Mon Jan 02 15:04:05 -0700 2006"),
    ("rfc822", "02 Jan 06 15:04 MST"),
    ("rfc822z", "02 Jan 06 15:04 -0700"),
    ("rfc850", "Monday, 02-Jan-06 15:04:05 MST"),
    ("rfc1123", "Mon, 02 Jan 2006 15:04:05 MST"),
    ("rfc1123z", "Mon, 02 Jan 2006 15:04:05 -0700"),
    ("kitchen", "3:04:05PM"),
    ("stamp", "Jan _2 15:04:05"),
    ("stampmilli", "Jan _2 15:04:05.000"),
    ("stampmicro", "Jan _2 15:04:05.000000"),
    ("stampnano", "Jan _2 15:04:05.000000000"),
    ("s_ns", "05.999999999"),
    ("s_us", "05.999999"),
    ("s_ms", "05.999"),
    ("s.ns", "05.000000000"),
    ("s.us", "05.000000"),
    ("s.ms", "05.000"),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A time has one offset and one fraction, with two patterns each. A layout that comes with a message may name them any
/// number of times.
const PATTERNS_MAX: usize = 4;

/// The digits of a fraction that a time has.
const NANO_DIGITS: usize = 9;

impl GoLayout {
    /// Of one of Machbase Neo's names or a layout; `None` for what has no element.
    pub fn parse(text: &str) -> Option<GoLayout> {
        let lower = text.to_ascii_lowercase();
        let named = NAMES.iter().find(|(name, _)| *name == lower);
        let mut rest = named.map_or(text, |(_, layout)| layout);
        let (mut pieces, mut literal) = (Vec::new(), String::new());
        while let Some(first) = rest.chars().next() {
            match piece(rest) {
                Some((piece, length)) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(piece);
                    rest = &rest[length..];
                }
                None => {
                    literal.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        if pieces.is_empty() {
            return None;
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Some(GoLayout(pieces.into()))
    }

    /// Patterns of [`TimeFormat::Pattern`](super::TimeFormat::Pattern), of which the first that fits a text reads what Go's
    /// `time.Parse` reads from it. As there, a fraction may stand behind the seconds though the layout has none. `None` if
    /// they are more than [`PATTERNS_MAX`].
    pub fn patterns(&self) -> Option<Vec<String>> {
        let mut patterns = vec![String::new()];
        let mut push = |alternatives: &[&str]| {
            let with =
                |pattern: &String| alternatives.iter().map(move |end| format!("{pattern}{end}")).collect::<Vec<_>>();
            patterns = patterns.iter().flat_map(with).collect();
            patterns.len()
        };
        for (at, piece) in self.0.iter().enumerate() {
            let count = match piece {
                Piece::Text(text) => push(&[&text.replace('%', "%%")]),
                Piece::Fraction { separator: ',', is_trimmed: false, .. } => push(&[",%f"]),
                Piece::Fraction { separator: ',', .. } => push(&[",%f", ""]),
                Piece::Fraction { .. } => push(&["%.f"]),
                Piece::Element("05" | "5") if !matches!(self.0.get(at + 1), Some(Piece::Fraction { .. })) => {
                    push(&["%S%.f"])
                }
                Piece::Element(element) => push(patterns_of(element)),
            };
            if count > PATTERNS_MAX {
                return None;
            }
        }
        Some(patterns)
    }

    pub fn write(&self, time: &Zoned) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Element(element) => push_element(element, time, &mut out),
                Piece::Fraction { separator, digits, is_trimmed } => {
                    let nanos = format!("{:0NANO_DIGITS$}", time.subsec_nanosecond());
                    let cut = &nanos[..NANO_DIGITS.min(*digits)];
                    let shown = if *is_trimmed { cut.trim_end_matches('0') } else { cut };
                    if !shown.is_empty() {
                        out.push(*separator);
                        out.push_str(shown);
                    }
                }
            }
        }
        out
    }
}

/// The element at the beginning of `rest`, and its bytes.
fn piece(rest: &str) -> Option<(Piece, usize)> {
    if let Some(separator @ ('.' | ',')) = rest.chars().next() {
        let digit = rest[1..].chars().next().filter(|digit| matches!(digit, '0' | '9'))?;
        let behind = rest[1..].trim_start_matches(digit);
        let digits = rest.len() - 1 - behind.len();
        let piece = Piece::Fraction { separator, digits, is_trimmed: digit == '9' };
        // Among other digits they are no fraction.
        return (!behind.starts_with(|next: char| next.is_ascii_digit())).then_some((piece, 1 + digits));
    }
    // An underscore in front of a year.
    if rest.starts_with("_2006") {
        return None;
    }
    let element = ELEMENTS.into_iter().find(|element| {
        let Some(behind) = rest.strip_prefix(element) else { return false };
        // A longer word is no name of Go's.
        !matches!(*element, "Jan" | "Mon") || !behind.starts_with(|next: char| next.is_ascii_lowercase())
    })?;
    Some((Piece::Element(element), element.len()))
}

/// What reads an element.
fn patterns_of(element: &str) -> &'static [&'static str] {
    match element {
        "2006" => &["%Y"],
        "06" => &["%y"],
        "January" => &["%B"],
        "Jan" => &["%b"],
        "01" | "1" => &["%m"],
        "Monday" => &["%A"],
        "Mon" => &["%a"],
        "02" | "2" => &["%d"],
        "_2" => &["%e"],
        "002" | "__2" => &["%j"],
        "15" => &["%H"],
        "03" | "3" => &["%I"],
        "PM" | "pm" => &["%p"],
        "04" | "4" => &["%M"],
        "05" | "5" => &["%S"],
        "MST" => &["%Z"],
        "-07" => &["%:::z"],
        "-0700" | "-070000" => &["%z"],
        "-07:00" => &["%:z"],
        "-07:00:00" => &["%::z"],
        // `Z`, or an offset.
        "Z07" => &["%:::z", "%Z"],
        "Z0700" | "Z070000" => &["%z", "%Z"],
        "Z07:00" => &["%:z", "%Z"],
        "Z07:00:00" => &["%::z", "%Z"],
        _ => unreachable!("these are all elements"),
    }
}

fn push_element(element: &str, time: &Zoned, out: &mut String) {
    let month = MONTHS[time.month().unsigned_abs() as usize - 1];
    let weekday = WEEKDAYS[time.weekday().to_sunday_zero_offset().unsigned_abs() as usize];
    let hour_of_half = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let is_morning = time.hour() < 12;
    let _ = match element {
        "2006" if time.year() < 0 => write!(out, "-{:04}", -time.year()),
        "2006" => write!(out, "{:04}", time.year()),
        "06" => write!(out, "{:02}", time.year().max(0) % 100),
        "January" => write!(out, "{month}"),
        "Jan" => write!(out, "{}", &month[..3]),
        "01" => write!(out, "{:02}", time.month()),
        "1" => write!(out, "{}", time.month()),
        "Monday" => write!(out, "{weekday}"),
        "Mon" => write!(out, "{}", &weekday[..3]),
        "02" => write!(out, "{:02}", time.day()),
        "_2" => write!(out, "{:2}", time.day()),
        "2" => write!(out, "{}", time.day()),
        "002" => write!(out, "{:03}", time.day_of_year()),
        "__2" => write!(out, "{:3}", time.day_of_year()),
        "15" => write!(out, "{:02}", time.hour()),
        "03" => write!(out, "{hour_of_half:02}"),
        "3" => write!(out, "{hour_of_half}"),
        "PM" => write!(out, "{}", if is_morning { "AM" } else { "PM" }),
        "pm" => write!(out, "{}", if is_morning { "am" } else { "pm" }),
        "04" => write!(out, "{:02}", time.minute()),
        "4" => write!(out, "{}", time.minute()),
        "05" => write!(out, "{:02}", time.second()),
        "5" => write!(out, "{}", time.second()),
        "MST" => {
            write!(out, "{}", time.time_zone().to_offset_info(time.timestamp()).abbreviation())
        }
        offset => push_offset(offset, time.offset().seconds(), out),
    };
}

/// The offset of a zone, in the form of an element that begins with `-` or `Z`.
fn push_offset(element: &str, seconds: i32, out: &mut String) -> std::fmt::Result {
    if seconds == 0 && element.starts_with('Z') {
        return out.write_char('Z');
    }
    let colon = if element.contains(':') { ":" } else { "" };
    let (sign, absolute) = (if seconds < 0 { '-' } else { '+' }, seconds.abs());
    write!(out, "{sign}{:02}", absolute / 3600)?;
    let digits = element.bytes().filter(u8::is_ascii_digit).count();
    if digits >= 4 {
        write!(out, "{colon}{:02}", absolute / 60 % 60)?;
    }
    if digits >= 6 {
        write!(out, "{colon}{:02}", absolute % 60)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::*;

    fn written(layout: &str, time: &str, zone: &str) -> String {
        let time = time.parse::<Timestamp>().unwrap().to_zoned(TimeZone::get(zone).unwrap());
        GoLayout::parse(layout).unwrap_or_else(|| panic!("{layout}")).write(&time)
    }

    /// The file is what Go itself writes: see `go_layouts.go` beside it.
    #[test]
    fn times_are_written_as_go_writes_them() {
        let lines = include_str!("../../tests/data/go_layouts.tsv").lines();
        let mut count = 0;
        for line in lines {
            let [time, zone, layout, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            assert_eq!(written(layout, time, zone), expected, "{time} {zone} {layout}");
            count += 1;
        }
        assert!(count > 100);
    }

    #[test]
    fn machbase_s_names_are_layouts() {
        let time = "2026-01-08T04:05:06.1205Z";
        for (name, expected) in [
            ("DEFAULT", "2026-01-08 04:05:06.12"),
            ("Default.ms", "2026-01-08 04:05:06.120"),
            ("default_us", "2026-01-08 04:05:06.1205"),
            ("Numeric", "01/08 04:05:06AM '26 +0000"),
            ("Unix", "Thu Jan  8 04:05:06 UTC 2026"),
            ("Kitchen", "4:05:06AM"),
            ("StampMilli", "Jan  8 04:05:06.120"),
            ("S.MS", "06.120"),
        ] {
            assert_eq!(written(name, time, "UTC"), expected, "{name}");
        }
    }

    #[test]
    fn a_text_without_an_element_is_no_layout() {
        for text in ["", "s", "ns", "tomorrow", "Janitor", "_", ".", "%Y"] {
            assert_eq!(GoLayout::parse(text), None, "{text}");
        }
    }
}
