//! deploy/monitoring and deploy/alerts.yaml ask for what the daemon has: every metric, every label. Prometheus' own tool
//! accepts them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::{Value, json};

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;
use crate::support::publisher::Publisher;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(deploy("monitoring/grafana/dashboards/rowbridge.json")).unwrap()).unwrap()
}

/// Everything under a key of this name, with the legend that goes with it.
fn expressions(value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            if let Some(expression) = map.get("expr").and_then(Value::as_str) {
                let legend = ["legendFormat", "titleFormat"].iter().find_map(|key| map.get(*key)?.as_str());
                found.push((expression.to_owned(), legend.unwrap_or_default().to_owned()));
            }
            map.values().for_each(|value| expressions(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// The expressions of the dashboard, each with its legend, and of the alerts, each with its summary.
fn asked() -> Vec<(String, String)> {
    let mut found = Vec::new();
    expressions(&dashboard(), &mut found);
    let alerts = fs::read_to_string(deploy("alerts.yaml")).unwrap();
    for alert in alerts.split("- alert: ").skip(1) {
        let (_, rest) = alert.split_once("expr: ").unwrap();
        let (expression, _) = rest.split_once("labels: {").unwrap();
        let (_, summary) = rest.split_once("summary: ").unwrap();
        found.push((expression.to_owned(), summary.to_owned()));
    }
    found
}

/// The names of the samples that a bridge gives after a message, each with its labels.
fn samples() -> BTreeMap<String, BTreeSet<String>> {
    let broker = Mosquitto::start();
    let both_ways =
        "publish: [{ table: readings, topic: 'out/{table}' }]\nqueries: [{ topic: q, sql: select 1, reply: r }]\n";
    let mut bridge = Bridge::new(broker.port(), &(readings(1) + both_ways));
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("sensors/a/d/telemetry", r#"{"id":1,"temp":2}"#);
    bridge.wait_rows("readings", 1);
    bridge.wait_drained("local");
    let label = Regex::new("([a-z_]+)=\"").unwrap();
    let mut samples: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let scrape = bridge.get("/metrics").unwrap().body;
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap().to_owned();
        let labels = label.captures_iter(line).map(|label| label[1].to_owned());
        samples.entry(name).or_default().extend(labels);
    }
    samples
}

#[test]
fn every_metric_and_label_of_the_dashboard_and_the_alerts_is_the_daemons() {
    let samples = samples();
    let metric = Regex::new(r"\b((?:rowbridge|process)_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
    let label = Regex::new(r"([a-z_]+)\s*(?:=~|!~|!=|=)").unwrap();
    let grouped = Regex::new(r"\b(?:by|on) \(([^)]*)\)").unwrap();
    let shown = Regex::new(r"\{\{ ?\$?(?:labels\.)?([a-z]+) ?\}\}").unwrap();
    // Prometheus adds the first two; le is the histograms' own.
    let common = |label: &str| ["instance", "job", "le", "value"].contains(&label);
    let mut names = BTreeSet::new();
    for (expression, legend) in asked() {
        let mut known = BTreeSet::new();
        for found in metric.captures_iter(&expression) {
            let labels = samples.get(&found[1]).unwrap_or_else(|| panic!("{} is no metric: {expression}", &found[1]));
            let selector = found.get(2).map_or("", |selector| selector.as_str());
            for label in label.captures_iter(selector) {
                assert!(common(&label[1]) || labels.contains(&label[1]), "{} of {expression}", &label[1]);
            }
            known.extend(labels.clone());
            names.insert(found[1].to_owned());
        }
        let groups = grouped.captures_iter(&expression).map(|group| group[1].to_owned()).collect::<Vec<_>>();
        let groups = groups.iter().flat_map(|group| group.split(", ")).map(str::to_owned);
        let legends = shown.captures_iter(&legend).map(|label| label[1].to_owned());
        for label in groups.chain(legends) {
            assert!(common(&label) || known.contains(&label), "{label} of {expression} ({legend})");
        }
    }
    assert!(names.len() > 25, "{names:?}");
}

/// Runs promtool, which scripts/test installs.
#[track_caller]
fn promtool(arguments: &[&str], file: &Path) {
    let output = Command::new("promtool").args(arguments).arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", file.display());
}

#[test]
fn promtool_accepts_alerts_configuration_and_the_dashboards_expressions() {
    promtool(&["check", "rules"], &deploy("alerts.yaml"));
    promtool(&["test", "rules"], &deploy("alerts_test.yaml"));
    promtool(&["check", "config", "--syntax-only"], &deploy("monitoring/prometheus.yml"));
    let folder = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    expressions(&dashboard(), &mut found);
    let rules: Vec<Value> = found
        .into_iter()
        .enumerate()
        .map(|(number, (expression, _))| {
            let expression = expression.replace("$__rate_interval", "1m").replace("$__range", "6h");
            json!({ "record": format!("panel:{number}"), "expr": expression })
        })
        .collect();
    // JSON is YAML.
    let file = folder.path().join("rules.yaml");
    fs::write(&file, json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string()).unwrap();
    promtool(&["check", "rules"], &file);
}

#[test]
fn the_provisioned_dashboard_is_whole() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
    for panel in panels {
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{panel}");
        assert!(panel["type"] == "row" || !panel["targets"].as_array().unwrap().is_empty(), "{panel}");
    }
    let compose = fs::read_to_string(deploy("compose.yaml")).unwrap();
    for mounted in ["monitoring/grafana/provisioning", "monitoring/grafana/dashboards", "monitoring/prometheus.yml"] {
        assert!(compose.contains(&format!("./{mounted}:")) && deploy(mounted).exists(), "{mounted}");
    }
    let provider = fs::read_to_string(deploy("monitoring/grafana/provisioning/dashboards/rowbridge.yaml")).unwrap();
    assert!(
        compose.contains("dashboards:/etc/grafana/dashboards:ro") && provider.contains("path: /etc/grafana/dashboards")
    );
}
