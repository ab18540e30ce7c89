#!/usr/bin/env python3
"""How long a gateway with many trunks takes to start, and its lists to come.

    cargo build --release && python3 tools/tests/measure_store.py 1000 10000

For each number of trunks: fills a store with them, starts the gateway over it on loopback and
prints one JSON line. The aims: a start with 1,000 trunks within 3 s, a page of 10,000 trunks
within 100 ms. Exit code 1 where one of them is missed.
"""

import http.client
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

BINARY = "target/release/trunkline"
TOKEN = "measure-token-0123456789abcdef"
START_S_MAX = 3.0
PAGE_MS_MAX = 100.0
RUNS = 7


def configuration(directory):
    return f"""[sip]
udp = ["127.0.0.1:5960"]
[media]
address = "127.0.0.1"
ports = "21000-21099"
flows = 20
[run]
directory = "{directory}"
[store]
url = "sqlite:store.db"
[http]
listen = ["127.0.0.1:8099"]
"""


class Gateway:
    """A running gateway; `seconds` is how long it took to say that it is ready."""

    def __init__(self, directory):
        file = os.path.join(directory, "gateway.toml")
        began = time.monotonic()
        self.process = subprocess.Popen(
            [BINARY, "up", "--config", file],
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ, TRUNKLINE_ADMIN_TOKEN=TOKEN),
        )
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if "ready" in line:
                break
        else:
            sys.exit("the gateway did not start:\n" + "".join(lines))
        self.seconds = time.monotonic() - began
        drain = threading.Thread(target=lambda: [None for _ in self.process.stderr], daemon=True)
        drain.start()

    def stop(self):
        self.process.send_signal(2)
        self.process.wait()


def fill(directory, count):
    """Stores trunks as the gateway would, without asking it ten thousand times."""
    store = sqlite3.connect(os.path.join(directory, "store.db"))
    now = "2026-11-27T00:00:00Z"
    for number in range(1, count + 1):
        name = f"t{number:05}"
        document = {
            "name": name,
            "host": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            "send_keep_alive": False,
            "max_concurrent_calls": 30,
            "virtual_phone_number": [f"+4930{number:07}"],
        }
        row = (number, name, now, now, json.dumps(document))
        store.execute("INSERT INTO objects VALUES('trunk', ?, 1, ?, ?, ?, NULL, ?)", row)
    store.execute("INSERT OR REPLACE INTO sequence VALUES('trunk', ?)", (count,))
    store.commit()
    store.close()


def median_ms(path):
    connection = http.client.HTTPConnection("127.0.0.1", 8099)
    times = []
    for _ in range(RUNS):
        began = time.monotonic()
        connection.request("GET", "/api/v1" + path, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        answer.read()
        times.append((time.monotonic() - began) * 1000)
        assert answer.status == 200, (path, answer.status)
    return round(statistics.median(times), 1)


def measure(count):
    directory = tempfile.mkdtemp(prefix="trunkline-measure-")
    try:
        with open(os.path.join(directory, "gateway.toml"), "w") as file:
            file.write(configuration(directory))
        Gateway(directory).stop()
        fill(directory, count)
        gateway = Gateway(directory)
        paths = ["/trunks?limit=100", "/trunks?limit=1000", "/trunks/status"]
        pages = {path: median_ms(path) for path in paths}
        gateway.stop()
    finally:
        shutil.rmtree(directory)
    return {"trunks": count, "start_s": round(gateway.seconds, 2), "median_ms": pages}


def main():
    counts = [int(text) for text in sys.argv[1:]] or [1_000, 10_000]
    missed = False
    for count in counts:
        print(f"measuring {count} trunks", file=sys.stderr)
        found = measure(count)
        print(json.dumps(found))
        page = found["median_ms"]["/trunks?limit=100"]
        missed |= page > PAGE_MS_MAX or (count <= 1_000 and found["start_s"] > START_S_MAX)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
