//! The picked values against those of a whole document tree.

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::super::tree::{KEYS_COMPARED_MAX, Path, Written};
use super::*;
use crate::rule::{Source, Step};

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
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        "[a-c\\\\\"\u{e9}\n]{0,4}".prop_map(Value::from),
        "[ -~\u{7f}\u{e9}]{0,24}".prop_map(Value::from),
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

/// Pieces that make JSON another JSON, or none.
const PIECES: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\\"",
    "\\u0061",
    "\\u006",
    "\\ud800",
    "\\udc00",
    "\\x",
    "\\/",
    "\"a\":",
    "\"b\":{",
    "\"\\u0061\":",
    "\"\\ud800\":",
    "{\"a\":",
    "[1,",
    "null",
    "nul",
    "true",
    "false",
    "0",
    "01",
    "1.",
    "1.5",
    "1e",
    "1E+9",
    "-",
    "-0",
    " ",
    "\n",
    "\u{b}",
    "\u{1}",
    "\u{7f}",
    "\u{e9}",
    "\u{2028}",
];

/// JSON in which some pieces were put in the place of some characters.
fn almost_json() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), 0usize..3, prop::sample::select(&PIECES[..]));
    (json_values(), any::<bool>(), prop::collection::vec(change, 0..4)).prop_map(|(value, pretty, changes)| {
        let mut chars: Vec<char> = if pretty { format!("{value:#}") } else { value.to_string() }.chars().collect();
        for (place, removed, piece) in changes {
            let at = place.index(chars.len() + 1);
            let end = (at + removed).min(chars.len());
            chars.splice(at..end, piece.chars());
        }
        chars.into_iter().collect()
    })
}

/// The slots after each walk, `None` if it does not take the text.
fn by_both_walks(tree: &PathTree, text: &str) -> (Option<Vec<Slot>>, Option<Vec<Slot>>) {
    let none = || vec![None; tree.slot_count];
    let (mut quick, mut careful) = (none(), none());
    let taken = quick::walk(text, &tree.root, &mut quick);
    let judged = careful::walk(text, &tree.root, &mut careful);
    (taken.map(|()| quick), judged.ok().map(|()| careful))
}

#[test]
fn the_quick_walk_leaves_deep_nesting_to_the_careful_one() {
    let (tree, _) = PathTree::compile(&[Path::Steps(steps("payload.a"))]);
    let nested =
        |depth: usize| format!("{{\"x\":{}{},\"a\":1}}", "[{\"x\":".repeat(depth / 2) + "0", "}]".repeat(depth / 2));
    let (quick, careful) = by_both_walks(&tree, &nested(64));
    assert!(quick.is_some() && quick == careful);
    let (quick, careful) = by_both_walks(&tree, &nested(66));
    assert!(quick.is_none() && careful == Some(vec![Some((275, 276))]), "{careful:?}");
}

#[test]
fn strings_end_at_the_first_quote_wherever_it_stands_in_a_word() {
    let (tree, _) = PathTree::compile(&[Path::Steps(steps("payload.a"))]);
    for filled in 0..40 {
        let filler = "\u{7f}\u{e9}~ ".chars().cycle().take(filled).collect::<String>();
        for ending in ["\"", "\\\\\"", "\\\"\"", "\\u00e9\"", "\\u00g9\"", "\n\"", "\u{1f}\"", "\\"] {
            let text = format!("{{\"{filler}\":0,\"a\":\"{filler}{ending},\"b\":\"\"}}");
            let (quick, careful) = by_both_walks(&tree, &text);
            assert_eq!(quick, careful, "{text}");
        }
    }
}

#[test]
fn numbers_end_at_the_first_byte_that_is_no_digit_wherever_it_stands_in_a_word() {
    let (tree, _) = PathTree::compile(&[Path::Steps(steps("payload.a"))]);
    for digits in 1..20 {
        let number = "1234567890".chars().cycle().take(digits).collect::<String>();
        for ending in (0..=u8::MAX).map(char::from) {
            for text in [
                format!("{{\"a\":{number}{ending}}}"),
                format!("{{\"a\":{number}{ending}5,\"b\":[0,1234567]}}"),
                format!("{{\"a\":-0.{number}{ending}7 }}"),
                format!("{number}{ending}"),
            ] {
                let (quick, careful) = by_both_walks(&tree, &text);
                assert_eq!(quick, careful, "{text}");
            }
        }
    }
}

#[test]
fn a_key_is_told_from_every_other_by_its_head_and_the_rest() {
    for len in 0..20 {
        let key: String = "temp\"\u{e9}erature_of_the_room".chars().take(len).collect();
        let written = Written::of(&key);
        for tail in ["", " ", "21.5", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"] {
            let text = format!("{}{tail}", written.text).into_bytes();
            assert!(written.begins(&text), "{key}");
            for at in 0..text.len() {
                let mut other = text.clone();
                other[at] ^= 1;
                assert_eq!(written.begins(&other), at >= written.text.len(), "{key}, byte {at}");
                assert_eq!(written.begins(&text[..at]), at >= written.text.len(), "{key}, cut at {at}");
            }
        }
    }
}

#[test]
fn keys_are_found_in_any_order_and_however_many_there_are() {
    for count in [3, KEYS_COMPARED_MAX, KEYS_COMPARED_MAX + 1, 100] {
        let names: Vec<String> = (0..count).map(|number| format!("k{}", number * 7 % count)).collect();
        let paths: Vec<Path> = names.iter().map(|name| Path::Steps(vec![Step::Key(name.clone())])).collect();
        let (tree, slots) = PathTree::compile(&paths);
        let mut sorted = names.clone();
        sorted.sort();
        let reversed = names.iter().rev().cloned().collect();
        for order in [names.clone(), sorted, reversed] {
            let members: Vec<String> = order.iter().map(|name| format!("\"{name}\":\"{name}\",\"x\":0")).collect();
            let payload = format!("{{{}}}", members.join(","));
            let mut found = Vec::new();
            let text = tree.pick(payload.as_bytes(), &mut found).unwrap();
            for (name, slot) in names.iter().zip(&slots) {
                let (start, end) = found[*slot].unwrap();
                assert_eq!(text[start as usize..end as usize], format!("\"{name}\""));
            }
        }
    }
}

proptest! {
    #[test]
    fn picking_agrees_with_a_document_tree(value in json_values(), wanted in paths(), pretty: bool) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let paths: Vec<Path> = wanted.iter().cloned().map(Path::Steps).collect();
        let (tree, slots) = PathTree::compile(&paths);
        let (quick, careful) = by_both_walks(&tree, &text);
        for found in [quick.unwrap(), careful.unwrap()] {
            for (steps, slot) in wanted.iter().zip(&slots) {
                let raw = found[*slot].map(|(start, end)| &text[start as usize..end as usize]);
                let parsed: Option<Value> = raw.map(|raw| serde_json::from_str(raw).unwrap());
                prop_assert_eq!(parsed.as_ref(), in_tree(&value, steps), "{:?} of {}", steps, text);
            }
        }
    }

    #[test]
    fn both_walks_take_the_same_and_find_the_same(text in almost_json(), wanted in paths(), folded: bool) {
        let mut paths: Vec<Path> = wanted.into_iter().map(Path::Steps).collect();
        paths.extend(folded.then(|| Path::Folded("A".to_owned())));
        let (tree, _) = PathTree::compile(&paths);
        let (quick, careful) = by_both_walks(&tree, &text);
        prop_assert_eq!(quick, careful, "{}", text);
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
