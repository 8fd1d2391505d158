//! The `publish` section.

use super::{Bench, REST, assert_finding, only_finding};
use crate::config::possible_loops;

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

/// A configuration of these rules and entries, each in flow style.
fn both_ways(rules: &[&str], publish: &[&str]) -> String {
    let list = |entries: &[&str]| entries.iter().map(|entry| format!("- {{ {entry} }}\n")).collect::<String>();
    format!("databases: {{local: {{url: 'sqlite:x.db'}}}}\nrules:\n{}publish:\n{}", list(rules), list(publish))
}

/// What may happen with this one, though it is not refused.
#[track_caller]
fn possible(text: &str) -> Vec<String> {
    let config = Bench::new(text).config();
    possible_loops(&config).into_iter().map(|(publication, what)| format!("{publication}: {what}")).collect()
}

const TO_M: &str = "name: r, topic: 'in/+/{x}', table: M, columns: {p: payload}";

#[test]
fn a_certain_loop_is_a_mistake() {
    for topic in ["in/{table}/a", "in/{row.a}/{event}", "in/x{row.a}/c"] {
        let (finding, _) = only_finding(&both_ways(&[TO_M], &[&format!("table: m, topic: '{topic}'")]));
        let text = "publish[0].topic: rule `r` takes `in/+/{x}` into the same table: each published row";
        assert!(finding.contains(text), "{topic}: {finding}");
    }
    let updated = TO_M.replace("table: M", "table: M, mode: upsert, key: [p]");
    let (finding, _) = only_finding(&both_ways(&[&updated], &["table: m, events: [update], topic: in/a/b"]));
    assert!(finding.contains("into the same table"), "{finding}");
    let (finding, _) = only_finding(&both_ways(&[TO_M], &["table: m, topic: out, meta_topic: 'in/{table}/b'"]));
    assert!(finding.contains("publish[0].meta_topic: rule `r` takes"), "{finding}");
    for entry in [
        "table: m, topic: in/a",
        "table: m, topic: 'out/{row.a}/c'",
        "table: other, topic: in/a/b",
        "table: m, topic: in/a/b, events: [delete]",
        "table: m, topic: in/a/b, events: [update]",
        "table: m, topic: '$in/a/b'",
        "table: m, topic: 'in/{event}'",
    ] {
        assert_eq!(possible(&both_ways(&[TO_M], &[entry])), [] as [&str; 0], "{entry}");
    }
}

#[test]
fn a_loop_over_two_tables_is_a_mistake_too() {
    let rules =
        ["name: r, topic: a/#, table: u, columns: {p: payload}", "name: s, topic: b, table: t, columns: {p: payload}"];
    let (finding, _) = only_finding(&both_ways(
        &rules,
        &["name: x, table: v, topic: a/v", "name: p, table: t, topic: a/t", "name: q, table: u, topic: b"],
    ));
    let text = "publish[1].topic: publish p sends rows to `a/t`, and rule r takes `a/#` into table u; publish q sends rows \
                to `b`, and rule s takes `b` into table t: each row would be stored and published again without end";
    assert!(finding.contains(text), "{finding}");
    let text = both_ways(&rules, &["name: p, table: t, topic: a/t", "name: q, table: u, topic: 'b{row.a}'"]);
    let found = possible(&text);
    assert!(
        found[0].starts_with("p: publish p sends rows to `a/t`, and rule r takes `a/#` into table u; "),
        "{found:?}"
    );
    assert!(found[0].ends_with(
        "publish q sends rows to `b{row.a}`, and rule s may take `b` into table t: rows may be stored and published again \
         without end"
    ));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_loop_that_is_only_possible_is_told_and_not_refused() {
    let named = "name: r, topic: 'in/+', table: '{topic[1]}', tables: ['*'], columns: {p: payload}";
    let only_t = named.replace("['*']", "['t*']");
    let aliased = only_t.replace("table:", "table_aliases: {x: m}, table:");
    let prefixed = named.replace("'{topic[1]}'", "'a_{topic[1]}'");
    let statement = "name: r, topic: 'in/+', statement: 'insert into M(p) values (:p)', columns: {p: payload}";
    let ignoring = TO_M.replace("table: M", "table: M, mode: ignore, key: [p]");
    let filtered = TO_M.replace("table: M", "table: M, where: .n");
    for (rule, entry, words) in [
        (TO_M, "table: m, topic: '{row.a}/b/c'", "rule r may take `in/+/{x}` into table m: rows may"),
        (TO_M, "table: m, topic: 'in/{row.a}'", "sends rows to `in/{row.a}`, and rule r may take"),
        (TO_M, "table: m, topic: '{row.a}'", "may take"),
        (TO_M, "table: m, topic: 'in/{event}/insert', where: .row.p == null", "rule r takes `in/+/{x}` into table m"),
        (&ignoring, "table: m, topic: in/a/b", "rule r takes"),
        (&filtered, "table: m, topic: in/a/b", "rule r takes"),
        (named, "table: m, topic: in/y", "rule r takes `in/+` into a table that messages name, which may be m"),
        (&only_t, "table: T, topic: in/y", "which may be T"),
        (&aliased, "table: m, topic: in/y", "which may be m"),
        (&prefixed, "table: a_b, topic: in/y", "which may be a_b"),
        (
            statement,
            "table: m, topic: in/y, events: [delete]",
            "rule r takes `in/+` for a statement that names table m",
        ),
    ] {
        let found = possible(&both_ways(&[rule], &[entry]));
        assert_eq!(found.len(), 1, "{rule} {entry}: {found:?}");
        assert!(found[0].contains(words), "{rule} {entry}: {found:?}");
    }
    for (rule, entry) in [
        (TO_M, "table: m, topic: 'out/{row.a}/set'".to_owned()),
        (named, "table: m, topic: 'out/{row.a}'".to_owned()),
        (&only_t, "table: m, topic: in/y".to_owned()),
        (&prefixed, "table: m, topic: in/y".to_owned()),
        (statement, "table: x, topic: in/y".to_owned()),
        (&ignoring, "table: m, topic: in/a/b, events: [update]".to_owned()),
    ] {
        assert_eq!(possible(&both_ways(&[rule], &[&entry])), [] as [&str; 0], "{rule} {entry}");
    }
}
