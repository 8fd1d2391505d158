//! The columns of a table that is known only from a rule with `columns: auto`, taken from a message: the names of its
//! fields, or for fields without names `column1`, `column2` …

use serde_json::Value;

use crate::config::{CsvHeader, ForEach, Format, Rule, Syntax};
use crate::mapping::decoded_json;
use crate::rule::{Root, Source, Step};

/// The columns, as far as the payload can be read here: uncompressed JSON, lines of JSON, CSV.
pub(super) fn named_by(rule: &Rule, payload: &[u8]) -> Vec<String> {
    let mut names = Names { folds_case: rule.times.is_some(), found: Vec::new() };
    let text = std::str::from_utf8(payload).unwrap_or_default().trim_start_matches('\u{feff}');
    let is_json = text.trim_start().starts_with(['{', '[']);
    match &rule.format {
        Format::Json => names.document(rule, text),
        Format::Decoded(decoding) => match &decoding.syntax {
            Syntax::Csv(csv) => names.records(text, csv.delimiter, csv.header == CsvHeader::Columns),
            Syntax::Auto(csv) if !is_json => names.records(text, csv.delimiter, false),
            Syntax::Json | Syntax::Auto(_) if serde_json::from_str::<Value>(text).is_ok() => names.document(rule, text),
            Syntax::Ndjson | Syntax::Auto(_) => text.lines().for_each(|line| names.document(rule, line)),
            _ => {}
        },
        Format::Text | Format::Bytes => {}
    }
    names.found
}

struct Names {
    /// Names of other systems have no case.
    folds_case: bool,
    found: Vec<String>,
}

impl Names {
    fn add(&mut self, name: &str) {
        let name = if self.folds_case { name.to_lowercase() } else { name.to_owned() };
        if !self.found.contains(&name) {
            self.found.push(name);
        }
    }

    fn add_numbered(&mut self, count: usize) {
        (1..=count).for_each(|number| self.add(&format!("column{number}")));
    }

    fn document(&mut self, rule: &Rule, text: &str) {
        let Ok(mut value) = serde_json::from_str::<Value>(text) else { return };
        let roots = &rule.shaping.roots;
        let steps_of = |root: &Root, is_item| match (&root.source, is_item) {
            (Source::Payload(steps), false) | (Source::Item(steps), true) => Some(steps.clone()),
            _ => None,
        };
        decode(&mut value, roots, |root| steps_of(root, false));
        let paths = match &rule.for_each {
            ForEach::Paths(paths) => &paths[..],
            ForEach::Auto => return self.rows(&value),
        };
        let mut level = vec![&value];
        for path in paths {
            let (Source::Payload(steps) | Source::Item(steps)) = path else { return };
            level = level.into_iter().filter_map(|value| part(value, steps)).flat_map(elements).collect();
        }
        for value in level {
            let mut value = value.clone();
            decode(&mut value, roots, |root| steps_of(root, true));
            self.row(&value);
        }
    }

    /// A payload in any of the shapes that `for_each: auto` takes.
    fn rows(&mut self, value: &Value) {
        match value {
            Value::Object(_) if value.pointer("/data/columns").is_some_and(Value::is_array) => {
                let columns = value["data"]["columns"].as_array().into_iter().flatten();
                columns.filter_map(Value::as_str).for_each(|name| self.add(name));
            }
            // Of other systems only.
            Value::Object(_) if self.folds_case && value.pointer("/data/rows").is_some_and(Value::is_array) => {
                elements(&value["data"]["rows"]).into_iter().for_each(|row| self.row(row));
            }
            Value::Array(rows) if rows.iter().any(|row| row.is_object() || row.is_array()) => {
                rows.iter().for_each(|row| self.row(row));
            }
            row => self.row(row),
        }
    }

    fn row(&mut self, row: &Value) {
        match row {
            Value::Object(fields) => fields.keys().for_each(|name| self.add(name)),
            Value::Array(elements) => self.add_numbered(elements.len()),
            _ => {}
        }
    }

    /// The first record tells all.
    fn records(&mut self, text: &str, delimiter: u8, is_header: bool) {
        let mut is_quoted = false;
        let is_end = |c: char| {
            is_quoted ^= c == '"';
            !is_quoted && c == '\n'
        };
        let record = text.split(is_end).next().unwrap_or_default();
        let mut is_quoted = false;
        let fields = record.split(|c: char| {
            is_quoted ^= c == '"';
            !is_quoted && c == char::from(delimiter)
        });
        match is_header {
            true => fields.for_each(|name| self.add(name.trim().trim_matches('"'))),
            false => self.add_numbered(fields.count()),
        }
    }
}

/// Puts what strings hold in their place, the outer ones first.
fn decode(value: &mut Value, roots: &[Root], steps_of: impl Fn(&Root) -> Option<Vec<Step>>) {
    let mut roots: Vec<_> = roots.iter().filter_map(|root| Some((steps_of(root)?, root))).collect();
    roots.sort_by_key(|(steps, _)| steps.len());
    for (steps, root) in roots {
        let pointer = steps.iter().fold(String::new(), |pointer, step| match step {
            Step::Key(key) => format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => format!("{pointer}/{index}"),
        });
        let Some(part) = value.pointer_mut(&pointer) else { continue };
        if let Some(decoded) = part.as_str().and_then(|text| decoded_json(text, &root.decodes)) {
            *part = decoded;
        }
    }
}

fn part<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => {
            let list = value.as_array()?;
            let at =
                usize::try_from(*index).ok().or_else(|| list.len().checked_add_signed(isize::try_from(*index).ok()?));
            list.get(at?)
        }
    })
}

fn elements(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(entries) => entries.values().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(fill: impl Fn(&mut Names)) -> String {
        let mut names = Names { folds_case: true, found: Vec::new() };
        fill(&mut names);
        names.found.join(" ")
    }

    #[test]
    fn every_shape_of_rows_tells_names_or_how_many() {
        for (payload, expected) in [
            (r#"{"NAME":"a","time":1}"#, "name time"),
            (r#"[{"a":1},{"A":2,"b":3}]"#, "a b"),
            (r#"{"data":{"columns":["NAME","VALUE"],"rows":[["a",1]]}}"#, "name value"),
            (r#"{"data":{"rows":[["a",1],["b",2]]}}"#, "column1 column2"),
            (r#"["a",1,2]"#, "column1 column2 column3"),
            (r#"[["a",1],["b",2]]"#, "column1 column2"),
            ("7", ""),
        ] {
            let value = serde_json::from_str(payload).unwrap();
            assert_eq!(names(|names| names.rows(&value)), expected, "{payload}");
        }
    }

    #[test]
    fn the_first_record_of_csv_tells_them() {
        for (text, is_header, expected) in [
            ("VALUE,\"NAME\",time\r\n1,a,2\n", true, "value name time"),
            ("\"a,\nb\",2\n3,4,5\n", false, "column1 column2"),
        ] {
            assert_eq!(names(|names| names.records(text, b',', is_header)), expected, "{text}");
        }
    }
}
