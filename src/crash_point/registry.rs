//! All crash points. The test plan numbers forty instants at which the process may die. A test demands that each
//! instant has a point here or another proof.

/// A point in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashPoint {
    pub name: &'static str,
    /// The plan's instants that the point covers; none for a point beyond the plan.
    pub instants: &'static [u8],
    /// The least number of passages in a round of its scenario; the fatal one is drawn from them.
    pub passages: u64,
}

const fn point(name: &'static str, instants: &'static [u8], passages: u64) -> CrashPoint {
    CrashPoint { name, instants, passages }
}

/// Every point, in the order in which a message meets them.
pub const POINTS: &[CrashPoint] = &[
    // Small files that are replaced as a whole: the journal's id, the bridge's names, the subscriptions, who was not
    // reached yet.
    point("file.half_written", &[36], 6),
    point("file.unnamed", &[36], 6),
    point("file.unsynced", &[36], 6),
    // The session.
    point("source.connecting", &[], 1),
    point("source.session.clearing", &[10], 1),
    point("source.session.cleared", &[10], 1),
    point("source.suback.unread", &[11], 1),
    point("source.subscribed", &[11], 1),
    point("source.received", &[1], 60),
    point("source.staged", &[2], 10),
    point("source.acknowledgement.due", &[7], 60),
    point("source.acknowledgement.queued", &[8], 60),
    point("source.half_sent", &[8], 10),
    point("source.sent", &[9], 10),
    // The journal's writer.
    point("journal.group.unwritten", &[2], 10),
    point("journal.group.torn", &[3], 10),
    point("journal.group.written", &[4], 10),
    point("journal.synced", &[6], 10),
    point("journal.published", &[7], 10),
    point("journal.segment.sealed", &[12], 3),
    point("journal.segment.created", &[13], 3),
    point("journal.segment.allocated", &[14], 3),
    point("journal.segment.half_written", &[15], 3),
    point("journal.segment.unsynced", &[15], 3),
    point("journal.segment.unnamed", &[16], 3),
    point("journal.segment.renamed", &[16], 3),
    point("journal.segment.begun", &[17], 3),
    point("journal.trim.chosen", &[29], 2),
    point("journal.trim.unlinked", &[29, 30], 2),
    point("journal.trim.synced", &[31], 2),
    // The journal's recovery.
    point("journal.recovery.half_zeroed", &[32, 37], 1),
    point("journal.recovery.zeroed", &[33, 37], 1),
    point("journal.recovery.synced", &[37], 1),
    point("journal.quarantine.half_copied", &[34, 37], 1),
    point("journal.quarantine.unnamed", &[34, 37], 1),
    point("journal.quarantine.kept", &[35, 37], 1),
    point("journal.recovery.mended", &[35, 37], 1),
    point("journal.boot.unnoted", &[37], 1),
    point("journal.headless.renumbered", &[37], 1),
    point("journal.headless.unsynced", &[37], 1),
    point("journal.headless.moved", &[37], 1),
    // Delivery.
    point("delivery.contact.made", &[], 1),
    point("delivery.offset.begun", &[], 1),
    point("delivery.gathered", &[18], 8),
    point("delivery.committed", &[24], 8),
    point("delivery.accounted", &[24], 8),
    point("delivery.refusing", &[27], 3),
    point("delivery.relocating", &[25, 26], 1),
    // Messages of a bad table.
    point("delivery.parking", &[], 1),
    point("delivery.replay.gathered", &[], 3),
    point("delivery.replay.refusing", &[], 1),
    point("delivery.replay.committed", &[], 3),
    // SQLite.
    point("sqlite.migration.begun", &[], 1),
    point("sqlite.migration.half", &[], 1),
    point("sqlite.migration.stepped", &[], 1),
    point("sqlite.migration.committed", &[], 1),
    point("sqlite.begun", &[18], 8),
    point("sqlite.offset.moved", &[20, 21], 8),
    point("sqlite.rows.half", &[19], 20),
    point("sqlite.rows.written", &[20], 8),
    point("sqlite.letters.written", &[21, 28], 8),
    point("sqlite.committed", &[22, 24], 8),
    point("sqlite.unit.tried", &[27], 6),
    // SQLite, many batches in one transaction.
    point("sqlite.series.begun", &[18], 1),
    point("sqlite.series.inserted", &[19, 20], 3),
    point("sqlite.series.committed", &[22, 24], 1),
    // Postgres.
    point("postgres.migration.begun", &[], 1),
    point("postgres.migration.half", &[], 1),
    point("postgres.migration.stepped", &[], 1),
    point("postgres.migration.committed", &[], 1),
    point("postgres.begun", &[18, 21, 28], 8),
    point("postgres.rows.half", &[19], 8),
    point("postgres.rows.sent", &[20], 8),
    point("postgres.commit.sent", &[22, 23], 8),
    point("postgres.committed", &[22, 24], 8),
    point("postgres.unit.tried", &[27], 6),
    // Postgres, few rows, sent at once.
    point("postgres.at_once.begun", &[18, 21, 28], 1),
    point("postgres.at_once.rows.sent", &[20], 1),
    point("postgres.at_once.commit.sent", &[22, 23], 1),
    point("postgres.at_once.committed", &[22, 24], 1),
    // Postgres, many batches in one transaction.
    point("postgres.series.begun", &[18], 1),
    point("postgres.series.sent", &[19, 20], 3),
    point("postgres.series.committed", &[22, 24], 1),
    // The end of the process.
    point("stop.requested", &[38], 1),
    point("stop.session_left", &[38], 1),
    point("stop.journal_closing", &[38], 1),
    point("stop.delivered", &[38], 1),
    point("stop.grace_over", &[39], 1),
    point("stop.second_signal", &[40], 1),
];

/// Points of what is published, which no message meets: tests/publish/crashes.rs dies at each.
pub const PUBLISH_POINTS: &[&str] = &[
    "postgres.publish.triggers",
    "postgres.publish.captures",
    "postgres.publish.copied",
    "sqlite.publish.settled",
    "publish.read",
    "publish.handed_over",
    "publish.acknowledged",
    "postgres.publish.deleted",
    "sqlite.publish.deleted",
    "publish.finished",
];

/// Instants that are no places in the source, or that need another fault than a killed process.
pub const COVERED_ELSEWHERE: &[(u8, &str)] =
    &[(5, "a failed fdatasync: the journal's simulated disk, and the campaigns that refuse system calls")];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Every `crash_point!("…")` below a folder.
    fn in_source(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                in_source(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let code: String = code.flat_map(str::split_whitespace).collect();
            let names = code.split("crash_point!(\"").skip(1);
            found.extend(names.filter_map(|rest| rest.split_once('"').map(|(name, _)| name.to_owned())));
        }
    }

    #[test]
    fn every_registered_point_is_in_the_source_once_and_no_other() {
        let mut found = Vec::new();
        in_source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        // The texts of this test itself.
        found.retain(|name| name.contains('.'));
        found.sort_unstable();
        let of_messages = POINTS.iter().map(|point| point.name);
        let mut registered: Vec<_> = of_messages.chain(PUBLISH_POINTS.iter().copied()).map(str::to_owned).collect();
        registered.sort_unstable();
        assert_eq!(found, registered);
    }

    #[test]
    fn every_instant_of_the_plan_has_a_point_or_another_proof() {
        let points = POINTS.iter().flat_map(|point| point.instants).copied();
        let covered: BTreeSet<u8> = points.chain(COVERED_ELSEWHERE.iter().map(|(instant, _)| *instant)).collect();
        assert_eq!(covered, (1..=40).collect());
    }
}
