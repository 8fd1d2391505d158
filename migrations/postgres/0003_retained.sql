-- What rules with `retained: changed` stored last of each topic: a retained message that equals it is filtered. Hashes are
-- XXH3, 64 bits, of the topic and of the payload. A row changes in place: room in its page keeps the updates off the index.
CREATE TABLE IF NOT EXISTS rowbridge_retained (
    bridge       text   NOT NULL,
    rule         text   NOT NULL,
    topic_hash   bigint NOT NULL,
    content_hash bigint NOT NULL,
    PRIMARY KEY (bridge, rule, topic_hash)
) WITH (fillfactor = 50);
