//! The bridge dies at each named point of publishing, and goes on at the next start.

use rowbridge::crash_point::PUBLISH_POINTS;

use super::campaign::assert_all_in_order;
use super::{both, publisher};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::subscriber::Subscriber;

const ROWS: u64 = 300;

#[test]
fn a_bridge_that_dies_at_any_point_of_publishing_goes_on_without_a_gap() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    both(|source| {
        let other = if source.is_sqlite() { "postgres." } else { "sqlite." };
        for point in PUBLISH_POINTS.iter().filter(|point| !point.starts_with(other)) {
            println!("{point}: {}", source.url());
            let name = point.replace('.', "_");
            source.run("DROP TABLE IF EXISTS t; CREATE TABLE t (session integer, n integer, state text, PRIMARY KEY (session, n))");
            let rows: Vec<String> = (0..ROWS).map(|n| format!("(0, {n}, 'kept')")).collect();
            source.run(&format!("INSERT INTO t VALUES {}", rows.join(", ")));
            let subscriber = Subscriber::start(broker.port(), &name, "%p");
            let entry = format!("  - name: {name}\n    table: t\n    topic: {name}\n    start: existing\n");
            let mut bridge = publisher(&broker, &source, &entry);
            bridge.set_environment("ROWBRIDGE_CRASH_AT", point);
            bridge.spawn();
            let status = bridge.wait_ended();
            assert!(!status.success(), "{point}: {status}");
            bridge.unset_environment("ROWBRIDGE_CRASH_AT");
            // Others go on writing.
            source.run("INSERT INTO t VALUES (1, 0, 'kept')");
            bridge.start();
            source.run("INSERT INTO t VALUES (1, 1, 'kept')");
            let lines = crate::support::wait_for("all rows are published", || {
                let lines = subscriber.lines();
                let last = format!("\"offset\":{}}}}}", ROWS + 2);
                lines.iter().any(|line| line.ends_with(&last)).then_some(lines)
            });
            assert_all_in_order(&source, &lines, ROWS + 2);
            bridge.wait_alive("all is finished", |_| {
                (source.number("SELECT count(*) FROM rowbridge_changes") == 0).then_some(())
            });
            assert!(bridge.stop().success());
            let removed = bridge.command(&["publish", "remove", &name]);
            assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
            assert_eq!(source.triggers(), 0, "{point}");
        }
    });
}
