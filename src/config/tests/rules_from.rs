//! Rules in further files.

use std::fs;

use super::{Bench, Needs};

const MAIN: &str = "databases: {local: {url: 'sqlite:x.db'}}\nrules_from: [rules.d/*.yaml]\n";

/// A bench with these files in `rules.d`.
fn bench(main: &str, files: &[(&str, &str)]) -> Bench {
    let bench = Bench::new(main);
    fs::create_dir(bench.directory.path().join("rules.d")).unwrap();
    for (name, text) in files {
        bench.file(&format!("rules.d/{name}"), text);
    }
    bench
}

fn rule(name: &str) -> String {
    format!("- {{name: {name}, topic: {name}, table: t, columns: {{p: payload}}}}\n")
}

fn names(bench: &Bench) -> Vec<String> {
    bench.config().rules.iter().map(|rule| rule.name.to_string()).collect()
}

#[test]
fn files_add_their_rules_in_the_order_of_their_names_behind_those_of_the_file() {
    let bench = bench(
        &format!("{MAIN}rules:\n  - {{topic: own, table: t, columns: {{p: payload}}}}\n"),
        &[
            ("20-b.yaml", &rule("b")),
            ("10-a.yaml", &format!("rules:\n{}{}", rule("a1"), "- {topic: a2, table: t, columns: {p: payload}}\n")),
            ("30-empty.yaml", "# nothing yet\n"),
            ("40-none.yaml", "rules: []\n"),
            ("50-other.yml", &rule("not-read")),
        ],
    );
    assert_eq!(names(&bench), ["rule-1", "a1", "rule-3", "b"]);
    let rules = bench.config().rules;
    let positions: Vec<_> = rules.iter().map(|rule| rule.position.rsplit_once('/').unwrap().1).collect();
    assert_eq!(positions, ["bridge.yaml:4:5", "10-a.yaml:2:3", "10-a.yaml:3:3", "20-b.yaml:1:3"]);
}

#[test]
fn a_file_that_two_patterns_name_is_read_once_and_the_configuration_itself_never() {
    let bench = bench(
        "databases: {local: {url: 'sqlite:x.db'}}\nrules_from: [rules.d/z.yaml, 'rules.d/*', '*.yaml']\n",
        &[("a.yaml", &rule("a")), ("z.yaml", &rule("z"))],
    );
    assert_eq!(names(&bench), ["z", "a"]);
}

#[test]
fn variables_name_files_and_fill_values_in_them() {
    let text = "- {topic: '${SITE}/x', table: t, columns: {p: payload}}\n";
    let main = "databases: {local: {url: 'sqlite:x.db'}}\n";
    let bench = bench(main, &[("a.yaml", text), ("b.yaml", &rule("b"))])
        .variable("ROWBRIDGE__RULES_FROM", "rules.d/a.yaml, rules.d/b.yaml")
        .variable("SITE", "north");
    let rules = bench.config().rules;
    assert_eq!(rules[0].topics[0].as_str(), "north/x");
    assert_eq!(rules.len(), 2);
}

#[test]
fn every_mistake_of_every_file_is_found_in_one_run_at_its_place() {
    let bench = bench(
        "databases: {local: {url: 'sqlite:x.db'}}\nrules_from: [rules.d/*.yaml, gone.yaml, rules.d]\nbridge: ''\n",
        &[
            ("a.yaml", "- {topic: a, table: t, columns: {p: payloud}}\n- {name: x, topic: b, columns: {p: payload}}\n"),
            ("b.yaml", "mqtt: {}\nrules:\n- {name: x, topic: '${GONE}', table: t, columns: {p: payload}}\n"),
            ("c.yaml", "- [unclosed\n  : :"),
            ("d.yaml", "words\n"),
            ("e.yaml", "rules: words\n"),
            ("f.yaml", "- {topic: a, topic: b, table: t, columns: {p: payload}}\n"),
        ],
    );
    let report = bench.report().to_string().replace(&format!("{}/", bench.directory.path().display()), "");
    for expected in [
        "bridge.yaml:2:30: rules_from[1]: gone.yaml: the configuration file cannot be read: No such file",
        "bridge.yaml:2:41: rules_from[2]: rules.d: the configuration file cannot be read: Is a directory",
        "bridge.yaml:3:9: bridge: found ``",
        "rules.d/a.yaml:1:37: rules[0].columns.p: ",
        "rules.d/a.yaml:2:3: rules[1].table: is missing",
        "rules.d/b.yaml:1:1: mqtt: this key is not known\n    accepted: rules",
        "rules.d/b.yaml:3:10: rules[0].name: the rule name `x` was given before, at rules.d/a.yaml:2:3",
        "rules.d/b.yaml:3:20: rules[0].topic: the environment variable GONE is not set",
        "rules.d/c.yaml:",
        "rules.d/d.yaml:1:1: rules: the file holds no rules",
        "rules.d/e.yaml:1:8: rules: found `words`; each rule begins with `-`",
        "rules.d/f.yaml:1:14: rules[0].topic: the key `topic` was given before, at 1:4",
    ] {
        assert!(report.contains(expected), "{expected}\nin\n{report}");
    }
    assert!(report.ends_with("12 mistakes in the configuration"), "{report}");
}

#[test]
fn a_wildcard_may_match_nothing_but_a_bridge_has_a_rule() {
    let bench = bench(&format!("{MAIN}rules:\n{}", rule("own")), &[]);
    assert_eq!(names(&bench), ["own"]);
    let bench = bench.with_text(MAIN);
    assert_eq!(
        bench.findings(),
        ["2:13 rules_from: there is no rule: neither under `rules` nor in any of these files"]
    );
    let bench = bench.with_text(&format!("{MAIN}rules: []\n"));
    assert_eq!(bench.findings().len(), 1);
}

#[test]
fn whoever_uses_no_rules_reads_no_files_of_rules() {
    let bench = bench(MAIN, &[("a.yaml", "- [unclosed")]).needing(Needs::only(&["http"]));
    bench.config();
}

#[test]
fn a_secret_of_a_file_of_rules_is_not_shown() {
    let bench = bench(MAIN, &[("a.yaml", "password: hunter2hunter2\nrules: hunter2hunter2\n")]);
    let report = bench.report().to_string();
    assert!(!report.contains("hunter2"), "{report}");
}
