//! Postgres URLs, with what the environment and the password file add.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tokio_postgres::config::{Host, TargetSessionAttrs};

use super::Bench;
use crate::config::{Account, DatabaseUrl, PostgresUrl, SslMode};

fn bench(options: &str) -> Bench {
    Bench::new(&format!("databases: {{d: {{{options}}}}}\nrules: [{{topic: a, table: t, columns: {{p: payload}}}}]\n"))
}

fn url(bench: &Bench) -> PostgresUrl {
    let config = bench.config();
    let DatabaseUrl::Postgres(url) = &config.databases[0].url else { panic!("not Postgres") };
    PostgresUrl::clone(url)
}

fn hosts(url: &PostgresUrl) -> Vec<String> {
    let name = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    };
    url.config.get_hosts().iter().map(name).collect()
}

#[test]
fn a_url_with_everything_is_understood() {
    let url = url(&bench(
        "url: 'postgres://u:p%40@h1:5433,h2/d?target_session_attrs=read-write&sslmode=verify-full&connect_timeout=3&\
         application_name=x&tcp_user_timeout=1500&keepalives_count=4&client_encoding=UTF8', schema: s",
    ));
    assert_eq!(hosts(&url), ["h1", "h2"]);
    assert_eq!(url.config.get_ports(), [5433, 5432]);
    assert_eq!(url.config.get_user(), Some("u"));
    assert_eq!(url.config.get_password(), None);
    assert_eq!(url.password.as_ref().unwrap().read().unwrap().expose(), "p@");
    assert_eq!(url.config.get_dbname(), Some("d"));
    assert_eq!(url.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    assert_eq!(url.ssl_mode, SslMode::VerifyFull);
    assert_eq!(url.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
    assert_eq!(url.config.get_application_name(), Some("x"));
    assert_eq!(url.config.get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
    assert_eq!(url.config.get_keepalives_retries(), Some(4));
    assert_eq!(url.schema, "s");
}

#[test]
fn what_is_left_out_has_a_default() {
    let url = url(&bench("url: 'postgres://h/d'"));
    assert_eq!(url.config.get_application_name(), Some("rowbridge"));
    assert_eq!(url.config.get_connect_timeout(), Some(&Duration::from_secs(10)));
    assert_eq!(url.ssl_mode, SslMode::Prefer);
    assert_eq!(url.schema, "public");
    assert!(url.password.is_none());
}

#[test]
fn the_other_form_of_libpq_is_understood() {
    let url = url(&bench(r#"url: "host=/run/pg,h2 port=5433 user=u dbname='a b' sslmode=require""#));
    assert_eq!(hosts(&url), ["/run/pg", "h2"]);
    assert_eq!(url.config.get_ports(), [5433, 5433]);
    assert_eq!(url.config.get_dbname(), Some("a b"));
    assert_eq!(url.ssl_mode, SslMode::Require);
}

#[test]
fn variables_fill_the_gaps_and_only_those() {
    let bench = bench("url: 'postgres://h/d'")
        .variable("PGHOST", "other")
        .variable("PGPORT", "5433")
        .variable("PGUSER", "u")
        .variable("PGPASSWORD", "hunter2")
        .variable("PGSSLMODE", "require")
        .variable("PGDATABASE", "other")
        .variable("PGAPPNAME", "name")
        .variable("PGCONNECT_TIMEOUT", "2");
    let url = url(&bench);
    assert_eq!(hosts(&url), ["h"]);
    assert_eq!(url.config.get_ports(), [5433]);
    assert_eq!(url.config.get_user(), Some("u"));
    assert_eq!(url.password.as_ref().unwrap().read().unwrap().expose(), "hunter2");
    assert_eq!(url.config.get_dbname(), Some("d"));
    assert_eq!(url.config.get_application_name(), Some("name"));
    assert_eq!(url.ssl_mode, SslMode::Require);
    let bench = bench.variable("PGSSLMODE", "sometimes");
    assert_eq!(bench.findings(), ["PGSSLMODE databases.d.url: is not valid"]);
}

/// The password that a connection to the only host would be made with.
fn password_of(bench: &Bench) -> Option<String> {
    let url = url(bench);
    let account = Account { host: "h", port: 5432, database: "d", user: "u" };
    let secret = match &url.password {
        Some(source) => Some(source.read().unwrap()),
        None => url.passfile?.find(&account).unwrap(),
    };
    secret.map(|secret| secret.expose().to_owned())
}

#[test]
fn the_password_file_is_asked_last_and_must_be_private() {
    let bench = bench("url: 'postgres://u@h/d'");
    let path = bench.file(".pgpass", "h:5432:d:u:hunter2\n");
    let home = bench.directory.path().to_str().unwrap().to_owned();
    let bench = bench.variable("HOME", &home);
    let allow = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    allow(0o600);
    assert_eq!(password_of(&bench).as_deref(), Some("hunter2"));
    allow(0o644);
    assert_eq!(password_of(&bench), None);
    let bench = bench.variable("PGPASSFILE", path.to_str().unwrap());
    assert_eq!(bench.findings(), ["PGPASSFILE databases.d.url: is not valid"]);
    allow(0o600);
    assert_eq!(password_of(&bench).as_deref(), Some("hunter2"));
    let bench = bench.variable("PGPASSWORD", "first");
    assert_eq!(password_of(&bench).as_deref(), Some("first"));
}

#[test]
fn the_password_file_is_read_anew_each_time() {
    let bench = bench("url: 'postgres://u@h/d'");
    let path = bench.file("pass", "h:5432:d:u:hunter2\n");
    let bench = bench.variable("PGPASSFILE", path.to_str().unwrap());
    let allow = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    allow(0o600);
    let passfile = url(&bench).passfile.unwrap();
    let account = Account { host: "h", port: 5432, database: "d", user: "u" };
    std::fs::write(&path, "*:*:*:*:hunter3\n").unwrap();
    assert_eq!(passfile.find(&account).unwrap().unwrap().expose(), "hunter3");
    allow(0o640);
    assert!(passfile.find(&account).unwrap_err().to_string().contains("chmod 600"));
    std::fs::remove_file(&path).unwrap();
    assert!(passfile.find(&account).unwrap().is_none());
}

#[test]
fn certificates_come_from_the_mapping_or_the_url() {
    let files = Bench::new("");
    let [ca, cert, key] = ["ca", "cert", "key"].map(|name| files.file(name, "x"));
    let bench = bench(&format!(
        "url: 'postgres://h/d?sslmode=verify-ca&sslcert={}&sslkey={}', tls: {{ca_file: {ca:?}}}",
        cert.display(),
        key.display()
    ));
    let tls = url(&bench).tls;
    assert_eq!((tls.ca_file, tls.cert_file, tls.key_file), (Some(ca), Some(cert.clone()), Some(key)));
    let bench = self::bench(&format!("url: 'postgres://h/d?sslcert={}'", cert.display()));
    assert_eq!(bench.findings(), ["1:22 databases.d.url: has only one of sslcert and sslkey"]);
    let bench = self::bench("url: 'postgres://h/d?sslrootcert=system&sslmode=verify-full'");
    assert_eq!(url(&bench).tls.ca_file, None);
    assert_eq!(url(&self::bench("url: 'postgres://h/d?sslrootcert=system'")).ssl_mode, SslMode::VerifyFull);
    let bench = self::bench("url: 'postgres://h/d?sslrootcert=system&sslmode=require'");
    assert_eq!(bench.findings(), ["1:22 databases.d.url: parameter `sslmode` is not valid"]);
    let bench = self::bench("url: 'postgres://h/d?sslrootcert=/nowhere/ca.pem'");
    assert_eq!(bench.findings(), ["1:22 databases.d.url: parameter `sslrootcert` is not valid"]);
}

#[test]
fn the_same_database_under_two_names_is_a_mistake() {
    let bench = Bench::new(
        "databases:\n  a: {url: 'postgres://u@h/d'}\n  b: {url: 'postgres://v@h:5432/d'}\n  c: {url: 'postgres://h/d', \
         schema: s}\nrules: [{topic: a, table: t, database: a, columns: {p: payload}}]\n",
    );
    assert_eq!(bench.findings(), ["3:6 databases.b: is the same database as `a`"]);
}
