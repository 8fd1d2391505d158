#!/usr/bin/env python3
"""Random payloads of every format, and what other decoders say they mean.

    pip install msgpack cbor2 protobuf
    tests/data/payloads/generate.py [DIRECTORY [COUNT [SEED]]]

Writes FORMAT.jsonl into DIRECTORY (this one by default), COUNT payloads each (100), and sensor.binpb, the descriptors of the
protobuf messages. A line is {"payload": base64, "options": {..}, "documents": [meaning, ..]}. In a meaning numbers are
{"n": digits}, floats {"f": shortest text}, bytes {"b": base64}, objects {"o": [[key, value], ..]}.

ROWBRIDGE_PAYLOAD_CORPUS=DIRECTORY makes the unit test `payloads_mean_what_other_decoders_say` read another corpus.
"""

import base64
import csv
import datetime
import decimal
import io
import json
import math
import pathlib
import random
import struct
import sys

import cbor2
import msgpack
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HERE = pathlib.Path(__file__).parent
CHARACTERS = "abcXYZ019 _-.,;=:/\\\"'\t\n\r\u0000\u001f\u007fäß€漢😀"
UTC = datetime.timezone.utc


def b64(data):
    return base64.b64encode(bytes(data)).decode()


def text(rng, most=8, alphabet=CHARACTERS):
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(0, most)))


def integer(rng):
    kind = rng.randint(0, 4)
    if kind == 0:
        return rng.randint(-40, 200)
    if kind == 1:
        return rng.choice([2**63 - 1, -(2**63), 2**64 - 1, 0, -1, 2**53 + 1, 2**31, -(2**31) - 1])
    return rng.randint(-(2 ** rng.randint(1, 63)), 2 ** rng.randint(1, 64) - 1)


def number(rng):
    kind = rng.randint(0, 5)
    if kind == 0:
        return rng.choice([0.0, -0.0, 0.1, 21.53, 1e300, 5e-324, 1.7976931348623157e308, 1 / 3, 123456789.125])
    if kind == 1:
        return round(rng.uniform(-100, 100), 2)
    return struct.unpack(">d", struct.pack(">Q", rng.getrandbits(64)))[0]


def meaning(value):
    """Of what a decoder gave."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return {"n": str(value)}
    if isinstance(value, decimal.Decimal):
        return {"n": str(value)}
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return {"f": repr(value)}
    if isinstance(value, (bytes, bytearray)):
        return {"b": b64(value)}
    if isinstance(value, msgpack.ExtType):
        return {"b": b64(value.data)}
    if isinstance(value, msgpack.Timestamp):
        return instant(value.seconds, value.nanoseconds)
    if isinstance(value, datetime.datetime):
        since = value - datetime.datetime(1970, 1, 1, tzinfo=UTC)
        return instant(since.days * 86400 + since.seconds, since.microseconds * 1000)
    if isinstance(value, (list, tuple)):
        return [meaning(item) for item in value]
    if isinstance(value, dict):
        return {"o": [[key_text(key), meaning(item)] for key, item in value.items()]}
    raise TypeError(type(value))


def key_text(key):
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def instant(seconds, nanoseconds):
    whole = datetime.datetime(1970, 1, 1, tzinfo=UTC) + datetime.timedelta(seconds=seconds)
    stamp = whole.strftime("%Y").zfill(4) + whole.strftime("-%m-%dT%H:%M:%S")
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".") if nanoseconds else ""
    return stamp + fraction + "Z"


def value(rng, depth, leaf):
    kind = rng.randint(0, 9) if depth > 0 else 9
    if kind <= 1:
        return [value(rng, depth - 1, leaf) for _ in range(rng.randint(0, 4))]
    if kind <= 4:
        return {key(rng): value(rng, depth - 1, leaf) for _ in range(rng.randint(0, 5))}
    return leaf(rng)


def key(rng):
    return rng.choice(["a", "b", "temp", "odd key", "ä", "", "a.b"]) if rng.randint(0, 2) else text(rng)


def json_leaf(rng):
    kind = rng.randint(0, 4)
    return [lambda: None, lambda: rng.choice([True, False]), lambda: integer(rng), lambda: finite(rng), lambda: text(rng)][kind]()


def finite(rng):
    while True:
        found = number(rng)
        if math.isfinite(found):
            return found


def ndjson(rng):
    lines, documents = [], []
    for _ in range(rng.randint(1, 4)):
        line = json.dumps(value(rng, 3, json_leaf), ensure_ascii=rng.choice([True, False]))
        lines.append(line)
        documents.append(meaning(json.loads(line)))
        if rng.randint(0, 4) == 0:
            lines.append(rng.choice(["", "  ", "\t"]))
    end = rng.choice(["\n", "\r\n"])
    return end.join(lines).encode() + (end.encode() if rng.randint(0, 1) else b""), {}, documents


def msgpack_leaf(rng):
    kind = rng.randint(0, 7)
    if kind <= 3:
        return json_leaf(rng)
    if kind == 4:
        return number(rng)
    if kind == 5:
        return rng.randbytes(rng.randint(0, 40))
    if kind == 6:
        return msgpack.Timestamp(rng.randint(-62135596800, 253402300799), rng.choice([0, 1, 999999999, 500000000]))
    return msgpack.ExtType(rng.randint(0, 127), rng.randbytes(rng.choice([0, 1, 2, 3, 4, 8, 16, 17])))


def msgpack_payload(rng):
    tree = value(rng, 4, msgpack_leaf)
    if isinstance(tree, dict) and rng.randint(0, 3) == 0:
        tree[rng.randint(-200, 70000)] = 1
    try:
        payload = msgpack.packb(tree, use_single_float=rng.randint(0, 3) == 0)
    except OverflowError:
        payload = msgpack.packb(tree)
    return payload, {}, [meaning(msgpack.unpackb(payload, raw=False, strict_map_key=False))]


def head(rng, major, argument):
    """With a longer argument than needed, now and then."""
    sizes = [size for size in range(5) if argument < [24, 2**8, 2**16, 2**32, 2**64][size]]
    size = sizes[0] if rng.randint(0, 5) else rng.choice(sizes)
    if size == 0:
        return bytes([major << 5 | argument])
    return bytes([major << 5 | 23 + size]) + argument.to_bytes(2 ** (size - 1), "big")


def cbor_bytes(rng, major, data):
    if rng.randint(0, 5):
        return head(rng, major, len(data)) + data
    cut = rng.randint(0, len(data))
    while major == 3 and cut < len(data) and data[cut] & 0xC0 == 0x80:
        cut += 1
    pieces = [data[:cut], data[cut:]]
    return bytes([major << 5 | 31]) + b"".join(head(rng, major, len(piece)) + piece for piece in pieces) + b"\xff"


def cbor_integer(rng, found):
    return head(rng, 0, found) if found >= 0 else head(rng, 1, -1 - found)


def cbor_big(rng):
    data = rng.randbytes(rng.randint(9, 24))
    return head(rng, 6, rng.choice([2, 3])) + cbor_bytes(rng, 2, b"\x01" + data)


def cbor_item(rng, depth):
    kind = rng.randint(0, 16) if depth > 0 else rng.randint(6, 16)
    if kind <= 1:
        items = [cbor_item(rng, depth - 1) for _ in range(rng.randint(0, 4))]
        if rng.randint(0, 2):
            return head(rng, 4, len(items)) + b"".join(items)
        return b"\x9f" + b"".join(items) + b"\xff"
    if kind <= 5:
        pairs = {}
        for _ in range(rng.randint(0, 5)):
            name = rng.choice([key(rng), key(rng), rng.randint(-300, 300)])
            pairs[str(name)] = (name, cbor_item(rng, depth - 1))
        data = b"".join(
            (cbor_integer(rng, name) if isinstance(name, int) else cbor_bytes(rng, 3, name.encode())) + item
            for name, item in pairs.values()
        )
        if rng.randint(0, 2):
            return head(rng, 5, len(pairs)) + data
        return b"\xbf" + data + b"\xff"
    if kind == 6:
        return bytes([rng.choice([0xF4, 0xF5, 0xF6])])
    if kind <= 8:
        found = integer(rng)
        return cbor_integer(rng, found)
    if kind == 9:
        return b"\xf9" + struct.pack(">H", rng.getrandbits(16))
    if kind == 10:
        return b"\xfa" + struct.pack(">I", rng.getrandbits(32))
    if kind == 11:
        return b"\xfb" + struct.pack(">d", number(rng))
    if kind == 12:
        return cbor_bytes(rng, 2, rng.randbytes(rng.randint(0, 30)))
    if kind == 13:
        return cbor_big(rng)
    if kind == 14:
        exponent = cbor_integer(rng, rng.randint(-30, 30))
        mantissa = cbor_big(rng) if rng.randint(0, 4) == 0 else cbor_integer(rng, rng.randint(-(2**63), 2**64 - 1))
        return b"\xc4\x82" + exponent + mantissa
    if kind == 15:
        if rng.randint(0, 1):
            return b"\xc1" + cbor_integer(rng, rng.randint(-2208988800, 4102444800))
        return b"\xc1\xfb" + struct.pack(">d", rng.randint(0, 4102444800) + rng.choice([0, 0.5, 0.25]))
    return cbor_bytes(rng, 3, text(rng, 30).encode())


def cbor_payload(rng):
    payload = cbor_item(rng, 4)
    return payload, {}, [meaning(cbor2.loads(payload))]


def csv_payload(rng):
    delimiter = rng.choice([",", ";", "|", "\t"])
    columns = rng.randint(1, 6)
    header = rng.choice(["none", "skip", "columns"])
    null = rng.choice([["", "NULL"], [], ["n/a", ""]])
    buffer = io.StringIO()
    writer = csv.writer(
        buffer,
        delimiter=delimiter,
        quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
        lineterminator=rng.choice(["\n", "\r\n"]),
    )
    names = [f"c{at}" for at in range(columns)]
    if header != "none":
        writer.writerow(names)
    for _ in range(rng.randint(1, 5)):
        leaves = [lambda: text(rng, 12).replace("\r", ""), lambda: integer(rng), lambda: finite(rng), lambda: "", lambda: "NULL", lambda: "n/a"]
        writer.writerow([rng.choice(leaves)() for _ in range(columns)])
    written = buffer.getvalue()
    rows = [row for row in csv.reader(io.StringIO(written, newline=""), delimiter=delimiter) if row]
    rows = rows[0 if header == "none" else 1 :]
    cells = [[None if cell in null else cell for cell in row] for row in rows]
    documents = [{"o": [list(pair) for pair in zip(names, row)]} if header == "columns" else row for row in cells]
    return written.encode(), {"delimiter": delimiter, "header": header, "null": null}, documents


def escaped(name, specials):
    return "".join("\\" + character if character in specials else character for character in name)


def influx_name(rng):
    """Line protocol cannot write a backslash before a special character or at the end of a name."""
    alphabet = "abcXYZ01 _-.,=:/'äß€漢😀\""
    return rng.choice("abcXYZäß") + text(rng, 8, alphabet) + rng.choice("xyz")


def influx_payload(rng):
    precision = rng.choice(["ns", "us", "ms", "s"])
    factor = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}[precision]
    lines, documents = [], []
    for _ in range(rng.randint(1, 4)):
        measurement = influx_name(rng)
        line = escaped(measurement, ", ")
        tags, fields = {}, {}
        for _ in range(rng.randint(0, 3)):
            tags[influx_name(rng)] = influx_name(rng)
        for name, tag in tags.items():
            line += "," + escaped(name, ",= ") + "=" + escaped(tag, ",= ")
        parts = {}
        for _ in range(rng.randint(1, 4)):
            name, kind = influx_name(rng), rng.randint(0, 4)
            if kind == 0:
                found = rng.randint(-(2**63), 2**63 - 1)
                parts[name], fields[name] = f"{found}i", {"n": str(found)}
            elif kind == 1:
                found = rng.randint(0, 2**64 - 1)
                parts[name], fields[name] = f"{found}u", {"n": str(found)}
            elif kind == 2:
                found = finite(rng)
                parts[name] = rng.choice([repr(found), f"{found:+.17e}"])
                fields[name] = {"f": repr(found)}
            elif kind == 3:
                word = rng.choice(["t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE"])
                parts[name], fields[name] = word, word[0] in "tT"
            else:
                found = text(rng, 12).replace("\r", "")
                parts[name], fields[name] = '"' + escaped(found, '"\\') + '"', found
        line += " " + ",".join(escaped(name, ",= ") + "=" + part for name, part in parts.items())
        document = [
            ["measurement", measurement],
            ["tags", {"o": [list(pair) for pair in tags.items()]}],
            ["fields", {"o": [list(pair) for pair in fields.items()]}],
        ]
        if rng.randint(0, 4):
            time = rng.randint(-(10**18), 2 * 10**18) // factor
            line += f" {time}"
            document.append(["time", {"n": str(time * factor)}])
        lines.append(line)
        documents.append({"o": document})
        if rng.randint(0, 5) == 0:
            lines.append(rng.choice(["", "# a comment, x=1"]))
    end = rng.choice(["\n", "\r\n"])
    return (end.join(lines) + (end if rng.randint(0, 1) else "")).encode(), {"precision": precision}, documents


def sensor_descriptors():
    file = descriptor_pb2.FileDescriptorProto(name="sensor.proto", package="plant", syntax="proto3")
    state = file.enum_type.add(name="State")
    for at, name in enumerate(["UNKNOWN", "OPEN", "CLOSED"]):
        state.value.add(name=name, number=at)
    field = descriptor_pb2.FieldDescriptorProto

    def add(message, name, number, kind, **more):
        return message.field.add(name=name, number=number, type=kind, label=more.pop("label", field.LABEL_OPTIONAL), **more)

    point = file.message_type.add(name="Point")
    add(point, "at", 1, field.TYPE_FIXED64)
    add(point, "value", 2, field.TYPE_DOUBLE)
    add(point, "note", 3, field.TYPE_STRING, proto3_optional=True, oneof_index=0)
    point.oneof_decl.add(name="_note")
    sensor = file.message_type.add(name="Sensor")
    for number, (name, kind) in enumerate(
        [
            ("i32", field.TYPE_INT32), ("i64", field.TYPE_INT64), ("u32", field.TYPE_UINT32), ("u64", field.TYPE_UINT64),
            ("s64", field.TYPE_SINT64), ("x64", field.TYPE_SFIXED64), ("single", field.TYPE_FLOAT),
            ("number", field.TYPE_DOUBLE), ("truth", field.TYPE_BOOL), ("name", field.TYPE_STRING), ("raw", field.TYPE_BYTES),
        ],
        1,
    ):
        add(sensor, name, number, kind)
    add(sensor, "state", 20, field.TYPE_ENUM, type_name=".plant.State")
    add(sensor, "point", 21, field.TYPE_MESSAGE, type_name=".plant.Point")
    add(sensor, "points", 22, field.TYPE_MESSAGE, type_name=".plant.Point", label=field.LABEL_REPEATED)
    add(sensor, "counts", 23, field.TYPE_SINT32, label=field.LABEL_REPEATED)
    entry = sensor.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_UINT64)
    add(sensor, "labels", 24, field.TYPE_MESSAGE, type_name=".plant.Sensor.LabelsEntry", label=field.LABEL_REPEATED)
    return descriptor_pb2.FileDescriptorSet(file=[file])


def protobuf_meaning(message):
    pairs = []
    for known in message.DESCRIPTOR.fields:
        if known.has_presence and not message.HasField(known.name):
            continue
        found = getattr(message, known.name)
        if known.message_type and known.message_type.GetOptions().map_entry:
            found = {"o": [[name, {"n": str(found[name])}] for name in sorted(found)]}
        elif known.message_type:
            is_list = not hasattr(found, "DESCRIPTOR")
            found = [protobuf_meaning(item) for item in found] if is_list else protobuf_meaning(found)
        elif known.enum_type:
            name = known.enum_type.values_by_number.get(found)
            found = name.name if name else {"n": str(found)}
        else:
            found = meaning(list(found) if known.name == "counts" else found)
        pairs.append([known.name, found])
    return {"o": pairs}


def protobuf_payload(sensor_class):
    def fill_point(rng, point):
        point.at = rng.choice([0, rng.getrandbits(64)])
        point.value = number(rng)
        if rng.randint(0, 1):
            point.note = text(rng)

    def payload(rng):
        sensor = sensor_class()
        bits = {"i32": 32, "i64": 64, "s64": 64, "x64": 64}
        for name in ["i32", "i64", "u32", "u64", "s64", "x64", "single", "number", "truth", "name", "raw"]:
            if rng.randint(0, 2) == 0:
                continue
            if name in bits:
                found = rng.randint(-(2 ** (bits[name] - 1)), 2 ** (bits[name] - 1) - 1)
            elif name in ("u32", "u64"):
                found = rng.getrandbits(int(name[1:]))
            elif name == "single":
                found = struct.unpack(">f", struct.pack(">I", rng.getrandbits(32)))[0]
            else:
                found = {"number": number, "truth": lambda rng: True, "name": text, "raw": lambda rng: rng.randbytes(9)}[name](rng)
            setattr(sensor, name, found)
        sensor.state = rng.randint(0, 4)
        if rng.randint(0, 1):
            fill_point(rng, sensor.point)
        for _ in range(rng.randint(0, 3)):
            fill_point(rng, sensor.points.add())
        sensor.counts.extend(rng.randint(-(2**31), 2**31 - 1) for _ in range(rng.randint(0, 4)))
        for _ in range(rng.randint(0, 3)):
            sensor.labels[text(rng)] = rng.getrandbits(64)
        data = sensor.SerializeToString()
        if rng.randint(0, 3) == 0:
            # A field that the type does not have.
            data += b"\xfa\x3e\x03abc"
        return data, {}, [protobuf_meaning(sensor_class.FromString(data))]

    return payload


def main():
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    directory.mkdir(parents=True, exist_ok=True)
    descriptors = sensor_descriptors()
    (directory / "sensor.binpb").write_bytes(descriptors.SerializeToString())
    pool = descriptor_pool.DescriptorPool()
    for file in descriptors.file:
        pool.Add(file)
    sensor_class = message_factory.GetMessageClass(pool.FindMessageTypeByName("plant.Sensor"))
    formats = {
        "ndjson": ndjson, "msgpack": msgpack_payload, "cbor": cbor_payload, "csv": csv_payload, "influx": influx_payload,
        "protobuf": protobuf_payload(sensor_class),
    }
    for name, make in formats.items():
        rng = random.Random(f"{name} {seed}")
        with open(directory / f"{name}.jsonl", "w", encoding="utf-8") as out:
            for _ in range(count):
                payload, options, documents = make(rng)
                line = {"payload": b64(payload), "options": options, "documents": documents}
                out.write(json.dumps(line, separators=(",", ":")) + "\n")


main()
