CREATE TABLE sensors (ts TIMESTAMP, id BIGINT, name TEXT, temp DOUBLE);
