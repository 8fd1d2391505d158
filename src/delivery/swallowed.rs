//! Reports rows that a table ignored: at the first one, then at most once a minute for each table, with the number
//! since.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::events;
use crate::rule::TableName;
use crate::sink::Swallowed;

/// A trigger that ignores rows does so with every batch.
const SILENCE: Duration = Duration::from_secs(60);

/// The logged numbers, and those that are still to be logged, by table.
#[derive(Debug, Default)]
pub(super) struct SwallowLog {
    tables: HashMap<TableName, Noted>,
}

#[derive(Debug)]
struct Noted {
    told: Instant,
    /// Rows since then.
    untold: u64,
}

impl SwallowLog {
    /// Logs what is due.
    pub(super) fn tell(&mut self, database: &str, swallowed: &[Swallowed]) {
        for Swallowed { table, rows, .. } in swallowed {
            if let Some(rows) = self.due(&table.name, *rows, Instant::now()) {
                events::rows_swallowed(database, &table.name, rows);
            }
        }
    }

    /// The rows to log now, `rows` more among them.
    fn due(&mut self, table: &TableName, rows: u64, now: Instant) -> Option<u64> {
        let Some(noted) = self.tables.get_mut(table) else {
            self.tables.insert(table.clone(), Noted { told: now, untold: 0 });
            return Some(rows);
        };
        noted.untold += rows;
        if now.saturating_duration_since(noted.told) < SILENCE {
            return None;
        }
        noted.told = now;
        Some(std::mem::take(&mut noted.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_ignores_rows_is_told_of_at_once_and_then_once_a_minute_with_all_rows() {
        let mut log = SwallowLog::default();
        let [a, b] = ["a", "b"].map(|name| TableName { schema: None, name: name.into() });
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(log.due(&a, 3, begun), Some(3));
        assert_eq!(log.due(&a, 4, after(1)), None);
        assert_eq!(log.due(&b, 7, after(2)), Some(7), "each table by itself");
        assert_eq!(log.due(&a, 5, after(59)), None);
        assert_eq!(log.due(&a, 6, after(60)), Some(15));
        assert_eq!(log.due(&a, 1, after(61)), None);
    }
}
