-- Messages that wait in the dead-letter table until their rule's table is mended: reason `table`.

-- All of the message but its payload, exactly as it came, so that it becomes the message again. NULL where that is
-- not known, or where it never gives a row.
ALTER TABLE rowbridge_dead_letters ADD COLUMN envelope BLOB;

-- Which rules have parked messages is asked at every connect, and they are taken out in the order of their ids.
CREATE INDEX rowbridge_dead_letters_parked ON rowbridge_dead_letters (bridge, rule, id) WHERE reason = 'table';
