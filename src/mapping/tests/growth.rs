//! Fields that become columns.

use super::*;
use crate::config::{Create, Csv, CsvHeader, Decoding, ForEach, Syntax, Unmapped};
use crate::mapping::growth::{COLUMNS_MAX, NO_COLUMN};
use crate::mapping::{NewColumn, Want};

/// What a message came to: a row, a refusal's reason and message, or the columns that it wants.
#[derive(Debug, PartialEq)]
enum Came {
    Row(String),
    Refused(&'static str, String),
    Wants(Vec<(String, DeclaredType)>),
}

fn adding(columns: Vec<config::Column>) -> Rule {
    Rule { unmapped: Unmapped::Add, ..rule(&["#"], columns) }
}

fn auto(unmapped: Unmapped) -> Rule {
    Rule { unmapped, columns: Columns::Auto, ..rule(&["#"], vec![]) }
}

fn absent() -> Arc<TableSchema> {
    Arc::new(TableSchema::absent(TableName { schema: None, name: "t".to_owned() }, Vec::new()))
}

fn map<const SQLITE: bool>(mapper: &mut Mapper<Shown<SQLITE>>, payload: impl AsRef<[u8]>) -> Came {
    let (mut batch, mut outcomes) = (batch(), Vec::new());
    if !mapper.map(&message("a", payload.as_ref()), &mut batch, &mut outcomes) {
        assert!(batch.units.is_empty() && batch.row_count() == 0 && outcomes.is_empty(), "the batch is as it was");
        let wants: Vec<Want> = mapper.take_wants();
        let shown = |column: &NewColumn| (column.name.to_string(), column.declared.clone());
        return Came::Wants(wants.iter().flat_map(|want| &want.columns).map(shown).collect());
    }
    match outcomes.pop() {
        Some((0, Outcome::Written)) => Came::Row(row_text(&batch, 0)),
        Some((0, Outcome::Refused(fault))) => Came::Refused(fault.reason, fault.message),
        other => panic!("{other:?}"),
    }
}

fn came(rule: Rule, table: &Arc<TableSchema>, payload: impl AsRef<[u8]>) -> Came {
    map(&mut compile::<false>(vec![rule], std::slice::from_ref(table)).unwrap(), payload)
}

fn wants(columns: &[(&str, DeclaredType)]) -> Came {
    Came::Wants(columns.iter().map(|(name, declared)| ((*name).to_owned(), declared.clone())).collect())
}

fn assert_no_column(came: Came, why: &str) {
    let Came::Refused(reason, message) = came else { panic!("{came:?}") };
    assert!(reason == NO_COLUMN && message.contains(why), "{message}");
}

#[test]
fn the_kind_of_a_value_says_its_columns_type() {
    let payload = r#"{"n":-5,"big":9223372036854775807,"huge":9223372036854775808,"x":1.0,"e":1e3,"b":true,"s":"","o":{},
                      "l":[1],"nothing":null,"odd key.1":"x","s":7}"#;
    let expected = [
        ("n", DeclaredType::Bigint),
        ("big", DeclaredType::Bigint),
        ("huge", DeclaredType::Decimal(None)),
        ("x", DeclaredType::Decimal(None)),
        ("e", DeclaredType::Decimal(None)),
        ("b", DeclaredType::Bool),
        // Of equal keys the last one counts.
        ("s", DeclaredType::Bigint),
        ("o", DeclaredType::Json),
        ("l", DeclaredType::Json),
        ("odd key.1", DeclaredType::Text),
    ];
    assert_eq!(came(auto(Unmapped::Ignore), &absent(), payload), wants(&expected));
    let live = table(vec![live("k", ColumnType::Int4)]);
    assert_eq!(came(auto(Unmapped::Add), &live, payload), wants(&expected));
    assert_eq!(came(adding(vec![from("k", "payload.k")]), &live, payload), wants(&expected));
}

#[test]
fn only_fields_with_a_value_that_no_column_takes_are_wanted() {
    let live = table(vec![live("Temp", ColumnType::Int4), live("t", text())]);
    let rule = || adding(vec![from("t", "payload.d.e.f")]);
    // A column that is there takes the field of its name in whichever case; `d` is taken by the rule's own column.
    let row = Came::Row("2: Int(1);Null;".to_owned());
    assert_eq!(came(rule(), &live, r#"{"temp":1,"d":{"g":2},"x":null}"#), row);
    assert_eq!(came(rule(), &live, r#"{"temp":1,"y":2}"#), wants(&[("y", DeclaredType::Bigint)]));
    // Both have a value.
    assert_eq!(came(rule(), &live, r#"{"temp":1,"Temp":2}"#), wants(&[("temp", DeclaredType::Bigint)]));
    // No column takes a field twice.
    let twice = table(vec![super::live("d", text()), super::live("t", text())]);
    assert_eq!(came(rule(), &twice, r#"{"d":{"e":{"f":1}}}"#), Came::Row("1: Text(\"1\");".to_owned()));
}

#[test]
fn with_columns_auto_a_payload_without_a_field_of_the_table_is_no_row() {
    let live = table(vec![live("a", ColumnType::Int4)]);
    for payload in ["{}", r#"{"b":null}"#, "5"] {
        let Came::Refused(reason, _) = came(auto(Unmapped::Add), &live, payload) else { panic!("{payload}") };
        assert_eq!(reason, "required", "{payload}");
    }
    assert_eq!(came(auto(Unmapped::Add), &live, "[7]"), Came::Row("1: Int(7);".to_owned()));
}

#[test]
fn a_field_that_cannot_name_a_column_is_its_messages_fault() {
    let closed = Column { generated: true, ..live("double", ColumnType::Int4) };
    let live = table(vec![live("a", ColumnType::Int4), closed]);
    let long = "x".repeat(64);
    for (key, why) in [
        ("", "name is empty"),
        (long.as_str(), "`xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` cannot become a column: its name is longer"),
        ("a\\nb", "field `a\\nb` cannot become a column: its name has a control character"),
        ("ctid", "a column of its own"),
        ("double", "the database generates it"),
    ] {
        let payload = format!("{{\"a\":1,\"{key}\":2,\"z\":3}}");
        assert_no_column(came(auto(Unmapped::Add), &live, &payload), why);
    }
    // To SQLite they are one column.
    let mut mapper = compile::<true>(vec![auto(Unmapped::Add)], &[table(vec![super::live("a", text())])]).unwrap();
    assert_no_column(map(&mut mapper, r#"{"a":1,"A":2}"#), "in another case");
    assert_no_column(map(&mut mapper, r#"{"b":1,"B":2}"#), "in another case");
    assert_eq!(map(&mut mapper, r#"{"A":1}"#), Came::Row("1: Text(\"1\");".to_owned()));
}

/// Only one source can fill a column, and a value is neither dropped nor put over another.
#[test]
fn a_field_with_the_name_of_a_column_that_the_rule_fills_from_elsewhere_is_refused() {
    let live = table(vec![live("device", text()), super::live("T", ColumnType::Int4)]);
    let rule = || adding(vec![from("device", "topic"), from("T", "payload.t")]);
    for payload in [r#"{"t":1,"device":"self"}"#, r#"{"t":1,"T":2}"#] {
        assert_no_column(came(rule(), &live, payload), "the rule fills the column of this name from another source");
    }
    assert_eq!(came(rule(), &live, r#"{"t":1,"Device":2}"#), wants(&[("Device", DeclaredType::Bigint)]));
    assert_eq!(came(rule(), &live, r#"{"t":1,"device":null}"#), Came::Row("2: Text(\"a\");Int(1);".to_owned()));
    let mut mapper = compile::<true>(vec![rule()], &[live]).unwrap();
    assert_no_column(map(&mut mapper, r#"{"t":1,"Y":1,"y":2}"#), "in another case");
    for field in ["device", "Device", "T"] {
        let payload = format!("{{\"t\":1,\"{field}\":2}}");
        assert_no_column(map(&mut mapper, payload), "the rule fills the column of this name from another source");
    }
    let each =
        Rule { for_each: ForEach::Paths(vec![Source::parse("payload").unwrap()]), ..adding(vec![from("i", "index")]) };
    let live = table(vec![super::live("i", ColumnType::Int4)]);
    assert_no_column(came(each, &live, r#"[{"i":1}]"#), "from another source");
}

/// A column would be added, and the rule would not fill it.
#[test]
fn a_field_that_sqlite_cannot_tell_from_one_that_the_rule_takes_adds_no_column() {
    let live = table(vec![live("t", text())]);
    let mut mapper =
        compile::<true>(vec![adding(vec![from("t", "payload.d.e")])], std::slice::from_ref(&live)).unwrap();
    assert_no_column(map(&mut mapper, r#"{"D":1}"#), "the rule takes a field of this name in another case");
    let came = came(adding(vec![from("t", "payload.d.e")]), &live, r#"{"D":1}"#);
    assert_eq!(came, wants(&[("D", DeclaredType::Bigint)]));
}

#[test]
fn sqlites_names_for_a_rows_number_cannot_be_added_but_a_new_table_has_them() {
    let live = table(vec![live("a", text())]);
    let mut mapper = compile::<true>(vec![auto(Unmapped::Add)], &[live]).unwrap();
    for name in ["rowid", "oid", "_rowid_", "RowID"] {
        assert_no_column(map(&mut mapper, format!("{{\"a\":1,\"{name}\":2}}")), "name the field in `columns`");
    }
    let mut mapper = compile::<true>(vec![auto(Unmapped::Add)], &[absent()]).unwrap();
    assert_eq!(map(&mut mapper, r#"{"oid":1}"#), wants(&[("oid", DeclaredType::Bigint)]));
}

#[test]
fn a_message_whose_wants_change_nothing_is_refused_after_some_rounds() {
    let live = table(vec![live("a", ColumnType::Int4)]);
    let mut mapper = compile::<false>(vec![auto(Unmapped::Add)], std::slice::from_ref(&live)).unwrap();
    let mut rounds = 0;
    let refused = loop {
        match map(&mut mapper, r#"{"b":1}"#) {
            Came::Wants(_) => rounds += 1,
            refused => break refused,
        }
        assert!(rounds < 100, "it ends");
        // As delivery does after it added columns.
        let served = mapper.take_served();
        mapper = compile::<false>(vec![auto(Unmapped::Add)], std::slice::from_ref(&live)).unwrap();
        mapper.recall_served(served);
    };
    assert_no_column(refused, "still lacks columns for its fields");
    assert_eq!(rounds, 4);
    // It is mapped, so it counts from the start again.
    assert!(matches!(map(&mut mapper, r#"{"b":1}"#), Came::Wants(_)));
    // What was not served does not count.
    (0..100).for_each(|_| {
        let (mut batch, mut outcomes) = (batch(), Vec::new());
        assert!(!mapper.map(&message("a", br#"{"c":1}"#), &mut batch, &mut outcomes));
    });
}

#[test]
fn a_table_grows_to_so_many_columns_and_no_further() {
    let many = |count: usize| table((0..count).map(|at| live(&format!("c{at}"), text())).collect());
    let payload = r#"{"new":1,"other":2}"#;
    assert!(matches!(came(auto(Unmapped::Add), &many(COLUMNS_MAX - 2), payload), Came::Wants(_)));
    assert_no_column(came(auto(Unmapped::Add), &many(COLUMNS_MAX - 1), payload), "more than 500 columns");
    assert!(matches!(came(auto(Unmapped::Add), &many(COLUMNS_MAX - 1), r#"{"c1":1}"#), Came::Row(_)));
    // Neither very many new fields nor one that comes again and again in another case take more than a moment.
    let fields: Vec<String> = (0..60_000).map(|at| format!("\"n{at}\":1")).collect();
    let payload = format!("{{{}}}", fields.join(","));
    assert_no_column(came(auto(Unmapped::Add), &many(2), &payload), "more than 500 columns");
    let payload = format!("{{{}}}", vec![r#""C1":"x""#; 60_000].join(","));
    assert!(matches!(came(auto(Unmapped::Add), &many(2), &payload), Came::Row(_)));
}

#[test]
fn a_column_that_was_refused_is_not_wanted_again_until_that_is_forgotten() {
    let live = table(vec![live("a", ColumnType::Int4)]);
    let mut mapper = compile::<false>(vec![auto(Unmapped::Add)], std::slice::from_ref(&live)).unwrap();
    let Came::Wants(_) = map(&mut mapper, r#"{"b":1}"#) else { panic!("it is wanted") };
    mapper.refuse_column(&TableName { schema: None, name: "t".into() }, "b", &"no right".into());
    assert_no_column(map(&mut mapper, r#"{"b":1}"#), "field `b` gets no column: no right");
    assert_eq!(map(&mut mapper, r#"{"c":1}"#), wants(&[("c", DeclaredType::Bigint)]));
    mapper.forget_refused();
    assert_eq!(map(&mut mapper, r#"{"b":1}"#), wants(&[("b", DeclaredType::Bigint)]));
}

#[test]
fn a_missing_tables_columns_are_told_by_an_object_alone_and_its_key_must_be_there() {
    for (payload, why) in [
        ("[1,2]", "the table is not there yet, and its columns are to be those of the first payload"),
        ("5", "only the fields of an object name columns"),
        (r#"[{"a":1}]"#, "only the fields of an object name columns"),
        ("{}", "no field of the payload has a value"),
        (r#"{"a":null}"#, "no field of the payload has a value"),
    ] {
        assert_no_column(came(auto(Unmapped::Ignore), &absent(), payload), why);
    }
    let by_key = || Rule {
        mode: Mode::Upsert { key: ["id".into()].into() },
        create: Some(Arc::default()),
        ..auto(Unmapped::Ignore)
    };
    assert_no_column(came(by_key(), &absent(), r#"{"a":1}"#), "`id`, which is part of the rule's key");
    let expected = [("a", DeclaredType::Bigint), ("id", DeclaredType::Text)];
    assert_eq!(came(by_key(), &absent(), r#"{"a":1,"id":"x"}"#), wants(&expected));
    let declared = |create: Create| Rule { create: Some(Arc::new(create)), ..auto(Unmapped::Column("rest".into())) };
    let keyed = || declared(Create { primary_key: vec!["id".into()], ..Create::default() });
    assert_no_column(came(keyed(), &absent(), r#"{"a":1}"#), "`id`, which is part of the table's primary key");
    let indexed = || declared(Create { indexes: vec![vec!["id".into(), "rest".into()]], ..Create::default() });
    assert_no_column(came(indexed(), &absent(), r#"{"a":1}"#), "`id`, which is part of an index of the table");
    let expected = [("id", DeclaredType::Bigint), ("rest", DeclaredType::Json)];
    assert_eq!(came(indexed(), &absent(), r#"{"id":1}"#), wants(&expected));
    assert_eq!(came(keyed(), &absent(), r#"{"id":1}"#), wants(&expected));
    let others = Arc::new(TableSchema { primary_key: vec!["at".to_owned()], ..TableSchema::clone(&absent()) });
    assert_no_column(
        came(auto(Unmapped::Ignore), &others, r#"{"a":1}"#),
        "`at`, which is part of the table's primary key or",
    );
    let expected = [("a", DeclaredType::Bigint), ("rest", DeclaredType::Json)];
    for payload in [r#"{"a":1}"#, r#"{"rest":2,"a":1}"#] {
        assert_eq!(came(auto(Unmapped::Column("rest".into())), &absent(), payload), wants(&expected));
    }
    let named = compile::<false>(vec![rule(&["#"], vec![from("a", "payload.a")])], &[absent()]);
    assert!(named.err().unwrap()[0].message.contains("say `create: true` in this rule"));
}

#[test]
fn all_rows_of_a_message_are_looked_at_together() {
    let live = table(vec![live("a", ColumnType::Int4)]);
    let rule = || Rule { for_each: ForEach::Paths(vec![Source::parse("payload").unwrap()]), ..auto(Unmapped::Add) };
    let expected = [("b", DeclaredType::Bool), ("c", DeclaredType::Decimal(None))];
    assert_eq!(came(rule(), &live, r#"[{"a":1},{"b":true},{"b":1,"c":1.5}]"#), wants(&expected));
    assert_eq!(came(rule(), &absent(), r#"[{"b":true},{"b":1,"c":1.5}]"#), wants(&expected));
    assert_no_column(came(rule(), &live, r#"[{"b":1},{"":1}]"#), "empty");
    // A row's field goes to the column of an earlier row, whatever its case, as another message's field does.
    let expected = [("b", DeclaredType::Bigint)];
    assert_eq!(came(rule(), &live, r#"[{"b":1},{"B":2}]"#), wants(&expected));
    let mut mapper = compile::<true>(vec![rule()], &[Arc::clone(&live)]).unwrap();
    assert_eq!(map(&mut mapper, r#"[{"b":1},{"B":2}]"#), wants(&expected));
    let expected = [("b", DeclaredType::Bigint), ("B", DeclaredType::Bigint)];
    assert_eq!(came(rule(), &live, r#"[{"b":1},{"b":1,"B":2}]"#), wants(&expected));
}

/// The plan that reads the table's name takes nothing but that.
#[test]
fn a_table_that_the_message_names_grows_as_any_other() {
    let naming = crate::rule::Template::parse("{topic[0]}_t").unwrap();
    let routing = crate::rule::Routing {
        naming: crate::rule::Naming::Template(naming),
        allowed: Vec::new(),
        aliases: [].into(),
        has_schemas: true,
        databases: Vec::new(),
    };
    let rule = Arc::new(Rule { routing: Some(Arc::new(routing)), ..auto(Unmapped::Add) });
    let mut mapper = Mapper::compile_some("gw1", &[rule], &[None], &HashMap::new(), Shown::<false>).unwrap();
    let (mut batch, mut outcomes) = (batch(), Vec::new());
    let mut want = |columns: usize, live: &Arc<TableSchema>| {
        assert!(!mapper.map(&message("a", br#"{"id":1}"#), &mut batch, &mut outcomes));
        let wants = mapper.take_wants();
        assert_eq!((wants.len(), wants[0].columns.len(), wants[0].makes_table), (1, columns, columns > 0));
        assert_eq!((wants[0].table.to_string().as_str(), &*wants[0].text), ("a_t", "a_t"));
        mapper.bind(&wants[0], Ok(Arc::clone(live)));
    };
    let name = || TableName { schema: None, name: "a_t".to_owned() };
    want(0, &Arc::new(TableSchema::absent(name(), Vec::new())));
    want(1, &Arc::new(TableSchema::new(name(), vec![live("id", ColumnType::Int8)])));
    assert!(mapper.map(&message("a", br#"{"id":1}"#), &mut batch, &mut outcomes));
    assert_eq!(outcomes, [(0, Outcome::Written)]);
}

#[test]
fn formats_other_than_json_tell_columns_by_what_their_values_are() {
    let of = |syntax: Syntax| Rule { format: Format::Decoded(Arc::new(Decoding::of(syntax))), ..auto(Unmapped::Add) };
    // {"b": the byte 255, "f": 1.5, "n": nil}
    let payload = b"\x83\xa1b\xc4\x01\xff\xa1f\xca\x3f\xc0\x00\x00\xa1n\xc0";
    let expected = wants(&[("b", DeclaredType::Bytes), ("f", DeclaredType::Decimal(None))]);
    assert_eq!(came(of(Syntax::Msgpack), &absent(), payload), expected);
    let csv = Csv { header: CsvHeader::Columns, ..Csv::default() };
    let expected = wants(&[("x", DeclaredType::Text), ("y", DeclaredType::Text)]);
    assert_eq!(came(of(Syntax::Csv(csv)), &absent(), "x,y\n1,\n,2\n"), expected);
}

#[test]
fn what_the_next_messages_want_is_found_ahead() {
    let live = table(vec![live("a", ColumnType::Int4)]);
    let mut mapper = compile::<false>(vec![auto(Unmapped::Add)], std::slice::from_ref(&live)).unwrap();
    for payload in [r#"{"a":1}"#, r#"{"b":1}"#, r#"{"":1}"#, "{", r#"{"c":"x"}"#, r#"{"b":1}"#] {
        assert!(mapper.scan(&message("a", payload.as_bytes())));
    }
    let names: Vec<String> =
        mapper.take_wants().into_iter().flat_map(|want| want.columns).map(|column| column.name.into()).collect();
    assert_eq!(names, ["b", "c"]);
}
