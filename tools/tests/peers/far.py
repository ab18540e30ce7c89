"""A far end that may do what no well-behaved peer does: choose the suite, resend, damage, flood.

SIP over UDP or TLS, G.711 A-law, plain RTP or SRTP by libsrtp. Reads one JSON command a line on
standard input, writes one JSON event a line on standard output:

    {"do": "call", "uri": "sip:390612345@127.0.1.1:5060"}
    {"do": "suite", "name": "AEAD_AES_128_GCM"}     for the calls that follow
    {"do": "answer"}                                where --hesitate was given
    {"do": "hangup"}
    {"do": "describe", "offer": null}               media without any SIP: our description ..
    {"do": "agree", "sdp": ".."}                    .. and the other side's
    {"do": "talk", "packets": 100, "every_ms": 1}   tone; sender reports with "reports": 2
    {"do": "abuse", "how": "replay"}                see abuse.py
    {"do": "await", "counts": {"distinct": 100}}    told when each count is reached
    {"do": "flush"}                                 what was heard is in --record

    {"event": "ready" | "incoming" | "answered" | "refused" | "disconnected" | "talked" | "abused" |
              "reached" | "flushed" | "description", ...}
"""

import argparse
import asyncio
import base64
import json
import os
import socket
import sys

import abuse
import libsrtp
from media import Sender, Tally
from sip import Dialog, Link, place_of


def tell(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Port(asyncio.DatagramProtocol):
    def __init__(self, take):
        self.take = take

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, datagram, source):
        self.take(datagram)


class Far:
    def __init__(self, options):
        self.options, self.suite = options, options.suite
        self.link = Link(options, self.take)
        self.dialog = self.rtp = self.rtcp = None
        self.waiting = {}
        self.fresh()

    def fresh(self):
        """Forgets the media of an earlier call."""
        self.sender = Sender(self.options.tone, self.options.first_seq)
        self.tally = Tally(self.options.record)
        self.sent = []
        self.our_key = os.urandom(libsrtp.SUITES[self.suite][0]) if self.suite else None

    async def start(self):
        await self.link.start()
        if not self.options.no_media:
            self.rtp = await self.port(0, lambda d: self.arrived(self.tally.take, d))
            self.rtcp = await self.port(1, lambda d: self.arrived(self.tally.take_report, d))
        tell("ready")

    async def port(self, offset, take):
        at = (self.options.address, self.options.media_port + offset)
        loop = asyncio.get_running_loop()
        port = (await loop.create_datagram_endpoint(lambda: Port(take), local_addr=at))[0]
        port.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        return port

    def arrived(self, take, datagram):
        take(datagram)
        self.look()

    def look(self):
        counts = self.tally.counts
        if self.waiting and all(counts[name] >= n for name, n in self.waiting.items()):
            self.waiting = {}
            tell("reached", **counts)

    # Signalling

    def take(self, message, way):
        if message.code is None:
            self.asked(message, way)
        elif message.method == "INVITE" and message.code >= 200:
            self.dialog.answered(message)
            self.dialog.request("ACK")
            if message.code < 300:
                self.agree(message.body.decode())
            else:
                tell("refused", code=message.code)
        elif message.method == "BYE":
            tell("disconnected")

    def asked(self, request, way):
        if request.method == "INVITE":
            if self.dialog and self.dialog.invite and request.get("CSeq") == self.dialog.invite.get(
                "CSeq"
            ) and request.get("Call-ID") == self.dialog.call_id:
                return
            self.fresh()
            self.dialog = Dialog.answering(self.options, request, way)
            self.dialog.reply(180, "Ringing", request, way)
            offered = [line.split()[1] for line in cryptos(request.body.decode())]
            tell("incoming", offered=offered)
            if not self.options.hesitate:
                self.answer()
        elif request.method == "BYE":
            self.dialog.reply(200, "OK", request, way)
            tell("disconnected")
        elif request.method != "ACK":
            self.dialog.reply(200, "OK", request, way)

    def answer(self):
        offer = self.dialog.invite.body.decode()
        body = self.description(offer)
        self.dialog.reply(200, "OK", self.dialog.invite, self.dialog.way, body)
        self.agree(offer)

    async def call(self, uri):
        self.fresh()
        way = await self.link.way_to(*place_of(uri.split("@")[1].split(";")[0]))
        self.dialog = Dialog.calling(self.options, uri, way)
        self.dialog.request("INVITE", self.description(None))

    def description(self, offer):
        """Our answer to an offer, or our own offer: one suite, under the tag that the offer gave it."""
        line = next((c for c in cryptos(offer or "") if c.split()[1] == self.suite), "a=crypto:1 ")
        tag = line.split(":")[1].split()[0]
        options = self.options
        profile = "RTP/SAVP" if self.suite else "RTP/AVP"
        address, port = options.address, options.media_port
        if options.says:
            address, port = place_of(options.says)
        family = "IP6" if ":" in address else "IP4"
        lines = [
            "v=0",
            f"o=- 1 1 IN {family} {address}",
            "s=-",
            f"c=IN {family} {address}",
            "t=0 0",
            f"m=audio {port} {profile} 8",
            "a=rtpmap:8 PCMA/8000",
            "a=ptime:20",
        ]
        if self.suite:
            key = base64.b64encode(self.our_key).decode()
            lines.append(f"a=crypto:{tag} {self.suite} inline:{key}")
        return "".join(f"{line}\r\n" for line in lines).encode()

    def agree(self, description):
        """Takes what the gateway described: where to, and its key."""
        lines = description.split("\r\n")
        address = next(line.split()[2] for line in lines if line.startswith("c="))
        port = next(int(line.split()[1]) for line in lines if line.startswith("m=audio"))
        rtcp = next((int(line[7:].split()[0]) for line in lines if line.startswith("a=rtcp:")), port + 1)
        self.remote, self.remote_rtcp = (address, port), (address, rtcp)
        inline = None
        if self.suite:
            line = next(c for c in cryptos(description) if c.split()[1] == self.suite)
            inline = line.split("inline:")[1].split("|")[0].split()[0]
            self.sender.context = libsrtp.Context(self.suite, self.our_key, libsrtp.OUTBOUND)
            theirs = base64.b64decode(inline)
            self.tally.context = libsrtp.Context(self.suite, theirs, libsrtp.INBOUND)
        ours = base64.b64encode(self.our_key).decode() if self.suite else None
        tell("answered", address=address, port=port, theirs=inline, ours=ours)

    # Media

    def send(self, packet):
        self.sent.append(packet)
        self.rtp.sendto(packet, self.remote)

    def send_report(self, packet):
        self.rtcp.sendto(packet, self.remote_rtcp)

    async def talk(self, packets, every_ms, reports=0):
        for _ in range(packets):
            self.send(self.sender.packet())
            await asyncio.sleep(every_ms / 1000)
        for _ in range(reports):
            self.send_report(self.sender.report())
        if self.options.journal:
            with open(self.options.journal, "w") as journal:
                journal.writelines(f"{packet.hex()}\n" for packet in self.sent)
        tell("talked", sent=len(self.sent))

    async def obey(self, command):
        verb = command.pop("do")
        if verb == "call":
            await self.call(command["uri"])
        elif verb == "suite":
            self.suite = command["name"]
        elif verb == "answer":
            self.answer()
        elif verb == "hangup":
            self.dialog.request("BYE")
        elif verb == "describe":
            tell("description", sdp=self.description(command["offer"]).decode())
        elif verb == "agree":
            self.agree(command["sdp"])
        elif verb == "talk":
            await self.talk(**command)
        elif verb == "abuse":
            tell("abused", **await abuse.KINDS[command["how"]](self))
        elif verb == "await":
            self.waiting = command["counts"]
            self.look()
        elif verb == "flush":
            self.tally.record.flush()
            tell("flushed", **self.tally.counts)


def cryptos(description):
    return [line for line in description.split("\r\n") if line.startswith("a=crypto:")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--transport", choices=["udp", "tls"], required=True)
    parser.add_argument("--media-port", type=int, required=True)
    parser.add_argument("--says", help="address:port in descriptions; media is elsewhere")
    parser.add_argument("--no-media", action="store_true", help="another program has the port")
    parser.add_argument("--suite", choices=list(libsrtp.SUITES), help="without it: plain RTP")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--ca")
    parser.add_argument("--tone", type=int, required=True)
    parser.add_argument("--first-seq", type=int, default=1000)
    parser.add_argument("--record", required=True, help="payloads as they came")
    parser.add_argument("--journal", help="packets as they were sent, in hexadecimal")
    parser.add_argument("--hesitate", action="store_true", help="ring until told to answer")
    return parser.parse_args()


async def main():
    far = Far(arguments())
    await far.start()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        await far.obey(json.loads(line))


asyncio.run(main())
