//! The keys of `journal`: when a message counts as stored, and what happens when the disk is full or damaged.

use crate::config::schema::Takes::{Choice, Duration, Size, WordOr};
use crate::config::schema::{Key, Section};

pub(super) const JOURNAL: Section = Section {
    keys: &[
        Key::new(
            "durability",
            WordOr(&["commit", "delivered"], &Duration("1ms", "1m")),
            "`commit`: on disk (fdatasync) before the broker gets its acknowledgement. `delivered`: in every database before \
             that, and the journal is in memory. Or a duration, e.g. 100ms: a power cut then loses up to that much.",
        )
        .default("commit"),
        Key::new(
            "sync_interval",
            WordOr(&["auto"], &Duration("0s", "10s")),
            "How long a message waits at most for others that are written, synced and acknowledged together with it. `auto`: \
             10ms. It never waits once the broker has sent all it may, nor alone in a quiet stream.",
        )
        .default("auto"),
        Key::new(
            "segment_size",
            Size { min: 4 << 10, max: 1 << 30 },
            "Size of one file of the journal. Space comes back file by file. Default: 16MiB, less if max_size is small.",
        )
        .default("16MiB"),
        Key::new("max_size", Size { min: 8 << 10, max: 1 << 44 }, "Size of the whole journal, at least two segments. Default: 1GiB, with `durability: delivered` 64MiB.")
            .default("1GiB"),
        Key::new(
            "when_full",
            Choice(&["pause", "drop_oldest", "drop_newest"]),
            "`pause`: stop acknowledging, and the broker queues. The other two drop messages, counted and logged at ERROR.",
        )
        .default("pause"),
        Key::new(
            "keep",
            Duration("0s", "365d"),
            "Delivered messages stay this long, for a database that fails over to a replica.",
        )
        .default("10m"),
        Key::new(
            "on_corruption",
            Choice(&["quarantine", "halt"]),
            "What to do about a damaged part: set it aside and go on, or stop.",
        )
        .default("quarantine"),
    ],
    between: &[],
};
