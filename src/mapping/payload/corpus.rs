//! Random payloads, compared with the results of other decoders: tests/data/payloads/generate.py.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::tree::Path as TreePath;
use super::*;
use crate::config::{Csv, CsvHeader, MessageType, Precision};
use crate::mapping::decimal::Decimal;
use crate::rule::Step;

/// One payload of a corpus.
#[derive(serde::Deserialize)]
struct Case {
    payload: String,
    options: BTreeMap<String, Json>,
    documents: Vec<Json>,
}

#[test]
fn payloads_mean_what_other_decoders_say() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/payloads");
    let directory = std::env::var_os("ROWBRIDGE_PAYLOAD_CORPUS").map_or(committed, PathBuf::from);
    for format in ["ndjson", "csv", "msgpack", "cbor", "influx", "protobuf"] {
        let corpus = std::fs::read_to_string(directory.join(format!("{format}.jsonl"))).unwrap();
        let mut count = 0;
        for (line, case) in (1..).zip(corpus.lines()) {
            let case: Case = serde_json::from_str(case).unwrap();
            check(&syntax(format, &case.options, &directory), &case, &format!("{format}.jsonl:{line}"));
            count += 1;
        }
        assert!(count >= 100, "{format}: {count} payloads");
    }
}

fn syntax(format: &str, options: &BTreeMap<String, Json>, directory: &Path) -> Syntax {
    let option = |name: &str| options[name].as_str().unwrap();
    match format {
        "ndjson" => Syntax::Ndjson,
        "msgpack" => Syntax::Msgpack,
        "cbor" => Syntax::Cbor,
        "influx" => Syntax::Influx(match option("precision") {
            "ns" => Precision::Nanoseconds,
            "us" => Precision::Microseconds,
            "ms" => Precision::Milliseconds,
            _ => Precision::Seconds,
        }),
        "csv" => Syntax::Csv(Csv {
            delimiter: option("delimiter").as_bytes()[0],
            header: match option("header") {
                "none" => CsvHeader::None,
                "skip" => CsvHeader::Skip,
                _ => CsvHeader::Columns,
            },
            columns: None,
            null: serde_json::from_value(options["null"].clone()).unwrap(),
        }),
        _ => {
            let file = directory.join("sensor.binpb");
            let pool = prost_reflect::DescriptorPool::decode(std::fs::read(&file).unwrap().as_slice()).unwrap();
            Syntax::Protobuf(MessageType { descriptor: pool.get_message_by_name("plant.Sensor").unwrap(), file })
        }
    }
}

fn check(syntax: &Syntax, case: &Case, name: &str) {
    let payload = STANDARD.decode(&case.payload).unwrap();
    let decoding = Decoding::of(syntax.clone());
    // The whole documents, then every value in each by its own path.
    let mut found = 0;
    let read = |paths: &[TreePath], is_plain, each: &mut dyn FnMut(Document<'_>, &[usize])| {
        read((&decoding, &payload), paths, is_plain, name, each);
    };
    read(&[TreePath::Steps(Vec::new())], false, &mut |document, slots| {
        let (start, end) = document.slots[slots[0]].unwrap();
        let text = &document.text[start as usize..end as usize];
        assert!(means(text, &case.documents[found]), "{name}: {text} is not {}", case.documents[found]);
        found += 1;
    });
    assert_eq!(found, case.documents.len(), "{name}");
    for (at, expected) in case.documents.iter().enumerate() {
        let mut leaves = Vec::new();
        gather(expected, &mut Vec::new(), &mut leaves);
        let paths: Vec<TreePath> = leaves.iter().map(|(steps, _)| TreePath::Steps(steps.clone())).collect();
        for is_plain in [false, true] {
            let mut line = 0;
            read(&paths, is_plain, &mut |document, slots| {
                if line == at {
                    leaves.iter().zip(slots).for_each(|((steps, expected), slot)| {
                        assert!(is_leaf(&document, *slot, expected), "{name}: {steps:?} is not {expected}");
                    });
                }
                line += 1;
            });
        }
    }
}

fn read(
    (decoding, payload): (&Decoding, &[u8]),
    paths: &[TreePath],
    is_plain: bool,
    name: &str,
    each: &mut dyn FnMut(Document<'_>, &[usize]),
) {
    let (tree, slots) = PathTree::compile(paths);
    let scalars = if is_plain { Scalars::Plain(vec![true; tree.slot_count].into()) } else { Scalars::Json };
    let mut memory = DocumentMemory::default();
    let result = documents::<PayloadFault>(decoding, payload, (&tree, &scalars), &mut memory, &mut |document| {
        each(document, &slots);
        Ok(())
    });
    assert_eq!(result, Ok(()), "{name}");
}

/// The values that are no arrays or objects, with their paths. Those behind keys that come twice are left out.
fn gather<'e>(expected: &'e Json, path: &mut Vec<Step>, leaves: &mut Vec<(Vec<Step>, &'e Json)>) {
    match expected {
        Json::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                // From either end.
                let index = if at % 2 == 0 { at as i32 } else { at as i32 - items.len() as i32 };
                path.push(Step::Index(index));
                gather(item, path, leaves);
                path.pop();
            }
        }
        Json::Object(tagged) if tagged.contains_key("o") => {
            for pair in tagged["o"].as_array().unwrap() {
                path.push(Step::Key(pair[0].as_str().unwrap().to_owned()));
                gather(&pair[1], path, leaves);
                path.pop();
            }
        }
        leaf => leaves.push((path.clone(), leaf)),
    }
}

fn is_leaf(document: &Document<'_>, slot: usize, expected: &Json) -> bool {
    let Some(value) = document.slot(slot) else { return false };
    match (value, expected.get("b").and_then(Json::as_str)) {
        (Some(Value::Bytes(bytes)), Some(base64)) => STANDARD.encode(bytes) == base64,
        (Some(Value::Bytes(_)), None) | (_, Some(_)) => false,
        (None, _) => *expected == Json::Null,
        (Some(Value::Text(text)), _) => *expected == Json::String(text.to_owned()),
        (Some(Value::Bool(truth)), _) => *expected == Json::Bool(truth),
        (Some(Value::Double(number)), _) => {
            let digits = expected.get("f").and_then(Json::as_str);
            digits.is_some_and(|digits| digits.parse::<f64>().unwrap().to_bits() == number.to_bits())
        }
        _ => document.json(slot).is_some_and(|text| means(text, expected)),
    }
}

/// Whether JSON text has this meaning.
fn means(text: &str, expected: &Json) -> bool {
    match expected {
        Json::Null => text == "null",
        Json::Bool(truth) => text == if *truth { "true" } else { "false" },
        Json::String(expected) => serde_json::from_str::<String>(text).is_ok_and(|text| text == *expected),
        Json::Array(items) => serde_json::from_str::<Vec<&RawValue>>(text).is_ok_and(|raw| {
            raw.len() == items.len() && raw.iter().zip(items).all(|(raw, expected)| means(raw.get(), expected))
        }),
        Json::Object(tagged) => {
            let (kind, content) = tagged.iter().next().unwrap();
            match (kind.as_str(), content) {
                ("n", Json::String(digits)) => {
                    let decimal = |text| Decimal::parse(text);
                    decimal(text).is_some_and(|number| number.equals(&decimal(digits).unwrap()))
                }
                ("f", Json::String(digits)) => {
                    let bits = |text: &str| text.parse::<f64>().map(f64::to_bits);
                    bits(text) == bits(digits)
                }
                ("b", Json::String(_)) => serde_json::from_str::<Json>(text).is_ok_and(|text| text == *content),
                (_, pairs) => {
                    let pairs = pairs.as_array().unwrap();
                    serde_json::from_str::<IndexMap<String, &RawValue>>(text).is_ok_and(|raw| {
                        raw.len() == pairs.len()
                            && pairs.iter().all(|pair| {
                                let raw = raw.get(pair[0].as_str().unwrap());
                                raw.is_some_and(|raw| means(raw.get(), &pair[1]))
                            })
                    })
                }
            }
        }
        Json::Number(_) => false,
    }
}
