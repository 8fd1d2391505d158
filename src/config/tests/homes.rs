//! Databases that messages name.

use super::{Bench, assert_finding};

const TWO: &str = "databases: {a: {url: 'sqlite:a.db'}, b: {url: 'postgres://h/shop'}}\n";

#[test]
fn a_rule_whose_messages_name_the_database_is_there_once_for_each() {
    let bench = Bench::new(&format!(
        "{TWO}rules:\n- {{name: x, topic: '{{d}}/{{t}}', database: '{{topic.d}}', table: '{{topic.t}}', tables: '*', \
         table_aliases: {{one: b.s.t, two: s}}, columns: auto}}\n"
    ));
    let rules = bench.config().rules;
    let [first, second] = &rules[..] else { panic!("{} rules", rules.len()) };
    assert_eq!((&*first.name, first.database, first.is_copy()), ("x", 0, false));
    assert_eq!((&*second.name, second.database, second.is_copy()), ("x", 1, true));
    let aliases = |rule: &super::super::Rule| {
        let aliases = rule.routing.as_ref().unwrap().aliases.clone();
        aliases.iter().map(|(text, table)| format!("{text} {table}")).collect::<Vec<_>>()
    };
    assert_eq!(aliases(first), ["two s"]);
    assert_eq!(aliases(second), ["one s.t", "two s"]);
    assert_eq!(first.chooser.as_ref().unwrap().aliases, [("one".to_owned(), 1)].into());
}

#[test]
fn joinbase_takes_names_of_databases_and_of_postgres_ones_that_are_clear() {
    let text = "databases:\n  a: {url: 'postgres://h1/shop'}\n  b: {url: 'postgres://h2/shop'}\n  c: {url: 'postgres://h/a'}\n  \
                d: {url: 'postgres://h/own'}\nrules: [{topic: '/+/+', convention: joinbase}]\n";
    let rules = Bench::new(text).config().rules;
    let names = &rules[0].chooser.as_ref().unwrap().databases;
    let expected = [("a", 0), ("b", 1), ("c", 2), ("d", 3), ("own", 3)];
    assert_eq!(names.iter().map(|(name, index)| (name.as_str(), *index)).collect::<Vec<_>>(), expected);
}

#[test]
fn what_cannot_name_a_database_is_found_once() {
    for (rule, expected) in [
        (
            "topic: x, database: '{topic.d}', table: t, tables: t, columns: auto",
            "2:30 rules[0].database: the topic `x` has no capture {d}",
        ),
        (
            "topic: x, database: '{payload.d}', table: t, tables: t, columns: auto",
            "2:30 rules[0].database: reads the payload, and each database reads only the payloads of its own messages",
        ),
        ("topic: '{d}', database: '{topic.d}', table: t, columns: auto", "2:9 rules[0].tables: is missing"),
        ("topic: '{d}', database: '{topic.d}', table: '{topic.d}', columns: auto", "2:9 rules[0].tables: is missing"),
        (
            "topic: '{d}', database: '{topic.d}', table: t, tables: ['x*'], columns: auto",
            "2:65 rules[0].tables: does not allow the table `t` of this rule",
        ),
        (
            "topic: '{d}', database: '{topic.d', table: t, tables: t, columns: auto",
            "2:34 rules[0].database: `{topic.d`: a `{` is not closed; a brace that is text is written `{{`",
        ),
        (
            "topic: '{d}', database: '{topic.d}', convention: joinbase",
            "2:59 rules[0].convention: `joinbase` names the database too",
        ),
        (
            "topic: '{d}', database: '{topic.d}', table: '{payload.t}', tables: '*', table_aliases: {x: b.t}, columns: auto",
            "2:101 rules[0].table_aliases.x: names a database, and what `table` gives is read from the payload, which each \
             database reads by itself",
        ),
        ("topic: '/+/+', convention: machbase", "2:9 rules[0].database: is missing"),
    ] {
        assert_finding(&format!("{TWO}rules: [{{{rule}}}]\n"), expected);
    }
}
