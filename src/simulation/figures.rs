//! Counts of the events in worlds, which show that faults really happened.

/// Counts over one world or many.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) messages: u64,
    pub(super) rows: u64,
    pub(super) letters: u64,
    pub(super) starts: u64,
    pub(super) power_cuts: u64,
    pub(super) kills: u64,
    pub(super) stops: u64,
    pub(super) reopens: u64,
    pub(super) connections: u64,
    pub(super) redelivered: u64,
    pub(super) sessions_lost: u64,
    pub(super) transactions: u64,
    pub(super) refused_moves: u64,
    pub(super) restored: u64,
    pub(super) zombies: u64,
    pub(super) lost_ranges: u64,
    pub(super) deduplicated: u64,
    pub(super) reloads: u64,
    pub(super) volatile_starts: u64,
}

impl Figures {
    pub(super) fn add(&mut self, other: &Figures) {
        self.messages += other.messages;
        self.rows += other.rows;
        self.letters += other.letters;
        self.starts += other.starts;
        self.power_cuts += other.power_cuts;
        self.kills += other.kills;
        self.stops += other.stops;
        self.reopens += other.reopens;
        self.connections += other.connections;
        self.redelivered += other.redelivered;
        self.sessions_lost += other.sessions_lost;
        self.transactions += other.transactions;
        self.refused_moves += other.refused_moves;
        self.restored += other.restored;
        self.zombies += other.zombies;
        self.lost_ranges += other.lost_ranges;
        self.deduplicated += other.deduplicated;
        self.reloads += other.reloads;
        self.volatile_starts += other.volatile_starts;
    }

    /// Each with its name.
    pub(super) fn told(&self) -> [(&'static str, u64); 19] {
        [
            ("messages", self.messages),
            ("rows", self.rows),
            ("letters", self.letters),
            ("starts", self.starts),
            ("power_cuts", self.power_cuts),
            ("kills", self.kills),
            ("stops", self.stops),
            ("reopens", self.reopens),
            ("connections", self.connections),
            ("redelivered", self.redelivered),
            ("sessions_lost", self.sessions_lost),
            ("transactions", self.transactions),
            ("refused_moves", self.refused_moves),
            ("restored", self.restored),
            ("zombies", self.zombies),
            ("lost_ranges", self.lost_ranges),
            ("deduplicated", self.deduplicated),
            ("reloads", self.reloads),
            ("volatile_starts", self.volatile_starts),
        ]
    }
}
