//! The layers above the file: `ROWBRIDGE__MQTT__URL=…` and command-line flags.

use std::collections::{BTreeMap, BTreeSet};

use config::{Map, Value, ValueKind};

use super::key_path::KeyPath;
use super::layer::{Layer, Origin, Provenance, Provenances};
use super::report::{Finding, Place};

const PREFIX: &str = "ROWBRIDGE__";
const SEPARATOR: &str = "__";

/// Keys that exclude each other: setting one on an upper layer removes the other one of the layers below.
const TWINS: [[&str; 2]; 4] =
    [["url", "urls"], ["username", "username_file"], ["password", "password_file"], ["token", "token_file"]];

/// A setting from outside the file.
struct Setting {
    origin: Origin,
    segments: Vec<String>,
    value: String,
}

/// The layer of all variables that begin with `ROWBRIDGE__`. `below` is what lies under it: key names are matched to
/// its keys without regard to case, and with `_` for `-`.
pub(super) fn variables(
    environment: &BTreeMap<String, String>,
    below: &Map<String, Value>,
    provenances: &mut Provenances,
    findings: &mut Vec<Finding>,
) -> Layer {
    let settings = environment.iter().filter_map(|(name, value)| {
        let segments = keys_of(name)?.split(SEPARATOR).map(str::to_owned).collect();
        Some(Setting { origin: Origin::Variable(name.clone()), segments, value: value.clone() })
    });
    layer(settings, below, provenances, findings)
}

/// Reports the variables of this layer whose value is not UTF-8 text.
pub(super) fn refuse_not_text(names: &BTreeSet<String>, findings: &mut Vec<Finding>) {
    for name in names {
        let Some(keys) = keys_of(name) else { continue };
        let path = keys.to_lowercase().split(SEPARATOR).fold(KeyPath::root(), |path, key| path.key(key));
        findings.push(Finding {
            place: Place::Variable(name.clone()),
            key: path.to_string(),
            problem: "the value is not UTF-8 text".to_owned(),
            excerpt: None,
            accepted: None,
            suggestion: None,
        });
    }
}

/// The part of a variable's name that names a key, if it is one of this layer.
fn keys_of(name: &str) -> Option<&str> {
    let (prefix, keys) = name.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(keys)
}

/// The layer of `(key path, value)` pairs from the command line.
pub(super) fn flags(
    overrides: &[(String, String)],
    below: &Map<String, Value>,
    provenances: &mut Provenances,
    findings: &mut Vec<Finding>,
) -> Layer {
    let settings = overrides.iter().map(|(path, value)| Setting {
        origin: Origin::Flag(path.clone()),
        segments: path.split('.').map(str::to_owned).collect(),
        value: value.clone(),
    });
    layer(settings, below, provenances, findings)
}

fn layer(
    settings: impl Iterator<Item = Setting>,
    below: &Map<String, Value>,
    provenances: &mut Provenances,
    findings: &mut Vec<Finding>,
) -> Layer {
    let mut values = Map::new();
    for setting in settings {
        let origin = setting.origin.clone();
        if let Err(problem) = set(setting, below, &mut values, provenances) {
            let place = match origin {
                Origin::Flag(path) => Place::Flag(path),
                Origin::Variable(name) => Place::Variable(name),
                Origin::File { .. } => Place::Nowhere,
            };
            findings.push(Finding {
                place,
                key: String::new(),
                problem,
                excerpt: None,
                accepted: None,
                suggestion: None,
            });
        }
    }
    Layer { values }
}

/// Puts one setting into the layer.
fn set(
    setting: Setting,
    below: &Map<String, Value>,
    values: &mut Map<String, Value>,
    provenances: &mut Provenances,
) -> Result<(), String> {
    let Setting { origin, segments, value } = setting;
    if segments.iter().any(String::is_empty) {
        return Err("the key path has an empty part".to_owned());
    }
    let Some((last, parents)) = segments.split_last() else { return Ok(()) };
    let mut path = KeyPath::root();
    let (mut table, mut below) = (values, Some(below));
    for segment in parents {
        let key = known_key(segment, below, table);
        path = path.key(&key);
        let under = below.and_then(|below| below.get(&key)).map(|value| &value.kind);
        if let Some(ValueKind::Array(_)) = under {
            return Err(format!("`{path}` is a list; its elements can only be set in the file"));
        }
        below = match under {
            Some(ValueKind::Table(table)) => Some(table),
            _ => None,
        };
        if !provenances.contains_key(&path) {
            provenances.insert(path.clone(), Provenance { origin: origin.clone(), text: None, written: None });
        }
        let next = table.entry(key).or_insert_with(|| Value::from(Map::<String, Value>::new()));
        if !matches!(next.kind, ValueKind::Table(_)) {
            *next = Value::from(Map::<String, Value>::new());
        }
        let ValueKind::Table(next) = &mut next.kind else { return Ok(()) };
        table = next;
    }
    let key = known_key(last, below, table);
    let path_of_value = path.key(&key);
    // As in a shell script, an empty value takes a setting back.
    let kind = if value.is_empty() { ValueKind::Nil } else { ValueKind::String(value.clone()) };
    // That of another key stays.
    for twin in twins_of(&key).filter(|_| !value.is_empty()) {
        if !provenances.get(&path.key(twin)).is_some_and(|there| same_layer(&there.origin, &origin)) {
            table.insert(twin.to_owned(), Value::new(None, ValueKind::Nil));
        }
    }
    table.insert(key, Value::new(None, kind));
    provenances.insert(path_of_value, Provenance { origin, text: Some(value), written: None });
    Ok(())
}

/// The key of the layers below (or of this layer) that a segment means; else the segment in lower case.
fn known_key(segment: &str, below: Option<&Map<String, Value>>, table: &Map<String, Value>) -> String {
    let plain = |key: &str| key.to_lowercase().replace('-', "_");
    let wanted = plain(segment);
    let mut keys = below.into_iter().flat_map(Map::keys).chain(table.keys());
    keys.find(|key| plain(key) == wanted).cloned().unwrap_or_else(|| segment.to_lowercase())
}

fn twins_of(key: &str) -> impl Iterator<Item = &'static str> {
    TWINS.into_iter().filter_map(move |[a, b]| match key {
        _ if key == a => Some(b),
        _ if key == b => Some(a),
        _ => None,
    })
}

fn same_layer(a: &Origin, b: &Origin) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn table(pairs: &[(&str, Value)]) -> Map<String, Value> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn a_double_underscore_nests_and_case_does_not_matter() {
        let below = table(&[("databases", Value::from(table(&[("Cloud-EU", Value::from(table(&[])))])))]);
        let mut provenances = Provenances::new();
        let mut findings = Vec::new();
        let layer = variables(
            &environment(&[
                ("ROWBRIDGE__DATABASES__CLOUD_EU__STATEMENT_TIMEOUT", "5s"),
                ("rowbridge__mqtt__url", "mqtt://x"),
                ("ROWBRIDGE_CONFIG", "ignored"),
                ("PATH", "ignored"),
            ]),
            &below,
            &mut provenances,
            &mut findings,
        );
        assert_eq!(findings, []);
        assert_eq!(layer.values.keys().collect::<Vec<_>>(), ["databases", "mqtt"]);
        let path = KeyPath::root().key("databases").key("Cloud-EU").key("statement_timeout");
        assert_eq!(
            provenances[&path].origin,
            Origin::Variable("ROWBRIDGE__DATABASES__CLOUD_EU__STATEMENT_TIMEOUT".to_owned())
        );
    }

    #[test]
    fn an_element_of_a_list_cannot_be_set() {
        let below = table(&[("rules", Value::from(vec![Value::from(table(&[]))]))]);
        let mut findings = Vec::new();
        variables(&environment(&[("ROWBRIDGE__RULES__0__TABLE", "t")]), &below, &mut Provenances::new(), &mut findings);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, Place::Variable("ROWBRIDGE__RULES__0__TABLE".to_owned()));
        assert_eq!(findings[0].problem, "`rules` is a list; its elements can only be set in the file");
    }

    #[test]
    fn an_empty_part_of_a_path_is_refused() {
        for name in ["ROWBRIDGE__", "ROWBRIDGE__MQTT__", "ROWBRIDGE____URL"] {
            let mut findings = Vec::new();
            variables(&environment(&[(name, "x")]), &Map::new(), &mut Provenances::new(), &mut findings);
            assert_eq!(findings.len(), 1, "{name}");
        }
    }

    #[test]
    fn setting_a_key_takes_back_its_twin_below() {
        let mut provenances = Provenances::new();
        let layer =
            flags(&[("mqtt.url".to_owned(), "mqtt://x".to_owned())], &Map::new(), &mut provenances, &mut Vec::new());
        let ValueKind::Table(mqtt) = &layer.values["mqtt"].kind else { panic!("not a table") };
        assert_eq!(mqtt["urls"].kind, ValueKind::Nil);
    }
}
