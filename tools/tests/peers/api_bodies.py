"""Bodies that schemathesis cannot make up from the OpenAPI document: WAV files and SQLite databases,
whole, damaged and cut off. It reads this file by its environment variable SCHEMATHESIS_HOOKS.
"""

import sqlite3
import struct

import schemathesis
from hypothesis import strategies as st


def damaged(whole):
    """`whole`, with up to three octets changed, cut off somewhere or not."""
    places = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=3)

    def change(drawn):
        changes, length = drawn
        octets = bytearray(whole)
        for place, octet in changes:
            octets[place] = octet
        return bytes(octets[:length])

    lengths = st.one_of(st.just(len(whole)), st.integers(0, len(whole)))
    return st.tuples(places, lengths).map(change)


def wav(rate, channels, bits, samples):
    frame = channels * bits // 8
    format = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * frame, frame, bits)
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(format) + len(data)) + b"WAVE" + format + data


def database(statements):
    with sqlite3.connect(":memory:") as connection:
        connection.executescript(statements)
        return connection.serialize()


WAVS = st.builds(
    wav,
    st.sampled_from([8_000, 16_000, 44_100, 0]),
    st.sampled_from([1, 2]),
    st.sampled_from([8, 16]),
    st.binary(max_size=4_000),
)
DATABASES = st.sampled_from([
    database("create table other(a); insert into other values (1)"),
    database("create table objects(id, kind, document); pragma user_version = 1"),
    database("create view objects as select 1"),
])

schemathesis.openapi.media_type("audio/wav", WAVS.flatmap(damaged))
schemathesis.openapi.media_type("application/vnd.sqlite3", DATABASES.flatmap(damaged))
