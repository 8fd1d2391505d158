-- What rules with `retained: changed` stored last of each topic: a retained message that equals it is filtered.
CREATE TABLE rowbridge_retained (
    bridge       TEXT    NOT NULL,
    rule         TEXT    NOT NULL,
    topic_hash   INTEGER NOT NULL, -- XXH3, 64 bits, of the topic and of the payload
    content_hash INTEGER NOT NULL,
    PRIMARY KEY (bridge, rule, topic_hash)
) WITHOUT ROWID;
