//! The `publish` section.

use super::{Bench, REST, assert_finding, only_finding};

/// An entry in flow style behind [`REST`]; it begins in line 3, column 11.
fn entry(keys: &str) -> String {
    format!("{REST}publish: [{{table: m, topic: out, {keys}}}]\n")
}

#[test]
fn a_file_may_do_nothing_but_publish() {
    let text = "databases: {local: {url: 'sqlite:x.db'}}\npublish: [{table: m, topic: 'out/{row.site}'}]\n";
    let config = Bench::new(text).config();
    assert!(config.rules.is_empty());
    let publication = &config.publish[0];
    assert_eq!((&*publication.name, publication.topic.as_str()), ("m", "out/{row.site}"));
}

#[test]
fn what_is_wrong_in_an_entry_is_found_with_its_place() {
    for (keys, finding) in [
        ("events: [insrt]", "3:43 publish[0].events[0]: found `insrt`"),
        ("events: []", "3:42 publish[0].events: publishes nothing"),
        ("start: later", "3:41 publish[0].start: found `later`"),
        ("columns: [a, a]", "3:47 publish[0].columns[1]: `a` stands there twice"),
        ("format: envelop", "3:42 publish[0].format: found `envelop`"),
        ("where: '$topic == 1'", "3:41 publish[0].where: uses `$topic`, and there is no message here"),
        ("max_pending: 0", "3:47 publish[0].max_pending: found `0`"),
        (
            "meta_topic: 'a/#'",
            "3:46 publish[0].meta_topic: has a wildcard (+ or #) or a NUL in it, which a message's topic cannot have",
        ),
        (
            "meta_topic: '{tabel}'",
            "3:46 publish[0].meta_topic: in the template `{tabel}`: `tabel` is not known here; there is bridge, database, schema, table, event, offset, row.COLUMN",
        ),
        ("database: other", "3:44 publish[0].database: found `other`, which is not under `databases`"),
        ("wherre: .a", "3:34 publish[0].wherre: this key is not known"),
    ] {
        assert_finding(&entry(keys), finding);
    }
}

#[test]
fn an_entry_has_a_table_and_a_topic_and_a_name_of_its_own() {
    let findings = Bench::new(&format!("{REST}publish: [{{qos: 1}}]\n")).findings();
    assert_eq!(findings, ["3:11 publish[0].table: is missing", "3:11 publish[0].topic: is missing"]);
    let (finding, _) = only_finding(&format!("{REST}publish: [{{table: m, topic: a}}, {{table: m, topic: b}}]\n"));
    assert!(finding.contains("the name `m` was given before, at "), "{finding}");
    for table in ["rowbridge_changes", "Rowbridge_Offsets", "rowbridge_schema_version"] {
        let (finding, _) = only_finding(&format!("{REST}publish: [{{table: {table}, topic: a}}]\n"));
        assert!(finding.ends_with("which is not yours to write"), "{finding}");
    }
}

#[test]
fn a_loop_is_a_mistake() {
    let rule = "rules: [{topic: 'in/+/{x}', table: M, columns: {p: payload}}]\n";
    let with_topic = |topic: &str, table: &str| {
        format!("databases: {{local: {{url: 'sqlite:x.db'}}}}\n{rule}publish: [{{table: {table}, topic: '{topic}'}}]\n")
    };
    for topic in ["in/{table}/a", "in/{row.a}/{event}", "{row.a}/b/c", "in/x{row.a}/c"] {
        let (finding, _) = only_finding(&with_topic(topic, "m"));
        let text = "rule `rule-1` takes `in/+/{x}` into the same table";
        assert!(finding.contains(text), "{topic}: {finding}");
    }
    for (topic, table) in [("in/a", "m"), ("out/{row.a}/c", "m"), ("in/a/b", "other")] {
        Bench::new(&with_topic(topic, table)).config();
    }
}
