//! Machbase's writing descriptor: `db/append/EXAMPLE:csv:gzip?timeformat=s&heading=true`.
//!
//! It names the table and the format of payloads. A message's topic has the part before the `?`. Its MQTT 5 user
//! properties may give the same options and override the topic.

use std::fmt;

use jiff::tz::TimeZone;

use super::{GoLayout, TimeFormat};

/// What a descriptor, or a message, says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Descriptor {
    pub table: String,
    pub form: Form,
}

/// How payloads are written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Form {
    pub notation: Notation,
    pub is_gzip: bool,
    pub header: Heading,
    /// ASCII.
    pub delimiter: u8,
    pub time: TimeFormat,
    /// A name of the time zone database.
    pub zone: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notation {
    Json,
    Ndjson,
    Csv,
    /// InfluxDB's line protocol.
    Lines,
}

/// What the first record of CSV is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Heading {
    None,
    Skip,
    Columns,
}

/// The rest of a sentence that begins with what was read.
pub type DescriptorFault = String;

impl Default for Form {
    /// Machbase's defaults.
    fn default() -> Form {
        Form {
            notation: Notation::Json,
            is_gzip: false,
            header: Heading::None,
            delimiter: b',',
            time: TimeFormat::Nanos,
            zone: None,
        }
    }
}

impl Descriptor {
    /// `db/METHOD/TABLE[:FORMAT[:COMPRESS]][?OPTIONS]`, with METHOD append, write or metrics.
    pub fn parse(text: &str) -> Result<Descriptor, DescriptorFault> {
        let (path, options) = match text.split_once('?') {
            Some((path, options)) => (path, options),
            None => (text, ""),
        };
        let mut levels = path.trim_start_matches('/').splitn(3, '/');
        let (Some("db"), Some(method), Some(rest)) = (levels.next(), levels.next(), levels.next()) else {
            return Err("is not `db/append/TABLE`, `db/write/TABLE` or `db/metrics/TABLE`".to_owned());
        };
        let mut form = Form::default();
        match method {
            "append" | "write" => {}
            "metrics" => form.notation = Notation::Lines,
            _ => return Err(format!("has the method `{method}`; there are append, write and metrics")),
        }
        let mut parts = rest.split(':').map(str::trim);
        let table = parts.next().unwrap_or_default().to_owned();
        if table.is_empty() {
            return Err("names no table".to_owned());
        }
        for (option, value) in ["format", "compress"].into_iter().zip(&mut parts) {
            if !value.is_empty() && value != "-" {
                form.set(option, value)?;
            }
        }
        if parts.next().is_some() {
            return Err("has more than table, format and compression".to_owned());
        }
        for pair in options.split('&').filter(|pair| !pair.is_empty()) {
            let (option, value) = pair.split_once('=').unwrap_or((pair, "true"));
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
            if !form.set(option, value.trim())? {
                return Err(format!(
                    "has the option `{option}`; there are format, compress, timeformat, tz, delimiter, header and heading"
                ));
            }
        }
        Ok(Descriptor { table, form })
    }
}

impl Form {
    /// Sets an option; `false` if it is none of ours. `method` and `reply`, which say nothing of the form, are passed over.
    pub fn set(&mut self, option: &str, value: &str) -> Result<bool, DescriptorFault> {
        let lower = value.to_ascii_lowercase();
        match option.to_ascii_lowercase().as_str() {
            "format" => {
                self.notation = match lower.as_str() {
                    "json" => Notation::Json,
                    "ndjson" => Notation::Ndjson,
                    "csv" => Notation::Csv,
                    "influx" | "ilp" | "lineprotocol" => Notation::Lines,
                    _ => return Err("has an unsupported format; there are json, ndjson, csv and influx".to_owned()),
                }
            }
            "compress" => {
                self.is_gzip = match lower.as_str() {
                    "gzip" => true,
                    "" | "-" | "none" => false,
                    _ => return Err("has an unsupported compression; there is gzip".to_owned()),
                }
            }
            "timeformat" => self.time = time_format(value)?,
            "tz" => {
                self.zone = match lower.as_str() {
                    "utc" | "" => None,
                    "kst" => Some("Asia/Seoul".to_owned()),
                    "local" => Some("Local".to_owned()),
                    _ if TimeZone::get(value).is_ok() => Some(value.to_owned()),
                    _ => return Err("has a time zone that this machine does not know".to_owned()),
                }
            }
            "delimiter" => match value.as_bytes() {
                [byte] if byte.is_ascii() => self.delimiter = *byte,
                _ if value == "\\t" => self.delimiter = b'\t',
                _ => return Err("has a delimiter that is not one ASCII character".to_owned()),
            },
            "header" => {
                self.header = match lower.as_str() {
                    "skip" => Heading::Skip,
                    "columns" | "column" => Heading::Columns,
                    "" | "none" | "false" => Heading::None,
                    _ => return Err("has a header option that is neither skip nor columns".to_owned()),
                }
            }
            "heading" => {
                self.header = match lower.as_str() {
                    "true" | "t" | "1" => Heading::Skip,
                    "" | "false" | "f" | "0" => Heading::None,
                    _ => return Err("has a heading that is neither true nor false".to_owned()),
                }
            }
            "method" => match lower.as_str() {
                "" | "insert" | "append" | "write" => {}
                _ => return Err("has an unsupported method; there are insert and append".to_owned()),
            },
            "reply" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl fmt::Display for Descriptor {
    /// Everything that tells it from another.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Form { notation, is_gzip, header, delimiter, time, zone } = &self.form;
        let delimiter = char::from(*delimiter);
        write!(f, "{}:{notation:?}:{is_gzip}:{header:?}:{delimiter}:{time:?}:{zone:?}", self.table)
    }
}

/// Machbase's names of time formats, or a layout as Go writes it.
fn time_format(text: &str) -> Result<TimeFormat, DescriptorFault> {
    let named = match text.to_ascii_lowercase().trim_end_matches(".str") {
        "s" => Some("s"),
        "ms" => Some("ms"),
        "us" => Some("us"),
        "" | "ns" => Some("ns"),
        "rfc3339" | "rfc3339nano" => Some("rfc3339"),
        "default" | "default_ms" | "default_us" | "default_ns" => Some("%Y-%m-%d %H:%M:%S%.f"),
        "ansic" => Some("%a %b %e %H:%M:%S %Y"),
        "kitchen" => Some("%I:%M%p"),
        "unix" => Some("%a %b %e %H:%M:%S %Z %Y"),
        "rfc822" => Some("%d %b %y %H:%M %Z"),
        "rfc822z" => Some("%d %b %y %H:%M %z"),
        "rfc850" => Some("%A, %d-%b-%y %H:%M:%S %Z"),
        "rfc1123" => Some("%a, %d %b %Y %H:%M:%S %Z"),
        "rfc1123z" => Some("%a, %d %b %Y %H:%M:%S %z"),
        _ => None,
    };
    let none = || "has a time format that is none of Machbase's and no layout of Go's".to_owned();
    let patterns = match named {
        Some(named) => vec![named.to_owned()],
        None if text.contains('%') => vec![text.to_owned()],
        None => GoLayout::parse(text).and_then(|layout| layout.patterns()).ok_or_else(none)?,
    };
    let formats: Result<Vec<_>, _> = patterns.iter().map(|pattern| TimeFormat::parse(pattern)).collect();
    match formats.map_err(|_| none())?.as_mut_slice() {
        [only] => Ok(only.clone()),
        several => Ok(TimeFormat::OneOf(several.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Descriptor::parse(text).unwrap().form
    }

    #[test]
    fn the_parts_of_a_descriptor_are_read() {
        assert_eq!(Descriptor::parse("db/append/EXAMPLE").unwrap().table, "EXAMPLE");
        assert_eq!(form("db/append/EXAMPLE"), Form::default());
        assert_eq!(form("db/write/EXAMPLE:json"), Form::default());
        let csv = form("db/append/EXAMPLE:csv: gzip?timeformat=s&heading=true&tz=Asia/Seoul&delimiter=%7C");
        assert_eq!((csv.notation, csv.is_gzip, csv.header, csv.delimiter), (Notation::Csv, true, Heading::Skip, b'|'));
        assert_eq!((csv.time, csv.zone.as_deref()), (TimeFormat::Seconds, Some("Asia/Seoul")));
        assert_eq!(form("db/metrics/EXAMPLE").notation, Notation::Lines);
        assert_eq!(form("db/append/EXAMPLE:ndjson:-").notation, Notation::Ndjson);
    }

    #[test]
    fn what_is_none_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "is not"),
            ("db/append", "is not"),
            ("iot/append/X", "is not"),
            ("db/drop/X", "method"),
            ("db/append/:csv", "no table"),
            ("db/append/X:xml", "format"),
            ("db/append/X:csv:zip", "compression"),
            ("db/append/X:csv:gzip:x", "more than"),
            ("db/append/X?timeformat=tomorrow", "time format"),
            ("db/append/X?color=red", "option `color`"),
            ("db/append/X?delimiter=ab", "delimiter"),
            ("db/append/X?header=maybe", "header"),
        ] {
            let fault = Descriptor::parse(text).unwrap_err();
            assert!(fault.contains(why), "{text}: {fault}");
        }
    }

    #[test]
    fn layouts_of_go_become_patterns() {
        for (layout, pattern) in [
            ("2006-01-02 15:04:05", "%Y-%m-%d %H:%M:%S%.f"),
            ("2006-01-02 15:04:05.999", "%Y-%m-%d %H:%M:%S%.f"),
            ("Mon, 02 Jan 2006 03:04:05 PM -0700", "%a, %d %b %Y %I:%M:%S%.f %p %z"),
            ("20060102150405", "%Y%m%d%H%M%S%.f"),
            ("02.01.06", "%d.%m.%y"),
            ("2006-01-02 15:04 -07", "%Y-%m-%d %H:%M %:::z"),
            ("15:04:05,000", "%H:%M:%S,%f"),
        ] {
            assert_eq!(time_format(layout).unwrap(), TimeFormat::Pattern(pattern.to_owned()), "{layout}");
        }
        let either =
            |patterns: [&str; 2]| TimeFormat::OneOf(patterns.map(|one| TimeFormat::Pattern(one.to_owned())).into());
        assert_eq!(
            time_format("2006/01/02T15:04:05Z07:00").unwrap(),
            either(["%Y/%m/%dT%H:%M:%S%.f%:z", "%Y/%m/%dT%H:%M:%S%.f%Z"])
        );
        let many = format!("2006-01-02 15:04:05{}", "Z07".repeat(10_000));
        for layout in ["2006-01-02 05", "2006-01-02 04:05", "Stamp", "s_ms", "January", &many] {
            assert!(time_format(layout).is_err(), "{layout}");
        }
        for (name, pattern) in [
            ("RFC1123", "%a, %d %b %Y %H:%M:%S %Z"),
            ("rfc1123z", "%a, %d %b %Y %H:%M:%S %z"),
            ("RFC822", "%d %b %y %H:%M %Z"),
            ("RFC850", "%A, %d-%b-%y %H:%M:%S %Z"),
            ("Unix", "%a %b %e %H:%M:%S %Z %Y"),
            ("Ansic", "%a %b %e %H:%M:%S %Y"),
            ("Kitchen", "%I:%M%p"),
            ("3:04PM", "%I:%M%p"),
        ] {
            assert_eq!(time_format(name).unwrap(), TimeFormat::Pattern(pattern.to_owned()), "{name}");
        }
        assert_eq!(time_format("Default").unwrap(), TimeFormat::Pattern("%Y-%m-%d %H:%M:%S%.f".to_owned()));
        assert_eq!(time_format("RFC3339Nano").unwrap(), TimeFormat::Rfc3339);
        assert_eq!(time_format("ns.str").unwrap(), TimeFormat::Nanos);
    }
}
