//! Numbers as people write them: with a decimal comma, with thousands separators, with a unit after them.
//!
//! Only unambiguous numbers are accepted. Under `decimal: ","` the points, spaces and apostrophes between groups of
//! three digits are thousands separators; but `1.234` is refused, because its only separator could also be a decimal
//! point.

use super::value::Misfit;

/// Characters of a unit. Beyond, it is a sentence that begins with a number.
const UNIT_CHARS_MAX: usize = 16;

/// How the strings of a column write numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NumberText {
    /// `,` or `.`; without it a point, and no marks between thousands.
    pub(super) decimal: Option<char>,
    pub(super) ignores_unit: bool,
}

impl NumberText {
    /// Appends the number, as JSON writes it.
    pub(super) fn read(self, text: &str, out: &mut String) -> Result<(), Misfit> {
        let text = text.trim();
        let (sign, unsigned) = match text.strip_prefix(['-', '\u{2212}']) {
            Some(rest) => ("-", rest),
            None => ("", text.strip_prefix('+').unwrap_or(text)),
        };
        let written = self.written(unsigned)?;
        if !(written.rest.is_empty() || self.ignores_unit && is_unit(written.rest)) {
            return Err(self.no_fit());
        }
        out.push_str(sign);
        out.push_str(match written.integer.trim_start_matches('0') {
            "" => "0",
            digits => digits,
        });
        if !written.fraction.is_empty() {
            out.extend([".", written.fraction]);
        }
        out.push_str(written.exponent);
        Ok(())
    }

    /// Takes the number apart that stands at the beginning.
    fn written(self, text: &str) -> Result<Written<'_>, Misfit> {
        let point = self.decimal.unwrap_or('.');
        let (first, mut rest) = digits(text);
        let mut integer = first.to_owned();
        let mut mark = None;
        let mut groups = 0;
        while let Some((found, group, after)) = self.thousand(rest) {
            if (1..=3).contains(&first.len()) && mark.is_none_or(|mark| mark == found) {
                mark = Some(found);
                groups += 1;
                integer.push_str(group);
                rest = after;
            } else {
                return Err(self.no_fit());
            }
        }
        let (fraction, after) = match rest.strip_prefix(point) {
            Some(after) => digits(after),
            None => ("", rest),
        };
        if integer.is_empty() && fraction.is_empty() || rest.starts_with(point) && fraction.is_empty() {
            return Err(self.no_fit());
        }
        if groups == 1 && fraction.is_empty() && matches!(mark, Some('.' | ',')) {
            return Err(
                "a string whose only mark may be a decimal one or one between thousands, so that it may be one of two \
                        numbers"
                    .into(),
            );
        }
        let (exponent, rest) = exponent(after);
        Ok(Written { integer, fraction, exponent, rest })
    }

    /// The mark and the three digits that begin `rest`, if those are a group of thousands; and what follows.
    fn thousand(self, rest: &str) -> Option<(char, &str, &str)> {
        let point = self.decimal?;
        let mark = rest.chars().next()?;
        let is_mark = match mark {
            '.' | ',' => mark != point,
            ' ' | '\'' | '\u{a0}' | '\u{202f}' | '\u{2019}' => true,
            _ => false,
        };
        let (group, after) = digits(&rest[mark.len_utf8()..]);
        (is_mark && group.len() == 3).then_some((mark, group, after))
    }

    fn no_fit(self) -> Misfit {
        match (self.decimal, self.ignores_unit) {
            (Some(','), false) => "a string that is no number with a decimal comma".into(),
            (Some(','), true) => {
                "a string that is no number with a decimal comma, with or without one unit behind it".into()
            }
            (_, false) => "a string that is no number with a decimal point".into(),
            (_, true) => "a string that is no number with or without one unit behind it".into(),
        }
    }
}

struct Written<'t> {
    integer: String,
    fraction: &'t str,
    exponent: &'t str,
    rest: &'t str,
}

/// The digits at the beginning, and the rest.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// The exponent at the beginning, and the rest. `e` without digits is the beginning of a unit.
fn exponent(text: &str) -> (&str, &str) {
    let Some(after) = text.strip_prefix(['e', 'E']) else { return ("", text) };
    let (digits, rest) = digits(after.strip_prefix(['+', '-']).unwrap_or(after));
    if digits.is_empty() { ("", text) } else { (&text[..text.len() - rest.len()], rest) }
}

/// Whether a text after a number is one unit: `°C`, ` %`, `kWh`, ` m³/h`, ` m3`. Digits would be a second number
/// (`5h30`, `2V7`), except the power of a metre after a space.
fn is_unit(text: &str) -> bool {
    let unit = text.trim_start();
    let begins =
        |sign: char| sign.is_alphabetic() || matches!(sign, '%' | '‰' | '°' | '\'' | '"' | '$' | '€' | '£' | '¥' | 'µ');
    if unit.chars().count() > UNIT_CHARS_MAX || !unit.starts_with(begins) {
        return false;
    }
    let is_apart = unit.len() < text.len();
    let mut before = ' ';
    let mut after = unit.chars();
    while let Some(sign) = after.next() {
        let is_power = is_apart
            && before == 'm'
            && matches!(sign, '2' | '3')
            && !after.as_str().starts_with(|next: char| next.is_alphanumeric());
        if sign.is_ascii_digit() && !is_power || matches!(sign, ':' | ';' | ',') {
            return false;
        }
        before = sign;
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMMA: NumberText = NumberText { decimal: Some(','), ignores_unit: false };
    const POINT: NumberText = NumberText { decimal: Some('.'), ignores_unit: false };
    const UNIT: NumberText = NumberText { decimal: None, ignores_unit: true };
    const BOTH: NumberText = NumberText { decimal: Some(','), ignores_unit: true };

    fn read(form: NumberText, text: &str) -> Option<String> {
        let mut out = String::new();
        form.read(text, &mut out).ok().map(|()| out)
    }

    #[test]
    fn a_decimal_comma_is_read() {
        for (text, number) in [
            ("1234,5", "1234.5"),
            ("1.234,5", "1234.5"),
            ("1 234,5", "1234.5"),
            ("1\u{a0}234\u{a0}567,25", "1234567.25"),
            ("1\u{202f}234,0", "1234.0"),
            ("1'234'567", "1234567"),
            ("1.234.567", "1234567"),
            ("1 234", "1234"),
            (" -0,50 ", "-0.50"),
            ("\u{2212}3", "-3"),
            ("+,5", "0.5"),
            ("007,5", "7.5"),
            ("1,5e-3", "1.5e-3"),
            ("12", "12"),
        ] {
            assert_eq!(read(COMMA, text).as_deref(), Some(number), "{text}");
        }
        assert_eq!(read(POINT, "1,234.5").as_deref(), Some("1234.5"));
        assert_eq!(read(POINT, "1 234.5").as_deref(), Some("1234.5"));
    }

    #[test]
    fn what_could_be_another_number_is_refused() {
        for text in [
            "1.234",
            "0.123",
            "1.5",
            "1.23,5",
            "12.3456,7",
            "1234.567,8",
            "1.234 567",
            "1,2,3",
            "1,234,567",
            "5,",
            ",",
            "",
            "-",
            "1.234,5.6",
            "12 34",
            "1e",
            "abc",
            "--1",
            "- 1",
            "1,5 V",
            "1..234",
            "NaN",
            "1.234.56",
        ] {
            assert_eq!(read(COMMA, text), None, "{text}");
        }
        assert_eq!(read(POINT, "1,234"), None);
        assert!(COMMA.read("1.234", &mut String::new()).unwrap_err().0.contains("one of two"));
    }

    #[test]
    fn a_unit_behind_a_number_is_passed_over() {
        for (text, number) in [
            ("21.5 °C", "21.5"),
            ("230V", "230"),
            ("45%", "45"),
            ("-3 dBm", "-3"),
            ("1.5e3 W", "1.5e3"),
            ("12 m³/h", "12"),
            ("12 m3/h", "12"),
            ("7 kg/m2", "7"),
            ("5 E", "5"),
            ("5e", "5"),
            ("3 µg/m³", "3"),
            ("9 €/kWh", "9"),
            ("21", "21"),
        ] {
            assert_eq!(read(UNIT, text).as_deref(), Some(number), "{text}");
        }
        assert_eq!(read(BOTH, "1.234,5 kWh").as_deref(), Some("1234.5"));
    }

    #[test]
    fn a_second_number_is_no_unit() {
        for text in [
            "12:30",
            "1h30m",
            "5V3",
            "4k7",
            "2 h 30 min",
            "1.2.3",
            "1,5 V",
            "0x1F",
            "21.5 °C 45 %",
            "1-2",
            "5m3",
            "5 m33",
            "unavailable",
            "V 5",
            "1/2",
            "5 of a hundred and seven",
            "2 H2O",
            "5 m2x",
        ] {
            assert_eq!(read(UNIT, text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_written_with_commas_come_back(
            number: i32, places in 0..7_usize, mark in prop_oneof![Just("."), Just(" "), Just("'"), Just("\u{a0}")], unit in "( ?(°C|%|kWh))?",
        ) {
            let magnitude = format!("{:0>1$}", number.unsigned_abs(), places + 1);
            let (integer, fraction) = magnitude.split_at(magnitude.len() - places);
            let mut grouped = String::new();
            for (at, digit) in integer.chars().enumerate() {
                if at > 0 && (integer.len() - at) % 3 == 0 {
                    grouped.push_str(mark);
                }
                grouped.push(digit);
            }
            let sign = if number < 0 { "-" } else { "" };
            let comma = if places > 0 { "," } else { "" };
            let point = if places > 0 { "." } else { "" };
            let read = read(BOTH, &format!("{sign}{grouped}{comma}{fraction}{unit}"));
            let is_ambiguous = mark == "." && places == 0 && (4..7).contains(&integer.len());
            let expected = (!is_ambiguous).then(|| format!("{sign}{integer}{point}{fraction}"));
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn whatever_is_read_is_a_number_of_json(text in "[-+ 0-9.,'eE%m°\u{a0}]{0,12}") {
            for form in [COMMA, POINT, UNIT, BOTH] {
                if let Some(number) = read(form, &text) {
                    prop_assert!(serde_json::from_str::<serde_json::Number>(&number).is_ok(), "{} from {}", number, text);
                }
            }
        }
    }
}
