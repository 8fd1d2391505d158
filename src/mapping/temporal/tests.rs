//! Times in all their forms, and what is no time.

use super::*;

fn face(format: Option<&str>, zone: &str) -> Clockface {
    let format = format.map(|format| TimeFormat::parse(format).unwrap());
    Clockface { format, zone: TimeZone::get(zone).unwrap() }
}

fn utc(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

fn instant(format: Option<&str>, zone: &str, value: Value<'_>) -> Result<i64, String> {
    face(format, zone).instant(&value).map_err(|misfit| misfit.0.into_owned())
}

#[test]
fn strings_are_read_as_the_standards_write_them() {
    for (text, expected) in [
        ("2026-11-21T08:26:00.123456Z", "2026-11-21T08:26:00.123456Z"),
        ("2026-11-21t08:26:00+02:00", "2026-11-21T06:26:00Z"),
        ("2026-11-21 08:26:00", "2026-11-21T08:26:00Z"),
        ("2026-11-21 08:26:00.5", "2026-11-21T08:26:00.5Z"),
        (" 2026-11-21 ", "2026-11-21T00:00:00Z"),
        ("2026-11-21T08:26:00.123456999Z", "2026-11-21T08:26:00.123456Z"),
        ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
        ("2026-11-21T08:26:00.123456999999+02:00", "2026-11-21T06:26:00.123456Z"),
    ] {
        assert_eq!(instant(None, "UTC", Value::Text(text)), Ok(utc(expected)), "{text}");
    }
}

#[test]
fn the_last_hours_of_the_year_9999_are_times_like_others() {
    const LAST: i64 = 253_402_300_799_000_000;
    const HOUR: i64 = 3_600_000_000;
    let text = Value::Text;
    for (zone, written, expected) in [
        ("UTC", "9999-12-31T23:59:59Z", LAST),
        ("UTC", "9999-12-31T23:59:59+05:00", LAST - 5 * HOUR),
        ("UTC", "9999-12-31 23:59:59.999999", LAST + 999_999),
        ("Europe/Berlin", "9999-12-31 23:59:59", LAST - HOUR),
        ("America/New_York", "9999-12-31 18:59:59", LAST),
    ] {
        assert_eq!(instant(None, zone, text(written)), Ok(expected), "{written} {zone}");
    }
    assert_eq!(instant(Some("s"), "UTC", Value::Number("253402300799")), Ok(LAST));
    assert_eq!(instant(Some("%Y-%m-%d %H:%M:%S %z"), "UTC", text("9999-12-31 23:59:59 +0000")), Ok(LAST));
    let (utc, berlin) = (face(None, "UTC"), face(None, "Europe/Berlin"));
    assert_eq!(utc.sortable_instant(&text("9999-12-31T23:59:59Z")), Ok(LAST));
    assert!(utc.sortable_instant(&text("9999-12-31T23:59:59-05:00")).is_err(), "10000-01-01 in UTC");
    assert_eq!(utc.local(&text("9999-12-31T23:59:59Z")), Ok(LAST));
    assert_eq!(utc.date(&Value::Instant(LAST)), Ok(2_932_896));
    assert_eq!(berlin.date(&Value::Instant(LAST - HOUR)), Ok(2_932_896));
    assert!(berlin.date(&text("9999-12-31T23:00:00Z")).is_err(), "10000-01-01 in Berlin");
    assert_eq!(berlin.time_of_day(&Value::Instant(LAST - HOUR / 2)), Ok(HOUR / 2 - 1_000_000));
    let mut written = String::new();
    write_instant(LAST + 999_999, &mut written);
    assert_eq!(written, "9999-12-31T23:59:59.999Z");
    assert_eq!(instant(Some("ms"), "UTC", Value::Number("253402500000000")).unwrap_err(), OUT_OF_RANGE);
}

/// The year that counts is the one of the stored value: in UTC, or on the column's clock.
#[test]
fn years_before_4713_bc_and_after_9999_are_refused_on_every_clock() {
    let read = |column: &str, format, zone: &str, value: Value<'_>| {
        let face = face(format, zone);
        let stored = if column == "timestamptz" { face.instant(&value) } else { face.local(&value) };
        stored.map_err(|misfit| misfit.0.into_owned())
    };
    const DAY: i64 = 86_400_000_000;
    const LAST: i64 = 253_402_300_799_000_000;
    const FIRST: i64 = -210_866_803_200_000_000;
    let (text, number, seconds) = (Value::Text, Value::Number, Some("s"));
    for (column, format, zone, value, expected) in [
        ("timestamptz", seconds, "UTC", number("253402300799"), Some(LAST)),
        ("timestamptz", seconds, "UTC", number("253402300799.999999"), Some(LAST + 999_999)),
        ("timestamptz", seconds, "UTC", number("253402300800"), None),
        ("timestamptz", seconds, "Pacific/Kiritimati", number("253402300799"), Some(LAST)),
        ("timestamptz", None, "UTC", text("9999-12-31T23:59:59-01:00"), None),
        ("timestamptz", None, "America/New_York", text("9999-12-31 23:59:59"), None),
        ("timestamptz", Some("%Y-%m-%d %H:%M %z"), "UTC", text("9999-12-31 23:59 -0100"), None),
        ("timestamp", seconds, "UTC", number("253402300799"), Some(LAST)),
        ("timestamp", seconds, "UTC", number("253402300800"), None),
        ("timestamp", seconds, "Pacific/Kiritimati", number("253402300799"), None),
        ("timestamp", None, "America/New_York", text("9999-12-31T23:59:59-05:00"), Some(LAST)),
        ("timestamp", None, "America/New_York", text("9999-12-31 23:59:59"), Some(LAST)),
        ("timestamp", None, "UTC", text("9999-12-31T23:59:59-01:00"), None),
        ("timestamptz", seconds, "UTC", number("-210866803200"), Some(FIRST)),
        ("timestamptz", seconds, "UTC", number("-210866803200.000001"), None),
        ("timestamp", seconds, "Etc/GMT+5", number("-210866803200"), None),
        ("timestamp", seconds, "Etc/GMT-5", number("-210866821200"), Some(FIRST)),
        ("timestamptz", None, "UTC", text("-004713-11-24T00:00:00+01:00"), None),
        ("timestamptz", None, "UTC", text("-004713-11-24"), Some(FIRST)),
        ("timestamptz", None, "Etc/GMT-5", text("-004713-11-24 00:00:00"), None),
        ("timestamp", None, "Etc/GMT-5", text("-004713-11-24 00:00:00"), Some(FIRST)),
        ("timestamp", None, "UTC", text("-004713-11-23"), None),
    ] {
        let read = read(column, format, zone, value);
        assert_eq!(read, expected.ok_or(OUT_OF_RANGE.to_owned()), "{column} {format:?} {zone} {value:?}");
    }
    assert_eq!(FIRST, DAYS_MIN * DAY);
}

#[test]
fn days_are_counted_as_jiff_counts_them() {
    for day in (-2_440_588..2_932_897_i64).step_by(97).chain(-800..800) {
        let date = Date::constant(1970, 1, 1).checked_add(SignedDuration::from_hours(day * 24)).unwrap();
        assert_eq!(days_of(date), day, "{date}");
    }
}

#[test]
fn what_is_no_time_is_refused() {
    for text in [
        "",
        "soon",
        "2026-02-30",
        "2026-13-01T00:00:00Z",
        "2026-11-21T25:00:00Z",
        "1700000000",
        "08:26",
        "2026-12-31T23:59:60Z",
        "2026-11-21T08:26:00Z[Europe/Berlin]",
        "-009999-01-01T00:00:00Z",
    ] {
        assert!(instant(None, "UTC", Value::Text(text)).is_err(), "{text}");
    }
}

#[test]
fn a_time_without_offset_is_in_the_columns_zone() {
    let berlin = |text| instant(None, "Europe/Berlin", Value::Text(text));
    assert_eq!(berlin("2026-07-01 12:00:00"), Ok(utc("2026-07-01T10:00:00Z")));
    assert_eq!(berlin("2026-07-01 12:00:00Z"), Ok(utc("2026-07-01T12:00:00Z")));
    assert_eq!(berlin("2026-10-25 02:30:00"), Ok(utc("2026-10-25T00:30:00Z")), "the first of two");
    assert_eq!(berlin("2026-03-29 02:30:00"), Ok(utc("2026-03-29T01:30:00Z")), "skipped");
}

#[test]
fn a_number_needs_to_be_told_what_it_counts() {
    assert!(instant(None, "UTC", Value::Number("1700000000")).unwrap_err().contains("`time: s`"));
    for (format, text, expected) in [
        ("s", "1700000000", 1_700_000_000_000_000),
        ("s", "1700000000.123456789", 1_700_000_000_123_456),
        ("s", "1.7e9", 1_700_000_000_000_000),
        ("s", "-0.0000001", -1),
        ("ms", "1700000000123", 1_700_000_000_123_000),
        ("us", "1700000000123456", 1_700_000_000_123_456),
        ("ns", "1700000000123456789", 1_700_000_000_123_456),
    ] {
        assert_eq!(instant(Some(format), "UTC", Value::Number(text)), Ok(expected), "{format} {text}");
        assert_eq!(instant(Some(format), "UTC", Value::Text(text)), Ok(expected), "{format} {text} as a string");
    }
    for text in ["1e30", "-9e12", "9e12", "1e999999999"] {
        assert!(instant(Some("s"), "UTC", Value::Number(text)).is_err(), "{text}");
    }
}

#[test]
fn patterns_read_what_they_describe() {
    let berlin = |pattern, text| instant(Some(pattern), "Europe/Berlin", Value::Text(text));
    assert_eq!(berlin("%d.%m.%Y %H:%M", "01.07.2026 12:00"), Ok(utc("2026-07-01T10:00:00Z")));
    assert_eq!(berlin("%Y-%m-%d %H:%M:%S %z", "2026-07-01 12:00:00 +0000"), Ok(utc("2026-07-01T12:00:00Z")));
    assert_eq!(instant(Some("%Y%m%d"), "UTC", Value::Number("20260701")), Ok(utc("2026-07-01T00:00:00Z")));
    assert!(berlin("%d.%m.%Y", "31.02.2026").is_err());
    assert!(berlin("%d.%m.%Y %H:%M", "31.02.2026 12:00").is_err());
    assert!(berlin("%Y-%m-%d %H:%M:%S", "2026-12-31 23:59:60").is_err(), "a leap second");
    let named = Some("%Y-%m-%d %H:%M %Q");
    assert_eq!(instant(named, "UTC", Value::Text("2026-07-01 12:00 Europe/Berlin")), Ok(utc("2026-07-01T10:00:00Z")));
    assert!(
        face(Some("%H:%M %z"), "UTC").time_of_day(&Value::Text("12:30 +0200")).is_err(),
        "an offset that would be lost"
    );
    assert_eq!(berlin("%Y-%m-%d %z", "2026-07-01 +0300"), Ok(utc("2026-06-30T21:00:00Z")), "midnight there");
    assert_eq!(face(Some("%H.%M"), "UTC").time_of_day(&Value::Text("12.30")), Ok(45_000_000_000));
}

#[test]
fn seconds_of_an_epoch_keep_their_fraction_in_a_pattern() {
    for (text, micros) in [
        ("1795267595.123456", 1_795_267_595_123_456),
        ("1795267595.1234567", 1_795_267_595_123_456),
        ("1795267595", 1_795_267_595_000_000),
        ("-1.25", -1_250_000),
        ("-0.5", -500_000),
        ("-0.0000001", -1),
    ] {
        assert_eq!(instant(Some("%s%.f"), "Europe/Berlin", Value::Text(text)), Ok(micros), "{text}");
    }
}

#[test]
fn a_date_that_cannot_be_is_told_from_a_time_of_day() {
    for (pattern, text, why) in [
        ("%A %Y-%m-%d %H:%M %z", "Monday 2026-11-21 08:26 +0000", "a weekday that is not the weekday of the date"),
        ("%a %Y-%m-%d", "Mon 2026-11-21", "a weekday that is not the weekday of the date"),
        ("%a %Y-%m-%d %H:%M %Q", "Mon 2026-11-21 08:26 Europe/Berlin", "a weekday that is not the weekday of the date"),
        ("%Y-%m-%d %H:%M %z", "2026-02-31 08:26 +0000", "a string that does not fit the column's time pattern"),
        ("%H:%M %z", "08:26 +0000", "a time of day with an offset, which would be lost without a date"),
    ] {
        assert_eq!(instant(Some(pattern), "UTC", Value::Text(text)).unwrap_err(), why, "{pattern} {text}");
    }
    let fits = instant(Some("%A %Y-%m-%d %H:%M %z"), "UTC", Value::Text("Saturday 2026-11-21 08:26 +0000"));
    assert_eq!(fits, Ok(utc("2026-11-21T08:26:00Z")));
}

#[test]
fn a_leap_second_is_refused_however_it_is_written() {
    for (format, text) in [
        (None, "20161231T235960Z"),
        (Some("rfc3339"), "2016-12-31T235960Z"),
        (Some("auto"), "20161231T235960Z"),
        (Some("%Y%m%d%H%M%S"), "20161231235960"),
        (Some("%Y-%m-%d %H.%M.%S"), "2016-12-31 23.59.60"),
        (Some("%Y-%m-%d %H:%M:%S:%f"), "2016-12-31 23:59:60:5"),
    ] {
        let refused = instant(format, "UTC", Value::Text(text)).unwrap_err();
        assert!(refused.contains("leap second"), "{format:?} {text}: {refused}");
    }
    let refused = instant(Some("%Y%m%d%H%M%S"), "UTC", Value::Number("20161231235960")).unwrap_err();
    assert!(refused.contains("leap second"), "{refused}");
    let refused = face(None, "UTC").time_of_day(&Value::Text("235960")).unwrap_err();
    assert!(refused.0.contains("leap second"), "{refused:?}");
    // 60 elsewhere is no leap second, not even beside a second of 59.
    for (format, text, expected) in [
        (None, "1960-12-31T23:59:59.60Z", "1960-12-31T23:59:59.6Z"),
        (None, "2016-12-31T23:59:59.12345660Z", "2016-12-31T23:59:59.123456Z"),
        (Some("%Y%m%d%H%M%S"), "19601231235959", "1960-12-31T23:59:59Z"),
        (Some("%H%M%S %d.%m.%Y"), "235959 30.06.1960", "1960-06-30T23:59:59Z"),
        (Some("%Y-%m-%d %H:%M:%S:%f"), "2026-11-21 08:26:00:601", "2026-11-21T08:26:00.601Z"),
        (Some("%Y%m%d%H%M%S%f%z"), "20261121082600123456600+0000", "2026-11-21T08:26:00.123456Z"),
        (Some("%H:%M:%S:%f %z %d.%m.%Y"), "08:26:00:123456600 +0000 21.11.2026", "2026-11-21T08:26:00.123456Z"),
    ] {
        assert_eq!(instant(format, "UTC", Value::Text(text)), Ok(utc(expected)), "{text}");
    }
}

#[test]
fn abbreviations_of_zones_are_read_where_they_mean_one_offset() {
    let read = |text| instant(Some("%a, %d %b %Y %H:%M:%S %Z"), "Europe/Berlin", Value::Text(text));
    assert_eq!(read("Wed, 07 Dec 2022 02:32:22 GMT"), Ok(utc("2022-12-07T02:32:22Z")));
    assert_eq!(read("Wed, 07 Dec 2022 11:32:22 KST"), Ok(utc("2022-12-07T02:32:22Z")));
    assert!(read("Wed, 07 Dec 2022 11:32:22 CST").is_err(), "of China or of Chicago");
}

#[test]
fn a_date_column_takes_no_time_of_day_and_a_time_column_no_date() {
    let berlin = face(None, "Europe/Berlin");
    for midnight in ["2026-07-02", "2026-07-01T22:00:00Z", "2026-07-02 00:00:00", "2026-07-02T00:00:00+02:00"] {
        assert_eq!(berlin.date(&Value::Text(midnight)), Ok(20_636), "{midnight}");
    }
    assert_eq!(berlin.date(&Value::Text("1969-12-31")), Ok(-1));
    for lossy in ["2026-07-01T23:30:00Z", "2026-07-02T00:00:00Z", "2026-07-02 00:00:00.000001"] {
        let refused = berlin.date(&Value::Text(lossy)).unwrap_err();
        assert!(refused.0.contains("make the column timestamptz"), "{lossy}: {refused:?}");
        let refused = berlin.time_of_day(&Value::Text(lossy)).unwrap_err();
        assert!(refused.0.contains("send the time of day alone"), "{lossy}: {refused:?}");
    }
    let seconds = face(Some("s"), "UTC");
    assert_eq!(seconds.date(&Value::Number("86400")), Ok(1));
    assert!(seconds.date(&Value::Number("86401")).is_err());
    assert!(seconds.time_of_day(&Value::Number("60")).is_err(), "a count since 1970 is a date too");
    assert_eq!(berlin.time_of_day(&Value::Text("01:30:00.5")), Ok(90 * 60_000_000 + 500_000));
    assert!(berlin.time_of_day(&Value::Text("01:30:00+02:00")).is_err(), "an offset that would be lost");
    assert!(berlin.time_of_day(&Value::Text("2026-07-01")).is_err());
    assert!(berlin.date(&Value::Text("10:00")).is_err());
    assert!(berlin.date(&Value::Text("-005000-01-01")).is_err());
}

#[test]
fn of_the_time_of_reception_a_column_takes_the_part_that_it_holds() {
    let berlin = face(None, "Europe/Berlin");
    let received = Value::Instant(utc("2026-07-01T23:30:00.5Z"));
    assert_eq!(berlin.date(&received), Ok(20_636));
    assert_eq!(berlin.time_of_day(&received), Ok(90 * 60_000_000 + 500_000));
}

#[test]
fn a_local_column_keeps_what_has_no_offset_and_shifts_what_has_one() {
    let berlin = face(None, "Europe/Berlin");
    assert_eq!(berlin.local(&Value::Text("2026-07-01 12:00:00")), Ok(utc("2026-07-01T12:00:00Z")));
    assert_eq!(berlin.local(&Value::Text("2026-07-01T12:00:00Z")), Ok(utc("2026-07-01T14:00:00Z")));
    assert_eq!(berlin.local(&Value::Instant(utc("2026-07-01T12:00:00Z"))), Ok(utc("2026-07-01T14:00:00Z")));
}

#[test]
fn the_text_form_has_milliseconds_always() {
    let mut out = String::new();
    write_instant(utc("2026-11-21T08:26:00.123999Z"), &mut out);
    assert_eq!(out, "2026-11-21T08:26:00.123Z");
    out.clear();
    write_instant(utc("2026-11-21T08:26:00Z"), &mut out);
    assert_eq!(out, "2026-11-21T08:26:00.000Z");
}

fn instant_as(format: TimeFormat, value: &Value<'_>) -> Result<i64, Misfit> {
    Clockface { format: Some(format), zone: TimeZone::UTC }.instant(value)
}

#[test]
fn auto_tells_the_unit_of_an_epoch_by_its_digits() {
    let auto = |text: &str| instant_as(TimeFormat::Auto, &Value::Number(text)).ok();
    for (text, micros) in [
        ("1670380342", Some(1_670_380_342_000_000)),
        ("1670380342.25", Some(1_670_380_342_250_000)),
        ("1.670380342e9", Some(1_670_380_342_000_000)),
        ("1670380342001", Some(1_670_380_342_001_000)),
        ("1670380342000001", Some(1_670_380_342_000_001)),
        // Finer than a microsecond, the resolution of the databases: cut off.
        ("1670380342000001001", Some(1_670_380_342_000_001)),
        ("100000000", Some(100_000_000_000_000)),
        ("9999999999", Some(9_999_999_999_000_000)),
        ("100000000000", Some(100_000_000_000_000)),
        ("9999999999999999999", Some(9_999_999_999_999_999)),
        ("99999999", None),
        ("10000000000", None),
        ("99999999999", None),
        ("20261128103000", None),
        ("99999999999999999999", None),
        ("-1670380342", None),
        ("0", None),
    ] {
        assert_eq!(auto(text), micros, "{text}");
        assert_eq!(instant_as(TimeFormat::Auto, &Value::Text(text)).ok(), micros, "{text} as a string");
    }
    assert_eq!(instant_as(TimeFormat::Auto, &Value::Int(1_670_380_342)).ok(), Some(1_670_380_342_000_000));
    assert_eq!(instant_as(TimeFormat::Auto, &Value::Text("1970-01-01T00:00:01Z")).ok(), Some(1_000_000));
    assert!(instant_as(TimeFormat::Auto, &Value::Number("5000")).unwrap_err().0.contains("`time: s`"));
    assert!(instant_as(TimeFormat::Auto, &Value::Bool(true)).is_err());
}

#[test]
fn of_several_formats_the_first_that_reads_a_value_counts() {
    let formats: Vec<TimeFormat> =
        ["%d.%m.%Y %H:%M", "s", "rfc3339"].iter().map(|text| TimeFormat::parse(text).unwrap()).collect();
    let read = |value: &Value<'_>| instant_as(TimeFormat::OneOf(formats.clone().into()), value);
    assert_eq!(read(&Value::Text("01.01.1970 01:00")).ok(), Some(3_600_000_000));
    assert_eq!(read(&Value::Number("1.5")).ok(), Some(1_500_000));
    assert_eq!(read(&Value::Text("1970-01-01T00:00:02+00:00")).ok(), Some(2_000_000));
    let why = read(&Value::Text("yesterday")).unwrap_err().0;
    assert_eq!(why, "a string that none of the column's time formats reads");
}
