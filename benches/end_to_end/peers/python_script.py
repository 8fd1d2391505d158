"""MQTT into Postgres as a careful user writes it in an afternoon: paho-mqtt receives, psycopg copies.

Messages are gathered until there are 1,000 or half a second has passed, and copied in one transaction. paho acknowledges
each when its callback returns, so what is gathered is lost if the script ends: it keeps less than Rowbridge does.

usage: python_script.py BROKER_PORT POSTGRES_URL
"""

import json
import sys
import threading
from datetime import datetime, timezone

import paho.mqtt.client as mqtt
import psycopg

ROWS_MAX = 1_000
WAIT_MAX_S = 0.5
COPY = "COPY telemetry (time, device, n, ts, temp, hum, press, volt, rssi, ok, mode) FROM STDIN"

database = psycopg.connect(sys.argv[2])
rows = []
lock = threading.Lock()


def flush():
    with lock:
        if not rows:
            return
        with database.cursor() as cursor, cursor.copy(COPY) as copy:
            for row in rows:
                copy.write_row(row)
        database.commit()
        rows.clear()


def flush_for_ever():
    while True:
        threading.Event().wait(WAIT_MAX_S)
        flush()


def on_connect(client, userdata, flags, reason_code, properties):
    client.subscribe("bench/#", qos=1)


def on_message(client, userdata, message):
    payload = json.loads(message.payload)
    row = (
        datetime.now(timezone.utc),
        message.topic.split("/")[3],
        payload["n"],
        datetime.fromtimestamp(payload["ts"] / 1000, timezone.utc),
        payload["temp"],
        payload["hum"],
        payload["press"],
        payload["volt"],
        payload["rssi"],
        payload["ok"],
        payload["mode"],
    )
    with lock:
        rows.append(row)
        is_full = len(rows) >= ROWS_MAX
    if is_full:
        flush()


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="script", clean_session=False)
client.on_connect = on_connect
client.on_message = on_message
client.connect("127.0.0.1", int(sys.argv[1]))
threading.Thread(target=flush_for_ever, daemon=True).start()
client.loop_forever()
