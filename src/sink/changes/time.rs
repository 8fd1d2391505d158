//! Timestamps of published rows.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::json::push_string;
use crate::config::TimeForm;

/// Appends a timestamp that the database wrote as `2026-11-28T22:10:00.123456`, followed by `+00:00` or `Z` if it has a
/// zone. Without a zone it counts as UTC if an epoch is requested, and otherwise stays unchanged. A time that has no
/// epoch (`infinity`, years before Christ) stays text.
pub(in crate::sink) fn push_timestamp(text: &str, form: TimeForm, out: &mut String) {
    let plain = text.strip_suffix("+00:00").or_else(|| text.strip_suffix('Z'));
    let TimeForm::Epoch(units) = form else {
        return match plain {
            Some(plain) => push_string(&format!("{plain}Z"), out),
            None => push_string(text, out),
        };
    };
    // In this order, for a time without a zone is read by passing over an offset.
    let without_zone =
        || text.parse::<DateTime>().and_then(|time| time.to_zoned(TimeZone::UTC)).map(|time| time.timestamp());
    match text.parse::<Timestamp>().or_else(|_| without_zone()) {
        Ok(time) => {
            let nanoseconds = time.as_nanosecond();
            out.push_str(&nanoseconds.div_euclid(1_000_000_000 / i128::from(units)).to_string());
        }
        Err(_) => push_string(text, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, form: TimeForm) -> String {
        let mut out = String::new();
        push_timestamp(text, form, &mut out);
        out
    }

    #[test]
    fn a_timestamp_is_text_of_rfc_3339_or_a_number() {
        let with_zone = "2026-11-28T22:10:00.123456+00:00";
        assert_eq!(written(with_zone, TimeForm::Rfc3339), "\"2026-11-28T22:10:00.123456Z\"");
        assert_eq!(written("2026-11-28T22:10:00", TimeForm::Rfc3339), "\"2026-11-28T22:10:00\"");
        let epochs = [1, 1_000, 1_000_000, 1_000_000_000].map(|units| written(with_zone, TimeForm::Epoch(units)));
        assert_eq!(epochs, ["1795903800", "1795903800123", "1795903800123456", "1795903800123456000"]);
        assert_eq!(written("1969-12-31T23:59:59.999Z", TimeForm::Epoch(1)), "-1");
        // As a program may have written it into SQLite.
        assert_eq!(written("2026-11-29T00:10:00+02:00", TimeForm::Epoch(1)), "1795903800");
    }

    #[test]
    fn what_is_no_point_in_time_stays_as_it_is() {
        for text in ["infinity", "0044-03-15T00:00:00+00:00 BC", "294276-12-31T23:59:59+00:00"] {
            assert_eq!(written(text, TimeForm::Epoch(1)), format!("{text:?}"));
        }
        assert_eq!(written("infinity", TimeForm::Rfc3339), "\"infinity\"");
    }
}
