//! `decode` of a rule: strings in a value that hold another form, such as JSON in a string of JSON.
//!
//! The value is written anew, with the decoded value in place of each string, before any other step. So columns,
//! `for_each`, `where` and `transform` see the same value. Strings inside decoded ones need another round each. A
//! missing string, or null, stays as it is.

use super::json::walk_part;
use super::picked::Picked;
use super::tree::{Path, PathTree, Slot};
use super::{Document, PayloadFault};
use crate::mapping::decode::Decoded;
use crate::mapping::value::Value;
use crate::rule::{Decode, Root, Step};

/// The strings of a payload, or of an element, that are decoded.
#[derive(Debug)]
pub(in crate::mapping) struct Embedded {
    /// Never empty. Within a round no value is inside another.
    rounds: Box<[Round]>,
}

#[derive(Debug)]
struct Round {
    /// The paths of the strings, and of the whole value.
    tree: PathTree,
    /// The slot of the whole value.
    whole: usize,
    strings: Box<[Encoded]>,
}

#[derive(Debug)]
struct Encoded {
    slot: usize,
    /// As the rule writes it.
    path: Box<str>,
    decodes: Box<[Decode]>,
}

/// Memory reused from message to message.
#[derive(Debug, Default)]
pub(in crate::mapping) struct EmbeddedMemory {
    made: Picked,
    next: Picked,
    slots: Vec<Slot>,
    places: Vec<Place>,
}

/// Where a string begins and ends, and which it is.
type Place = (u32, u32, usize);

impl Embedded {
    /// `None` if there is nothing to decode.
    pub(in crate::mapping) fn compile(roots: &[(&[Step], &Root)]) -> Option<Box<Embedded>> {
        let is_around = |outer: &[Step], steps: &[Step]| outer.len() < steps.len() && steps.starts_with(outer);
        let depth = |steps: &[Step]| roots.iter().filter(|(outer, _)| is_around(outer, steps)).count();
        let round = |number: usize| {
            let of_round: Vec<_> = roots.iter().filter(|(steps, _)| depth(steps) == number).collect();
            (!of_round.is_empty()).then(|| Round::compile(&of_round))
        };
        let rounds: Box<[Round]> = (0..).map_while(round).collect();
        (!rounds.is_empty()).then(|| Box::new(Embedded { rounds }))
    }

    /// What has to be found in a value before it can be decoded.
    pub(in crate::mapping) fn tree(&self) -> &PathTree {
        &self.rounds[0].tree
    }

    /// The value with what its strings hold, and what `tree` looks for in it. The slots of `from` are those of
    /// [`Embedded::tree`].
    pub(in crate::mapping) fn document<'m>(
        &self,
        from: Document<'_>,
        tree: &PathTree,
        memory: &'m mut EmbeddedMemory,
    ) -> Result<Document<'m>, PayloadFault> {
        let EmbeddedMemory { made, next, slots, places } = memory;
        self.rounds[0].write(from, places, made)?;
        for round in &self.rounds[1..] {
            slots.clear();
            slots.resize(round.tree.slot_count, None);
            walk_part(&made.text, 0..made.text.len(), &round.tree.root, slots)?;
            round.write(made.document(None).with_slots(slots), places, next)?;
            std::mem::swap(made, next);
        }
        tree.pick_text(&made.text, &mut made.slots).map_err(|fault| PayloadFault::parse(fault.0))?;
        Ok(made.document(from.line))
    }
}

impl Round {
    fn compile(roots: &[&(&[Step], &Root)]) -> Round {
        let whole = Path::Steps(Vec::new());
        let paths: Vec<Path> =
            [whole].into_iter().chain(roots.iter().map(|(steps, _)| Path::Steps(steps.to_vec()))).collect();
        let (tree, slots) = PathTree::compile(&paths);
        let encoded = |(at, (_, root)): (usize, &&(&[Step], &Root))| Encoded {
            slot: slots[at + 1],
            path: root.source.to_string().into(),
            decodes: root.decodes.as_slice().into(),
        };
        let strings = roots.iter().enumerate().map(encoded).collect();
        Round { tree, whole: slots[0], strings }
    }

    fn write(&self, from: Document<'_>, places: &mut Vec<Place>, to: &mut Picked) -> Result<(), PayloadFault> {
        to.clear();
        let Some((mut done, whole_end)) = from.slots[self.whole] else { return Err(PayloadFault::empty()) };
        let strings = self.strings.iter().enumerate();
        places.clear();
        places.extend(strings.filter_map(|(at, of)| from.slots[of.slot].map(|(start, end)| (start, end, at))));
        places.sort_unstable();
        for &(start, end, at) in &*places {
            let Encoded { path, decodes, .. } = &self.strings[at];
            let Some(value) = from.value((start, end)) else { continue };
            if start < done {
                let message = format!("{path}: another path of `decode` leads to the same value or around it");
                return Err(PayloadFault { reason: "value", message });
            }
            let is_text = matches!(value, Value::JsonString(_) | Value::Bytes(_));
            let decoded = Decoded::of(&value, decodes).map_err(|misfit| PayloadFault {
                reason: if is_text { "parse" } else { "value" },
                message: format!("{path}: {} (`decode`)", misfit.0),
            })?;
            to.push_part(&from, done..start)?;
            match decoded.json() {
                Some(json) => to.text.push_str(json),
                None => to.push_bytes(decoded.bytes())?,
            }
            done = end;
        }
        to.push_part(&from, done..whole_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Source;

    /// What comes of a JSON value, and the values at paths of it.
    fn decoded(roots: &[(&str, &[Decode])], json: &str, paths: &[&str]) -> Result<(String, Vec<String>), PayloadFault> {
        let steps = |text: &str| match Source::parse(text).unwrap() {
            Source::Payload(steps) => steps,
            other => panic!("{other} is no path of the payload"),
        };
        let of = |(path, decodes): &(&str, &[Decode])| Root {
            source: Source::parse(path).unwrap(),
            decodes: decodes.to_vec(),
        };
        let roots: Vec<(Vec<Step>, Root)> = roots.iter().map(|root| (steps(root.0), of(root))).collect();
        let listed: Vec<(&[Step], &Root)> = roots.iter().map(|(steps, root)| (&steps[..], root)).collect();
        let embedded = Embedded::compile(&listed).unwrap();
        let (tree, at) = PathTree::compile(&paths.iter().map(|path| Path::Steps(steps(path))).collect::<Vec<_>>());
        let mut memory = EmbeddedMemory::default();
        let mut made = None;
        // Twice, so that what is left in the memory would be seen.
        for _ in 0..2 {
            let mut slots = Vec::new();
            let text = embedded.tree().pick(json.as_bytes(), &mut slots).unwrap();
            let document = embedded.document(Document::of_json(text, &slots), &tree, &mut memory)?;
            let values = at.iter().map(|slot| match document.slots[*slot] {
                Some(range) => format!("{:?}", document.value(range)),
                None => "missing".to_owned(),
            });
            made = Some((document.text.to_owned(), values.collect()));
        }
        Ok(made.unwrap())
    }

    const JSON: &[Decode] = &[Decode::Json];

    #[test]
    fn what_a_string_holds_stands_in_its_place() {
        let json = r#" {"a":1,"data":"{\"temp\": 21.50, \"n\":12345678901234567890}","z":[2]} "#;
        let (text, values) = decoded(&[("payload.data", JSON)], json, &["payload.data.temp", "payload.z[0]"]).unwrap();
        assert_eq!(text, r#"{"a":1,"data":{"temp": 21.50, "n":12345678901234567890},"z":[2]}"#);
        assert_eq!(values, [r#"Some(Number("21.50"))"#, r#"Some(Number("2"))"#]);
        let (text, _) = decoded(&[("payload", JSON)], r#""[1,\"x\"]""#, &["payload[0]"]).unwrap();
        assert_eq!(text, r#"[1,"x"]"#);
    }

    #[test]
    fn bytes_are_bytes_where_they_stood() {
        let roots: &[(&str, &[Decode])] = &[("payload.b", &[Decode::Base64]), ("payload.a", &[Decode::Hex])];
        let (text, values) =
            decoded(roots, r#"{"a":"00ff","b":"AQI","c":"AQI="}"#, &["payload.a", "payload.b", "payload.c"]).unwrap();
        assert_eq!(text, r#"{"a":"AP8=","b":"AQI=","c":"AQI="}"#);
        assert_eq!(values, ["Some(Bytes([0, 255]))", "Some(Bytes([1, 2]))", r#"Some(JsonString("\"AQI=\""))"#]);
    }

    #[test]
    fn strings_in_strings_take_a_round_each() {
        let roots: &[(&str, &[Decode])] =
            &[("payload.a.b", &[Decode::Base64, Decode::Json]), ("payload.a", JSON), ("payload.a.b.c", &[Decode::Hex])];
        // {"c":"0aff"}
        let json = r#"{"a":"{\"b\":\"eyJjIjoiMGFmZiJ9\"}"}"#;
        let (text, values) = decoded(roots, json, &["payload.a.b.c"]).unwrap();
        assert_eq!((text.as_str(), values[0].as_str()), (r#"{"a":{"b":{"c":"Cv8="}}}"#, "Some(Bytes([10, 255]))"));
    }

    #[test]
    fn what_is_missing_or_null_stays_so() {
        for json in [r#"{"x":1}"#, r#"{"data":null}"#, "[]", "5"] {
            assert_eq!(decoded(&[("payload.data", JSON)], json, &[]).unwrap().0, json);
        }
        let of_null = decoded(&[("payload.data", JSON)], r#"{"data":"null"}"#, &["payload.data", "payload.data.t"]);
        assert_eq!(of_null.unwrap().1, ["None", "missing"]);
    }

    #[test]
    fn what_cannot_be_decoded_is_a_fault_that_names_the_path_and_not_the_value() {
        for (decodes, json, reason, why) in [
            (
                JSON,
                r#"{"data":"{\"secret\""}"#,
                "parse",
                "payload.data: a string that is not JSON (its byte 9) (`decode`)",
            ),
            (JSON, r#"{"data":""}"#, "parse", "payload.data: a string that is not JSON"),
            (&[Decode::Base64], r#"{"data":"*secret"}"#, "parse", "payload.data: a string that is no base64"),
            (&[Decode::Base64, Decode::Json], r#"{"data":"AQID"}"#, "parse", "payload.data: a string that is not JSON"),
            (JSON, r#"{"data":{"secret":1}}"#, "value", "payload.data: an object where a string to decode is expected"),
            (JSON, r#"{"data":7}"#, "value", "payload.data: a number where a string to decode is expected"),
        ] {
            let fault = decoded(&[("payload.data", decodes)], json, &[]).unwrap_err();
            assert_eq!(fault.reason, reason, "{json}");
            assert!(fault.message.starts_with(why) && !fault.message.contains("secret"), "{}", fault.message);
        }
    }

    #[test]
    fn two_paths_to_one_value_are_refused() {
        let fault = decoded(&[("payload[0]", JSON), ("payload[-1]", JSON)], r#"["1"]"#, &[]).unwrap_err();
        assert!(fault.message.contains("leads to the same value"), "{}", fault.message);
        assert_eq!(decoded(&[("payload[0]", JSON), ("payload[-1]", JSON)], r#"["1","2"]"#, &[]).unwrap().0, "[1,2]");
    }
}
