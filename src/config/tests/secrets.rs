//! Secrets: where they come from, and that they are never shown.

use std::fs;

use super::{Bench, REST};
use crate::config::{DatabaseUrl, load};

const SECRET: &str = "hunter2";

#[test]
fn a_secret_can_lie_in_a_file() {
    let bench = Bench::new("");
    let path = bench.file("secret", "hunter2\n");
    let bench = bench.with_text(&format!("mqtt: {{username_file: {path:?}, password_file: {path:?}}}\n{REST}"));
    let config = bench.config();
    for source in [config.mqtt.username, config.mqtt.password] {
        assert_eq!(source.unwrap().read().unwrap().expose(), SECRET);
    }
}

#[test]
fn a_secret_in_a_file_is_read_anew_each_time_and_a_missing_or_empty_file_is_an_error() {
    let bench = Bench::new("");
    let path = bench.file("secret", "hunter2\n");
    let bench = bench.with_text(&format!("mqtt: {{password_file: {path:?}}}\n{REST}"));
    let source = bench.config().mqtt.password.unwrap();
    let read = || source.read().map(|secret| secret.expose().to_owned()).map_err(|error| error.to_string());
    fs::write(&path, "hunter3\n").unwrap();
    assert_eq!(read(), Ok("hunter3".to_owned()));
    fs::write(&path, "").unwrap();
    assert_eq!(read(), Err(format!("`{}` is empty", path.display())));
    fs::remove_file(&path).unwrap();
    assert_eq!(read(), Err(format!("`{}` cannot be read: No such file or directory (os error 2)", path.display())));
    fs::write(&path, "hunter4").unwrap();
    assert_eq!(read(), Ok("hunter4".to_owned()));
    assert!(!format!("{source:?}").contains("hunter"));
}

#[test]
fn only_one_line_end_is_taken_off_a_secret() {
    for (content, expected) in [("a b \r\n", "a b "), ("x\n\n", "x\n"), ("x", "x")] {
        let bench = Bench::new("");
        let path = bench.file("secret", content);
        let bench = bench.with_text(&format!("mqtt: {{password_file: {path:?}}}\n{REST}"));
        let config = bench.config();
        assert_eq!(config.mqtt.password.unwrap().read().unwrap().expose(), expected, "{content:?}");
    }
}

#[test]
fn a_token_that_no_client_can_send_is_a_finding() {
    let bench = Bench::new("");
    let path = bench.file("secret", "tok\nb\n");
    for given in [format!("token_file: {path:?}"), "token: \"tok\\nb\"".to_owned()] {
        let found = Bench::new(&format!("http: {{{given}}}\n{REST}")).findings();
        assert!(found.len() == 1 && found[0].contains("line break"), "{given}: {found:?}");
    }
}

#[test]
fn a_relative_name_is_looked_for_among_the_credentials_first() {
    let bench = Bench::new(&format!("mqtt: {{password_file: secret}}\n{REST}"));
    bench.file("secret", "hunter2\n");
    let directory = bench.directory.path().to_str().unwrap().to_owned();
    let bench = bench.variable("CREDENTIALS_DIRECTORY", &directory);
    let config = bench.config();
    assert_eq!(config.mqtt.password.unwrap().read().unwrap().expose(), SECRET);
}

#[test]
fn a_secret_file_that_is_of_no_use_is_a_finding() {
    let bench = Bench::new("");
    let [empty, large, bytes] = ["empty", "large", "bytes"].map(|name| bench.file(name, "\n"));
    fs::write(&large, vec![b'x'; 70_000]).unwrap();
    fs::write(&bytes, b"\xff\n").unwrap();
    let missing = bench.directory.path().join("missing");
    for (path, problem) in [
        (&empty, "is empty"),
        (&large, "is larger than 64 KiB"),
        (&bytes, "is not UTF-8 text"),
        (&missing, "cannot be read: No such file or directory (os error 2)"),
    ] {
        let bench = Bench::new(&format!("mqtt: {{password_file: {path:?}}}\n{REST}"));
        assert_eq!(bench.findings(), [format!("1:23 mqtt.password_file: `{}` {problem}", path.display())]);
    }
    let bench = Bench::new(&format!("mqtt: {{password: hunter2, password_file: {empty:?}}}\n{REST}"));
    assert_eq!(bench.findings(), ["1:42 mqtt.password_file: `password` is given too"]);
}

#[test]
fn a_certificate_needs_its_key_and_a_broker_that_uses_tls() {
    let bench = Bench::new("");
    let path = bench.file("cert.pem", "x");
    let bench = bench.with_text(&format!("mqtt: {{url: 'mqtts://h', tls: {{cert_file: {path:?}}}}}\n{REST}"));
    assert_eq!(bench.findings(), ["1:43 mqtt.tls.cert_file: has no `key_file` beside it"]);
    let bench = bench.with_text(&format!("mqtt: {{url: 'mqtt://h', tls: {{ca_file: {path:?}}}}}\n{REST}"));
    assert_eq!(bench.findings(), ["1:40 mqtt.tls.ca_file: has no effect: no address uses TLS"]);
    let bench = bench.with_text(&format!("mqtt: {{url: 'mqtts://h', tls: {{ca_file: {path:?}}}}}\n{REST}"));
    assert_eq!(bench.config().mqtt.tls.ca_file, Some(path));
}

#[test]
fn a_configuration_that_is_printed_shows_no_secret() {
    let bench = Bench::new("");
    let path = bench.file("secret", "hunter2\n");
    let bench = bench
        .with_text(&format!(
            "mqtt: {{url: 'mqtt://u:hunter2@h'}}\ndatabases:\n  a: {{url: 'postgres://u:hunter2@h/d'}}\n  b: {{url: \
             'host=h password=hunter2 dbname=e'}}\n  c: {{url: 'postgres://h/f', password_file: {path:?}}}\n  d: {{url: \
             'postgres://h/g', password: '${{PASSWORD}}'}}\nrules: [{{topic: a, table: t, database: a, columns: {{p: \
             payload}}}}]\n"
        ))
        .variable("PASSWORD", SECRET);
    let config = bench.config();
    for database in &config.databases {
        let DatabaseUrl::Postgres(url) = &database.url else { panic!("not Postgres") };
        assert_eq!(url.password.as_ref().unwrap().read().unwrap().expose(), SECRET, "{}", database.name);
    }
    assert!(!format!("{config:?} {config:#?}").contains(SECRET));
}

#[test]
fn no_finding_shows_a_secret() {
    let both = |line: &str| [line.to_owned(), line.replace(SECRET, "${PASSWORD}")];
    for text in [
        "mqtt: {password: [hunter2]}",
        "mqtt: {password: {a: hunter2}}",
        "mqtt: {password: hunter2, password: hunter2}",
        "mqtt: {pasword: hunter2}",
        "password: hunter2",
        "mqtt: {url: 'mqtt://u:hunter2@h:port'}",
        "mqtt: {url: 'mqtt://u:hunter2@'}",
        "mqtt: {url: 'u:hunter2@h'}",
        "mqtt: {url: 'mqtt://u:hunter2@h/path'}",
        "mqtt: {url: 'mqtt://u:pa#hunter2@h'}",
        "mqtt: {url: 'mqtt://u:/hunter2@h'}",
        "mqtt: {url: 'http://u:hunter2@h'}",
        "mqtt: {urls: ['mqtt://u:hunter2@h', 'mqtt://u:x@h']}",
        "mqtt: {url: 'mqtt://u:hunter2@h', password: x}",
        "mqtt: 'u:hunter2@h'",
        "databases: {local: {url: 'postgres://u:hunter2@h:x/d'}}",
        "databases: {local: {url: 'postgres://u:/hunter2@h/d'}}",
        "databases: {local: {url: 'postgres://u:x?hunter2@h/d'}}",
        "databases: {local: {url: 'postgres://u:x?a=b&hunter2=@h/d'}}",
        "databases: {local: {url: 'mysql://u:hunter2@h/d'}}",
        "databases: {local: {url: 'host=h password=hunter2 port=x'}}",
        "databases: {local: {url: 'h password=hunter2'}}",
        "databases: {local: {url: 'sqlite:x.db', password: hunter2}}",
        "databases: 'postgres://u:hunter2@h/d'",
        "databases: {local: 'postgres://u:hunter2@h/d'}",
        "bridge: [a\npassword: hunter2",
        "http: 'http://u:hunter2@h'",
    ]
    .iter()
    .flat_map(|line| both(line))
    {
        let report = Bench::new(&format!("{text}\nx: 1\n")).variable("PASSWORD", SECRET).report();
        assert!(!report.to_string().contains(SECRET), "{text}\n{report}");
        assert!(!format!("{report:?}").contains(SECRET), "{text}\n{report:?}");
    }
    for (name, value) in [
        ("ROWBRIDGE__MQTT__URL", "tcp://u:hunter2@h"),
        ("ROWBRIDGE__PASSWORD", "hunter2"),
        ("ROWBRIDGE__MQTT__PASSWORD__X", "hunter2"),
        ("ROWBRIDGE__DATABASES__LOCAL__URL", "postgres://u:hunter2@h:x/d"),
        ("PGPORT", "hunter2"),
    ] {
        let text = REST.replace("sqlite:x.db", "postgres://h/d?x=y");
        let report = Bench::new(&text).variable(name, value).report();
        assert!(!report.to_string().contains(SECRET), "{name}\n{report}");
    }
}

#[test]
fn a_mistake_in_a_topic_does_not_quote_what_a_variable_filled_in() {
    for topic in ["a/{b}${WORD}", "a/{*c}${DOOR_PASSWORD}/x", "${WORD}+"] {
        let rules = format!("rules: [{{topic: '{topic}', table: t, columns: {{p: payload}}}}]\n");
        let bench = Bench::new(&format!("databases: {{local: {{url: 'sqlite:x.db'}}}}\n{rules}"));
        let bench = bench.variable("WORD", SECRET).variable("DOOR_PASSWORD", SECRET);
        let report = load(&bench.request).unwrap_err();
        assert!(!format!("{report}\n{report:?}").contains(SECRET), "{report}");
        assert!(report.to_string().contains("rules[0].topic"), "{report}");
    }
}

#[test]
fn a_suggestion_does_not_quote_what_a_variable_filled_in() {
    for text in [
        "mqtt: {url: 'h-${WORD}'}",
        "databases: {local: {url: 'x.${WORD}'}}",
        "databases: {local: {url: 'file:${WORD}'}}",
        "databases: {local: {url: 'sqlite://${WORD}'}}",
        "rules: [{topic: a, table: t, columns: {p: '${WORD}'}}]",
        "rules: [{topic: a, table: t, columns: {p: 'payloae.${WORD}'}}]",
        "rules: [{topic: a, table: t, columns: {p: {from: 'payloae.${WORD}'}}}]",
        "shutdown_grace: '${WORD}sec'",
        "http: {listen: '${WORD}'}",
        "mqtt: {url: '${WORD}://h'}",
        "rules: [{topic: ['a/{b}', '${WORD}/+'], table: t, columns: {p: topic.b}}]",
        "rules: [{topic: 'a/{b${WORD}}', table: t, columns: {p: topic.c}}]",
        "rules: [{topic: 'a/{b${WORD}}', table: t, columns: {p: 'topic.b${WORD}x'}}]",
        "mqtt: {password_file: '/x/${WORD}'}",
        "databases: {local: {url: 'postgres://h/d?${WORD}=1'}}",
        "rules: [{name: 'r${WORD}', topic: a, table: t}, {name: 'r${WORD}', topic: a, table: t}]",
    ] {
        for word in [SECRET, "17042"] {
            let report = Bench::new(&format!("{text}\n")).variable("WORD", word).report();
            assert!(!format!("{report}\n{report:?}").contains(word), "{text}\n{report}");
        }
    }
}

/// Runs `text` with its secret, and once more with the secret in a variable, and wants a report without any of `pieces`.
fn assert_hidden(text: &str, pieces: &[&str]) -> String {
    let report = Bench::new(text).report();
    for piece in pieces {
        assert!(!format!("{report}\n{report:?}").contains(piece), "{piece} is shown for {text}\n{report}");
    }
    report.to_string()
}

#[test]
fn an_at_sign_behind_the_host_is_refused_for_every_kind_of_address_and_no_part_is_shown() {
    const PIECES: [&str; 6] = ["hunter2", "top", "s3cret", "S3@", "cr/et", "@host"];
    let passwords =
        ["hunter2@top/s3cret", "S3@cr/et", "hunter2/s3cret", "hunter2?s3cret", "hunter2#s3cret", "12/s3cret@x"];
    for password in passwords {
        for scheme in ["mqtt", "mqtts", "ws", "wss"] {
            let url = format!("{scheme}://user:{password}@host");
            for text in
                [format!("mqtt: {{url: '{url}'}}\n{REST}"), format!("mqtt: {{urls: ['mqtt://a', '{url}']}}\n{REST}")]
            {
                let report = assert_hidden(&text, &PIECES);
                assert!(report.contains("an `@` behind the host") && report.contains("%2F"), "{report}");
            }
            let bench = Bench::new(REST).variable("ROWBRIDGE__MQTT__URLS", &url).report().to_string();
            let flag = Bench::new(REST).flag("mqtt.url", &url).report().to_string();
            for report in [bench, flag] {
                assert!(report.contains("an `@` behind the host"), "{report}");
                assert!(PIECES.iter().all(|piece| !report.contains(piece)), "{url}\n{report}");
            }
        }
        if !password.contains('#') {
            let url = format!("postgres://bridge:{password}@host/db");
            let report = assert_hidden(&REST.replace("sqlite:x.db", &url), &PIECES);
            assert!(report.contains("an `@` behind the host") && report.contains("%2F"), "{report}");
        }
    }
    let report = assert_hidden(&REST.replace("sqlite:x.db", "host=u:hunter2@h dbname=d"), &["hunter2"]);
    assert!(report.contains("parameter `host` is not valid"), "{report}");
    assert_hidden(&REST.replace("sqlite:x.db", "postgres://u:p@h%40hunter2/d"), &["hunter2"]);
    assert_hidden(&format!("mqtt: {{url: 'mqtt://u%3Ahunter2%40h'}}\n{REST}"), &["hunter2"]);
    let report = Bench::new(&REST.replace("sqlite:x.db", "postgres:///d")).variable("PGHOST", "u:hunter2@h").report();
    assert!(!report.to_string().contains("hunter2"), "{report}");
    // Encoded, each of them is the password.
    let config = Bench::new(&format!("mqtt: {{url: 'ws://user:S3%40cr%2Fet@host'}}\n{REST}")).config();
    assert_eq!(config.mqtt.password.unwrap().read().unwrap().expose(), "S3@cr/et");
    assert_eq!(config.mqtt.urls[0].host, "host");
}

#[test]
fn a_password_that_needs_quotes_is_told_so_and_never_shown() {
    let values = [
        "!hunter2",
        "!!hunter2",
        "!hunter2 s3cret",
        "!<hunter2",
        "{hunter2",
        "{hunter2}",
        "{hunter2: s3cret}",
        "{hunter2, hunter2}",
        "&hunter2",
        "@hunter2",
        "%hunter2",
        "*hunter2",
        "`hunter2",
        "[hunter2",
        "[hunter2]",
        "[hunter2, {s3cret: s3cret, s3cret: 1}]",
        "|hunter2",
        ">hunter2",
        "#hunter2",
        "]hunter2",
        "}hunter2",
        ",hunter2",
        "- hunter2",
        "? hunter2",
        "hunter2: s3cret",
        "'hunter2's3cret'",
        "\"hunter2",
        "\"hunter2\\q\"",
        "\"hunter2\"s3cret",
    ];
    for key in ["password", "client_secret", "sasl-passwd"] {
        for value in values {
            let block = format!("mqtt:\n  client_id: x\n  {key}: {value}\n{REST}");
            let report = assert_hidden(&block, &["hunter2", "s3cret"]);
            // A key that is not known has that as its mistake.
            assert!(report.contains("quotes") || key != "password", "{block}\n{report}");
            assert!(report.contains(&format!("mqtt.{key}")) || report.contains("mqtt: not YAML"), "{block}\n{report}");
        }
    }
    for text in [
        "mqtt: {password:hunter2, client_id: x}\n",
        "mqtt: {password: {!hunter2 : {a: b}}}\n",
        "mqtt: {ta.x\n  password:hunter2: t}\n",
        "mqtt: {password: a,hunter2, client_id: x}\n",
        "mqtt:\n  password:hunter2\n  client_id: x\n",
        "mqtt:\n  password hunter2\n  client_id: x\n",
        "mqtt:\n  password: |\n    hunter2: a\n   s3cret: b\n",
        "mqtt:\n  password: |\n    hunter2\n\ts3cret\n",
        "mqtt:\n  ? password\n  : @hunter2\n",
        "mqtt:\n  password:\n    - hunter2\n    - {s3cret\n",
        "{\"password\":@hunter2}\n",
        "databases: {local: {password: *hunter2}}\n",
    ] {
        assert_hidden(text, &["hunter2", "s3cret"]);
    }
    // Told where the secret stands, not where the brace turns out to lack its end.
    for value in ["{hunter2", "[hunter2"] {
        let text = format!("mqtt:\n  password: {value}\n  client_id: x\n{REST}");
        assert!(Bench::new(&text).findings()[0].starts_with("2:3 mqtt.password"), "{:?}", Bench::new(&text).findings());
    }
    // What only looks dangerous is a password.
    for (value, expected) in
        [("'!x'", "!x"), ("'it''s {odd} #1'", "it's {odd} #1"), ("a#b", "a#b"), ("!!str 007", "007")]
    {
        let config = Bench::new(&format!("mqtt:\n  password: {value}\n{REST}")).config();
        assert_eq!(config.mqtt.password.unwrap().read().unwrap().expose(), expected, "{value}");
    }
    let config = Bench::new(&format!("mqtt:\n  password: # none here\n{REST}")).config();
    assert!(config.mqtt.password.is_none());
}

#[test]
fn debug_and_display_of_an_address_show_no_user() {
    let text = "mqtt: {url: 'mqtt://t0ken@h'}\ndatabases: {d: {url: 'postgres://t0ken@h/d'}}\n";
    let config = Bench::new(&format!("{text}rules: [{{topic: a, table: t, columns: {{p: payload}}}}]\n")).config();
    let DatabaseUrl::Postgres(url) = &config.databases[0].url else { panic!("not Postgres") };
    assert!(!format!("{config:?} {} {url}", config.mqtt.urls[0]).contains("t0ken"));
}

#[test]
fn a_variable_that_a_secret_needs_is_named_when_it_is_not_set() {
    for text in ["mqtt: {password: '${DB2PASSWORD}'}", "mqtt: {url: 'mqtt://u:${DB2PASSWORD}@h'}"] {
        let report = Bench::new(&format!("{text}\n{REST}")).report().to_string();
        assert!(report.contains("the environment variable DB2PASSWORD is not set"), "{report}");
    }
}
