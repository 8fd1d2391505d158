//! Commands that use a part of the configuration, and checks that use no secret.

use super::*;

#[test]
fn mistakes_and_variables_elsewhere_do_not_concern_who_needs_one_part() {
    let text = "mqtt: {password: '${UNSET}', pasword: x, tls: {ca_file: nowhere}}\nhttp: {listen: '127.0.0.1:${PORT}'}\n\
                databases: {a: {url: 'sqlite:${UNSET}'}, b: {url: 'sqlite:b.db'}}\nrules: [{topic: a}]\n";
    let bench = Bench::new(text).variable("PORT", "1234").needing(Needs::only(&["http"]));
    assert_eq!(bench.config().http, crate::config::Http::Listen("127.0.0.1:1234".parse().unwrap()));
    let bench = bench.needing(Needs::only(&["data_dir"]).and_database(Some("b")));
    assert_eq!(bench.config().databases.len(), 2);
    let bench = bench.needing(Needs::only(&["data_dir"]).and_database(None));
    assert!(bench.findings().contains(&"3:22 databases.a.url: the environment variable UNSET is not set".to_owned()));
    assert!(bench.findings().iter().all(|one| one.contains("databases.a")), "{:?}", bench.findings());
}

#[test]
fn a_check_without_secrets_needs_neither_their_variables_nor_their_files() {
    let text = "mqtt: {url: 'mqtts://h', username: '${UNSET}', password: '${UNSET}', tls: {ca_file: nowhere}}\n\
                databases: {a: {url: 'postgres://u@h/a', password_file: nowhere}, b: {url: 'postgres://u@h/b', password: \
                '${UNSET}'}, c: {url: 'postgres://u@h/c?sslrootcert=nowhere'}}\n\
                rules: [{topic: a, database: a, table: t, columns: {p: payload}}]\n";
    let bench = Bench::new(text);
    assert!(bench.findings().len() >= 5, "{:?}", bench.findings());
    let bench = bench.needing(Needs::no_secrets());
    bench.config();
    let bench = bench
        .with_text(&text.replace("mqtts://h', username: '${UNSET}', password: '${UNSET}'", "mqtts://u:${UNSET}@h'"));
    bench.config();
    let bench = bench.with_text(&text.replace("mqtts://h", "mqtts://${HOST}"));
    let findings = bench.findings();
    assert!(
        findings.iter().any(|one| one == "1:13 mqtt.url: the environment variable HOST is not set"),
        "{findings:?}"
    );
}

#[test]
fn a_check_that_connects_reads_secret_files_later() {
    let text = format!("mqtt: {{password_file: nowhere}}\n{REST}");
    let bench = Bench::new(&text).needing(Needs::secrets_later());
    let error = bench.config().mqtt.password.unwrap().read().unwrap_err().to_string();
    assert!(error.contains("`nowhere` cannot be read"), "{error}");
    let bench = bench.with_text(&format!("mqtt: {{password: '${{UNSET}}'}}\n{REST}"));
    assert_eq!(bench.findings(), ["1:18 mqtt.password: the environment variable UNSET is not set"]);
}
