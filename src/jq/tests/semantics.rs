use super::*;

#[track_caller]
fn gives(text: &str, input: &str, expected: &[&str]) {
    assert_eq!(outputs(text, input), Ok(expected.iter().map(|text| (*text).to_owned()).collect()), "{text}");
}

#[test]
fn numbers_pass_with_every_digit() {
    for number in [
        "1670380342000000001",
        "-9223372036854775808",
        "18446744073709551615",
        "123456789012345678901234567890",
        "1234567890123456789012345678901234567890123456789",
        "0.1000000000000000055",
        "3.14159265358979323846264338327950288419716939937510582097494459",
        "1e400",
        "-0",
        "1.0",
        "1E2",
    ] {
        gives(".", number, &[number]);
        gives("[.]|{a: .}|.a[0]", number, &[number]);
    }
    gives("1670380342000000001", "null", &["1670380342000000001"]);
    gives("0.1000000000000000055", "null", &["0.1000000000000000055"]);
}

#[test]
fn integers_are_calculated_exactly() {
    gives(". + 1", "1670380342000000001", &["1670380342000000002"]);
    gives(". + 1", "9223372036854775807", &["9223372036854775808"]);
    gives(". * 1000000", "1670380342000000001", &["1670380342000000001000000"]);
    gives("-.", "-9223372036854775808", &["9223372036854775808"]);
    gives(". % 1000", "18446744073709551615", &["615"]);
    gives(". - 18446744073709551614", "18446744073709551615", &["1"]);
    assert_eq!(
        outputs(". * .", "123456789012345678901234567890").unwrap_err(),
        "fails: integers of more than 38 digits cannot be calculated with"
    );
    gives(". / 2, 6 / 2, 7 / 2", "6", &["3", "3", "3.5"]);
    gives(". > 9007199254740992", "9007199254740993", &["true"]);
}

#[test]
fn programs_of_the_manual_do_what_it_says() {
    gives(
        ".readings[] | select(.ok)",
        r#"{"readings":[{"ok":true,"v":1},{"ok":false,"v":2}]}"#,
        &[r#"{"ok":true,"v":1}"#],
    );
    gives("[.[] | .a?]", r#"[{"a":1},2]"#, &["[1]"]);
    gives("to_entries", r#"{"a":1,"b":2}"#, &[r#"[{"key":"a","value":1},{"key":"b","value":2}]"#]);
    gives("with_entries(.value += 1)", r#"{"a":1}"#, &[r#"{"a":2}"#]);
    gives("group_by(.a) | map(length)", r#"[{"a":1},{"a":2},{"a":1}]"#, &["[2,1]"]);
    gives(r#"test("^a+$"), [match("a";"g").offset]"#, r#""aaa""#, &["true", "[0,1,2]"]);
    gives(r#"capture("(?<v>[0-9.]+)(?<unit>\\w+)")"#, r#""21.5C""#, &[r#"{"v":"21.5","unit":"C"}"#]);
    gives(r#"gsub("[aeiou]"; "-"), sub("(?<x>l)"; "<\(.x)>")"#, r#""hello""#, &[r#""h-ll-""#, r#""he<l>lo""#]);
    gives("splits(\", *\")", r#""a, b,c""#, &[r#""a""#, r#""b""#, r#""c""#]);
    gives("reduce .[] as $x (0; . + $x)", "[1,2,3]", &["6"]);
    gives("[foreach .[] as $x (0; . + $x)]", "[1,2,3]", &["[1,3,6]"]);
    gives(
        "[limit(3; repeat(1))], [skip(1; .[])], first(.[]), [range(0; 10; 3)]",
        "[1,2]",
        &["[1,1,1]", "[2]", "1", "[0,3,6,9]"],
    );
    gives("[paths]", r#"{"a":[1]}"#, &[r#"[["a"],["a",0]]"#]);
    gives(
        "del(.a), (.b = 2), (.a |= . + 1), delpaths([[\"a\"]])",
        r#"{"a":1}"#,
        &["{}", r#"{"a":1,"b":2}"#, r#"{"a":2}"#, "{}"],
    );
    gives("del(.a), del(.a.b), del(.a[0]), del(.[0])", "null", &["null", "null", "null", "null"]);
    gives(
        "del(.b), del(.b.c), del(.a, .c), del(.c, .a)",
        r#"{"a":1,"c":2}"#,
        &[r#"{"a":1,"c":2}"#, r#"{"a":1,"c":2}"#, "{}", "{}"],
    );
    gives(
        "del(.[0, 1]), del(.[1:]), del(.[-1]), del(.[] | select(. > 1)), del(.), del(empty), del(.[7])",
        "[1,2,3]",
        &["[3]", "[1]", "[1,2]", "[1]", "null", "[1,2,3]", "[1,2,3]"],
    );
    gives(".[1:], .[:1], .[-1], .[1:] = [9]", "[1,2,3]", &["[2,3]", "[1]", "3", "[1,9]"]);
    gives(".[1:2]", r#""äöü""#, &[r#""ö""#]);
    gives(
        "@base64, @base64d, @uri, @csv \"\\([1,\"a\\\"b\"])\"",
        r#""YWI=""#,
        &[r#""WVdJPQ==""#, r#""ab""#, r#""YWI%3D""#, r#""1,\"a\"\"b\"""#],
    );
    gives(
        "tojson, (tojson|fromjson)",
        r#"{"a":[1,null,"x"]}"#,
        &[r#""{\"a\":[1,null,\"x\"]}""#, r#"{"a":[1,null,"x"]}"#],
    );
    gives(
        "fromdate, (fromdate | todate), (fromdate | strftime(\"%Y\"))",
        r#""2026-11-28T10:00:00Z""#,
        &["1795860000", r#""2026-11-28T10:00:00Z""#, r#""2026""#],
    );
    gives(
        "has(\"a\"), contains({a: 1}), ([1,2] | index(2)), inside({a: 1, b: 2})",
        r#"{"a":1}"#,
        &["true", "true", "1", "true"],
    );
    gives("walk(if type == \"number\" then . + 1 else . end)", r#"[1,{"a":2}]"#, &[r#"[2,{"a":3}]"#]);
    gives("try error(\"x\") catch ., (.a // 5), ([.[]?] | add)", r#"{"b":null}"#, &[r#""x""#, "5", "null"]);
    gives("label $out | 1, break $out, 2", "null", &["1"]);
    gives(
        "ascii_upcase, length, utf8bytelength, explode, ltrimstr(\"a\")",
        r#""aé""#,
        &[r#""Aé""#, "2", "3", "[97,233]", r#""é""#],
    );
    gives("tonumber", r#""21.50""#, &["21.50"]);
    gives("{a: 1} * {a: {b: 2}}, {\"a\\(1)\": 2}", "null", &[r#"{"a":{"b":2}}"#, r#"{"a1":2}"#]);
    gives(
        "unique, sort, min, max, any, flatten, (map(tostring) | join(\"-\"))",
        "[3,1,3]",
        &["[1,3]", "[1,3,3]", "1", "3", "true", "[3,1,3]", r#""3-1-3""#],
    );
    gives(
        "getpath([\"a\",\"b\"]), setpath([\"a\"]; 1), (.[2] = 1), (.a.b[1] = 1)",
        "null",
        &["null", r#"{"a":1}"#, "[null,null,1]", r#"{"a":{"b":[null,1]}}"#],
    );
    gives(
        "[tostream], IN({\"a\":[1]}), INDEX(.a; .)",
        r#"{"a":[1]}"#,
        &["[[[\"a\",0],1],[[\"a\",0]],[[\"a\"]]]", "true", r#"{"[1]":[1]}"#],
    );
}

/// What jq 1.7 gives, where jaq's own definitions give something else.
#[test]
fn functions_that_jaq_defines_otherwise_do_what_jq_does() {
    for (text, expected) in [
        (r#"["a",null,"b"] | join("/")"#, r#""a//b""#),
        (r#"[1, true, null, "x", 1.50] | join(", ")"#, r#""1, true, , x, 1.50""#),
        (r#"[[], ["a"], [null], [1], ["", ""]] | map(join("-"))"#, r#"["","a","","1","-"]"#),
        (r#"["a", "b"] | join(null)"#, r#""ab""#),
        (r#"[1, "a,\"b", null, true, nan] | @csv, @tsv"#, r#""1,\"a,\"\"b\",,true,""#),
        (r#"{a: nan} | tojson"#, r#""{\"a\":null}""#),
        (r#"[nan, infinite, -infinite] | tostring"#, r#""[null,1.7976931348623157e+308,-1.7976931348623157e+308]""#),
        (r#"[[1] | has(0, 1, -1)]"#, "[true,false,false]"),
        (r#"[{a: null} | has("a", "b")]"#, "[true,false]"),
        ("0 | todate", r#""1970-01-01T00:00:00Z""#),
        (
            "[1.5, -1.5, 1795249560.999 | todate]",
            concat!(r#"["1970-01-01T00:00:01Z","1969-12-31T23:59:59Z","#, r#""2026-11-21T08:26:00Z"]"#),
        ),
        ("1.5 | todateiso8601, date", r#""1970-01-01T00:00:01Z""#),
        ("0 | gmtime | todate", r#""1970-01-01T00:00:00Z""#),
        (r#"[5, null, "xax", ["x"] | ltrimstr("x"), rtrimstr("x")]"#, r#"[5,5,null,null,"ax","xa",["x"],["x"]]"#),
        (r#"["a" | ltrimstr(1), rtrimstr(""), trimstr("a")]"#, r#"["a","a",""]"#),
    ] {
        assert_eq!(outputs(text, "null").map(|all| all[0].clone()), Ok(expected.to_owned()), "{text}");
    }
    gives(r#"[1, "a\tb\\", null, true, nan] | @tsv"#, "null", &[r#""1\ta\\tb\\\\\t\ttrue\t""#]);
    for (text, why) in [
        (r#"[["a"]] | join(",")"#, "fails: cannot calculate a string + an array"),
        (r#"["a", {}] | join(",")"#, "fails: cannot calculate a string + an object"),
        ("[1, [2]] | @csv", "fails: @csv and @tsv take numbers, strings, true, false and null"),
        ("[{}] | @tsv", "fails: @csv and @tsv take numbers, strings, true, false and null"),
        ("{a: 1} | @csv", "fails: @csv and @tsv take an array"),
        ("1 | @tsv", "fails: @csv and @tsv take an array"),
        ("nan | todate", "fails: NaN is no time"),
        (r#"null | has("a")"#, "fails: cannot index null with a string"),
        (r#"[1] | has("a")"#, "fails: cannot index an array with a string"),
    ] {
        assert_eq!(outputs(text, "null").unwrap_err(), why, "{text}");
    }
}

#[test]
fn entries_lists_texts_and_expressions_are_as_in_jq() {
    gives(
        "from_entries",
        r#"[{"name":"a","value":1},{"k":"b","v":2},{"Key":"c","Value":3},{"key":false,"value":null},{"key":7}]"#,
        &[r#"{"a":1,"b":2,"c":3,"false":null,"7":null}"#],
    );
    gives("with_entries(select(.value > 1))", r#"{"a":1,"b":2}"#, &[r#"{"b":2}"#]);
    gives("flatten(1), flatten(0), flatten", "[[1,[2]],3]", &["[1,[2],3]", "[[1,[2]],3]", "[1,2,3]"]);
    gives("flatten(1), (flatten(1) | .[])", "[]", &["[]"]);
    gives("@base64d", r#""YWI""#, &[r#""ab""#]);
    gives("@base64d", r#""cWl4YmF6Cg""#, &[r#""qixbaz\n""#]);
    gives("floor, round, ceil", "-1e19", &["-10000000000000000000", "-10000000000000000000", "-10000000000000000000"]);
    gives(
        "test(\"^b\"; \"s\"), test(\"^b\"; \"p\"), test(\"a.b\"; \"s\"), test(\"a.b\"; \"p\")",
        r#""a\nb""#,
        &["false", "false", "false", "true"],
    );
}

#[test]
fn groups_that_take_no_part_in_a_match_are_null() {
    gives(r#"scan("(-)?([0-9]+)")"#, r#""T=5, U=-7""#, &[r#"[null,"5"]"#, r#"["-","7"]"#]);
    gives(
        r#"scan("(a)|(b)"), [scan("[AB]"; "i")], [scan("(x)?"; "n")]"#,
        r#""a""#,
        &[r#"["a",null]"#, r#"["a"]"#, "[]"],
    );
    gives(
        r#"match("(z)?(a)").captures"#,
        r#""a""#,
        &[r#"[{"offset":-1,"length":0,"string":null,"name":null},{"offset":0,"length":1,"string":"a","name":null}]"#],
    );
    gives(
        r#"match("(?<x>z)?a")"#,
        r#""äa""#,
        &[concat!(
            r#"{"offset":1,"length":1,"string":"a","captures":"#,
            r#"[{"offset":-1,"length":0,"string":null,"name":"x"}]}"#
        )],
    );
    gives(r#"capture("(?<x>z)?(?<y>a)"), capture("(z)?(a)")"#, r#""a""#, &[r#"{"x":null,"y":"a"}"#, "{}"]);
    gives(
        r#"sub("(?<x>z)?(?<y>[ab])"; "\(.x)-\(.y)"), gsub("(?<x>z)?(?<y>[ab])"; .y + "."), gsub("(z)?b"; "")"#,
        r#""ab""#,
        &[r#""null-ab""#, r#""a.b.""#, r#""a""#],
    );
    gives(
        r#"[splits("(z)?,")], split("(?<x>z)?,"; null // ""), test("(?<x>z)?a")"#,
        r#""a,b""#,
        &[r#"["a","b"]"#, r#"["a","b"]"#, "true"],
    );
    gives("ascii", "65", &[r#""A""#]);
}

#[test]
fn a_remainder_is_that_of_the_whole_parts() {
    for (text, expected) in [
        ("5.5 % 2", "1"),
        ("7.9 % 3", "1"),
        ("-5 % 3", "-2"),
        ("5 % -3", "2"),
        ("-5.9 % 3.9", "-2"),
        ("1e3 % 7", "6"),
        ("5 % infinite", "5"),
        ("infinite % 10, -infinite % 10", "7"),
        ("-9223372036854775808 % -1", "0"),
        ("170141183460469231731687303715884105727 % 1000.5", "727"),
        ("[nan % 2, 2 % nan, nan % 0] | map(isnan) | all", "true"),
    ] {
        assert_eq!(outputs(text, "null").map(|all| all[0].clone()), Ok(expected.to_owned()), "{text}");
    }
    gives(". % 2", "5.5", &["1"]);
    for text in ["5 % 0", "5 % 0.5", "5.5 % -0.9", "infinite % 0"] {
        assert_eq!(
            outputs(text, "null").unwrap_err(),
            "fails: cannot be divided because the divisor is zero",
            "{text}"
        );
    }
    for text in ["1e39 % 7", "7 % 1e400"] {
        assert!(outputs(text, "null").unwrap_err().contains("more than 38 digits"), "{text}");
    }
    assert_eq!(outputs("\"a\" % 2", "null").unwrap_err(), "fails: cannot calculate a string % a number");
}

#[test]
fn values_are_ordered_as_jq_orders_them() {
    gives("sort", r#"[{},[],"a",1,true,false,null]"#, &[r#"[null,false,true,1,"a",[],{}]"#]);
    gives("null < false, false < true, true < 0, 0 < \"\", \"\" < [], [] < {}", "null", &["true"; 6]);
    gives(
        "1 == 1.0, \"a\" == \"a\", {a: 1, b: 2} == {b: 2, a: 1}, null == false",
        "null",
        &["true", "true", "true", "false"],
    );
}

#[test]
fn strings_keep_what_stands_in_them() {
    gives(".", r#""\u0000\ud83d\ude00\n\"\\ \u007f/""#, &["\"\\u0000\u{1F600}\\n\\\"\\\\ \u{7f}/\""]);
    let half = "cannot read the payload: half of a surrogate pair (byte 19), which is JSON, but no string of a jq program can hold it";
    assert_eq!(outputs(".a + 0 > 0", r#"{"a":1,"b":"\ud800"}"#).unwrap_err(), half);
    assert!(outputs(".", "[1,]").unwrap_err().contains("byte 4"));
}

#[test]
fn a_predicate_is_true_if_any_output_is() {
    let is_true =
        |text: &str| program(text).is_true(Input::Json(r#"{"temp":21}"#), &no_variables).map_err(|fault| fault.message);
    assert_eq!(is_true(".temp > 20"), Ok(true));
    assert_eq!(is_true(".temp > 30"), Ok(false));
    assert_eq!(is_true("false, null, 0"), Ok(true));
    assert_eq!(is_true("empty"), Ok(false));
    assert_eq!(is_true("true, error(\"x\")"), Ok(true));
    assert_eq!(is_true(".temp.a"), Err("fails: cannot index a number with a string".to_owned()));
}

#[test]
fn a_column_takes_the_only_output() {
    let value = |text: &str| {
        let mut outputs = Outputs::default();
        let found =
            program(text).value(Input::Text("a b"), &no_variables, &mut outputs).map_err(|fault| fault.message)?;
        Ok::<_, String>(found.then(|| outputs.iter().next().unwrap().to_owned()))
    };
    assert_eq!(value("split(\" \")[1]"), Ok(Some("\"b\"".to_owned())));
    assert_eq!(value("empty"), Ok(None));
    assert!(value("1, 2").unwrap_err().contains("more than one output"));
    assert!(value("infinite").unwrap_err().contains("no form"));
}

#[test]
fn variables_are_asked_for_only_where_they_are_used() {
    let program = program("[$topic, $captures.site, $qos] | map(tostring) | join(\" \")");
    assert_eq!(program.variables(), [Variable::Topic, Variable::Captures, Variable::Qos]);
    let mut outputs = Outputs::default();
    let variables = |variable: Variable, text: &mut String| {
        text.push_str(match variable {
            Variable::Topic => "\"a/b\"",
            Variable::Captures => "{\"site\":\"x\"}",
            _ => "1",
        });
    };
    program.run(Input::Json("null"), &variables, &mut outputs).unwrap();
    assert_eq!(outputs.iter().collect::<Vec<_>>(), ["\"a/b x 1\""]);
    for (at, (name, variable)) in Variable::ALL.into_iter().enumerate() {
        assert_eq!((variable as usize, variable.name()), (at, name));
    }
}

#[test]
fn a_message_never_holds_a_value() {
    for (text, message) in [
        (".a.b", "fails: cannot index a string with a string"),
        (".a + 1", "fails: cannot calculate a string + a number"),
        ("error(\"the \\(.a) of it\")", "ends with an error of its own, a string"),
        ("error(\"too hot\")", "fails: too hot"),
        ("error", "ends with an error of its own, an object"),
        ("error(null)", "ends with an error of its own, null"),
        (".a | tonumber", "fails: cannot use a string as JSON"),
        (".a | strptime(\"%Y\")", "ends with an error of its own, a string"),
    ] {
        assert_eq!(outputs(text, r#"{"a":"s3cret"}"#).unwrap_err(), message, "{text}");
    }
}
