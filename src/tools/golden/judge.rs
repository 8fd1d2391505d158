//! Compares the expected outcome of a message with the actual one.

use super::file::{Expected, Test};
use super::value::Value;
use crate::tools::explain::{Explanation, Fate, Row, RuleView, Taken, Verdict};

/// What differs, each in a few lines; empty if the test passes.
pub(super) fn judge(test: &Test, found: &Explanation) -> Vec<String> {
    let Some(expect) = &test.expect else {
        return vec!["there is no `expect`; `rowbridge test --update` writes it".to_owned()];
    };
    if expect.is_empty() {
        return taken(found)
            .map(|(view, taken)| format!("no rule was to take it, but {}", summary(view, taken)))
            .collect();
    }
    expect.iter().filter_map(|expected| differs(expected, found)).collect()
}

/// Rules that take the message.
pub(super) fn taken(found: &Explanation) -> impl Iterator<Item = (&RuleView, &Taken)> {
    found.rules.iter().filter_map(|view| match &view.verdict {
        Verdict::Taken(taken) => Some((view, &**taken)),
        Verdict::NotTaken(_) => None,
    })
}

/// Rules that take the message and of which nothing is expected.
pub(super) fn unexpected(test: &Test, found: &Explanation) -> Vec<String> {
    let expect = test.expect.as_deref().unwrap_or_default();
    let others = taken(found).filter(|(view, taken)| !expect.iter().any(|expected| concerns(expected, view, taken)));
    if expect.is_empty() { Vec::new() } else { others.map(|(view, taken)| summary(view, taken)).collect() }
}

fn concerns(expected: &Expected, view: &RuleView, taken: &Taken) -> bool {
    let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
    let table_fits = match (&expected.rule, &expected.table) {
        (None, Some(_)) => taken.rows.iter().any(|row| is(&expected.table, &row.table)),
        _ => true,
    };
    is(&expected.rule, &view.rule) && is(&expected.database, &view.database) && table_fits
}

fn summary(view: &RuleView, taken: &Taken) -> String {
    match (&taken.error, taken.fate) {
        (Some(error), fate) => format!("rule {}: {} ({}): {}", view.rule, fate.word(), error.reason, error.message),
        (None, Fate::Written) => {
            let tables: Vec<String> = taken.rows.iter().map(|row| format!("{} {}", row.table, columns(row))).collect();
            format!("rule {}: {} row(s): {}", view.rule, taken.rows.len(), tables.join("; "))
        }
        (None, fate) => format!("rule {}: {}", view.rule, fate.word()),
    }
}

fn columns(row: &Row) -> String {
    let columns: Vec<String> =
        row.values.iter().map(|value| format!("{}: {}", value.column, value.held.json)).collect();
    format!("{{ {} }}", columns.join(", "))
}

/// What differs from one expectation.
fn differs(expected: &Expected, found: &Explanation) -> Option<String> {
    let concerned: Vec<(&RuleView, &Taken)> =
        taken(found).filter(|(view, taken)| concerns(expected, view, taken)).collect();
    let what = subject(expected);
    let wants_rows = expected.rows.is_some();
    let outcome = expected.outcome.as_deref().or(wants_rows.then_some("written"));
    if concerned.is_empty() {
        return Some(format!("{what}: {}", absent(expected, found)));
    }
    if let Some(outcome) = outcome
        && let Some((view, taken)) = concerned.iter().find(|(_, taken)| taken.fate.word() != outcome)
    {
        return Some(format!("{what}: expected {outcome}\n  found    {}", summary(view, taken)));
    }
    for (wanted, of) in [(&expected.reason, "reason"), (&expected.column, "column")] {
        let Some(wanted) = wanted else { continue };
        let found = concerned.iter().find_map(|(_, taken)| taken.error.as_ref()).and_then(|error| match of {
            "reason" => Some(error.reason.as_str()),
            _ => error.column.as_deref(),
        });
        if found != Some(wanted) {
            let found = found.unwrap_or("none");
            return Some(format!("{what}: expected {of} {wanted}\n  found    {found}"));
        }
    }
    let rows: Vec<&Row> = concerned.iter().flat_map(|(_, taken)| &taken.rows).collect();
    let rows: Vec<&Row> = match &expected.table {
        Some(table) => rows.into_iter().filter(|row| row.table == *table).collect(),
        None => rows,
    };
    if expected.table.is_some() && rows.is_empty() && outcome == Some("written") {
        let (view, taken) = concerned[0];
        return Some(format!("{what}: no row goes there\n  found    {}", summary(view, taken)));
    }
    let wanted = expected.rows.as_ref()?;
    if wanted.len() != rows.len() {
        let found: Vec<String> = rows.iter().map(|row| format!("\n  found    {}", columns(row))).collect();
        return Some(format!("{what}: expected {} row(s), found {}{}", wanted.len(), rows.len(), found.concat()));
    }
    let mut differences = String::new();
    for (index, (wanted, row)) in wanted.iter().zip(rows).enumerate() {
        for (name, value) in wanted {
            if let Some(difference) = column_differs(name, value, row) {
                let place = if expected.rows.as_ref().is_some_and(|rows| rows.len() > 1) {
                    format!("row {}, ", index + 1)
                } else {
                    String::new()
                };
                differences += &format!("\n  {place}{difference}");
            }
        }
    }
    (!differences.is_empty()).then(|| format!("{what}:{differences}"))
}

fn subject(expected: &Expected) -> String {
    let parts = [("rule", &expected.rule), ("table", &expected.table), ("database", &expected.database)];
    let parts = parts.iter().filter_map(|(kind, name)| name.as_ref().map(|name| format!("{kind} {name}")));
    parts.collect::<Vec<_>>().join(", ")
}

/// Why the message has nothing to do with what is expected.
fn absent(expected: &Expected, found: &Explanation) -> String {
    let view = found.rules.iter().find(|view| expected.rule.as_deref() == Some(&*view.rule));
    match (view.map(|view| &view.verdict), &expected.rule) {
        (Some(Verdict::NotTaken(why)), _) => format!("the rule does not take the message: {why}"),
        (None, Some(_)) => {
            let names: Vec<&str> = found.rules.iter().map(|view| &*view.rule).collect();
            format!("there is no such rule; there are: {}", names.join(", "))
        }
        _ => {
            let all: Vec<String> =
                taken(found).map(|(view, taken)| format!("\n  found    {}", summary(view, taken))).collect();
            let all = if all.is_empty() { "; no rule takes the message".to_owned() } else { all.concat() };
            format!("no row goes there{all}")
        }
    }
}

fn column_differs(name: &str, wanted: &Value, row: &Row) -> Option<String> {
    let Some(value) = row.values.iter().find(|value| value.column == name) else {
        return Some(match row.left_out.iter().any(|column| column == name) {
            true => format!("{name}: expected {}, found nothing: the database's default fills it", wanted.yaml()),
            false => format!("{name}: the row has no such column: {}", columns(row)),
        });
    };
    let held = Value::of_json(&value.held.json).unwrap_or_else(|| Value::Text(value.held.json.clone()));
    let is_held = wanted.is_held(&held, &value.column_type);
    (!is_held).then(|| {
        format!(
            "{name}: expected {}\n  {:width$}  found    {}",
            wanted.yaml(),
            "",
            held.yaml(),
            width = name.chars().count() - 1
        )
    })
}
