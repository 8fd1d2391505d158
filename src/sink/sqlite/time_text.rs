//! Times as text that sorts in the order of the times: fixed width, UTC, the years 0000 to 9999.
//!
//! A timestamp has milliseconds, rounded down. With a variable number of digits `…00.123456Z` would sort before
//! `…00.123Z`. A time of day has microseconds, always all six digits.

use crate::clock::Timestamp;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Days of 0000-01-01 and of 10000-01-01.
const DAY_MIN: i64 = -719_528;
const DAY_END: i64 = 2_932_897;

/// Appends `2026-11-21`. False, and nothing appended, outside the years 0000 to 9999. `days` counts from 1970-01-01.
pub(super) fn date(days: i64, out: &mut Vec<u8>) -> bool {
    let mut text = *b"0000-00-00";
    let is_date = set_date(days, &mut text);
    if is_date {
        out.extend_from_slice(&text);
    }
    is_date
}

/// Appends `08:26:00.123456`. False, and nothing appended, if `micros` is not within a day (24:00:00 is).
pub(super) fn time(micros: i64, out: &mut Vec<u8>) -> bool {
    if !(0..=MICROS_PER_DAY).contains(&micros) {
        return false;
    }
    let mut text = *b"00:00:00.000000";
    let (clock, micros_text) = text.split_at_mut(9);
    set_clock((micros / 1_000_000) as u32, clock);
    set_digits((micros % 1_000_000) as u32, micros_text);
    out.extend_from_slice(&text);
    true
}

/// Appends `2026-11-21T08:26:00.123Z`. False, and nothing appended, outside the years 0000 to 9999.
pub(super) fn timestamp(micros: i64, out: &mut Vec<u8>) -> bool {
    let mut text = *b"0000-00-00T00:00:00.000Z";
    if !set_date(micros.div_euclid(MICROS_PER_DAY), &mut text[..10]) {
        return false;
    }
    // A day has 86,400,000 of them.
    let millis = (micros.rem_euclid(MICROS_PER_DAY) / 1000) as u32;
    set_clock(millis / 1000, &mut text[11..19]);
    set_digits(millis % 1000, &mut text[20..23]);
    out.extend_from_slice(&text);
    true
}

/// Appends an ISO 8601 duration, `P14M3DT1.5S`: the three parts that Postgres keeps apart, zero ones left out.
pub(super) fn interval(months: i32, days: i32, micros: i64, out: &mut Vec<u8>) -> bool {
    out.push(b'P');
    for (number, unit) in [(months, b'M'), (days, b'D')] {
        if number != 0 {
            out.extend_from_slice(number.to_string().as_bytes());
            out.push(unit);
        }
    }
    if micros != 0 || (months, days) == (0, 0) {
        let sign = if micros < 0 { "-" } else { "" };
        let (seconds, fraction) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
        let text = if fraction == 0 { format!("{seconds}") } else { format!("{seconds}.{fraction:06}") };
        let text = if fraction == 0 { text.as_str() } else { text.trim_end_matches('0') };
        out.extend_from_slice(format!("T{sign}{text}S").as_bytes());
    }
    true
}

/// The text for one of our own columns, where a clock that is wrong by millennia must stop nothing.
pub(super) fn own_timestamp(time: Timestamp) -> String {
    let mut text = Vec::with_capacity(24);
    if timestamp(time.as_micros(), &mut text) { String::from_utf8_lossy(&text).into_owned() } else { time.to_string() }
}

/// Reads one of our own columns. It is for people only, so what a person wrote there by hand in another form is no
/// error: it reads as 1970.
pub(super) fn read_own_timestamp(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_microsecond))
}

/// Writes the digits into `0000-00-00`; false outside the years 0000 to 9999.
fn set_date(days: i64, text: &mut [u8]) -> bool {
    if !(DAY_MIN..DAY_END).contains(&days) {
        return false;
    }
    let (year, month, day) = civil(days as i32);
    set_digits(year, &mut text[..4]);
    set_digits(month, &mut text[5..7]);
    set_digits(day, &mut text[8..10]);
    true
}

/// Writes the digits into `00:00:00`.
fn set_clock(seconds: u32, text: &mut [u8]) {
    set_digits(seconds / 3600, &mut text[..2]);
    set_digits(seconds / 60 % 60, &mut text[3..5]);
    set_digits(seconds % 60, &mut text[6..8]);
}

fn set_digits(number: u32, text: &mut [u8]) {
    let mut rest = number;
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Year, month and day of the proleptic Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms",
/// civil_from_days): eras of 400 years that begin on 1 March, so that the leap day comes last.
fn civil(days: i32) -> (u32, u32, u32) {
    // In the eras, the first of which begins in the year -400, nothing is negative.
    let shifted = (days + 719_468 + 146_097) as u32;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u32::from(month <= 2) - 400, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<String> {
        let mut out = Vec::new();
        write(&mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_calendar_ends_where_four_digits_do() {
        assert_eq!(text(|out| date(DAY_MIN, out)).unwrap(), "0000-01-01");
        assert_eq!(text(|out| date(DAY_END - 1, out)).unwrap(), "9999-12-31");
        assert_eq!(text(|out| date(DAY_MIN - 1, out)), None);
        assert_eq!(text(|out| date(DAY_END, out)), None);
    }

    #[test]
    fn microseconds_are_rounded_down_to_milliseconds() {
        assert_eq!(text(|out| timestamp(1_795_249_560_123_999, out)).unwrap(), "2026-11-21T08:26:00.123Z");
        assert_eq!(text(|out| timestamp(-1, out)).unwrap(), "1969-12-31T23:59:59.999Z");
        assert_eq!(text(|out| time(30_360_000_001, out)).unwrap(), "08:26:00.000001");
        assert_eq!(text(|out| time(MICROS_PER_DAY + 1, out)), None);
    }

    #[test]
    fn an_interval_keeps_its_parts_apart() {
        let interval = |months, days, micros| text(|out| interval(months, days, micros, out)).unwrap();
        assert_eq!(interval(0, 0, 0), "PT0S");
        assert_eq!(interval(14, -3, 1_500_000), "P14M-3DT1.5S");
        assert_eq!(interval(0, 1, 0), "P1D");
        assert_eq!(interval(0, 0, -10_000_000), "PT-10S");
        assert_eq!(interval(i32::MIN, i32::MIN, i64::MIN), "P-2147483648M-2147483648DT-9223372036854.775808S");
    }

    #[test]
    fn what_a_person_wrote_into_our_table_stops_nothing() {
        assert_eq!(read_own_timestamp("2026-11-21T08:26:00.123Z"), Timestamp(1_795_249_560_123_000));
        assert_eq!(read_own_timestamp("yesterday"), Timestamp(0));
    }

    proptest! {
        #[test]
        fn it_says_what_jiff_says(micros in -62_135_596_800_000_000i64..253_402_207_200_000_000) {
            let millis = jiff::Timestamp::from_microsecond(micros.div_euclid(1000) * 1000).unwrap();
            prop_assert_eq!(text(|out| timestamp(micros, out)).unwrap(), format!("{millis:.3}"));
        }

        #[test]
        fn it_sorts_as_the_times_do(one: u32, gap in 1000u32..) {
            let time = |micros: u64| text(|out| timestamp(micros as i64 * 1000, out)).unwrap();
            prop_assert!(time(u64::from(one)) < time(u64::from(one) + u64::from(gap)));
        }
    }
}
