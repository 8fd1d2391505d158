"""MQTT into Postgres with mq-bridge, a Rust program in a Python module: at least once, with the settings that cost it least.

Its defaults, but for the following. `bulk_copy` writes with COPY instead of INSERT; it takes columns of the payload as they
are and no expressions, with which mq-bridge would insert row by row. Its documentation advises batches from 8,000 rows on for it,
and the queue in front must hold as many. Its MQTT source does not hand the topic on, so no column is made of it.

usage: mq_bridge_route.py BROKER_PORT POSTGRES_URL
"""

import logging
import sys

from mq_bridge import Route, init_logging

FIELDS = ["n", "ts", "temp", "hum", "press", "volt", "rssi", "ok", "mode"]
VALUES = ", ".join("${payload:%s}" % field for field in FIELDS)

logging.basicConfig(level=logging.WARNING)
init_logging("warn")
route = {
    "input": {
        "mqtt": {
            "url": "tcp://127.0.0.1:" + sys.argv[1],
            "topic": "bench/#",
            "client_id": "mq-bridge",
            "qos": 1,
            "queue_capacity": 10_000,
        }
    },
    "output": {
        "sqlx": {
            "url": sys.argv[2],
            "table": "telemetry",
            "insert_query": f"INSERT INTO telemetry ({', '.join(FIELDS)}) VALUES ({VALUES})",
            "bulk_copy": True,
        }
    },
    "batch_size": 8_192,
    "required_delivery": "at_least_once",
    # The default of 5 seconds is short on a busy machine.
    "startup_timeout_ms": 20_000,
}
Route.from_config(route).run()
