-- Where each bridge stands in this database, per journal: the first message that is not stored yet.
CREATE TABLE rowbridge_offsets (
    bridge     TEXT    NOT NULL,
    journal_id TEXT    NOT NULL, -- 32 hexadecimal digits
    next_seq   INTEGER NOT NULL,
    updated_at TEXT    NOT NULL, -- 2026-11-21T08:26:00.123Z, UTC, as are all times here
    PRIMARY KEY (bridge, journal_id)
) WITHOUT ROWID;

-- Messages that could not become rows, with all that is needed to try again.
-- AUTOINCREMENT: an id that was listed yesterday must never name another message today.
CREATE TABLE rowbridge_dead_letters (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    bridge      TEXT    NOT NULL,
    rule        TEXT,            -- NULL: no rule took it
    seq         INTEGER NOT NULL,
    received_at TEXT    NOT NULL,
    topic       TEXT    NOT NULL,
    qos         INTEGER NOT NULL,
    retain      BOOLEAN NOT NULL,
    properties  TEXT,            -- MQTT 5 properties, a JSON object
    payload     BLOB    NOT NULL,
    reason      TEXT    NOT NULL,
    error       TEXT    NOT NULL,
    attempts    INTEGER NOT NULL,
    created_at  TEXT    NOT NULL
);

CREATE INDEX rowbridge_dead_letters_by_age ON rowbridge_dead_letters (bridge, created_at);
