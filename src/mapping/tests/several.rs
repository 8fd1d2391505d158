//! One message, several rows.

use super::*;

fn over(levels: &[&str], columns: Vec<config::Column>) -> Rule {
    let for_each = config::ForEach::Paths(levels.iter().map(|level| Source::parse(level).unwrap()).collect());
    Rule { for_each, ..rule(&["#"], columns) }
}

/// What becomes of one payload: the rows of its unit, or why it gives none.
fn rows(rule: Rule, table: &Arc<TableSchema>, payload: &str) -> Result<Vec<String>, (Outcome, usize)> {
    let mut mapper = compile::<false>(vec![rule], std::slice::from_ref(table)).unwrap();
    let mut batch = batch();
    let mut outcomes = Vec::new();
    // Each in company, so that a refused one must leave the others alone.
    mapper.map(&message("t", payload.as_bytes()), &mut batch, &mut outcomes);
    match outcomes.pop().unwrap() {
        (0, Outcome::Written) => {
            assert_eq!(batch.units.len(), 1, "one message is one unit");
            let of_run = |run: &crate::batch::Run| {
                let portion = &batch.portions[run.portion];
                let texts = run.first_row..run.first_row + run.row_count;
                texts.map(|row| String::from_utf8(portion.row(row).to_vec()).unwrap()).collect::<Vec<_>>()
            };
            let rows: Vec<String> = batch.runs_of(0).iter().flat_map(of_run).collect();
            assert_eq!(rows.len(), batch.rows_of(0));
            Ok(rows)
        }
        (0, outcome) => {
            assert!(batch.units.is_empty() && batch.runs.is_empty());
            Err((outcome, batch.row_count_of_all()))
        }
        other => panic!("{other:?}"),
    }
}

fn fault(rule: Rule, table: &Arc<TableSchema>, payload: &str) -> (&'static str, String) {
    match rows(rule, table, payload) {
        Err((Outcome::Refused(fault), 0)) => (fault.reason, fault.message),
        other => panic!("not refused without a trace: {other:?}"),
    }
}

fn three() -> Arc<TableSchema> {
    table(vec![live("a", text()), live("b", ColumnType::Int4), live("c", ColumnType::Int4)])
}

#[test]
fn an_array_gives_a_row_for_each_element_with_what_stands_around_it() {
    let columns = vec![from("a", "payload.id"), from("b", "item.v"), from("c", "index")];
    let payload = r#"{"id":"x","readings":[{"v":1},{"v":2,"w":0},{"v":3}],"more":1}"#;
    let rows = rows(over(&["payload.readings"], columns), &three(), payload).unwrap();
    let expected = |v, index| format!("3: Text(\"x\");Int({v});Int({index});");
    assert_eq!(rows, [expected(1, 0), expected(2, 1), expected(3, 2)]);
}

#[test]
fn an_object_gives_a_row_for_each_entry_with_its_key() {
    let columns = vec![from("a", "key"), from("b", "item"), from("c", "index")];
    let rows = rows(over(&["payload"], columns), &three(), r#"{"t\u0065mp":21,"hum" : 48}"#).unwrap();
    assert_eq!(rows, ["3: Text(\"temp\");Int(21);Int(0);", "3: Text(\"hum\");Int(48);Int(1);"]);
}

#[test]
fn of_entries_with_equal_keys_the_last_value_counts() {
    let columns = || vec![from("a", "key"), from("b", "item"), from("c", "index")];
    let deep = "[".repeat(70) + &"]".repeat(70);
    for (payload, expected) in [
        (r#"{"a":1,"b":2,"a":3}"#.to_owned(), ["a 3 0", "b 2 1"].as_slice()),
        (r#"{"a":1,"b":2,"\u0061":3}"#.to_owned(), &["a 3 0", "b 2 1"]),
        (r#"{"a":1,"a":2,"a":null,"A":4}"#.to_owned(), &["a NULL 0", "A 4 1"]),
        (format!(r#"{{"a":{deep},"b":2,"a":3}}"#), &["a 3 0", "b 2 1"]),
    ] {
        let rows = rows(over(&["payload"], columns()), &three(), &payload).unwrap();
        let cells = |row: &&str| {
            let [key, item, index] = row.split(' ').collect::<Vec<_>>()[..] else { panic!("{row}") };
            let item = if item == "NULL" { "Null".to_owned() } else { format!("Int({item})") };
            format!("3: Text(\"{key}\");{item};Int({index});")
        };
        assert_eq!(rows, expected.iter().map(cells).collect::<Vec<_>>(), "{payload}");
    }
}

#[test]
fn a_second_path_goes_over_the_elements_of_elements() {
    let columns = vec![from("a", "parent.name"), from("b", "item"), from("c", "parent_index")];
    let payload = r#"{"groups":[{"name":"x","values":[1,2]},{"values":[],"name":"y"},{"name":"z","values":[3]}]}"#;
    let rows = rows(over(&["payload.groups", "item.values"], columns), &three(), payload).unwrap();
    let expected = |name, v, group| format!("3: Text(\"{name}\");Int({v});Int({group});");
    assert_eq!(rows, [expected("x", 1, 0), expected("x", 2, 0), expected("z", 3, 2)]);
}

#[test]
fn auto_takes_the_fields_of_elements_by_name_and_by_position() {
    let auto = || Rule { columns: Columns::Auto, ..over(&["payload"], vec![]) };
    let by_name = rows(auto(), &three(), r#"[{"b":1,"a":"x"},{"A":"y","c":2}]"#).unwrap();
    assert_eq!(by_name, ["3: Text(\"x\");Int(1);Null;", "3: Text(\"y\");Null;Int(2);"]);
    let by_position = rows(auto(), &three(), r#"[["x",1,2],["y",3]]"#).unwrap();
    assert_eq!(by_position, ["3: Text(\"x\");Int(1);Int(2);", "3: Text(\"y\");Int(3);Null;"]);
}

#[test]
fn elements_that_are_nested_deeply_are_taken_like_others() {
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let payload = format!(r#"[{{"v":1}},{{"x":{deep},"v":2}},{{"v":3}}]"#);
    let rows = rows(over(&["payload"], vec![from("b", "item.v"), from("c", "index")]), &three(), &payload).unwrap();
    assert_eq!(rows, ["2: Int(1);Int(0);", "2: Int(2);Int(1);", "2: Int(3);Int(2);"]);
}

#[test]
fn one_bad_element_refuses_the_message_and_is_named() {
    let columns = || vec![from("a", "payload.id"), from("b", "item.v")];
    let of = |payload| fault(over(&["payload.r"], columns()), &three(), payload);
    let (reason, message) = of(r#"{"id":"x","r":[{"v":1},{"v":"many"}]}"#);
    assert_eq!(reason, "value");
    assert!(message.starts_with("item 1: column `b`"), "{message}");
    let (reason, message) = of(r#"{"id":"x","r":[{"v":1},{"V":2}]}"#);
    assert_eq!(reason, "required");
    assert!(
        message.starts_with("item 1: the element has none of the fields that the rule takes (item.v)"),
        "{message}"
    );
    assert!(message.contains("item.V"), "{message}");
}

#[test]
fn what_is_no_list_is_refused_and_an_empty_one_gives_no_row() {
    let rule = || over(&["payload.r"], vec![from("b", "item.v")]);
    assert_eq!(fault(rule(), &three(), r#"{"id":1}"#).0, "required");
    let (reason, message) = fault(rule(), &three(), r#"{"r":7}"#);
    assert_eq!((reason, message.as_str()), ("value", "payload.r: a number where an array or an object is expected"));
    for empty in [r#"{"r":[]}"#, r#"{"r":{}}"#, r#"{"r":null}"#, r#"{"r" : [ ] }"#] {
        assert_eq!(rows(rule(), &three(), empty).unwrap_err(), (Outcome::Filtered, 0), "{empty}");
    }
    assert_eq!(fault(rule(), &three(), r#"{"r":[1"#).0, "parse");
}

#[test]
fn the_rows_of_a_message_are_bounded() {
    let rule = || Rule { rows_max: 3, ..over(&["payload"], vec![from("b", "item")]) };
    assert_eq!(rows(rule(), &three(), "[1,2,3]").unwrap().len(), 3);
    let (reason, message) = fault(rule(), &three(), "[1,2,3,4]");
    assert_eq!(reason, "size");
    assert!(message.contains("max_rows_per_message"), "{message}");
}

/// Each row repeats what stands around the elements.
#[test]
fn the_bytes_of_a_message_s_rows_are_bounded() {
    let rule = || over(&["payload.v"], vec![from("a", "payload.dev"), from("b", "item")]);
    let payload = |rows: usize| format!(r#"{{"dev":"{}","v":[{}]}}"#, "x".repeat(1 << 20), vec!["1"; rows].join(","));
    let (reason, message) = fault(rule(), &three(), &payload(200));
    assert_eq!(reason, "size");
    assert!(message.contains("more than 128 MiB together"), "{message}");
    assert_eq!(rows(rule(), &three(), &payload(20)).unwrap().len(), 20);
}

/// Rows that lack a column with a default go into a target of their own; still they are one unit.
#[test]
fn rows_of_different_shapes_are_one_unit() {
    let table = table(vec![Column { has_default: true, ..live("a", ColumnType::Int4) }, live("b", ColumnType::Int4)]);
    let rule = || over(&["payload"], vec![from("a", "item.a"), from("b", "item.b")]);
    let payload = r#"[{"a":1,"b":1},{"b":2},{"a":3,"b":3}]"#;
    assert_eq!(rows(rule(), &table, payload).unwrap(), ["2: Int(1);Int(1);", "1: Int(2);", "2: Int(3);Int(3);"]);
    assert_eq!(fault(rule(), &table, r#"[{"a":1,"b":1},{"b":2},{"a":3,"b":"x"}]"#).0, "value");
}

#[test]
fn lines_are_documents_and_a_fault_names_its_line() {
    let format = Format::Decoded(Arc::new(config::Decoding::of(config::Syntax::Ndjson)));
    let rule = || Rule { format: format.clone(), ..rule(&["#"], vec![from("a", "payload.a"), from("b", "payload.b")]) };
    let lines = "{\"a\":\"x\",\"b\":1}\n\n{\"a\":\"y\",\"b\":2}\n";
    assert_eq!(rows(rule(), &three(), lines).unwrap(), ["2: Text(\"x\");Int(1);", "2: Text(\"y\");Int(2);"]);
    let (_, message) = fault(rule(), &three(), "{\"b\":1}\n{\"b\":\"x\"}");
    assert!(message.starts_with("line 2: column `b`"), "{message}");
}

#[test]
fn auto_takes_rows_in_whichever_shape_they_come() {
    let auto = || Rule { for_each: config::ForEach::Auto, columns: Columns::Auto, ..rule(&["#"], vec![]) };
    let (first, second) = ("3: Text(\"x\");Int(1);Int(2);", "3: Text(\"y\");Int(3);Null;");
    for (payload, expected) in [
        (r#"{"a":"x","b":1,"c":2}"#, &[first][..]),
        (r#"["x",1,2]"#, &[first]),
        (r#"[["x",1,2],["y",3,null]]"#, &[first, second]),
        (r#"[{"c":2,"B":1,"a":"x"},{"a":"y","b":3}]"#, &[first, second]),
        (r#"[["x",1,2],{"a":"y","b":3}]"#, &[first, second]),
        (r#"{"data":{"columns":["B","unknown","a","c"],"rows":[[1,7,"x",2],[3,[8],"y",null]]}}"#, &[first, second]),
        (r#"{ "data" : {"rows":[ [ "x" , 1 , 2 ] ],"columns":["a","b","c"]}}"#, &[first]),
    ] {
        assert_eq!(rows(auto(), &three(), payload).unwrap(), expected, "{payload}");
    }
    for nothing in ["[]", r#"{"data":{"columns":["a"],"rows":[]}}"#] {
        assert_eq!(rows(auto(), &three(), nothing).unwrap_err(), (Outcome::Filtered, 0), "{nothing}");
    }
    for (payload, why) in [
        ("7", "neither an object nor an array"),
        (
            r#"{"data":{"columns":["a","b"],"rows":[["x",1],["y"]]}}"#,
            "row 1 of `data.rows` has 1 values, and `data.columns` names 2",
        ),
        (r#"{"data":{"columns":"a","rows":[["x"]]}}"#, "`data.columns` is not an array of names"),
        (r#"{"data":{"columns":["a"],"rows":{"x":1}}}"#, "`data.rows` is not an array of rows"),
        (r#"{"data":{"columns":["a"],"rows":["x"]}}"#, "row 0 of `data.rows` is not an array"),
    ] {
        let (reason, message) = fault(auto(), &three(), payload);
        assert_eq!(reason, "parse", "{payload}");
        assert!(message.contains(why), "{payload}: {message}");
    }
    assert_eq!(fault(auto(), &three(), r#"[["x",1,2],7]"#).0, "required");
}

#[test]
fn fields_that_no_column_takes_go_into_a_column_of_their_own() {
    let table = table(vec![live("a", text()), live("extra", ColumnType::Json)]);
    let columns = || vec![from("a", "payload.d.a"), from("extra", "unmapped")];
    let of = |payload| rows(rule(&["#"], columns()), &table, payload).unwrap();
    assert_eq!(
        of(r#"{"x":1,"d":{"a":"y","b":0},"k\u0041":[ 1, 2 ],"A":null}"#),
        [r#"2: Text("y");Text("{\"x\":1,\"k\\u0041\":[ 1, 2 ],\"A\":null}");"#]
    );
    assert_eq!(of(r#"{"d":{"a":"y"}}"#), [r#"2: Text("y");Null;"#]);
    let auto =
        Rule { unmapped: config::Unmapped::Column("extra".into()), columns: Columns::Auto, ..rule(&["#"], vec![]) };
    let auto = rows(auto, &table, r#"{"A":"y","b":2,"extra":3}"#).unwrap();
    assert_eq!(auto, [r#"2: Text("y");Text("{\"b\":2,\"extra\":3}");"#]);
    let items = over(&["payload.r"], vec![from("a", "item.a"), from("extra", "unmapped")]);
    let items = rows(items, &table, r#"{"z":0,"r":[{"a":"x","b":1},{"a":"y"}]}"#).unwrap();
    assert_eq!(items, [r#"2: Text("x");Text("{\"b\":1}");"#, r#"2: Text("y");Null;"#]);
}

#[test]
fn fields_that_no_column_takes_refuse_the_message_where_the_rule_says_so() {
    let strict = || Rule { unmapped: config::Unmapped::Error, ..rule(&["#"], vec![from("a", "payload.d.a")]) };
    assert_eq!(rows(strict(), &three(), r#"{"d":{"a":"x","b":1}}"#).unwrap(), [r#"1: Text("x");"#]);
    let (reason, message) = fault(strict(), &three(), r#"{"d":{"a":"x"},"e":1,"f":2}"#);
    assert_eq!(reason, "value");
    assert!(message.contains("there are 2 fields that no column takes, and"), "{message}");
    let (_, message) = fault(strict(), &three(), r#"{"d":{"a":"x"},"e":1}"#);
    assert!(message.contains("there is a field that no column takes, and"), "{message}");
}

#[test]
fn a_payload_without_fields_is_refused_though_unmapped_looks_at_it() {
    let table = table(vec![live("a", text()), live("extra", ColumnType::Json)]);
    let kept = || rule(&["#"], vec![from("a", "payload.d.a"), from("extra", "unmapped")]);
    let strict = || Rule { unmapped: config::Unmapped::Error, ..rule(&["#"], vec![from("a", "payload.d.a")]) };
    for payload in ["[1]", "7", "\"x\"", "{}", r#"{"d":5}"#] {
        assert_eq!(fault(kept(), &table, payload).0, "required", "{payload}");
        assert_eq!(fault(strict(), &table, payload).0, "required", "{payload}");
    }
    assert_eq!(rows(kept(), &table, r#"{"b":1}"#).unwrap(), [r#"2: Null;Text("{\"b\":1}");"#]);
    assert_eq!(fault(strict(), &table, r#"{"b":1}"#).0, "value");
    let whole = rule(&["#"], vec![from("a", "payload"), from("extra", "unmapped")]);
    assert_eq!(rows(whole, &table, "[1]").unwrap(), [r#"2: Text("[1]");Null;"#], "nothing is lost");
    let items = || over(&["payload"], vec![from("a", "item.a"), from("extra", "unmapped")]);
    assert_eq!(rows(items(), &table, r#"[{"b":1}]"#).unwrap(), [r#"2: Null;Text("{\"b\":1}");"#]);
    assert_eq!(fault(items(), &table, r#"[{"a":"x"},5]"#).0, "required");
}

#[test]
fn a_payload_that_is_no_object_is_refused_though_only_unmapped_concerns_its_fields() {
    let table = table(vec![live("a", text()), live("extra", ColumnType::Json)]);
    let kept = || rule(&["#"], vec![from("a", "topic"), from("extra", "unmapped")]);
    let with = |unmapped| Rule { unmapped, ..rule(&["#"], vec![from("a", "topic")]) };
    for payload in ["[1,2]", "5", "\"s\"", r#"[{"a":1}]"#, "null"] {
        assert_eq!(fault(kept(), &table, payload).0, "required", "{payload}");
        assert_eq!(fault(with(config::Unmapped::Error), &table, payload).0, "required", "{payload}");
        assert_eq!(fault(with(config::Unmapped::Add), &table, payload).0, "required", "{payload}");
        assert_eq!(rows(with(config::Unmapped::Ignore), &table, payload).unwrap().len(), 1, "{payload}");
    }
    assert_eq!(rows(kept(), &table, "{}").unwrap().len(), 1);
    assert_eq!(rows(with(config::Unmapped::Error), &table, "{}").unwrap().len(), 1);
}

#[test]
fn values_behind_the_last_column_are_refused_where_none_may_be_lost() {
    let auto = |unmapped| Rule { unmapped, columns: Columns::Auto, ..rule(&["#"], vec![]) };
    let any_shape = |unmapped| Rule { for_each: config::ForEach::Auto, ..auto(unmapped) };
    let surplus = r#"["x",1,2,3]"#;
    for form in [&auto as &dyn Fn(config::Unmapped) -> Rule, &any_shape] {
        assert_eq!(rows(form(config::Unmapped::Ignore), &three(), surplus).unwrap().len(), 1);
        let (reason, message) = fault(form(config::Unmapped::Error), &three(), surplus);
        assert!(
            reason == "value" && message.contains("more values than the table has columns, which are 3"),
            "{message}"
        );
        assert_eq!(rows(form(config::Unmapped::Error), &three(), r#"["x",1]"#).unwrap().len(), 1);
    }
    let (reason, message) = fault(any_shape(config::Unmapped::Error), &three(), r#"[["x"],["y",1,2,3]]"#);
    assert!(reason == "value" && message.starts_with("item 1: the array has more"), "{message}");
    let named = r#"{"data":{"columns":["a","unknown"],"rows":[["x",7]]}}"#;
    let (reason, message) = fault(any_shape(config::Unmapped::Error), &three(), named);
    assert!(reason == "value" && message.contains("names `unknown`, which no column takes"), "{message}");
}

#[test]
fn an_array_for_machbase_has_a_value_for_each_column_that_the_database_does_not_fill() {
    let table = || {
        table(vec![live("a", text()), live("b", ColumnType::Int4), Column { has_default: true, ..live("c", text()) }])
    };
    let of = |convention, payload: &str| {
        let form = crate::rule::Form::default();
        let rule = config::rule_of_convention(&rule(&["#"], vec![]), convention, Some(&form)).unwrap();
        rows(rule, &table(), payload).map_err(|refused| format!("{refused:?}"))
    };
    use crate::rule::Convention::{Joinbase, Machbase};
    for (payload, count) in [
        (r#"["x",1]"#, 1),
        (r#"["x",null,"z"]"#, 1),
        (r#"{"A":"x"}"#, 1),
        (r#"{"a":"x","unknown":1}"#, 1),
        (r#"{"data":{"columns":["A"],"rows":[["x"],["y"]]}}"#, 2),
        (r#"{"data":{"rows":[["x",1],["y",2,"z"]]}}"#, 2),
    ] {
        assert_eq!(of(Machbase, payload).map(|rows| rows.len()), Ok(count), "{payload}");
    }
    for payload in [
        r#"["x"]"#,
        r#"["x",1,"z",4]"#,
        r#"[["x",1],["y"]]"#,
        r#"{"data":{"columns":["A","MISSING"],"rows":[["x",1]]}}"#,
        r#"{"data":{"rows":[["x"]]}}"#,
    ] {
        assert!(of(Machbase, payload).unwrap_err().contains("value"), "{payload}");
    }
    assert_eq!(of(Joinbase, "x").map(|rows| rows.len()), Ok(1), "the last ones may be missing");
    assert!(of(Joinbase, "x,1,z,4").unwrap_err().contains("more values"));
}
