-- Tables of `publish`, made where bridge.yaml has that section.

-- One row for each entry of `publish`: how far it has come.
CREATE TABLE IF NOT EXISTS rowbridge_publications (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    bridge      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    table_name  TEXT    NOT NULL,            -- for people
    table_id    INTEGER,                     -- 1 while the table is there, else NULL
    definition  TEXT    NOT NULL DEFAULT '', -- the columns as they were last seen
    settings    TEXT    NOT NULL DEFAULT '', -- what decides which changes are published
    next_offset INTEGER NOT NULL DEFAULT 1,  -- of the oldest change that is still to be published
    published   INTEGER NOT NULL DEFAULT 0,
    skipped     INTEGER NOT NULL DEFAULT 0,
    updated_at  TEXT    NOT NULL,            -- 2026-11-21T08:26:00.123Z
    max_pending INTEGER NOT NULL DEFAULT 1000000, -- changes that may wait
    dropped_first INTEGER,                   -- offsets of changes that were dropped, until that is logged
    dropped_last INTEGER,
    UNIQUE (bridge, name)
);

-- What is still to be published, in the order of number, which is that of the commits. Deleted once published.
-- AUTOINCREMENT: a number is never given twice.
CREATE TABLE IF NOT EXISTS rowbridge_changes (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    publication INTEGER NOT NULL,
    xact        INTEGER NOT NULL,            -- 0 for rows that were there at the start
    event       TEXT    NOT NULL,
    columns     TEXT,                        -- the names of the columns, and what they hold
    new_row     TEXT,
    old_row     TEXT
);

CREATE INDEX IF NOT EXISTS rowbridge_changes_of ON rowbridge_changes (publication, number);
