//! Tables that people change while the bridge runs: every row has the value that was published, or waits, or is a dead
//! letter of what the table is, never of what it was.

mod conversions;
mod kinds;
mod sqlite;

use std::sync::Arc;

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

/// A bridge that writes the messages of `m/#` into table `t` of a Postgres database, and a publisher.
struct Stage {
    postgres: Arc<Postgres>,
    database: String,
    bridge: Bridge,
    publisher: Publisher,
    _broker: Mosquitto,
}

impl Stage {
    /// `sql` makes the table, with `@db` for the database's name; `rule` is the rest of the rule, in YAML's flow style.
    fn new(sql: &str, rule: &str) -> Stage {
        let postgres = Postgres::shared();
        let database = postgres.create_database();
        postgres.psql(&database, &sql.replace("@db", &database));
        let broker = Mosquitto::start();
        let url = postgres.url(&database);
        let rules = format!("rules:\n  - {{ name: r, topic: 'm/#', table: t, {rule} }}\n");
        let mut bridge = Bridge::new(broker.port(), &format!("databases: {{ cloud: {{ url: '{url}' }} }}\n{rules}"));
        bridge.start();
        let publisher = Publisher::new(broker.port());
        Stage { postgres, database, bridge, publisher, _broker: broker }
    }

    fn sql(&self, sql: &str) -> String {
        self.postgres.psql(&self.database, sql)
    }

    /// Publishes and waits until the message is a row or a dead letter.
    #[track_caller]
    fn deliver(&mut self, payload: &str) {
        let journaled = self.bridge.journaled();
        self.publisher.send("m/x", payload);
        self.bridge.wait_alive("it is journaled", |bridge| (bridge.journaled() > journaled).then_some(()));
        self.bridge.wait_drained("cloud");
    }

    /// Reasons of the dead letters, in order.
    fn letters(&self) -> String {
        self.sql("SELECT coalesce(string_agg(reason, ',' ORDER BY seq), '') FROM rowbridge_dead_letters")
    }

    /// Waits until the database is held, and returns the reason and what would mend it.
    #[track_caller]
    fn held(&mut self) -> (String, String) {
        self.bridge.wait_alive("the database is held", |bridge| {
            let held = &bridge.status()["databases"]["cloud"]["held"];
            let text = |key: &str| held[key].as_str().unwrap_or_default().to_owned();
            (!held.is_null()).then(|| (held.to_string(), text("mend")))
        })
    }

    fn count_in_log(&self, text: &str) -> usize {
        self.bridge.log().matches(text).count()
    }
}
