//! The precision of a time or interval column: the digits or fields that its type names.
//!
//! Digits of a second beyond this precision are cut off here, never rounded, because rounding up can carry into the
//! next day or year. The database then stores the value unchanged.

/// How many digits a column keeps after a second's point, 0 to 6: `timestamp(3)` has 3, `timestamptz` has 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecondDigits(u8);

/// The smallest field that an interval column keeps: `interval year to month` keeps months, `interval` microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntervalUnit {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second(SecondDigits),
}

impl SecondDigits {
    /// Microseconds, what both databases keep where nothing else is said.
    pub const MICROS: SecondDigits = SecondDigits(6);
    /// Milliseconds, what SQLite's timestamps have.
    pub const MILLIS: SecondDigits = SecondDigits(3);

    /// More than six digits are six, as in Postgres.
    pub const fn new(digits: u8) -> SecondDigits {
        SecondDigits(if digits < 6 { digits } else { 6 })
    }

    /// Microseconds from one value that the column can hold to the next.
    pub const fn step_micros(self) -> i64 {
        10_i64.pow(6 - self.0 as u32)
    }

    /// A time without the digits that the column does not keep; also before 1970 they are those of the clock, so that
    /// the result is never later.
    pub const fn cut(self, micros: i64) -> i64 {
        match self.0 {
            6 => micros,
            _ => micros - micros.rem_euclid(self.step_micros()),
        }
    }
}

impl IntervalUnit {
    const HOUR_MICROS: i64 = 60 * IntervalUnit::MINUTE_MICROS;
    const MINUTE_MICROS: i64 = 60_000_000;

    /// The part of a day that the column keeps, digits of a second that it does not keep cut off towards zero. `None` if
    /// the interval has a smaller field than the column, which would be lost.
    pub fn fit(self, months: i32, days: i32, micros: i64) -> Option<i64> {
        let fits = match self {
            IntervalUnit::Year => months % 12 == 0 && days == 0 && micros == 0,
            IntervalUnit::Month => days == 0 && micros == 0,
            IntervalUnit::Day => micros == 0,
            IntervalUnit::Hour => micros % IntervalUnit::HOUR_MICROS == 0,
            IntervalUnit::Minute => micros % IntervalUnit::MINUTE_MICROS == 0,
            IntervalUnit::Second(digits) => return Some(micros - micros % digits.step_micros()),
        };
        fits.then_some(micros)
    }

    /// For messages: "years".
    pub fn plural(self) -> &'static str {
        match self {
            IntervalUnit::Year => "years",
            IntervalUnit::Month => "months",
            IntervalUnit::Day => "days",
            IntervalUnit::Hour => "hours",
            IntervalUnit::Minute => "minutes",
            IntervalUnit::Second(_) => "seconds",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_are_cut_off_and_never_carry() {
        const LAST_OF_1999: i64 = 946_684_799_999_999;
        assert_eq!(SecondDigits::new(0).cut(LAST_OF_1999), 946_684_799_000_000);
        assert_eq!(SecondDigits::new(3).cut(LAST_OF_1999), 946_684_799_999_000);
        assert_eq!(SecondDigits::new(9).cut(LAST_OF_1999), LAST_OF_1999);
        // 1969-12-31T23:59:59.9999995 without its last digits.
        assert_eq!(SecondDigits::new(1).cut(-1), -100_000);
    }

    #[test]
    fn an_interval_keeps_every_field_or_does_not_fit() {
        const HOUR: i64 = 3_600_000_000;
        let seconds = IntervalUnit::Second(SecondDigits::new(0));
        for (unit, interval, expected) in [
            (IntervalUnit::Year, (24, 0, 0), Some(0)),
            (IntervalUnit::Year, (25, 0, 0), None),
            (IntervalUnit::Month, (25, 0, 0), Some(0)),
            (IntervalUnit::Month, (25, 1, 0), None),
            (IntervalUnit::Day, (25, 1, 0), Some(0)),
            (IntervalUnit::Day, (0, 0, 1), None),
            (IntervalUnit::Hour, (1, 1, -2 * HOUR), Some(-2 * HOUR)),
            (IntervalUnit::Hour, (1, 1, HOUR / 2), None),
            (IntervalUnit::Minute, (1, 1, HOUR / 2), Some(HOUR / 2)),
            (IntervalUnit::Minute, (0, 0, 1_000_000), None),
            (seconds, (0, 0, 1_900_000), Some(1_000_000)),
            (seconds, (0, 0, -1_900_000), Some(-1_000_000)),
        ] {
            assert_eq!(unit.fit(interval.0, interval.1, interval.2), expected, "{unit:?} {interval:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_cut_is_less_than_the_resolution_and_cutting_again_changes_nothing(
            micros in i64::MIN / 2..i64::MAX / 2, digits in 0u8..9,
        ) {
            let digits = SecondDigits::new(digits);
            let kept = digits.cut(micros);
            prop_assert!((0..digits.step_micros()).contains(&(micros - kept)));
            prop_assert_eq!(digits.cut(kept), kept);
            let fitted = IntervalUnit::Second(digits).fit(0, 0, micros).unwrap();
            prop_assert!((micros - fitted).abs() < digits.step_micros() && fitted.abs() <= micros.abs());
        }
    }
}
