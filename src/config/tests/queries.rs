//! `queries`: each mistake at its place, and what a right entry means.

use super::{Bench, REST};
use crate::config::query::Asked;

/// The findings of one query after [`REST`]; it begins at line 3.
fn findings(query: &str) -> Vec<String> {
    Bench::new(&format!("{REST}queries:\n  - {query}\n")).findings()
}

#[test]
fn each_mistake_in_a_query_is_found_at_its_place() {
    for (query, expected) in [
        ("{topic: q}", "queries[0].sql: is missing"),
        ("{sql: select 1}", "queries[0].topic: is missing"),
        ("{topic: 'a/#/b', sql: select 1}", "queries[0].topic: found"),
        ("{topic: q, sql: delete from t}", "queries[0].sql: is no statement that only reads"),
        ("{topic: q, sql: 'select 1; select 2'}", "queries[0].sql: has a second statement"),
        ("{topic: q, sql: 'select :a'}", "queries[0].sql: has the bind :a, and there is no such parameter"),
        ("{topic: q, sql: select 1, parameters: {a: payload.a}}", "queries[0].parameters.a: `sql` has no bind :a"),
        (
            "{topic: q, sql: 'select :a', parameters: {a: topic.x}}",
            "queries[0].parameters.a: the topic `q` has no capture {x}",
        ),
        (
            "{topic: q, sql: 'select :a', parameters: {a: journal.seq}}",
            "queries[0].parameters.a: `journal.seq` is of messages that become rows",
        ),
        (
            "{topic: q, sql: 'select :a', parameters: {a: item.x}}",
            "queries[0].parameters.a: takes an element, and the rule has no `for_each`",
        ),
        (
            "{topic: q, sql: 'select :a', parameters: {a: {from: payload.a, type: number}}}",
            "queries[0].parameters.a.type: found `number`",
        ),
        ("{topic: q, sql: select 1, reply: 'r/+'}", "queries[0].reply: found `r/+`, which has a wildcard"),
        ("{topic: q, sql: select 1, reply: $SYS/x}", "queries[0].reply: found `$SYS/x`, which begins with $"),
        ("{topic: q, sql: select 1, reply: 'r/{topic.x}'}", "queries[0].reply: the topic `q` has no capture {x}"),
        (
            "{topic: q, sql: select 1, reply: a/b, reply_prefix: c}",
            "queries[0].reply: answers would go to a/b, and the topic is not below reply_prefix (c)",
        ),
        (
            "{convention: machbase, reply_prefix: answers}",
            "queries[0].reply_prefix: answers would go to db/reply, and the topic is not below reply_prefix (answers)",
        ),
        (
            "{convention: machbase, reply: db/query}",
            "queries[0].reply: answers would go to db/query, where the query `query-1` takes requests",
        ),
        ("{topic: 'q/#', sql: select 1, reply: q/r}", "queries[0].reply: is a topic of this query's requests"),
        ("{topic: q, sql: select 1, reply_prefix: 'a/#'}", "queries[0].reply_prefix: found `a/#`"),
        ("{topic: q, sql: select 1, format: xml}", "queries[0].format: found `xml`"),
        ("{topic: q, sql: select 1, max_rows: 0}", "queries[0].max_rows: found `0`"),
        ("{topic: q, sql: select 1, timeout: 1h}", "queries[0].timeout: found `1h`, which is out of range"),
        ("{topic: q, sql: select 1, database: x}", "queries[0].database: found `x`"),
        (
            "{topic: q, sql: select 1, allow_sql: read_only}",
            "queries[0]: has `allow_sql`, which is for requests that bring",
        ),
        ("{convention: joinbase}", "queries[0].convention: found `joinbase`"),
        ("{convention: machbase, sql: select 1}", "queries[0].sql: a request says this itself"),
        ("{topic: q, sql: select 1, sqll: x}", "queries[0].sqll: this key is not known"),
    ] {
        let found = findings(query);
        assert!(found.len() == 1 && found[0].contains(expected), "{query}: {found:?}");
    }
    let twice = "{name: a, topic: q, sql: select 1}\n  - {name: a, topic: q, sql: select 1}";
    let found = findings(twice);
    assert!(found[0].contains("was given before") && found[1].contains("answers on this topic"), "{found:?}");
    let found = findings("{topic: 'q/+/x', sql: select 1}\n  - {topic: 'q/1/+', sql: select 1}");
    assert!(
        found.len() == 1 && found[0].contains("has topics in common with q/+/x of the query `query-1`"),
        "{found:?}"
    );
    let found = findings("{topic: a, sql: select 1, reply: b}\n  - {topic: b, sql: select 1}");
    assert!(found.len() == 1 && found[0].contains("queries[0].reply: answers would go to b, where"), "{found:?}");
    let within = "{topic: 'q/{x}', sql: select 1}\n  - {topic: q/latest, sql: select 1}";
    assert_eq!(Bench::new(&format!("{REST}queries:\n  - {within}\n")).config().queries.len(), 2);
    let three = Bench::new(&format!("mqtt: {{version: 3.1.1}}\n{REST}queries: [{{topic: q, sql: select 1}}]\n"));
    assert!(three.findings()[0].contains("queries[0].reply: is missing"));
}

#[test]
fn parameters_come_in_the_order_of_the_binds() {
    let query =
        "{topic: 'q/{d}', sql: 'select :b, :a, :b', parameters: {a: payload.a, b: {from: topic.d, default: null}}}";
    let config = Bench::new(&format!("{REST}queries:\n  - {query}\n  - {{convention: machbase}}\n")).config();
    let Asked::Named(named) = &config.queries[0].asked else { panic!("it has its own statement") };
    let crate::config::Columns::Named(columns) = &named.parameters.as_ref().unwrap().columns else { panic!() };
    let names: Vec<(&str, bool)> = columns.iter().map(|column| (&*column.name, column.required)).collect();
    assert_eq!(names, [("b", false), ("a", true)]);
    let machbase = &config.queries[1];
    assert_eq!((machbase.topic.filter(), &*machbase.name), ("db/query", "query-2"));
    assert!(matches!(&machbase.asked, Asked::Machbase { reply, is_allowed: false } if reply == "db/reply"));
}
