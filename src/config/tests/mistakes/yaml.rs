//! Files that are not YAML, not text, or wrongly indented. The report shows the line and the remedy.

use std::fs;

use crate::config::tests::{Bench, REST, assert_finding, only_finding};

#[test]
fn a_syntax_error_is_one_finding_with_its_line() {
    let (finding, _) = only_finding("mqtt:\n  url: [a\nrules: {\n");
    assert!(finding.contains("not YAML"), "{finding}");
    let (_, report) = only_finding("mqtt: {client_id: ${HOSTNAME}}\n");
    assert!(report.contains("accepted: quotes around a value with braces"), "{report}");
    assert_eq!(Bench::new("").findings(), ["1:1 databases: is missing", "1:1 rules: is missing"]);
    assert_finding("- a\n- b\n", "1:1 : the file is not a mapping");
}

#[test]
fn bytes_that_are_no_text_are_found_where_they_are() {
    let bench = Bench::new("");
    fs::write(bench.request.file.as_ref().unwrap(), b"a: \xc3\xa9\nb: \xff\n").unwrap();
    assert_eq!(bench.findings(), ["2:4 : the file is not UTF-8 text from here on"]);
}

#[test]
fn tabs_and_wrong_indentation_are_shown_with_a_caret_and_what_to_do() {
    for (text, position, shown, remedy) in [
        ("mqtt:\n\turl: x\n", "2:1", "| →url: x\n    | ^", "spaces"),
        ("mqtt:\n  url: x\n\tclient_id: a\n", "3:1", "| →client_id: a\n    | ^", "spaces"),
        ("mqtt:\n  url: x\n  \tclient_id: a\n", "3:3", "|   →client_id: a\n    |   ^", "spaces"),
        ("mqtt:\n  url:\tx\n", "2:8", "|   url:→x\n    |        ^", "spaces"),
        ("mqtt:\n  url: x\n client_id: a\n", "3:2", "|  client_id: a\n    |  ^", "same column"),
        ("mqtt:\n  url: x\n   client_id: a\n", "3:13", "|    client_id: a\n    |             ^", "same column"),
        ("rules:\n  - topic: a\n   table: t\n", "3:4", "|    table: t\n    |    ^", "same column"),
        ("mqtt:\n  url: %x\n", "2:8", "|   url: %x\n    |        ^", "quotes around"),
        ("mqtt: {client_id: ${HOSTNAME}}\n", "1:20", "| mqtt: {client_id: ${HOSTNAME}}\n", "braces"),
    ] {
        let report = Bench::new(text).report().to_string();
        assert!(report.contains(&format!("bridge.yaml:{position}: ")), "{text}\n{report}");
        assert!(report.contains(shown) && report.contains(remedy), "{text}\n{report}");
    }
}

#[test]
fn in_a_file_with_a_password_the_line_is_shown_without_its_values() {
    let report = Bench::new("mqtt:\n  password: hunter2\n   url: mqtt://geheim\n").report().to_string();
    assert!(report.contains("|    url: …\n") && !report.contains("geheim") && !report.contains("hunter2"), "{report}");
}

#[test]
fn a_file_in_utf_16_is_named_as_such() {
    let bench = Bench::new("");
    fs::write(bench.request.file.as_ref().unwrap(), b"\xff\xfem\0q\0").unwrap();
    assert!(bench.report().to_string().contains("UTF-16"), "{}", bench.report());
}

#[test]
fn a_key_that_lost_its_indentation_is_told_where_it_belongs() {
    let bench = Bench::new(&format!("mqtt:\nurl: mqtt://h\nclient_id: x\n{REST}"));
    let problem = "this key is not known here; if it belongs to `mqtt`, it stands further right";
    assert_eq!(bench.findings(), [format!("2:1 url: {problem}"), format!("3:1 client_id: {problem}")]);
    let bench = Bench::new(&format!("mqtt: {{}}\nurl: mqtt://h\n{REST}"));
    assert_eq!(bench.findings(), ["2:1 url: this key is not known"]);
}
