"""The media of one far end: a tone out, a tally of everything that comes in."""

import math
import random
import struct

import libsrtp

RATE_HZ, SAMPLES = 8000, 160
# What attackers put into their packets and nobody else does.
MARK = b"intruder"


def a_law(sample):
    """ITU-T G.711: one 16-bit sample in A-law."""
    sign, magnitude = (0x80, sample >> 3) if sample >= 0 else (0, (~sample) >> 3)
    if magnitude < 32:
        code = magnitude >> 1
    else:
        segment = magnitude.bit_length() - 5
        code = (segment << 4) | ((magnitude >> segment) & 15)
    return (sign | code) ^ 0x55


def tone(hz):
    """One second of a tone in A-law; it repeats without a seam."""
    turn = 2 * math.pi * hz / RATE_HZ
    return bytes(a_law(int(16000 * math.sin(turn * n))) for n in range(RATE_HZ))


def rtp(seq, timestamp, ssrc, payload, payload_type=8):
    return struct.pack("!BBHII", 0x80, payload_type, seq & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


def sender_report(ssrc, count):
    cname = struct.pack("!BBHI", 0x81, 202, 3, ssrc) + b"\x01\x04tone\x00\x00"
    return struct.pack("!BBHIQIII", 0x80, 200, 6, ssrc, count, 0, count, 0) + cname


class Sender:
    """Makes RTP of one source, and SRTP of it where there is a key."""

    def __init__(self, hz, first_seq):
        self.audio, self.ssrc = tone(hz), random.getrandbits(32)
        self.seq, self.reports = first_seq, 0
        self.context = None

    def plain(self):
        n = self.seq
        self.seq += 1
        at = n * SAMPLES % RATE_HZ
        return rtp(n, n * SAMPLES, self.ssrc, self.audio[at : at + SAMPLES])

    def packet(self):
        return self.seal(self.plain())

    def report(self):
        self.reports += 1
        report = sender_report(self.ssrc, self.reports)
        return self.context.protect_rtcp(report) if self.context else report

    def seal(self, packet):
        return self.context.protect(packet) if self.context else packet


class Tally:
    """What arrived. `distinct` are authentic packets of a number not seen before from their source."""

    def __init__(self, record):
        self.context = None
        self.numbers = set()
        self.record = open(record, "wb")
        self.counts = dict.fromkeys(
            ["datagrams", "distinct", "repeated", "refused", "marked", "reports"], 0
        )

    def take(self, datagram):
        self.counts["datagrams"] += 1
        try:
            packet = self.context.unprotect(datagram) if self.context else datagram
        except libsrtp.Refused:
            self.counts["refused"] += 1
            return
        number = packet[2:4] + packet[8:12]
        self.counts["repeated" if number in self.numbers else "distinct"] += 1
        self.numbers.add(number)
        self.counts["marked"] += MARK in packet
        self.record.write(packet[12:])

    def take_report(self, datagram):
        self.counts["datagrams"] += 1
        try:
            report = self.context.unprotect_rtcp(datagram) if self.context else datagram
        except libsrtp.Refused:
            self.counts["refused"] += 1
            return
        self.counts["reports"] += 1
        self.counts["marked"] += MARK in report
