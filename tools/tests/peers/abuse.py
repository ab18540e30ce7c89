"""What an attacker who has seen the packets, or a broken peer, does to one leg.

Each attack tells what its sender knows: `fresh` packets that a receiver may pass on once, `stale` ones
that repeat an earlier packet, `damaged` ones that were altered in any way. Replays come in the very
octets that passed before. Where the leg is plain RTP the same attacks serve as positive control.
"""

import asyncio
import random
import struct

from media import rtp

# A burst that every socket on the way surely holds; then the others get their turn.
BURST = 50


async def in_bursts(far, packets):
    for n, packet in enumerate(packets):
        far.rtp.sendto(packet, far.remote)
        if n % BURST == BURST - 1:
            await asyncio.sleep(0.005)


async def replay(far):
    """Everything that was sent so far once more: in order, backwards, at random."""
    packets = list(far.sent)
    shuffled = random.sample(packets, len(packets))
    await in_bursts(far, packets + packets[::-1] + shuffled)
    return {"stale": 3 * len(packets)}


async def flip(far):
    """One good packet with each of its bits flipped in turn, then the packet itself."""
    good = far.sender.packet()
    altered = []
    for bit in range(len(good) * 8):
        packet = bytearray(good)
        packet[bit // 8] ^= 0x80 >> bit % 8
        altered.append(bytes(packet))
    await in_bursts(far, altered)
    far.send(good)
    return {"damaged": len(altered), "fresh": 1}


async def truncate(far):
    """One good packet cut at each length, then extended, then the packet itself."""
    good = far.sender.packet()
    altered = [good[:n] for n in range(1, len(good))]
    altered += [good + bytes(n) for n in range(1, 20)]
    await in_bursts(far, altered)
    far.send(good)
    return {"damaged": len(altered), "fresh": 1}


async def reorder(far):
    """Packets in disorder, none twice: each is to pass."""
    packets = [far.sender.packet() for _ in range(BURST)]
    random.shuffle(packets)
    for packet in packets:
        far.send(packet)
    return {"fresh": len(packets)}


async def flood(far):
    """Well-made packets of many sources under the one key that the peer has."""
    sources = random.sample(range(1, 1 << 32), 200)
    payload = far.sender.audio[:160]
    packets = [far.sender.seal(rtp(1, 160, ssrc, payload)) for ssrc in sources]
    await in_bursts(far, packets)
    return {"sources": len(packets)}


async def garbage(far):
    """Datagrams of every length that only look like SRTP and SRTCP, and some that look like nothing."""
    packets = []
    for length in range(1, 400):
        noise = random.randbytes(length)
        packets += [b"\x80\x08" + noise, noise]
    await in_bursts(far, packets)
    for n in range(100):
        far.send_report(struct.pack("!BBHI", 0x80, 200, 6, n) + random.randbytes(24 + n))
    return {"damaged": len(packets) + 100}


async def replay_reports(far):
    """One sender report twenty times."""
    report = far.sender.report()
    for _ in range(20):
        far.send_report(report)
    return {"fresh": 1, "stale": 19}


KINDS = {
    attack.__name__: attack
    for attack in (replay, flip, truncate, reorder, flood, garbage, replay_reports)
}
