//! `decode` of a rule: strings of the payload that hold another form, as roots of further paths.

use super::adjust;
use super::table::Table;
use super::value::Value;
use crate::config::{ForEach, Format, Shaping, Syntax};
use crate::rule::{ColumnSource, Root, Source};

const FORMS: &str = "a mapping of paths to forms, such as { payload.data: json, item.raw: [base64, json] }";

/// The most entries of one rule. A value is rewritten once for each entry that is inside another.
const ROOTS_MAX: usize = 16;

pub(super) fn decode(table: &Table<'_>, format: &Format) -> Vec<Root> {
    let Some(value) = table.get("decode") else { return Vec::new() };
    let entries: Vec<_> = value.entries().into_iter().flatten().collect();
    if entries.is_empty() || entries.len() > ROOTS_MAX {
        let problem = match entries.len() {
            0 => "found no mapping with paths".to_owned(),
            more => format!("found {more} paths; there may be {ROOTS_MAX}"),
        };
        value.refuse(problem, FORMS);
        return Vec::new();
    }
    let mut roots: Vec<Root> = Vec::new();
    for (path, value) in entries {
        let source = match Source::parse(path) {
            Ok(source @ (Source::Payload(_) | Source::Item(_) | Source::Parent(_))) => source,
            _ => {
                let problem = "stands under what is no path of the payload, or of an element under `for_each`";
                value.refuse(problem, FORMS);
                continue;
            }
        };
        if roots.iter().any(|root| root.source == source) {
            value.refuse(format!("`{source}` is decoded above"), "each path once; several forms are a list");
            continue;
        }
        let decodes = adjust::decodes(&value);
        if !decodes.is_empty() {
            roots.push(Root { source, decodes });
        }
    }
    check_order(&value, &roots);
    check_format(&value, &roots, format);
    roots
}

/// A path below bytes leads nowhere.
fn check_order(value: &Value<'_>, roots: &[Root]) {
    let of_bytes = |below: &Root| roots.iter().find(|root| !root.has_parts() && root.is_above(&below.source));
    if let Some((below, root)) = roots.iter().find_map(|below| Some((below, of_bytes(below)?))) {
        value.refuse(format!("`{}` lies in {}, and bytes have no parts", below.source, root.describe()), FORMS);
    }
}

fn check_format(value: &Value<'_>, roots: &[Root], format: &Format) {
    if format.has_fields() || roots.is_empty() {
        return;
    }
    // What is one text or one run of bytes can be decoded only as a whole.
    let takes_whole = matches!(format, Format::Decoded(decoding) if !matches!(decoding.syntax, Syntax::Text));
    let is_whole = |root: &Root| root.source == Source::Payload(Vec::new()) && root.has_parts();
    if !(takes_whole && roots.iter().any(is_whole)) {
        let problem = "goes into the fields of the payload, and this format has none";
        value.refuse(problem, "a format with fields, such as json");
    }
}

/// Elements that the rule does not have.
pub(super) fn check_elements(table: &Table<'_>, shaping: &Shaping, for_each: &ForEach) {
    let Some(value) = table.get("decode") else { return };
    for root in &shaping.roots {
        match (&root.source, for_each) {
            (Source::Item(_), ForEach::Auto) => value.refuse(
                format!(
                    "`{}` is a part of an element, and with `for_each: auto` only the payload is decoded",
                    root.source
                ),
                "paths of payload, or a path in for_each",
            ),
            (Source::Item(_), each) if each.depth() < 1 => {
                let problem = format!("`{}` is a part of an element, and the rule has no `for_each`", root.source);
                value.refuse(problem, "paths of payload");
            }
            (Source::Parent(_), each) if each.depth() < 2 => {
                let problem =
                    format!("`{}` is of the outer of two elements, and the rule has no second `for_each`", root.source);
                value.refuse(problem, "paths of payload and item");
            }
            _ => {}
        }
    }
}

/// What a column takes of bytes, which have no parts.
pub(super) fn check_column(source: &ColumnSource, value: &Value<'_>, shaping: &Shaping) {
    for source in source.sources() {
        // Under `transform` it is a path of what comes out.
        if shaping.transform.is_some() && matches!(source, Source::Payload(_)) {
            continue;
        }
        if let Some(root) = shaping.roots.iter().find(|root| !root.has_parts() && root.is_above(source)) {
            let problem = format!("takes a part of {}, and bytes have no parts", root.describe());
            value.refuse(problem, format!("{}, or json as the last form in decode", root.source));
            return;
        }
    }
}
