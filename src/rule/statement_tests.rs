use proptest::prelude::*;

use super::*;

fn postgres(text: &str) -> Statement {
    Statement::parse(text, false).unwrap()
}

fn binds(statement: &Statement) -> Vec<&str> {
    statement.binds().iter().map(AsRef::as_ref).collect()
}

fn numbered(statement: &Statement) -> String {
    statement.with(|bind| format!("${}", bind + 1))
}

#[track_caller]
fn is_refused(text: &str, is_sqlite: bool, problem: &str) {
    let error = Statement::parse(text, is_sqlite).unwrap_err();
    assert!(error.problem.contains(problem), "{text}: {error}");
}

#[test]
fn binds_are_numbered_in_the_order_in_which_they_first_come() {
    let statement = postgres("insert into t (a, b, c) values (:a, to_timestamp(:b), :a)");
    assert_eq!(binds(&statement), ["a", "b"]);
    assert_eq!(numbered(&statement), "insert into t (a, b, c) values ($1, to_timestamp($2), $1)");
    assert_eq!(
        statement.with(|bind| format!("'{bind}'")),
        "insert into t (a, b, c) values ('0', to_timestamp('1'), '0')"
    );
}

#[test]
fn casts_named_arguments_and_slices_are_no_binds() {
    let statement = postgres("select f(:a::text, b := :b, c => x[1:2], d => x[1 : n]), :c::numeric(6,2)");
    assert_eq!(binds(&statement), ["a", "b", "c"]);
    assert_eq!(numbered(&statement), "select f($1::text, b := $2, c => x[1:2], d => x[1 : n]), $3::numeric(6,2)");
}

#[test]
fn what_stands_in_quotes_and_comments_is_no_bind() {
    for (text, is_sqlite) in [
        ("select ':n', 'it''s :n', \":n\", \"a\"\" :n\", :a", false),
        ("select E'it\\'s :n', e'\\\\', :a", false),
        ("select $$ :n ' $$, $t$ $$ :n $t$, $é$:n$é$, x$y, :a", false),
        ("select /* :n /* :n */ ' :n */ :a -- :n ' /*\n", false),
        ("select /* :n /* */ :a -- :n", true),
        ("select `:n`, [:n \" '], '\\', :a", true),
        ("-- :n\nselect x::text, U&'\\0441 :n', b'01', :a;  -- ; :n", false),
    ] {
        let statement = Statement::parse(text, is_sqlite).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(binds(&statement), ["a"], "{text}");
    }
}

#[test]
fn names_may_have_letters_of_any_alphabet_and_case_counts() {
    let statement = postgres("select f(:größe, :Größe, :_1, :a1)");
    assert_eq!(binds(&statement), ["größe", "Größe", "_1", "a1"]);
}

#[test]
fn a_semicolon_may_end_the_statement_and_nothing_may_follow_it() {
    assert_eq!(postgres(" call p(:a) ; ; -- done\n").text(), "call p(:a)");
    is_refused("select :a; select 2", false, "a second statement");
    is_refused("select :a;\ndrop table t", false, "a second statement in line 2");
    assert_eq!(postgres("select ';', :a").text(), "select ';', :a");
}

#[test]
fn what_begins_or_ends_a_transaction_or_takes_no_binds_is_refused() {
    for word in ["begin", "COMMIT", "end", "rollback", "Savepoint", "release", "start", "abort", "prepare"] {
        is_refused(&format!("/* a */ {word} x :a"), false, "must not begin, end or divide");
    }
    for text in ["drop table t", "create table t (a int)", "vacuum", "pragma x = :a", "set x = :a", "copy t from stdin"]
    {
        is_refused(text, true, "begins with a word");
    }
    for text in ["", ";", "-- nothing", "'a' :a", "1 + :a", ":a", "\"insert\" :a"] {
        is_refused(text, false, "begins with");
    }
    is_refused("insert into t default values", false, "no bind");
    assert_eq!(binds(&postgres("((select :a) union (select 2))")), ["a"]);
    assert_eq!(binds(&postgres("WITH x AS (SELECT :a) INSERT INTO t SELECT * FROM x")), ["a"]);
}

#[test]
fn parameters_in_the_engines_own_way_are_refused() {
    is_refused("select $1, :a", false, "written with `$`");
    for text in ["select ?, :a", "select ?1, :a", "select @b, :a", "select $b, :a"] {
        is_refused(text, true, "binds are written :name");
    }
    // To Postgres these are operators.
    assert_eq!(binds(&postgres("select a ? 'b', a @> :a")), ["a"]);
}

#[test]
fn what_does_not_end_is_refused_with_its_line() {
    is_refused("select :a, 'x", false, "a string that does not end");
    is_refused("select :a,\n\"x", false, "a name in quotes that does not end in line 2");
    is_refused("select :a, E'x\\'", false, "a string that does not end");
    is_refused("select :a, $t$ x $$", false, "a string in dollars that does not end");
    is_refused("select :a /* /* */", false, "a comment that does not end");
    is_refused("select :a, [x", true, "a name in brackets that does not end");
    is_refused("select :a \0", true, "NUL");
}

#[test]
fn rowbridges_own_tables_are_refused() {
    is_refused("update public.\"rowbridge_offsets\" set next_seq = :a", false, "names rowbridge_offsets");
    is_refused("delete from RowBridge_dead_letters where id = :a", true, "names rowbridge_dead_letters");
}

#[test]
fn what_is_too_long_is_refused() {
    is_refused(&format!("select :a, '{}'", "x".repeat(BYTES_MAX)), false, "at most 65536");
    let many: Vec<String> = (0..=BINDS_MAX).map(|bind| format!(":b{bind}")).collect();
    is_refused(&format!("select {}", many.join(",")), false, "has 1601 binds");
}

proptest! {
    #[test]
    fn no_text_panics_and_every_bind_is_where_it_is_said_to_be(
        text in "(select|call )?([:;'\"$`\\[\\]\\\\/*e\n-]|:a|::|--|/\\*|\\*/|\\$t\\$|\\PC){0,40}", is_sqlite: bool,
    ) {
        if let Ok(statement) = Statement::parse(&text, is_sqlite) {
            let same = statement.with(|bind| format!(":{}", statement.binds()[bind]));
            prop_assert_eq!(same, statement.text());
        }
    }

    /// What was put in place of binds is all that another look at the text finds in their place.
    #[test]
    fn a_string_hides_whatever_is_in_it(inside in "[^\\x00]{0,40}") {
        let quoted = format!("select '{}', :a", inside.replace('\'', "''"));
        for is_sqlite in [true, false] {
            let statement = Statement::parse(&quoted, is_sqlite).unwrap();
            prop_assert_eq!(binds(&statement), ["a"]);
        }
    }
}
