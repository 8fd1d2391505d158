#!/usr/bin/env python3
"""Random documents of every format, and the rows that other decoders make of them: Python's json, csv, msgpack, cbor2 and
protobuf, and a reader of line protocol that was written from its specification.

    documents.py live ROWBRIDGE COUNT [SEED]   COUNT documents of each format through Mosquitto and the bridge; the rows
                                               that SQLite has are compared with what the decoders say
    documents.py golden DIRECTORY COUNT [SEED] writes bridge.yaml, message.binpb and documents.yaml for `rowbridge test`

The documents are written by encoders of this file, which choose among all the ways to write a value. What they mean is said
by the decoders alone. A failure names the seed, the format, the document and the first column that differs.
"""

import base64, csv, io, json, os, random, shutil, socket, sqlite3, struct, subprocess, sys, tempfile, time

FORMATS = ["json", "ndjson", "csv", "msgpack", "cbor", "influx", "protobuf"]

# Columns by format: name, type, source.
TREE = [("i", "bigint", "payload.i"), ("u", "text", "payload.u"), ("f", "double", "payload.f"), ("s", "text", "payload.s"),
        ("t", "bool", "payload.t"), ("m", "json", "payload.m")]
COLUMNS = {
    "json": TREE,
    "ndjson": TREE,
    "msgpack": TREE + [("x", "bytes", "payload.x")],
    "cbor": TREE + [("x", "bytes", "payload.x")],
    "csv": [("i", "bigint", "payload.i"), ("f", "double", "payload.f"), ("s", "text", "payload.s"), ("t", "bool", "payload.t")],
    "influx": [("measurement", "text", "payload.measurement"), ("tags", "json", "payload.tags"),
               ("fields", "json", "payload.fields"), ("time", "bigint", "payload.time")],
}
OPTIONS = {"csv": "csv: { columns: [i, f, s, t] }", "protobuf": "protobuf: { descriptor: message.binpb, message: test.Message }"}

# Name, number, type of descriptor_pb2, column type; a repeated field's column is json.
SCALARS = [("f_double", 1, "DOUBLE", "double"), ("f_float", 2, "FLOAT", "double"), ("f_int64", 3, "INT64", "bigint"),
           ("f_uint64", 4, "UINT64", "text"), ("f_int32", 5, "INT32", "bigint"), ("f_fixed64", 6, "FIXED64", "text"),
           ("f_fixed32", 7, "FIXED32", "bigint"), ("f_bool", 8, "BOOL", "bool"), ("f_string", 9, "STRING", "text"),
           ("f_bytes", 12, "BYTES", "bytes"), ("f_uint32", 13, "UINT32", "bigint"), ("f_sfixed32", 15, "SFIXED32", "bigint"),
           ("f_sfixed64", 16, "SFIXED64", "bigint"), ("f_sint32", 17, "SINT32", "bigint"), ("f_sint64", 18, "SINT64", "bigint")]
REPEATED = [("r_sint64", 101, "SINT64"), ("r_string", 102, "STRING"), ("r_double", 103, "DOUBLE"), ("r_bool", 104, "BOOL")]
ENUM = {0: "OFF", 1: "ON", -5: "BROKEN"}
COLUMNS["protobuf"] = ([(name, column, f"payload.{name}") for name, _, _, column in SCALARS]
                       + [(name, "json", f"payload.{name}") for name, _, _ in REPEATED]
                       + [("e", "text", "payload.e"), ("o", "bigint", "payload.o"), ("n", "json", "payload.n")])


# ---------------------------------------------------------------- values

INTEGERS = [0, 1, -1, 23, 24, 127, 128, -32, -33, 255, 256, -128, -129, 32767, 65535, 65536, -32769, 2**31 - 1, -2**31, 2**32,
            2**53, 2**53 + 1, -2**53 - 1, 2**63 - 1, -2**63]
TEXTS = ["", "a", "warm", "21.5", "true", "null", "NULL", "é", "温度", "😀", "\"", "\\", "\\n", "a,b", "a b", "a=b", "line\nline",
         "tab\t", " edge ", "\u2028", "\x7f", "x" * 31, "y" * 40, "z" * 300]


def integer(dice, low=-2**63, high=2**63 - 1):
    if dice.random() < 0.5:
        fitting = [number for number in INTEGERS if low <= number <= high]
        return dice.choice(fitting)
    return max(low, min(high, dice.randrange(-2**dice.randrange(1, 64), 2**dice.randrange(1, 64))))


def double(dice):
    kind = dice.randrange(4)
    if kind == 0:
        return dice.choice([0.0, 1.5, -0.1, 1e300, -1e-300, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 1e16, 123456789.125])
    if kind == 1:
        return round(dice.uniform(-1000, 1000), dice.randrange(6))
    if kind == 2:
        return struct.unpack("<e", struct.pack("<e", dice.uniform(-100, 100)))[0]
    while True:
        number = struct.unpack("<d", dice.randbytes(8))[0]
        if number == number and abs(number) != float("inf"):
            return number


def text(dice):
    if dice.random() < 0.6:
        return dice.choice(TEXTS)
    letters = "abzAZ09 ,;=\"'\\/{}[]:#\t\né温😀\u0301"
    return "".join(dice.choice(letters) for _ in range(dice.randrange(1, 30)))


def nested(dice, depth):
    kind = dice.randrange(8 if depth else 5)
    if kind == 0:
        return dice.choice([None, True, False])
    if kind == 1:
        return integer(dice)
    if kind == 2:
        return double(dice)
    if kind in (3, 4):
        return text(dice)
    if kind == 5:
        return [nested(dice, depth - 1) for _ in range(dice.choice([0, 1, 2, 3, 17]))]
    return {text(dice): nested(dice, depth - 1) for _ in range(dice.randrange(4))}


def tree(dice, has_bytes):
    values = {"i": integer(dice), "u": integer(dice, 0, 2**64 - 1) if dice.random() < 0.7 else 2**64 - 1 - dice.randrange(9),
              "f": double(dice), "s": text(dice), "t": dice.random() < 0.5, "m": [nested(dice, 2)], "other": nested(dice, 2)}
    if has_bytes:
        values["x"] = dice.randbytes(dice.choice([0, 1, 5, 31, 32, 300]))
    kept = [key for key in values if key == "i" or dice.random() < 0.8]
    dice.shuffle(kept)
    return {key: None if key != "i" and dice.random() < 0.1 else values[key] for key in kept}


# ---------------------------------------------------------------- encoders

# A golden test compares numbers within JSON by their digits.
IS_GOLDEN = sys.argv[1:2] == ["golden"]


def blank(dice, all_of=" \t\r\n"):
    return "".join(dice.choice(all_of) for _ in range(dice.choice([0, 0, 0, 1, 2])))


def json_text(dice, value, blanks=" \t\r\n"):
    if isinstance(value, str):
        out = ""
        for letter in value:
            code = ord(letter)
            if letter in "\"\\" or code < 32:
                short = {"\"": "\\\"", "\\": "\\\\", "\n": "\\n", "\t": "\\t"}.get(letter)
                out += short if short and dice.random() < 0.7 else f"\\u{code:04x}"
            elif dice.random() < 0.05:
                units = letter.encode("utf-16-be")
                out += "".join(f"\\u{units[at] << 8 | units[at + 1]:04X}" for at in range(0, len(units), 2))
            else:
                out += "\\/" if letter == "/" and dice.random() < 0.5 else letter
        return f"\"{out}\""
    if isinstance(value, dict):
        parts = [f"{json_text(dice, key, blanks)}{blank(dice, blanks)}:{blank(dice, blanks)}{json_text(dice, item, blanks)}"
                 for key, item in value.items()]
        return "{" + blank(dice, blanks) + (blank(dice, blanks) + "," + blank(dice, blanks)).join(parts) + blank(dice, blanks) + "}"
    if isinstance(value, list):
        parts = [json_text(dice, item, blanks) for item in value]
        return "[" + blank(dice, blanks) + ("," + blank(dice, blanks)).join(parts) + blank(dice, blanks) + "]"
    if isinstance(value, float):
        # More digits than a double keeps are refused where they stand before the point.
        longer = [f"{value:.17e}", f"{value:.17E}".replace("E+", "E")] if abs(value) < 1e15 and not IS_GOLDEN else []
        return dice.choice([repr(value)] + longer)
    return json.dumps(value)


def head(dice, kind, number):
    """CBOR's first byte and the number behind it, in any of the widths that hold it."""
    widths = [width for width in (1, 2, 4, 8) if number < 1 << 8 * width]
    if number < 24 and dice.random() < 0.8:
        return bytes([kind << 5 | number])
    width = widths[0] if dice.random() < 0.8 else dice.choice(widths)
    return bytes([kind << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[width]]) + number.to_bytes(width, "big")


def cbor(dice, value):
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(dice, 0, value) if value >= 0 else head(dice, 1, -1 - value)
    if isinstance(value, float):
        for code, first in (("e", 0xf9), ("f", 0xfa)):
            try:
                if struct.unpack(">" + code, struct.pack(">" + code, value))[0] == value and dice.random() < 0.8:
                    return bytes([first]) + struct.pack(">" + code, value)
            except OverflowError:
                pass
        return b"\xfb" + struct.pack(">d", value)
    is_open = dice.random() < 0.2
    if isinstance(value, (str, bytes)):
        kind = 3 if isinstance(value, str) else 2
        if is_open:
            # Each piece of a text is a text.
            cut = dice.randrange(len(value) + 1)
            pieces = [piece.encode() if kind == 3 else piece for piece in (value[:cut], value[cut:])]
            return bytes([kind << 5 | 31]) + b"".join(head(dice, kind, len(piece)) + piece for piece in pieces) + b"\xff"
        raw = value.encode() if kind == 3 else value
        return head(dice, kind, len(raw)) + raw
    if isinstance(value, list):
        items = b"".join(cbor(dice, item) for item in value)
        return b"\x9f" + items + b"\xff" if is_open else head(dice, 4, len(value)) + items
    items = b"".join(cbor(dice, key) + cbor(dice, item) for key, item in value.items())
    return b"\xbf" + items + b"\xff" if is_open else head(dice, 5, len(value)) + items


def wider(dice, forms):
    """The first form, mostly; else any."""
    return forms[0] if dice.random() < 0.8 else dice.choice(forms)


def sized(dice, length, short, forms):
    choices = [short] if short is not None else []
    choices += [bytes([first]) + length.to_bytes(width, "big") for first, width in forms if length < 1 << 8 * width]
    return wider(dice, choices)


def msgpack_bytes(dice, value):
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        forms = []
        if 0 <= value < 128 or -32 <= value < 0:
            forms.append(struct.pack("b", value))
        for first, code in zip((0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd1, 0xd2, 0xd3), "BHIQbhiq"):
            try:
                forms.append(bytes([first]) + struct.pack(">" + code, value))
            except struct.error:
                pass
        return wider(dice, forms)
    if isinstance(value, float):
        try:
            if struct.unpack(">f", struct.pack(">f", value))[0] == value and dice.random() < 0.8:
                return b"\xca" + struct.pack(">f", value)
        except OverflowError:
            pass
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        raw = value.encode()
        short = bytes([0xa0 | len(raw)]) if len(raw) < 32 else None
        return sized(dice, len(raw), short, [(0xd9, 1), (0xda, 2), (0xdb, 4)]) + raw
    if isinstance(value, bytes):
        return sized(dice, len(value), None, [(0xc4, 1), (0xc5, 2), (0xc6, 4)]) + value
    if isinstance(value, list):
        short = bytes([0x90 | len(value)]) if len(value) < 16 else None
        return sized(dice, len(value), short, [(0xdc, 2), (0xdd, 4)]) + b"".join(msgpack_bytes(dice, item) for item in value)
    short = bytes([0x80 | len(value)]) if len(value) < 16 else None
    items = b"".join(msgpack_bytes(dice, key) + msgpack_bytes(dice, item) for key, item in value.items())
    return sized(dice, len(value), short, [(0xde, 2), (0xdf, 4)]) + items


def csv_text(dice):
    records = []
    for _ in range(dice.choice([1, 1, 2, 4])):
        fields = []
        for value in (str(integer(dice)), repr(double(dice)), text(dice), dice.choice(["true", "false", "1", "0", "on", "off"])):
            # What is empty, or NULL, is null: quoted or not.
            must = any(letter in value for letter in "\",\r\n") or value != value.strip()
            quoted = must or dice.random() < 0.2
            fields.append("\"" + value.replace("\"", "\"\"") + "\"" if quoted else value)
        records.append(",".join(fields))
    end = dice.choice(["\n", "\r\n"])
    return end.join(records) + dice.choice(["", end])


def escaped(name, letters):
    return "".join("\\" + letter if letter in letters else letter for letter in name)


def influx_text(dice):
    # Line protocol cannot write a backslash at the end of a name, a line end in it, or a blank at the beginning of a line.
    def name():
        found = text(dice).replace("\n", "").replace("\\", "").lstrip("# \t")
        return found if found.strip() else "n"

    lines = []
    for _ in range(dice.choice([1, 1, 2, 3])):
        line = escaped(name(), ", ")
        tags = {name(): name() for _ in range(dice.randrange(3))}
        line += "".join("," + escaped(key, ",= ") + "=" + escaped(value, ",= ") for key, value in tags.items())
        fields = []
        for key in {name() for _ in range(dice.randrange(1, 4))}:
            kind = dice.randrange(5)
            if kind == 0:
                value = f"{integer(dice)}i"
            elif kind == 1:
                value = f"{integer(dice, 0, 2**63 - 1)}u"
            elif kind == 2:
                value = dice.choice([repr(double(dice)), str(dice.randrange(-9, 9)), "1e5", "-2.5E-3"])
            elif kind == 3:
                value = "\"" + escaped(text(dice).replace("\\", ""), "\"\\") + "\""
            else:
                value = dice.choice(["t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE"])
            fields.append(escaped(key, ",= ") + "=" + value)
        lines.append(f"{line} {','.join(fields)} {integer(dice)}")
    if dice.random() < 0.2:
        lines.insert(dice.randrange(len(lines) + 1), "# a comment, with=signs")
    return "\n".join(lines) + dice.choice(["", "\n"])


# ---------------------------------------------------------------- decoders

def read_influx(text):
    """Line protocol, by its specification: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/"""
    at, found = 0, []

    def word(ends, escapable):
        nonlocal at
        out = ""
        while at < len(text) and text[at] not in ends:
            if text[at] == "\\" and at + 1 < len(text) and text[at + 1] in escapable:
                at += 1
            out += text[at]
            at += 1
        return out

    while at < len(text):
        if text[at] in "\n#":
            word("\n", "")
            at += 1
            continue
        measurement, tags, fields = word(", ", ", "), {}, {}
        while text[at] == ",":
            at += 1
            key = word("=", ",= ")
            at += 1
            tags[key] = word(", ", ",= ")
        separator = text[at]
        while separator == "," or not fields:
            at += 1
            key = word("=", ",= ")
            at += 1
            if text[at] == "\"":
                # A line end inside of quotes belongs to the value.
                at += 1
                value = word("\"", "\"\\")
                at += 1
            else:
                value = word(", ", "")
                if value in ("t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE"):
                    value = value[0] in "tT"
                else:
                    value = int(value[:-1]) if value[-1] in "iu" else float(value)
            fields[key] = value
            separator = text[at]
        at += 1
        found.append({"measurement": measurement, "tags": tags, "fields": fields, "time": int(word("\n", ""))})
        at += 1
    return found


class Protobuf:
    """The message of the documents, made without a .proto file."""

    def __init__(self):
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

        kind = descriptor_pb2.FieldDescriptorProto
        file = descriptor_pb2.FileDescriptorProto(name="message.proto", package="test", syntax="proto3")
        enum = file.enum_type.add(name="State")
        for number, name in ENUM.items():
            enum.value.add(name=name, number=number)
        part = file.message_type.add(name="Part")
        part.field.add(name="a", number=1, type=kind.TYPE_SINT32, label=kind.LABEL_OPTIONAL)
        part.field.add(name="b", number=2, type=kind.TYPE_STRING, label=kind.LABEL_REPEATED)
        message = file.message_type.add(name="Message")
        for name, number, type_name, *_ in SCALARS:
            message.field.add(name=name, number=number, type=getattr(kind, "TYPE_" + type_name), label=kind.LABEL_OPTIONAL)
        for name, number, type_name in REPEATED:
            message.field.add(name=name, number=number, type=getattr(kind, "TYPE_" + type_name), label=kind.LABEL_REPEATED)
        message.field.add(name="e", number=201, type=kind.TYPE_ENUM, type_name=".test.State", label=kind.LABEL_OPTIONAL)
        message.field.add(name="o", number=202, type=kind.TYPE_INT64, label=kind.LABEL_OPTIONAL, proto3_optional=True, oneof_index=0)
        message.oneof_decl.add(name="_o")
        message.field.add(name="n", number=203, type=kind.TYPE_MESSAGE, type_name=".test.Part", label=kind.LABEL_REPEATED)
        self.descriptors = descriptor_pb2.FileDescriptorSet(file=[file])
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self.Message = message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Message"))

    def document(self, dice):
        message = self.Message()
        ranges = {"INT32": 31, "SINT32": 31, "SFIXED32": 31, "INT64": 63, "SINT64": 63, "SFIXED64": 63}

        def value(type_name):
            if type_name == "BOOL":
                return dice.random() < 0.5
            if type_name == "STRING":
                return text(dice)
            if type_name == "BYTES":
                return dice.randbytes(dice.randrange(9))
            if type_name == "DOUBLE":
                return double(dice)
            if type_name == "FLOAT":
                return struct.unpack("<f", struct.pack("<f", dice.uniform(-1e6, 1e6)))[0]
            if type_name in ranges:
                return integer(dice, -2**ranges[type_name], 2**ranges[type_name] - 1)
            return integer(dice, 0, 2**(64 if "64" in type_name else 32) - 1)

        for name, _, type_name, _ in SCALARS:
            if dice.random() < 0.7:
                setattr(message, name, value(type_name))
        for name, _, type_name in REPEATED:
            getattr(message, name).extend(value(type_name) for _ in range(dice.randrange(4)))
        if dice.random() < 0.5:
            message.e = dice.choice(list(ENUM))
        if dice.random() < 0.5:
            message.o = dice.choice([0, 1, -7])
        for _ in range(dice.randrange(3)):
            message.n.add(a=integer(dice, -2**31, 2**31 - 1), b=[text(dice) for _ in range(dice.randrange(3))])
        # What a newer sender adds is passed over.
        return message.SerializeToString() + (b"\xf8\x3f\x07" if dice.random() < 0.3 else b"")

    def row(self, payload):
        message = self.Message()
        message.ParseFromString(payload)
        row = {name: getattr(message, name) for name, *_ in SCALARS}
        row.update({name: list(getattr(message, name)) for name, _, _ in REPEATED})
        row["e"] = ENUM[message.e]
        row["o"] = message.o if message.HasField("o") else None
        row["n"] = [{"a": part.a, "b": list(part.b)} for part in message.n]
        return row


PROTOBUF = None


def protobuf():
    global PROTOBUF
    PROTOBUF = PROTOBUF or Protobuf()
    return PROTOBUF


def document(dice, form):
    if form == "json":
        return json_text(dice, tree(dice, False)).encode()
    if form == "ndjson":
        lines = [json_text(dice, tree(dice, False), " \t") for _ in range(dice.choice([1, 1, 2, 4]))]
        return (dice.choice(["\n", "\r\n", "\n\n"]).join(lines) + dice.choice(["", "\n"])).encode()
    if form == "csv":
        return csv_text(dice).encode()
    if form == "msgpack":
        return msgpack_bytes(dice, tree(dice, True))
    if form == "cbor":
        return cbor(dice, tree(dice, True))
    if form == "influx":
        return influx_text(dice).encode()
    return protobuf().document(dice)


def rows(form, payload):
    """What another decoder reads in a payload, column by column."""
    if form == "json":
        documents = [json.loads(payload)]
    elif form == "ndjson":
        documents = [json.loads(line) for line in payload.split(b"\n") if line.strip()]
    elif form == "csv":
        def value(text):
            return None if text in ("", "NULL") else text

        documents = []
        for record in csv.reader(io.StringIO(payload.decode(), newline="")):
            integer, number, words, flag = record
            documents.append({"i": int(integer), "f": float(number), "s": value(words), "t": flag in ("true", "1", "on")})
    elif form == "msgpack":
        import msgpack
        documents = [msgpack.unpackb(payload, strict_map_key=False)]
    elif form == "cbor":
        import cbor2
        documents = [cbor2.loads(payload)]
    elif form == "influx":
        documents = read_influx(payload.decode())
    else:
        documents = [protobuf().row(payload)]
    return [{name: found.get(name) for name, _, _ in COLUMNS[form]} for found in documents]


# ---------------------------------------------------------------- what the bridge has

def configuration(port):
    text = f"mqtt: {{ url: 'mqtt://127.0.0.1:{port}', client_id: documents }}\nhttp: off\ndata_dir: data\n"
    text += "databases: { local: { url: 'sqlite:rows.db' } }\nrules:\n"
    for form in FORMATS:
        options = "".join(f"    {OPTIONS[form]}\n" for form in [form] if form in OPTIONS)
        columns = "".join(f"      {name}: {{ from: {source}, type: {kind} }}\n" for name, kind, source in COLUMNS[form])
        text += (f"  - name: {form}\n    topic: {form}/{{number}}\n    format: {form}\n{options}    table: {form}_rows\n"
                 f"    create: true\n    columns:\n      number: {{ from: topic.number, type: bigint }}\n{columns}")
    return text


def same(kind, expected, found):
    if expected is None or found is None:
        # JSON's null is one in a json column, or NULL.
        return expected is found or (kind == "json" and expected is None and found == "null")
    if kind == "json":
        return alike(expected, json.loads(found))
    if kind == "text" and isinstance(expected, int):
        # SQLite keeps no number of 64 bits without a sign.
        return str(expected) == found
    if kind == "bool":
        return bool(expected) == bool(found)
    return type(expected) is type(found) and expected == found or kind == "double" and float(expected) == float(found)


def alike(a, b):
    """Equal, with integers and true apart from 1.0 and 1."""
    if isinstance(a, (bool, str)) or a is None:
        return type(a) is type(b) and a == b
    if isinstance(a, (int, float)):
        return not isinstance(b, bool) and isinstance(b, (int, float)) and a == b
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(alike, a, b))
    return isinstance(b, dict) and a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)


class Publisher:
    """MQTT 3.1.1 at QoS 1, a window of messages at a time."""

    WINDOW = 500

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = 0
        self.send(0x10, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x09publisher")
        assert self.read(4)[3] == 0

    def send(self, first, body):
        length, left = b"", len(body)
        while True:
            left, digit = left >> 7, left & 127
            length += bytes([digit | 128 if left else digit])
            if not left:
                break
        self.socket.sendall(bytes([first]) + length + body)

    def read(self, count):
        found = b""
        while len(found) < count:
            part = self.socket.recv(count - len(found))
            assert part, "the broker closed the connection"
            found += part
        return found

    def publish(self, messages):
        for start in range(0, len(messages), self.WINDOW):
            window = messages[start:start + self.WINDOW]
            for topic, payload in window:
                self.number = self.number % 65535 + 1
                name = topic.encode()
                self.send(0x32, len(name).to_bytes(2, "big") + name + self.number.to_bytes(2, "big") + payload)
            self.read(4 * len(window))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def connected(port):
    for _ in range(600):
        try:
            return Publisher(port)
        except OSError:
            time.sleep(0.1)
    raise SystemExit("Mosquitto does not start")


def live(binary, count, seed):
    directory = tempfile.mkdtemp(prefix="rowbridge-documents-")
    processes = []
    try:
        return run(os.path.abspath(binary), count, seed, directory, processes)
    finally:
        for process in processes:
            process.terminate()
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def run(binary, count, seed, directory, processes):
    port = free_port()
    with open(f"{directory}/mosquitto.conf", "w") as file:
        file.write(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 1000\n")
    with open(f"{directory}/bridge.yaml", "w") as file:
        file.write(configuration(port))
    with open(f"{directory}/message.binpb", "wb") as file:
        file.write(protobuf().descriptors.SerializeToString())
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    broker = shutil.which("mosquitto", path=path) or "mosquitto"
    processes.append(subprocess.Popen([broker, "-c", f"{directory}/mosquitto.conf"], stderr=subprocess.DEVNULL))
    publisher = connected(port)
    with open(f"{directory}/log", "w") as log:
        bridge = subprocess.Popen([binary, "run", "-c", f"{directory}/bridge.yaml"], cwd=directory, stdout=log, stderr=log)
    processes.append(bridge)
    # From here on the broker keeps what is published, and the tables are there.
    wait(bridge, directory, lambda: all(word in open(f"{directory}/log").read() for word in ("subscribed", "database ready")))
    started, read = time.time(), 0
    for form in FORMATS:
        dice = random.Random(f"{seed} {form}")
        documents = [document(dice, form) for _ in range(count)]
        publisher.publish([(f"{form}/{number}", payload) for number, payload in enumerate(documents)])
        expected = [(number, row) for number, payload in enumerate(documents) for row in rows(form, payload)]
        read += compare(bridge, directory, form, documents, expected, seed)
    print(f"PROVED formats documents={count * len(FORMATS)} rows={read} seed={seed} seconds={time.time() - started:.0f}")


def wait(bridge, directory, is_so):
    for _ in range(1200):
        if is_so():
            return
        if bridge.poll() is not None:
            raise SystemExit("the bridge ended:\n" + open(f"{directory}/log").read()[-3000:])
        time.sleep(0.1)
    raise SystemExit("it does not end:\n" + open(f"{directory}/log").read()[-3000:])


def compare(bridge, directory, form, documents, expected, seed):
    database = sqlite3.connect(f"{directory}/rows.db", timeout=60)
    count = lambda sql: database.execute(sql).fetchone()[0]
    letters = f"SELECT count(*) FROM rowbridge_dead_letters WHERE rule = '{form}'"
    of_table = f"SELECT count(*) FROM {form}_rows"
    wait(bridge, directory, lambda: count(letters) > 0 or count(of_table) >= len(expected))

    def fail(number, what):
        shown = documents[number]
        raise SystemExit(f"FAILED formats, seed {seed}: {form} document {number}: {what}\n{shown!r}\nas base64 "
                         f"{base64.b64encode(shown).decode()}")

    for topic, reason, error in database.execute(f"SELECT topic, reason, error FROM rowbridge_dead_letters WHERE rule = '{form}'"):
        fail(int(topic.split("/")[1]), f"is a dead letter, {reason}: {error}")
    names = [name for name, _, _ in COLUMNS[form]]
    quoted = ", ".join(f'"{name}"' for name in names)
    found = database.execute(f"SELECT number, {quoted} FROM {form}_rows ORDER BY rowid").fetchall()
    by_number = sorted(found, key=lambda row: row[0])
    for (number, row), (at, *values) in zip(expected, by_number):
        if number != at:
            fail(min(number, at), "has more or fewer rows than the other decoder says")
        for (name, kind, _), value in zip(COLUMNS[form], values):
            if not same(kind, row[name], value):
                fail(number, f"column {name}: the other decoder says {row[name]!r}, the row has {value!r}")
    if len(found) != len(expected):
        fail(len(documents) - 1, f"{len(expected)} rows are expected and {len(found)} are there")
    database.close()
    return len(found)


def golden(directory, count, seed):
    """Expected rows as JSON, which YAML reads. What a float or decimal is, is told by its digits."""
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/bridge.yaml", "w") as file:
        file.write("# Written by documents.py.\n" + configuration(1883))
    with open(f"{directory}/message.binpb", "wb") as file:
        file.write(protobuf().descriptors.SerializeToString())
    with open(f"{directory}/documents.yaml", "w") as file:
        file.write(f"# Written by documents.py, with seed {seed}: payloads, and the rows that Python's decoders make of them.\n")
        for form in FORMATS:
            dice = random.Random(f"{seed} {form}")
            for number in range(count):
                payload = document(dice, form)
                expected = []
                for row in rows(form, payload):
                    cells = {name: shown(kind, row[name]) for name, kind, _ in COLUMNS[form]}
                    expected.append({name: cell for name, cell in cells.items() if cell is not None})
                test = {"name": f"{form} {number}", "topic": f"{form}/{number}", "payload_base64": base64.b64encode(payload).decode(),
                        "expect": [{"rule": form, "rows": expected}]}
                line = json.dumps(test, ensure_ascii=False)
                for letter in "\x7f\u2028":
                    line = line.replace(letter, f"\\u{ord(letter):04x}")
                file.write(f"- {line}\n")


def shown(kind, value):
    if value is None:
        return None
    if kind == "bytes":
        return "\\x" + value.hex()
    if kind == "text" and isinstance(value, int):
        return str(value)
    return bool(value) if kind == "bool" else value


def main():
    mode, place, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(1 << 32) if mode == "live" else 1
    live(place, count, seed) if mode == "live" else golden(place, count, seed)


main()
