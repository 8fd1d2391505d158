//! Predicates that are answered without the interpreter get its answers.

use proptest::prelude::*;

use super::*;

/// The answer from the texts of the fields, as a walk through the payload would find them.
fn checked(program: &Program, input: &str) -> Option<Result<bool, JqFault>> {
    let check = program.check()?;
    let root: serde_json::Value = serde_json::from_str(input).unwrap();
    let texts: Vec<Option<String>> = check
        .paths()
        .iter()
        .map(|keys| {
            let mut value = Some(&root);
            for key in keys {
                value = value.and_then(|value| value.get(key));
            }
            // The payload itself as it stands: numbers keep their digits.
            value.map(|value| if keys.is_empty() { input.to_owned() } else { value.to_string() })
        })
        .collect();
    Some(check.is_true(&|path| texts[path].as_deref()))
}

fn interpreted(program: &Program, input: &str) -> Result<bool, JqFault> {
    program.is_true(Input::Json(input), &no_variables)
}

#[test]
fn comparisons_with_constants_need_no_interpreter() {
    for text in [
        ".temp > 20",
        ".a.b == \"x\"",
        "20 <= .temp",
        ".a",
        ".",
        ".a | not",
        "(.a == 1 and .b != null) or (.c | not)",
        ".a == -1.5",
        ".[\"odd key\"] == true",
        ".a == \"\\u00e9\\n\"",
        ". > 3",
    ] {
        assert!(program(text).check().is_some(), "{text}");
    }
    for text in [
        ".a > .b",
        ".a?",
        ".[0] == 1",
        ".a[] == 1",
        "select(.a)",
        ".a + 1 > 2",
        ".a == [1]",
        ".a, .b",
        "\"\\(.a)\" == \"x\"",
    ] {
        assert!(program(text).check().is_none(), "{text}");
    }
}

#[test]
fn numbers_are_compared_with_every_digit() {
    for (text, input, expected) in [
        (".a == 9007199254740993", "9007199254740993", true),
        (".a > 9007199254740992", "9007199254740993", true),
        (".a == 9007199254740993", "9007199254740992", false),
        (".a == 1", "1.0", true),
        (".a == 0", "-0", true),
        (".a < 18446744073709551616", "18446744073709551615", true),
        (".a > 1e300", "1e400", true),
        (".a == 0.1", "0.1000000000000000055", true),
    ] {
        let input = format!("{{\"a\":{input}}}");
        let program = program(text);
        assert_eq!(interpreted(&program, &input), Ok(expected), "{text} on {input}");
        let number = input[5..input.len() - 1].to_owned();
        let check = program.check().unwrap();
        let texts = [Some(input.as_str()), Some(number.as_str())];
        assert_eq!(check.is_true(&|path| texts[path]), Ok(expected), "{text} on {input}");
    }
}

/// The interpreter reads the whole payload, a check the fields that it compares.
#[test]
fn half_of_a_surrogate_pair_matters_only_in_a_field_that_is_compared() {
    let input = r#"{"a":1,"b":"\ud800"}"#;
    let payload = [Some(input), Some("1")];
    assert_eq!(program(".a > 0").check().unwrap().is_true(&|path| payload[path]), Ok(true));
    let fault = interpreted(&program(".a > 0"), input).unwrap_err();
    assert!(fault.reason == "parse" && fault.message.contains("half of a surrogate pair"), "{}", fault.message);
    let payload = [Some(input), Some(r#""\ud800""#)];
    let fault = program(".b == \"x\"").check().unwrap().is_true(&|path| payload[path]).unwrap_err();
    assert!(fault.reason == "parse" && fault.message.contains("half of a surrogate pair, which is JSON"));
}

fn predicate() -> impl Strategy<Value = String> {
    let path = prop::sample::select(vec![".", ".a", ".b", ".a.b", ".a.a.b", ".[\"a\"]", ".b.c"]);
    let constant = prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "1",
        "-1",
        "1.5",
        "\"\"",
        "\"a\"",
        "\"é\"",
        "10000000000000000000000",
    ]);
    let comparison = prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let leaf = prop_oneof![
        3 => (path.clone(), comparison.clone(), constant.clone()).prop_map(|(l, op, r)| format!("({l} {op} {r})")),
        1 => (constant.clone(), comparison, path.clone()).prop_map(|(l, op, r)| format!("({l} {op} {r})")),
        1 => path.prop_map(str::to_owned),
        1 => constant.prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l} and {r})")),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l} or {r})")),
            inner.prop_map(|l| format!("({l} | not)")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_is_the_interpreters(text in predicate(), input in super::random::json()) {
        let program = program(&text);
        let expected = interpreted(&program, &input);
        prop_assert_eq!(checked(&program, &input), Some(expected), "{} on {}", text, input);
    }
}
