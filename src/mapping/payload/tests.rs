//! Payloads of every format through [`documents`].

use super::*;
use crate::config::{Csv, CsvHeader, Decoding, Pattern, Precision};
use crate::rule::Source;

/// Each document's values at `paths`, as JSON text; bytes as `x` and hex digits.
pub(super) fn read(decoding: &Decoding, payload: &[u8], paths: &[&str]) -> Result<Vec<Vec<String>>, PayloadFault> {
    let steps = paths.iter().map(|path| match Source::parse(path).unwrap() {
        Source::Payload(steps) => Path::Steps(steps),
        other => panic!("{other:?} is no payload path"),
    });
    let (tree, slots) = PathTree::compile(&steps.collect::<Vec<_>>());
    let (mut memory, mut found) = (DocumentMemory::default(), Vec::<Vec<String>>::new());
    let result = documents::<PayloadFault>(decoding, payload, (&tree, &Scalars::Json), &mut memory, &mut |document| {
        found.push(slots.iter().map(|slot| shown(&document, document.slots[*slot])).collect());
        Ok(())
    });
    // In the other form there are the same values, and the same fault.
    let plain = Scalars::Plain(vec![true; tree.slot_count].into());
    let mut number = 0;
    let again = documents::<PayloadFault>(decoding, payload, (&tree, &plain), &mut memory, &mut |document| {
        for (slot, shown) in slots.iter().zip(&found[number]) {
            assert!(is_shown(document.slot(*slot), shown), "{:?} is not {shown}", document.slot(*slot));
        }
        number += 1;
        Ok(())
    });
    assert_eq!(result, again);
    result.map(|()| found)
}

fn is_shown(value: Option<Option<Value<'_>>>, shown: &str) -> bool {
    match value {
        None => shown == "-",
        Some(None) => shown == "null",
        Some(Some(Value::Text(text))) => serde_json::from_str::<String>(shown).is_ok_and(|shown| shown == text),
        Some(Some(Value::Double(number))) => shown.parse::<f64>().unwrap().to_bits() == number.to_bits(),
        Some(Some(Value::Bool(truth))) => shown == truth.to_string(),
        Some(Some(Value::Number(text) | Value::JsonString(text) | Value::Tree(text))) => shown == text,
        Some(Some(Value::Bytes(_))) => shown.starts_with('x'),
        Some(Some(Value::Int(_) | Value::Instant(_))) => false,
    }
}

/// One document's values.
pub(super) fn read_one(syntax: &Syntax, payload: &[u8], paths: &[&str]) -> Vec<String> {
    let mut found = read(&Decoding::of(syntax.clone()), payload, paths).unwrap();
    assert_eq!(found.len(), 1, "one document");
    found.remove(0)
}

fn fault(syntax: &Syntax, payload: &[u8]) -> String {
    read(&Decoding::of(syntax.clone()), payload, &["payload"]).expect_err("a fault").message
}

fn shown(document: &Document<'_>, slot: Slot) -> String {
    let Some((start, end)) = slot else { return "-".to_owned() };
    match document.value((start, end)) {
        Some(Value::Bytes(bytes)) => bytes.iter().fold("x".to_owned(), |hex, byte| format!("{hex}{byte:02x}")),
        _ => document.text[start as usize..end as usize].to_owned(),
    }
}

fn all(syntax: &Syntax, payload: &[u8], paths: &[&str]) -> Vec<Vec<String>> {
    read(&Decoding::of(syntax.clone()), payload, paths).unwrap()
}

#[test]
fn each_line_of_ndjson_is_a_document() {
    let payload = b"{\"a\":1}\r\n\n  \n{\"b\":[2]}\n\"x\"\n";
    let found = all(&Syntax::Ndjson, payload, &["payload.a", "payload.b[0]", "payload"]);
    assert_eq!(found, [["1", "-", "{\"a\":1}"], ["-", "2", "{\"b\":[2]}"], ["-", "-", "\"x\""]]);
    assert!(fault(&Syntax::Ndjson, b"1\n\n{\n").starts_with("line 3: the payload is not JSON"));
    assert_eq!(fault(&Syntax::Ndjson, b" \n"), "the payload is empty");
}

#[test]
fn auto_tells_json_from_lines_of_it_and_from_csv() {
    let auto = Syntax::Auto(Csv::default());
    let paths = ["payload.a", "payload[1]"];
    assert_eq!(all(&auto, b"{\n \"a\": 1\n}\n", &paths), [["1", "-"]]);
    assert_eq!(all(&auto, b" {\"a\":1}\n{\"a\":2}\n", &paths), [["1", "-"], ["2", "-"]]);
    assert_eq!(all(&auto, b"[1,2]\n[3,4]", &paths), [["-", "2"], ["-", "4"]]);
    assert_eq!(all(&auto, b"1,x\n2,\n", &paths), [["-", "\"x\""], ["-", "null"]]);
    assert!(fault(&auto, b"{\"a\":\n1").starts_with("the payload is not JSON"));
    assert!(fault(&auto, b"{\"a\":1}\n{\"a\":").starts_with("line 2: the payload is not JSON"));
}

fn csv(shape: impl FnOnce(&mut Csv)) -> Syntax {
    let mut csv = Csv::default();
    shape(&mut csv);
    Syntax::Csv(csv)
}

#[test]
fn csv_records_are_arrays() {
    let payload = b"1,\"a,\"\"b\"\"\n c\",,NULL\r\n\r\n2,x\"y, z ,\"\"\n";
    let paths = ["payload[0]", "payload[1]", "payload[2]", "payload[-1]", "payload[9]", "payload.a"];
    let found = all(&csv(|_| {}), payload, &paths);
    assert_eq!(found[0], ["\"1\"", r#""a,\"b\"\n c""#, "null", "null", "-", "-"]);
    assert_eq!(found[1], ["\"2\"", "\"x\\\"y\"", "\" z \"", "null", "-", "-"]);
    let whole = all(&csv(|_| {}), b"1,\"a\"\n", &["payload", "payload[1]"]);
    assert_eq!(whole, [["[\"1\",\"a\"]", "\"a\""]]);
}

#[test]
fn csv_records_have_names_from_the_header_or_the_rule() {
    let by_header = csv(|csv| csv.header = CsvHeader::Columns);
    let paths = ["payload.b", "payload.a", "payload"];
    let found = all(&by_header, b"a, b\n1,2\n3,4", &paths);
    assert_eq!(found[0], ["\"2\"", "\"1\"", r#"{"a":"1","b":"2"}"#]);
    assert_eq!(found[1], ["\"4\"", "\"3\"", r#"{"a":"3","b":"4"}"#]);
    assert!(all(&by_header, b"a,b\n", &paths).is_empty(), "a header alone is no row");
    let by_rule = csv(|csv| {
        csv.columns = Some(vec!["a".to_owned(), "b".to_owned()]);
        csv.header = CsvHeader::Skip;
        csv.delimiter = b';';
        csv.null = vec!["n/a".to_owned()];
    });
    assert_eq!(all(&by_rule, b"x;y\n;n/a\n", &paths[..2]), [["null", "\"\""]]);
}

#[test]
fn csv_that_is_none_is_refused_by_line() {
    for (payload, message) in [
        (&b"1,2\n3\n"[..], "line 2: a record of 1 fields, where 2 the first record has"),
        (b"1\n\"a\nb", "line 2: a quote is opened and never closed"),
        (b"1\n\n\"a\nb\"x", "line 4: something stands behind a closing quote"),
        (b"\n\n", "the payload is empty"),
    ] {
        assert_eq!(fault(&csv(|_| {}), payload), message);
    }
    let named = csv(|csv| csv.columns = Some(vec!["a".to_owned()]));
    assert_eq!(fault(&named, b"1,2"), "line 1: a record of 2 fields, where 1 are named");
}

#[test]
fn text_and_encoded_bytes_are_one_value() {
    assert_eq!(read_one(&Syntax::Text, "a\"é\n".as_bytes(), &["payload"]), ["\"a\\\"é\\n\""]);
    assert_eq!(read_one(&Syntax::Bytes, b"\0\xff", &["payload", "payload.a"]), ["x00ff", "-"]);
    assert_eq!(read_one(&Syntax::Hex, b"00 fF\n", &["payload"]), ["x00ff"]);
    for base64 in ["AP/+", "AP_-", "AP/+\r\n", "AP\n/+"] {
        assert_eq!(read_one(&Syntax::Base64, base64.as_bytes(), &["payload"]), ["x00fffe"], "{base64}");
    }
    assert_eq!(read_one(&Syntax::Base64, b"AA", &["payload"]), ["x00"]);
    assert_eq!(fault(&Syntax::Hex, b"0g"), "the payload is not hexadecimal (byte 2)");
    assert_eq!(fault(&Syntax::Hex, b"012"), "the payload has an odd number of hexadecimal digits");
    assert_eq!(fault(&Syntax::Base64, b"AP*="), "the payload is not base64 (character 3)");
    assert!(fault(&Syntax::Text, b"\xff").starts_with("the payload is not UTF-8 (byte 1)"));
}

#[test]
fn named_groups_of_a_regex_are_the_values() {
    let pattern = |each_line| {
        let regex = regex::Regex::new(r"^(?<v>[0-9.]+)(?<unit>\w+)?$").unwrap();
        Syntax::Regex(Pattern { regex, each_line })
    };
    let paths = ["payload.v", "payload.unit", "payload"];
    assert_eq!(read_one(&pattern(false), b"21.5C", &paths), ["\"21.5\"", "\"C\"", r#"{"v":"21.5","unit":"C"}"#]);
    assert_eq!(read_one(&pattern(false), b"21", &paths), ["\"21\"", "-", r#"{"v":"21"}"#]);
    assert_eq!(all(&pattern(true), b"1a\r\n\n2b\n", &paths[..1]), [["\"1\""], ["\"2\""]]);
    assert_eq!(fault(&pattern(false), b"?"), "the payload does not match the rule's `regex`");
    assert_eq!(fault(&pattern(true), b"1a\n?"), "line 2 does not match the rule's `regex`");
}

#[test]
fn line_protocol_is_read_with_its_escapes_types_and_times() {
    let influx = Syntax::Influx(Precision::Nanoseconds);
    let line = br#"my\,m\ x,t\=1=a\ b\,c,host=h f=1.5,i=-3i,u=18446744073709551615u,b=t,s="q\"\\ x,y=z",odd\ key=.5 1670380342000000001"#;
    let paths = [
        "payload.measurement",
        "payload.tags[\"t=1\"]",
        "payload.tags.host",
        "payload.fields.f",
        "payload.fields.i",
        "payload.fields.u",
        "payload.fields.b",
        "payload.fields.s",
        "payload.fields[\"odd key\"]",
        "payload.time",
    ];
    let expected = [
        r#""my,m x""#,
        r#""a b,c""#,
        "\"h\"",
        "1.5",
        "-3",
        "18446744073709551615",
        "true",
        r#""q\"\\ x,y=z""#,
        "0.5",
        "1670380342000000001",
    ];
    assert_eq!(read_one(&influx, line, &paths), expected);
    let payload = b"# comment\nm f=1 5\r\n\nm,t=x f=\"a\nb\"\n  m f=2i  7 \n";
    let found = all(&influx, payload, &["payload.time", "payload.fields", "payload.tags", "payload.tags.t"]);
    assert_eq!(found[0], ["5", r#"{"f":1}"#, "{}", "-"]);
    assert_eq!(found[1], ["-", r#"{"f":"a\nb"}"#, r#"{"t":"x"}"#, "\"x\""]);
    assert_eq!(found[2], ["7", r#"{"f":2}"#, "{}", "-"]);
    let numbers = Syntax::InfluxNumbers(Precision::Nanoseconds);
    assert_eq!(read_one(&numbers, b"m s=\"7\",f=1,b=t,i=2i 5", &["payload.fields"]), [r#"{"f":1,"i":2}"#]);
    assert_eq!(read_one(&numbers, b"m s=\"7\" 5", &["payload.fields", "payload.time"]), ["{}", "5"]);
    for (written, expected) in [
        (".5", "0.5"),
        ("-.50", "-0.50"),
        ("+1.10", "1.10"),
        ("007.50", "7.50"),
        ("-00", "-0"),
        ("5.", "5"),
        (".5e3", "0.5e3"),
        ("5.E-07", "5E-07"),
        ("1.50e+2", "1.50e+2"),
    ] {
        assert_eq!(read_one(&influx, format!("m f={written} 5").as_bytes(), &["payload.fields.f"]), [expected]);
    }
    let seconds = Syntax::Influx(Precision::Seconds);
    let whole = read_one(&seconds, b"m f=1 -7", &["payload"]);
    assert_eq!(whole, [r#"{"measurement":"m","tags":{},"fields":{"f":1},"time":-7000000000}"#]);
}

#[test]
fn what_is_no_line_protocol_is_refused_by_line() {
    let influx = Syntax::Influx(Precision::Nanoseconds);
    for (payload, message) in [
        (&b"m f=1\nm"[..], "line 2: no fields stand behind the measurement and its tags"),
        (b"m,t f=1", "line 1: a tag is not KEY=VALUE"),
        (b"m,t= f=1", "line 1: a tag is not KEY=VALUE"),
        (b"m f", "line 1: a field is not KEY=VALUE"),
        (b"m f=", "line 1: a field is no number, truth value or string in quotes"),
        (b"m f=x", "line 1: a field is no number, truth value or string in quotes"),
        (b"m f=NaN", "line 1: a field is no number, truth value or string in quotes"),
        (b"m f=9223372036854775808i", "line 1: a field ends in `i` and is no 64-bit integer"),
        (b"m f=-1u", "line 1: a field ends in `u` and is no unsigned 64-bit integer"),
        (b"m f=\"a\n", "line 1: a string is opened and never closed"),
        (b"m f=1 x", "line 1: something stands behind the point"),
        (b"m f=1 99999999999999999999", "line 1: the time is no 64-bit integer"),
        (b"# only a comment", "the payload is empty"),
    ] {
        assert_eq!(fault(&influx, payload), message);
    }
}

#[test]
fn messagepack_is_read_along_the_paths() {
    // {"a": [1, -1, 2.5, bin 00ff], "b": {"c": null, 7: true}, "a2": "x\"", "t": timestamp}
    let payload = b"\x84\xa1a\x94\x01\xff\xcb\x40\x04\0\0\0\0\0\0\xc4\x02\x00\xff\xa1b\x82\xa1c\xc0\x07\xc3\xa2a2\xa2x\"\xa1t\xd6\xff\0\0\0\x05";
    let paths = [
        "payload.a[1]",
        "payload.a[2]",
        "payload.a[-1]",
        "payload.a",
        "payload.b.c",
        "payload.b[\"7\"]",
        "payload.a2",
        "payload.t",
        "payload.a2.x",
        "payload.none",
    ];
    let expected = [
        "-1",
        "2.5",
        "x00ff",
        "[1,-1,2.5,\"AP8=\"]",
        "null",
        "true",
        "\"x\\\"\"",
        "\"1970-01-01T00:00:05Z\"",
        "-",
        "-",
    ];
    assert_eq!(read_one(&Syntax::Msgpack, payload, &paths), expected);
    assert_eq!(
        read_one(&Syntax::Msgpack, b"\x82\xa1a\x81\xa1b\x01\xa1a\x02", &["payload.a.b", "payload.a"]),
        ["-", "2"]
    );
    for (payload, message) in [
        (&b"\x81\xa1a"[..], "the payload is not MessagePack: it ends too early (byte 4)"),
        (b"\xc1", "the payload is not MessagePack: a byte that begins no value (byte 1)"),
        (b"\x01\x02", "the payload is not MessagePack: something stands behind its end (byte 2)"),
        (b"\xdb\xff\xff\xff\xffa", "the payload is not MessagePack: a length beyond its end (byte 6)"),
        (b"\xa1\xff", "the payload is not MessagePack: a string that is not UTF-8 (byte 2)"),
        (b"", "the payload is empty"),
    ] {
        assert_eq!(fault(&Syntax::Msgpack, payload), message);
    }
}

#[test]
fn cbor_is_read_along_the_paths() {
    let one = |payload: &[u8]| read_one(&Syntax::Cbor, payload, &["payload"]).remove(0);
    for (payload, expected) in [
        (&b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff"[..], "18446744073709551615"),
        (b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", "-18446744073709551616"),
        (b"\xc2\x49\x01\0\0\0\0\0\0\0\0", "18446744073709551616"),
        (b"\xc3\x49\x01\0\0\0\0\0\0\0\0", "-18446744073709551617"),
        (b"\xc2\x40", "0"),
        (b"\xc4\x82\x21\x19\x6a\xb3", "273.15"),
        (b"\xc4\x82\x21\x18\x6e", "1.10"),
        (b"\xc4\x82\x21\x20", "-0.01"),
        (b"\xc4\x82\x22\x38\x63", "-0.100"),
        (b"\xc4\x82\x21\x00", "0.00"),
        (b"\xc4\x82\x01\x0b", "110"),
        (b"\xc4\x82\x02\x00", "0"),
        (b"\xc4\x82\x00\x0b", "11"),
        (b"\xc4\x82\x38\x27\x01", "0.0000000000000000000000000000000000000001"),
        (b"\xc4\x82\x38\x28\x01", "1e-41"),
        (b"\xc4\x82\x18\x29\x01", "1e41"),
        (b"\xc4\x82\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x01", "1e18446744073709551615"),
        (b"\xf9\x3c\x00", "1.0"),
        (b"\xf9\x00\x01", "5.960464477539063e-8"),
        (b"\xf9\x7e\x00", "\"NaN\""),
        (b"\xfa\xff\x80\0\0", "\"-Infinity\""),
        (b"\xc1\xfb\x41\xd4\x52\xd9\xec\x20\0\0", "\"2013-03-21T20:04:00.5Z\""),
        (b"\xc1\x1a\x51\x4b\x67\xb0", "\"2013-03-21T20:04:00Z\""),
        (b"\xd9\xd9\xf7\xc0\x61a", "\"a\""),
        (b"\x7f\x61a\x61b\xff", "\"ab\""),
        (b"\x5f\x41\x01\x41\x02\xff", "x0102"),
        (b"\x9f\x01\x82\x02\x03\x9f\x04\xff\xff", "[1,[2,3],[4]]"),
        (b"\xbf\x61a\x01\x61b\xf7\x20\xf4\xff", r#"{"a":1,"b":null,"-1":false}"#),
    ] {
        assert_eq!(one(payload), expected, "{payload:x?}");
    }
    let nested = b"\xbf\x61a\x9f\x01\xbf\x61b\x41\x05\xff\xff\x61c\x02\xff";
    assert_eq!(read_one(&Syntax::Cbor, nested, &["payload.a[1].b", "payload.c", "payload.a[5]"]), ["x05", "2", "-"]);
    for (payload, message) in [
        (&b"\xff"[..], "an end where a value is expected (byte 1)"),
        (b"\xbf\x61a\xff", "an end where a value is expected (byte 4)"),
        (b"\xc5\x82\x01\x02", "a number base 2 (tag 5), which is not supported (byte 1)"),
        (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "it ends too early (byte 10)"),
        (b"\x1c", "a byte that begins no value (byte 1)"),
        (b"\x7f\x41a\xff", "a string in pieces, one of which is no string (byte 2)"),
    ] {
        assert_eq!(fault(&Syntax::Cbor, payload), format!("the payload is not CBOR: {message}"));
    }
}

#[test]
fn hostile_nesting_costs_no_stack() {
    for (syntax, open) in [(Syntax::Msgpack, 0x91), (Syntax::Cbor, 0x81), (Syntax::Cbor, 0x9f), (Syntax::Cbor, 0xc1)] {
        let payload = vec![open; 1 << 20];
        for paths in [&["payload"][..], &["payload[1]"], &["payload.a"], &["payload[0][0]", "payload[0]"]] {
            assert!(read(&Decoding::of(syntax.clone()), &payload, paths).is_err(), "{open:x}");
        }
    }
}

#[test]
fn compression_and_charset_come_off_before_the_format() {
    let mut decoding = Decoding::of(Syntax::Json);
    decoding.compression = crate::config::Compression::Auto;
    decoding.charset = encoding_rs::GBK;
    assert_eq!(read(&decoding, b"{\"a\":\"\xce\xc2\"}", &["payload.a"]).unwrap(), [["\"温\""]]);
    assert_eq!(read(&decoding, b"\xff\xfe1\0", &["payload"]).unwrap(), [["1"]]);
}
