//! Payloads of every format through [`documents`].

use super::*;
use crate::config::Decoding;
use crate::rule::Source;

/// Each document's values at `paths`, as JSON text; bytes as `x` and hex digits.
pub(super) fn read(decoding: &Decoding, payload: &[u8], paths: &[&str]) -> Result<Vec<Vec<String>>, PayloadFault> {
    let steps = paths.iter().map(|path| match Source::parse(path).unwrap() {
        Source::Payload(steps) => Path::Steps(steps),
        other => panic!("{other:?} is no payload path"),
    });
    let (tree, slots) = PathTree::compile(&steps.collect::<Vec<_>>());
    let (mut memory, mut found) = (DocumentMemory::default(), Vec::new());
    documents::<PayloadFault>(decoding, payload, &tree, &mut memory, &mut |document| {
        found.push(slots.iter().map(|slot| shown(&document, document.slots[*slot])).collect());
        Ok(())
    })?;
    Ok(found)
}

/// One document's values.
pub(super) fn read_one(decoding: &Decoding, payload: &[u8], paths: &[&str]) -> Result<Vec<String>, PayloadFault> {
    let mut found = read(decoding, payload, paths)?;
    assert_eq!(found.len(), 1, "one document");
    Ok(found.remove(0))
}

pub(super) fn fault(decoding: &Decoding, payload: &[u8]) -> String {
    read(decoding, payload, &["payload"]).expect_err("a fault").message
}

fn shown(document: &Document<'_>, slot: Slot) -> String {
    let Some((start, end)) = slot else { return "-".to_owned() };
    match document.value((start, end)) {
        Some(Value::Bytes(bytes)) => bytes.iter().fold("x".to_owned(), |hex, byte| format!("{hex}{byte:02x}")),
        _ => document.text[start as usize..end as usize].to_owned(),
    }
}

#[test]
fn each_line_of_ndjson_is_a_document() {
    let ndjson = Decoding::of(Syntax::Ndjson);
    let payload = b"{\"a\":1}\r\n\n  \n{\"b\":[2]}\n\"x\"\n";
    let found = read(&ndjson, payload, &["payload.a", "payload.b[0]", "payload"]).unwrap();
    assert_eq!(found, [["1", "-", "{\"a\":1}"], ["-", "2", "{\"b\":[2]}"], ["-", "-", "\"x\""]]);
    assert!(fault(&ndjson, b"1\n\n{\n").starts_with("line 3: the payload is not JSON"));
    assert_eq!(fault(&ndjson, b" \n"), "the payload is empty");
}
