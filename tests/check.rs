//! `rowbridge check` against real brokers and databases: what it finds, and that it leaves everything as it was.

use std::process::Output;

use serde_json::Value;

use crate::session::picky_broker::{Manners, PickyBroker, Refusal};
use crate::support::bridge::{Bridge, readings};
use crate::support::free_port;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::postgres::Postgres;
use crate::support::publisher::Load;

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asserts the exit code and that every word is printed.
#[track_caller]
fn assert_says(output: &Output, code: i32, words: &[&str]) -> String {
    let text = text(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word} in:\n{text}");
    }
    text
}

#[test]
fn a_bridge_that_can_run_is_told_so_and_nothing_is_made() {
    for keys in ["", "version: 3.1.1"] {
        let broker = Mosquitto::start();
        let bridge = Bridge::with_mqtt(broker.port(), keys, &readings(1));
        let said = assert_says(
            &bridge.command(&["check", "--rate", "50"]),
            0,
            &[
                "1 of 1 topic filters granted",
                "an fdatasync takes",
                "at 50 messages per second",
                "the first start makes it",
            ],
        );
        assert!(!said.contains('\u{1b}'), "no colours into a pipe: {said}");
        let json: Value = serde_json::from_slice(&bridge.command(&["check", "--json"]).stdout).unwrap();
        assert_eq!((&json["ok"], &json["problems"]), (&Value::from(true), &Value::from(0)), "{json}");
        assert!(json["findings"].as_array().unwrap().iter().any(|one| one["level"] == "ok"), "{json}");
        let left: Vec<_> =
            std::fs::read_dir(bridge.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["bridge.yaml"], "nothing else is there");
    }
}

#[test]
fn where_temporary_files_have_no_place_the_broker_and_the_tables_are_looked_at_all_the_same() {
    let broker = Mosquitto::start();
    let bridge = Bridge::new(broker.port(), &readings(1));
    let without = |arguments: &[&str]| bridge.prepare(arguments).env("TMPDIR", "/nonexistent").output().unwrap();
    assert_says(&without(&["check"]), 0, &["1 of 1 topic filters granted"]);
    assert_says(&without(&["discover", "--for", "100ms"]), 1, &["nothing was published"]);
}

#[test]
fn a_check_neither_disturbs_the_session_nor_takes_its_messages() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    assert_says(&bridge.command(&["check"]), 0, &["every rule fits"]);
    assert_eq!(bridge.status()["mqtt"]["connected"], true);
    assert!(!bridge.log().contains("same client id"), "{}", bridge.log());
    assert!(bridge.stop().success());
    Load::new(broker.port(), 1, 20).run();
    assert_says(&bridge.command(&["check"]), 0, &["1 of 1 topic filters granted", "every rule fits"]);
    assert!(!bridge.path("rows.db-wal").exists(), "no log is made");
    bridge.start();
    bridge.wait_ids("readings", 20);
    assert_eq!(bridge.status()["mqtt"]["session_present"], true);
}

#[test]
fn what_cannot_be_reached_or_is_wrong_is_a_problem_and_the_rest_is_checked() {
    let body = "databases:\n  bad: { url: 'sqlite:bad.db' }\n  good: { url: 'sqlite:good.db' }\n  gone: { url: \
                'postgres://u@127.0.0.1:1/d', password_file: nowhere }\nrules:\n\
                - { name: a, topic: a, database: bad, table: t, columns: { v: payload.v } }\n\
                - { name: b, topic: b, database: good, table: t, columns: { v: payload.v, w: payload.w } }\n\
                - { name: c, topic: c, database: gone, table: t, columns: { v: payload.v } }\n\
                - { name: d, topic: d, database: good, table: absent, columns: { v: { from: payload.v, type: int } } }\n";
    let bridge = Bridge::with_mqtt(1, "password_file: nowhere, username: u", body);
    std::fs::write(bridge.path("bad.db"), "this is no database, however long it may be".repeat(100)).unwrap();
    let good = rusqlite::Connection::open(bridge.path("good.db")).unwrap();
    good.execute_batch("CREATE TABLE t (v INTEGER)").unwrap();
    let problems = [
        "mqtt.password_file `nowhere` cannot be read",
        "bad.db: file is not a database",
        "rule b (",
        "ALTER TABLE",
        "there is no table absent",
        "CREATE TABLE",
        "password_file `nowhere` cannot be read",
    ];
    let said = assert_says(&bridge.command(&["check"]), 2, &[]);
    for problem in problems {
        assert!(said.contains(problem), "{problem} in:\n{said}");
    }
    std::fs::write(bridge.path("nowhere"), "hunter2\n").unwrap();
    let said = assert_says(&bridge.command(&["check"]), 2, &["cannot connect", "start the broker", "127.0.0.1:1/d"]);
    assert!(!said.contains("hunter2"), "{said}");
    // Every finding that is not good has a remedy.
    let json: Value = serde_json::from_slice(&bridge.command(&["check", "--json"]).stdout).unwrap();
    let findings = json["findings"].as_array().unwrap();
    assert!(findings.iter().all(|one| one["level"] == "ok" || one["remedy"].is_string()), "{json}");
}

#[tokio::test]
async fn a_filter_that_the_broker_refuses_is_a_problem() {
    let refusal = Refusal::Answers(0x87);
    let manners = Manners { forbidden: vec!["shut/+".to_owned()], refusal, ..Manners::default() };
    let broker = PickyBroker::start(manners).await;
    let body = "databases: { local: { url: 'sqlite:x.db' } }\nrules:\n- { topic: ['open/+', 'shut/+'], table: t, create: \
                true, columns: { v: { from: payload.v, type: int } } }\n";
    let bridge = Bridge::new(broker.port(), body);
    // The broker lives in this thread.
    let output = tokio::task::spawn_blocking(move || bridge.command(&["check"])).await.unwrap();
    assert_says(&output, 2, &["1 of 2 topic filters granted", "shut/+: ", "access rules"]);
}

#[test]
fn a_qos_lower_than_asked_is_a_warning() {
    let port = free_port();
    let _broker = Mosquitto::with(&format!("listener {port} 127.0.0.1\nmax_qos 0\n"));
    let bridge = Bridge::new(port, &readings(1));
    assert_says(&bridge.command(&["check"]), 0, &["QoS 0 granted, 1 asked", "max_qos"]);
}

#[test]
fn postgres_is_asked_for_rights_triggers_and_unlogged_tables_and_stays_as_it_is() {
    let broker = Mosquitto::start();
    let server = Postgres::shared();
    let name = server.create_database();
    let url = format!("postgres://{name}@127.0.0.1:{}/{name}", server.port());
    let local = "local: { url: 'sqlite:rows.db' }";
    let mut bridge = Bridge::new(broker.port(), &readings(1).replace(local, &format!("local: {{ url: '{url}' }}")));
    server.psql("postgres", &format!("CREATE ROLE {name} LOGIN"));
    server.psql(&name, &format!("GRANT CREATE ON SCHEMA public TO {name}"));
    assert_says(&bridge.command(&["check"]), 0, &["own tables are not in schema", "start the bridge once"]);
    let tables = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                  WHERE nspname = 'public' OR nspname LIKE 'pg_temp%'";
    assert_eq!(server.psql(&name, tables), "0", "a check makes nothing");
    bridge.start();
    bridge.wait_drained("local");
    assert!(bridge.stop().success());
    assert_says(&bridge.command(&["check"]), 0, &["PostgreSQL", "UTF8", "table readings: 5 columns, every rule fits"]);
    server.psql(
        &name,
        &format!(
            "ALTER TABLE readings SET UNLOGGED; ALTER TABLE readings OWNER TO postgres; \
             CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER swallow BEFORE INSERT ON readings FOR EACH ROW EXECUTE FUNCTION f(); \
             GRANT SELECT ON readings TO {name}"
        ),
    );
    let grant = format!("GRANT INSERT ON TABLE public.readings TO {name};");
    assert_says(&bridge.command(&["check"]), 2, &["is unlogged", "SET LOGGED", "swallow", &grant]);
    let view = "ALTER TABLE readings RENAME TO below; CREATE VIEW readings AS SELECT id + 1 AS id, site, device, temp, received \
                FROM below LIMIT 5";
    server.psql(&name, &format!("{view}; GRANT INSERT ON readings TO {name}"));
    let told = assert_says(&bridge.command(&["check"]), 2, &["readings is a view that takes no rows", "INSTEAD OF"]);
    assert!(!told.contains("every rule fits"), "{told}");
    server.psql(&name, "DROP VIEW readings; ALTER TABLE below RENAME TO readings");
    server.psql(&name, &format!("GRANT INSERT ON readings TO {name}; ALTER TABLE readings DROP COLUMN temp"));
    assert_says(&bridge.command(&["check"]), 2, &["table readings", "temp", "ALTER TABLE"]);
}

/// As the start would, which is held with the same remedy.
#[test]
fn a_role_that_may_not_make_the_bridges_own_tables_is_a_problem() {
    let broker = Mosquitto::start();
    let server = Postgres::shared();
    let name = server.create_database();
    let url = format!("postgres://{name}@127.0.0.1:{}/{name}", server.port());
    let local = "local: { url: 'sqlite:rows.db' }";
    let mut bridge = Bridge::new(broker.port(), &readings(1).replace(local, &format!("local: {{ url: '{url}' }}")));
    server.psql("postgres", &format!("CREATE ROLE {name} LOGIN"));
    server.psql(&name, "REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let grant = format!("GRANT USAGE, CREATE ON SCHEMA \"public\" TO \"{name}\";");
    assert_says(
        &bridge.command(&["check"]),
        2,
        &["PROBLEM", "may not make tables in schema", &grant, "rowbridge schema sql"],
    );
    bridge.spawn();
    bridge.wait_alive("the start is held with the same remedy", |bridge| {
        bridge.status()["databases"]["local"]["held"]["mend"]
            .to_string()
            .replace('\\', "")
            .contains(&grant)
            .then_some(())
    });
    bridge.kill();
    server.psql(&name, &grant);
    assert_says(&bridge.command(&["check"]), 0, &["the first start makes them"]);
    bridge.edit("{ url: 'postgres", "{ schema: absent, url: 'postgres");
    let create = format!("CREATE SCHEMA IF NOT EXISTS \"absent\" AUTHORIZATION \"{name}\";");
    assert_says(&bridge.command(&["check"]), 2, &["there is no schema", &create]);
}

#[test]
fn the_schema_that_a_rule_names_for_a_new_table_is_looked_at_and_settings_that_bar_writing() {
    let broker = Mosquitto::start();
    let server = Postgres::shared();
    let name = server.create_database();
    server.psql("postgres", &format!("CREATE ROLE {name} LOGIN"));
    server.psql(
        &name,
        &format!("CREATE SCHEMA own AUTHORIZATION {name}; CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO {name}"),
    );
    let url = format!("postgres://{name}@127.0.0.1:{}/{name}", server.port());
    let body = format!(
        "databases:\n  local: {{ schema: own, url: '{url}', park_after: 1h }}\nrules:\n  - {{ topic: x, table: app.t, \
         create: true, columns: {{ v: {{ from: payload.v, type: int }} }} }}\n"
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    // The first start makes the bridge's own tables, and is held.
    bridge.spawn();
    bridge.wait_alive("the table's SQL is told", |bridge| {
        let mend = bridge.status()["databases"]["local"]["held"]["mend"].to_string();
        mend.contains("CREATE TABLE").then_some(())
    });
    bridge.kill();
    let grant = format!("GRANT USAGE, CREATE ON SCHEMA \"app\" TO \"{name}\";");
    let said = assert_says(&bridge.command(&["check"]), 2, &["may not make tables in schema app", &grant]);
    assert!(!said.contains("makes it"), "{said}");
    bridge.edit("app.t", "absent.t");
    let create = format!("CREATE SCHEMA IF NOT EXISTS \"absent\" AUTHORIZATION \"{name}\";");
    assert_says(&bridge.command(&["check"]), 2, &["there is no schema absent", &create]);
    bridge.edit("absent.t", "app.t");
    server.psql(&name, &grant);
    assert_says(&bridge.command(&["check"]), 0, &["table app.t is not there; the first start makes it"]);
    server.psql(&name, &format!("ALTER ROLE {name} SET default_transaction_read_only = on"));
    assert_says(&bridge.command(&["check"]), 2, &["default_transaction_read_only is on"]);
    server.psql(&name, &format!("ALTER ROLE {name} IN DATABASE {name} SET default_transaction_read_only = off"));
    assert_says(&bridge.command(&["check"]), 0, &["makes it"]);
}

#[test]
fn what_lies_in_the_way_of_the_journal_or_the_file_is_a_problem() {
    let broker = Mosquitto::start();
    let bridge = Bridge::new(broker.port(), &readings(1));
    let data = bridge.path("data");
    std::fs::write(&data, "").unwrap();
    assert_says(&bridge.command(&["check"]), 2, &["data is there and is no directory", "another data_dir"]);
    std::fs::remove_file(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("journal"), "").unwrap();
    assert_says(&bridge.command(&["check"]), 2, &["journal is there and is no directory"]);
    std::fs::remove_file(data.join("journal")).unwrap();
    std::fs::create_dir(bridge.path("rows.db")).unwrap();
    assert_says(&bridge.command(&["check"]), 2, &["rows.db is a directory", "name a file"]);
    std::fs::remove_dir(bridge.path("rows.db")).unwrap();
    std::os::unix::fs::symlink("/nowhere/x", bridge.path("rows.db")).unwrap();
    let said = assert_says(&bridge.command(&["check"]), 2, &["rows.db is a symbolic link to nothing"]);
    // The result is the same if the reader of the output has enough.
    let mut early = bridge.prepare(&["check"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(early.stdout.take());
    assert_eq!(early.wait().unwrap().code(), Some(2), "{said}");
}

#[test]
fn promises_that_the_configuration_gives_up_are_listed_and_logged_at_the_start() {
    let broker = Mosquitto::start();
    let publish = "publish: [{ name: out, table: readings, topic: '{row.site}' }]\n";
    let mut bridge = Bridge::with_mqtt(broker.port(), "session_expiry: 1m", &(readings(0) + publish));
    bridge.edit("data_dir: data\n", "data_dir: data\njournal: { durability: 50ms, when_full: drop_oldest }\n");
    let given_up = [
        "the broker forgets the session 60 s after",
        "journal.durability is an interval",
        "a full journal drops the oldest messages",
        "asks for QoS 0",
        "publish out sends rows to `{row.site}`, and rule readings may take",
    ];
    assert_says(&bridge.command(&["check", "--offline"]), 0, &given_up);
    bridge.start();
    for words in given_up {
        assert_eq!(bridge.log().matches(words).count(), 1, "{words}:\n{}", bridge.log());
    }
}

#[test]
fn a_missing_directory_and_a_read_only_file_system_have_their_remedies() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    bridge.wait_drained("local");
    assert!(bridge.stop().success());
    let folder = bridge.path("").display().to_string();
    let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let on_read_only = |arguments: &[&str]| {
        let mount = format!("mount --bind '{folder}' '{folder}' && mount -o remount,bind,ro '{folder}'");
        let mut command = std::process::Command::new("unshare");
        command.arg("--mount").args(user).args([
            "sh",
            "-c",
            &format!("{mount} && cd '{folder}' && exec \"$0\" \"$@\""),
        ]);
        command.arg(env!("CARGO_BIN_EXE_rowbridge")).args(arguments).arg("-c").arg(bridge.config()).output().unwrap()
    };
    assert_says(
        &on_read_only(&["dead-letters", "list"]),
        1,
        &["its file system is read-only", "to do: mount", "--set"],
    );
    assert_says(&on_read_only(&["check"]), 2, &["the file system is read-only: mount it for writing, or name a file"]);
    bridge.edit("sqlite:rows.db", "sqlite:none/there/rows.db");
    assert_says(&bridge.command(&["check"]), 2, &["create the directory ", "none/there and let"]);
}

#[test]
fn a_statement_may_write_into_a_published_table() {
    let broker = Mosquitto::start();
    let body = "databases: { local: { url: 'sqlite:rows.db' } }\n\
                rules: [{ topic: w, statement: 'insert into u(a) values (:a)', columns: { a: payload.a } }]\n\
                publish: [{ table: u, topic: out/u }]\n";
    let mut bridge = Bridge::new(broker.port(), body);
    let file = rusqlite::Connection::open(bridge.path("rows.db")).unwrap();
    file.execute_batch("CREATE TABLE u (a integer)").unwrap();
    bridge.start();
    let triggers = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'u'";
    bridge.wait_alive("the trigger is made", |_| {
        (file.query_row(triggers, [], |row| row.get::<_, i64>(0)).unwrap() == 1).then_some(())
    });
    let words = ["every column fits its bind", "publish u: rows of table u can be published"];
    assert_says(&bridge.command(&["check"]), 0, &words);
}

/// With grants on columns an upsert is refused for a single one that lacks a right, and taken when each has its own.
#[test]
fn rights_on_columns_are_looked_at_column_by_column() {
    let broker = Mosquitto::start();
    let server = Postgres::shared();
    let name = server.create_database();
    let url = format!("postgres://{name}@127.0.0.1:{}/{name}", server.port());
    let body = format!(
        "databases:\n  local: {{ url: '{url}' }}\nrules:\n  - topic: load\n    table: latest\n    mode: upsert\n    \
         columns: {{ id: payload.id, v: payload.v }}\n"
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    server.psql("postgres", &format!("CREATE ROLE {name} LOGIN"));
    server.psql(
        &name,
        &format!("GRANT CREATE ON SCHEMA public TO {name}; CREATE TABLE latest (id int PRIMARY KEY, v int, note text)"),
    );
    bridge.start();
    bridge.wait_alive("its own tables are there", |_| {
        (server.psql(&name, "SELECT count(*) FROM pg_class WHERE relname = 'rowbridge_offsets'") == "1").then_some(())
    });
    assert!(bridge.stop().success());
    server.psql(&name, &format!("GRANT INSERT (id, v), SELECT (v), UPDATE (v) ON latest TO {name}"));
    let grant = format!("GRANT INSERT, SELECT, UPDATE ON TABLE public.latest TO {name};");
    assert_says(&bridge.command(&["check"]), 2, &[&grant]);
    server.psql(
        &name,
        &format!("REVOKE UPDATE (v) ON latest FROM {name}; GRANT SELECT (id), UPDATE (note) ON latest TO {name}"),
    );
    assert_says(&bridge.command(&["check"]), 2, &[&grant]);
    server.psql(&name, &format!("GRANT UPDATE (v) ON latest TO {name}"));
    let told = assert_says(&bridge.command(&["check"]), 0, &["every rule fits"]);
    assert!(!told.contains("GRANT"), "{told}");
    bridge.start();
    let mut load = crate::support::publisher::Publisher::new(broker.port());
    load.send("load", r#"{"id":1,"v":1}"#);
    load.send("load", r#"{"id":1,"v":2}"#);
    bridge.wait_alive("both are journaled", |bridge| (bridge.journaled() >= 2).then_some(()));
    bridge.wait_drained("local");
    assert_eq!(server.psql(&name, "SELECT id, v FROM latest"), "1|2");
}

#[test]
fn what_goes_both_ways_is_summarized_and_a_file_that_is_to_be_made_is_no_outage() {
    let broker = Mosquitto::start();
    let both_ways = "publish: [{ name: out, table: readings, topic: 'out/{table}' }]\n\
                     queries: [{ name: latest, topic: 'q/{device}', sql: select 1, reply: r }]\n";
    let bridge = Bridge::new(broker.port(), &(readings(1) + both_ways));
    let said = assert_says(
        &bridge.command(&["check"]),
        0,
        &[
            "  publish   out: local, table readings → out/{table}",
            "  query     latest: q/{device} → local",
            "rows.db is not there yet",
            "start the bridge once, which makes it",
        ],
    );
    assert!(!said.contains("cannot be reached"), "{said}");
}

#[test]
fn a_view_that_takes_no_rows_is_a_problem_until_a_trigger_takes_them() {
    let broker = Mosquitto::start();
    let body = "databases:\n  local: { url: 'sqlite:rows.db' }\nrules:\n- { topic: a, table: seen, columns: { v: payload.v } }\n";
    let bridge = Bridge::new(broker.port(), body);
    let connection = rusqlite::Connection::open(bridge.rows()).unwrap();
    connection.execute_batch("CREATE TABLE t (v INTEGER); CREATE VIEW seen AS SELECT v FROM t").unwrap();
    let told = assert_says(&bridge.command(&["check"]), 2, &["seen is a view that takes no rows: cannot modify seen"]);
    assert!(!told.contains("every rule fits"), "{told}");
    let trigger = "CREATE TRIGGER take INSTEAD OF INSERT ON seen BEGIN INSERT INTO t VALUES (NEW.v); END";
    connection.execute_batch(trigger).unwrap();
    assert_says(&bridge.command(&["check"]), 0, &["table seen: 1 column, every rule fits"]);
}

#[test]
fn a_default_and_an_entry_of_map_that_never_fit_are_found_before_there_is_a_table() {
    let broker = Mosquitto::start();
    let rules = "databases:
  local: { url: 'sqlite:rows.db' }
rules:
  - name: bad
    topic: bad
    table: bad
    create: true
    columns: { n: { from: payload.n, type: int, default: none }, b: { from: payload.b, type: bool, map: { up: 17 } } }
  - { name: good, topic: good, table: good, create: true, columns: { n: { from: payload.n, type: int, default: 0 } } }
";
    let bridge = Bridge::new(broker.port(), rules);
    for arguments in [&["check", "--offline"][..], &["check"]] {
        let faults = ["rule bad", "the default of column `n`", "what `map` has for `up` of column `b`", "2 problems"];
        let told = assert_says(&bridge.command(arguments), 2, &faults);
        assert!(!told.contains("table bad is not there") && !told.contains("rule good ("), "{told}");
    }
}
