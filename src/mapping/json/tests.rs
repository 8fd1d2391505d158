//! The picked values against those of a whole document tree.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::mapping::Source;

fn steps(path: &str) -> Vec<Step> {
    match Source::parse(path).unwrap() {
        Source::Payload(steps) => steps,
        other => panic!("{other:?} is no payload path"),
    }
}

/// The text picked for each path.
fn picked<'p>(payload: &'p str, paths: &[&str]) -> Result<Vec<Option<&'p str>>, String> {
    let paths: Vec<Path> = paths.iter().map(|path| Path::Steps(steps(path))).collect();
    let (tree, slots) = PathTree::compile(&paths);
    let mut found = Vec::new();
    let text = tree.pick(payload.as_bytes(), &mut found).map_err(|fault| fault.0)?;
    let range = |slot: &usize| found[*slot].map(|(start, end)| &text[start as usize..end as usize]);
    Ok(slots.iter().map(range).collect())
}

fn one<'p>(payload: &'p str, path: &str) -> Option<&'p str> {
    picked(payload, &[path]).unwrap()[0]
}

#[test]
fn values_are_taken_exactly_as_they_stand() {
    let payload = r#" {"a": 12345678901234567890.1234567890 , "b":{"c":[ 1,{"d":"x\ny"} ]},"e":null,"f g":[]} "#;
    for (path, expected) in [
        ("payload.a", Some("12345678901234567890.1234567890")),
        ("payload.b", Some(r#"{"c":[ 1,{"d":"x\ny"} ]}"#)),
        ("payload.b.c[1].d", Some(r#""x\ny""#)),
        ("payload.b.c[-1].d", Some(r#""x\ny""#)),
        ("payload.b.c[-2]", Some("1")),
        ("payload.b.c[-3]", None),
        ("payload.b.c[2]", None),
        ("payload.e", Some("null")),
        ("payload.e.x", None),
        ("payload.a.x", None),
        ("payload[0]", None),
        (r#"payload["f g"]"#, Some("[]")),
        ("payload.missing", None),
        ("payload", Some(payload.trim())),
    ] {
        assert_eq!(one(payload, path), expected, "{path}");
    }
}

#[test]
fn a_whole_value_and_its_parts_can_both_be_wanted() {
    let payload = r#"{"a":{"b":[1,2,3]},"c":0}"#;
    let paths = ["payload", "payload.a", "payload.a.b", "payload.a.b[0]", "payload.a.b[-1]", "payload.a.b[2]"];
    let expected = [payload, r#"{"b":[1,2,3]}"#, "[1,2,3]", "1", "3", "3"];
    assert_eq!(picked(payload, &paths).unwrap(), expected.map(Some));
}

#[test]
fn scalars_are_payloads_too() {
    for payload in ["21.5", "\"x\"", "true", "null", "-0"] {
        assert_eq!(one(payload, "payload"), Some(payload));
        assert_eq!(one(payload, "payload.a"), None);
    }
}

#[test]
fn of_equal_keys_the_last_one_wins_with_all_its_parts() {
    assert_eq!(one(r#"{"a":1,"a":2}"#, "payload.a"), Some("2"));
    let payload = r#"{"a":{"x":1,"y":2},"a":{"x":3}}"#;
    assert_eq!(picked(payload, &["payload.a.x", "payload.a.y"]).unwrap(), [Some("3"), None]);
    assert_eq!(picked(r#"{"a":{"x":1},"a":5}"#, &["payload.a.x"]).unwrap(), [None]);
    assert_eq!(picked(r#"{"a":{"x":1},"a":5}"#, &["payload.a.x", "payload.a"]).unwrap(), [None, Some("5")]);
}

#[test]
fn escaped_keys_are_the_keys_they_stand_for() {
    assert_eq!(one(r#"{"t\u0065mp":1}"#, "payload.temp"), Some("1"));
}

#[test]
fn exact_keys_go_before_keys_of_another_case() {
    let paths = [Path::Steps(steps("payload.Temp")), Path::Folded("Temp".to_owned())];
    let (tree, slots) = PathTree::compile(&paths);
    let mut found = Vec::new();
    for (payload, expected) in [
        (r#"{"TEMP":1,"Temp":2}"#, [Some("2"), Some("1")]),
        (r#"{"Temp":2}"#, [Some("2"), None]),
        (r#"{"temp":3}"#, [None, Some("3")]),
    ] {
        tree.pick(payload.as_bytes(), &mut found).unwrap();
        let text = |slot: &usize| found[*slot].map(|(start, end)| &payload[start as usize..end as usize]);
        assert_eq!(slots.iter().map(text).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_scalar_that_no_float_holds_does_not_spoil_the_payload() {
    let payload = r#"{"a":1e999,"b":"\ud800","c":7}"#;
    assert_eq!(picked(payload, &["payload.a.x", "payload.b.x", "payload.c"]).unwrap(), [None, None, Some("7")]);
}

#[test]
fn nesting_costs_no_stack() {
    for depth in [200, 100_000] {
        let nested = format!("{{\"deep\":{}{},\"a\":1}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(one(&nested, "payload.a"), Some("1"));
        assert_eq!(one(&nested, "payload.deep").map(str::len), Some(2 * depth));
    }
    let path = format!("payload{}", "[0]".repeat(64));
    let nested = format!("{}1{}", "[".repeat(64), "]".repeat(64));
    assert_eq!(one(&nested, &path), Some("1"));
    let each: Vec<String> = (0..64).map(|depth| format!("payload{}", "[-1]".repeat(depth))).collect();
    let each: Vec<&str> = each.iter().map(String::as_str).collect();
    assert!(picked(&nested, &each).unwrap().iter().all(Option::is_some));
}

#[test]
fn what_is_not_json_is_refused_with_the_place() {
    for (payload, reason, place) in [
        ("", "empty", ""),
        (" \n", "empty", ""),
        ("{\"a\":1} x", "trailing", "byte 9"),
        ("{\"a\":1", "EOF", "byte 6"),
        ("{\"a\":\n  nope}", "expected ident", "byte 10"),
        ("NaN", "expected value", "byte 1"),
        ("{'a':1}", "key must be a string", "byte 2"),
        ("[01]", "", "byte 3"),
    ] {
        let fault = picked(payload, &["payload.a"]).unwrap_err();
        assert!(fault.contains(reason) && fault.contains(place), "{payload}: {fault}");
    }
    let (tree, _) = PathTree::compile(&[Path::Steps(steps("payload.a"))]);
    let fault = tree.pick(b"{\"a\":\"\xff\"}", &mut Vec::new()).unwrap_err();
    assert_eq!(fault.0, "the payload is not UTF-8 (byte 7)");
}

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[a-c\\\\\"\u{e9}\n]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map("[a-c]", inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

fn paths() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof!["[a-c]".prop_map(Step::Key), (-4i32..4).prop_map(Step::Index)];
    prop::collection::vec(prop::collection::vec(step, 0..5), 1..8)
}

fn in_tree<'v>(mut value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    for step in steps {
        value = match step {
            Step::Key(key) => value.as_object()?.get(key)?,
            Step::Index(index) => {
                let elements = value.as_array()?;
                let at = i64::from(*index) + if *index < 0 { elements.len() as i64 } else { 0 };
                elements.get(usize::try_from(at).ok()?)?
            }
        };
    }
    Some(value)
}

proptest! {
    #[test]
    fn picking_agrees_with_a_document_tree(value in json_values(), wanted in paths(), pretty: bool) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let paths: Vec<Path> = wanted.iter().cloned().map(Path::Steps).collect();
        let (tree, slots) = PathTree::compile(&paths);
        let mut found = Vec::new();
        for careful in [false, true] {
            found.clear();
            found.resize(tree.slot_count, None);
            tree.walk(&text, &mut found, careful).unwrap();
            for (steps, slot) in wanted.iter().zip(&slots) {
                let raw = found[*slot].map(|(start, end)| &text[start as usize..end as usize]);
                let parsed: Option<Value> = raw.map(|raw| serde_json::from_str(raw).unwrap());
                prop_assert_eq!(parsed.as_ref(), in_tree(&value, steps), "{:?} of {}", steps, text);
            }
        }
    }

    #[test]
    fn exactly_what_serde_json_takes_is_json(text in "[\\[\\]{}:,\"a0-2. etrufalsn-]{0,24}", wanted in paths()) {
        let paths: Vec<Path> = wanted.into_iter().map(Path::Steps).collect();
        let (tree, _) = PathTree::compile(&paths);
        let taken = tree.pick(text.as_bytes(), &mut Vec::new()).is_ok();
        prop_assert_eq!(taken, serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn arbitrary_bytes_never_panic(payload: Vec<u8>, wanted in paths()) {
        let paths: Vec<Path> = wanted.into_iter().map(Path::Steps).collect();
        let (tree, _) = PathTree::compile(&paths);
        if let Err(fault) = tree.pick(&payload, &mut Vec::new()) {
            prop_assert!(fault.0.starts_with("the payload is"));
        }
    }
}
