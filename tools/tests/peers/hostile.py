"""Peers of trunks that behave badly toward a gateway, each with what shows that they could.

    hostile.py lengths … lengths of bodies that two readers could read in two ways, by UDP, TCP and TLS,
                         and by TCP cut at every byte
    hostile.py stalled … peers that ask and never read, while canaries call
    hostile.py crowd   … a trunk's address that asks for calls faster than one may, and for help
    hostile.py oc      … a provider that asks for half of the calls to stay away (RFC 7339)

with the arguments of `siege.py`, whose canaries these are. One JSON line at the end says what came.
"""

import argparse
import itertools
import json
import multiprocessing
import socket
import ssl
import sys
import threading
import time

import siege
from siege import CANARY, PATIENCE, PLAIN, field, message, read, reply, resident

TWO_TO_32 = 1 << 32
FLOOD_RATE, FLOOD_BATCH = 20_000, 50
REFUSED = 10
NUMBERS = itertools.count(1)


def options_request(options, transport, call, more=(), body=""):
    """An OPTIONS like no other; `more` stands in place of its Content-Length."""
    call = f"{call}-{next(NUMBERS)}"
    head = [
        f"OPTIONS sip:{options.gateway} SIP/2.0",
        f"Via: SIP/2.0/{transport} {options.provider}:5071;branch=z9hG4bK{call};rport",
        f"From: <sip:a@{options.provider}>;tag=1",
        f"To: <sip:{options.gateway}>",
        f"Call-ID: {call}",
        "CSeq: 1 OPTIONS",
        "Max-Forwards: 70",
    ]
    return ("\r\n".join([*head, *more]) + "\r\n\r\n" + body).encode()


def tricks(length):
    """Lines about a body of so many bytes, none of which says how long it is beyond doubt."""
    long, short = "Content-Length", "l"
    values = {
        "negative": "-1",
        "huge": "9" * 40,
        "2^32 more": str(TWO_TO_32 + length),
        "2^64 more": str((1 << 64) + length),
        "signed": f"+{length}",
        "hexadecimal": hex(length),
        "a list": f"{length}, {length}",
        "junk behind": f"{length}x",
        "empty": "",
        "fraction": f"{length}.0",
    }
    table = {}
    for name, value in values.items():
        for header in (long, short):
            table[f"{name} {header}"] = [f"{header}: {value}"]
    table["doubled"] = [f"{long}: {length}", f"{long}: 0"]
    table["doubled, the other way"] = [f"{long}: 0", f"{long}: {length}"]
    table["doubled, once short"] = [f"{long}: {length}", f"{short}: 0"]
    table["doubled, short first"] = [f"{short}: 0", f"{long}: {length}"]
    table["doubled and equal"] = [f"{long}: {length}", f"{short}: {length}"]
    return table


class Line:
    """One way to the gateway, and what came back on it."""

    def __init__(self, options, transport):
        self.options, self.transport = options, transport
        if transport == "UDP":
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind((options.provider, 0))
            self.socket.connect((options.gateway, 5060))
        elif transport == "TCP":
            place = (options.gateway, 5060)
            self.socket = socket.create_connection(place, PATIENCE, (options.tcp, 0))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket = siege.connect_tls(options, options.tls)
        self.socket.settimeout(PATIENCE)

    def send(self, octets):
        try:
            self.socket.sendall(octets)
        except OSError:
            pass

    def taken(self):
        """Returns when the gateway has read what was sent."""
        here = self.socket.getsockname()
        mine = "{:08X}:{:04X}".format(int.from_bytes(socket.inet_aton(here[0]), "little"), here[1])
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with open("/proc/net/tcp") as table:
                rows = [row.split() for row in table]
            theirs = [row for row in rows if row[2] == mine]
            if all(row[4].endswith(":00000000") for row in theirs):
                return
        raise TimeoutError("the gateway does not read")

    def verdict(self):
        """What is answered until a question behind it is, or the connection ends."""
        self.send(options_request(self.options, self.transport, "behind", ["Content-Length: 0"]))
        answers, waiting = [], b""
        while True:
            try:
                octets = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLError):
                octets = b""
            if not octets:
                return [*answers, "closed"]
            waiting = octets if self.transport == "UDP" else waiting + octets
            while b"\r\n\r\n" in waiting:
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                start, fields, _ = read(head + b"\r\n\r\n")
                call = field(fields, "call-id").split("-")[0]
                if call == "behind":
                    return answers
                answers.append(f"{call} {start.split(' ')[1]}")

    def close(self):
        self.socket.close()


def asked(options, transport, octets):
    line = Line(options, transport)
    line.send(octets)
    verdict = line.verdict()
    line.close()
    return verdict


def asked_in_two(options, octets, at):
    line = Line(options, "TCP")
    line.send(octets[:at])
    line.taken()
    line.send(octets[at:])
    verdict = line.verdict()
    line.close()
    return verdict


def asked_byte_by_byte(options, transport, octets):
    line = Line(options, transport)
    for octet in octets:
        line.send(bytes([octet]))
        if transport == "TCP":
            line.taken()
    verdict = line.verdict()
    line.close()
    return verdict


def lengths(options):
    told = {"whole": {}, "cut": {}, "controls": {}, "cuts": 0}
    for transport in ("UDP", "TCP", "TLS"):
        hidden = options_request(options, transport, "hidden", ["l: 0"]).decode()
        rows = told["whole"][transport] = {}
        for name, lines in tricks(len(hidden)).items():
            octets = options_request(options, transport, "trick", lines, hidden)
            rows[name] = asked(options, transport, octets)
        plain = options_request(options, transport, "plain", [f"l: {len(hidden)}"], hidden)
        two = options_request(options, transport, "plain", ["l: 0"], hidden)
        controls = told["controls"][transport] = {
            "body": asked(options, transport, plain),
            "two": asked(options, transport, two),
        }
        if transport != "UDP":
            controls["body, byte by byte"] = asked_byte_by_byte(options, transport, plain)
            controls["two, byte by byte"] = asked_byte_by_byte(options, transport, two)
    hidden = options_request(options, "TCP", "hidden", ["l: 0"]).decode()
    for name, lines in tricks(len(hidden)).items():
        if not name.startswith(("negative", "huge", "2^32", "doubled")):
            continue
        octets = options_request(options, "TCP", "trick", lines, hidden)
        # Up to the end of the head and a little into the body: what follows a refused head is not read.
        ends = octets.index(b"\r\n\r\n") + 8
        verdicts = {tuple(asked_in_two(options, octets, at)) for at in range(1, ends)}
        told["cuts"] += ends - 1
        told["cut"][name] = sorted(map(list, verdicts))
    return told


class Stalled(threading.Thread):
    """Asks until its connection ends, and never reads."""

    def __init__(self, options):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.bind((options.tcp, 0))
        self.socket.settimeout(PATIENCE)
        self.socket.connect((options.gateway, 5060))
        self.question = options_request(options, "TCP", "stalled", ["l: 0"])
        self.sent, self.is_cut = 0, False

    def run(self):
        try:
            while True:
                self.socket.sendall(self.question)
                self.sent += len(self.question)
        except ConnectionError:
            self.is_cut = True
        except socket.timeout:
            pass


def stalled(options):
    caller = siege.Caller(options)
    before = [caller.place() for _ in range(10)]
    rss = resident(options.pid)
    peers = [Stalled(options) for _ in range(4)]
    for peer in peers:
        peer.start()
    during = []
    while any(peer.is_alive() for peer in peers) or len(during) < 20:
        during.append(caller.place())
    # Who reads is answered, as often as it asks: it is not the asking that ends a connection.
    line, asked_for = Line(options, "TCP"), 0
    question = options_request(options, "TCP", "reader", ["l: 0"])
    while asked_for < max(peer.sent for peer in peers):
        line.send(question * 50)
        asked_for += len(question) * 50
        line.verdict()
    return {
        "before": siege.summary(before), "canaries": siege.summary(during),
        "cut": sum(peer.is_cut for peer in peers), "sent": [peer.sent for peer in peers],
        "reader": line.verdict(), "grown_kib": resident(options.pid) - rss,
    }


def invite(options, call, number):
    here = options.provider
    headers = [
        ("Via", f"SIP/2.0/UDP {here}:5071;branch=z9hG4bK{call};rport"),
        ("From", f"<sip:3902@{here}>;tag={call}"),
        ("To", f"<sip:{number}@{options.gateway}>"),
        ("Call-ID", call),
        ("CSeq", "1 INVITE"),
        ("Contact", f"<sip:3902@{here}:5071>"),
        ("Max-Forwards", "70"),
        ("Content-Type", "application/sdp"),
    ]
    return message(f"INVITE sip:{number}@{options.gateway} SIP/2.0", headers, PLAIN.format(here))


def acknowledged(options, octets, answer):
    """The ACK of a refusal."""
    _, fields, _ = read(octets)
    same = [(k, v) for k, v in fields if k.lower() in ("via", "from", "call-id", "max-forwards")]
    same += [("To", field(read(answer)[1], "to")), ("CSeq", "1 ACK")]
    return message(octets.decode("latin-1").split("\r\n")[0].replace("INVITE", "ACK", 1), same)


def flood(options, stop, sent):
    """One INVITE over and over: each counts as a new one, and none makes a call."""
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind((options.provider, 5074))
    here.setblocking(False)
    octets = invite(options, "flood", "9")
    began = time.monotonic()
    while not stop.is_set():
        try:
            for _ in range(FLOOD_BATCH):
                here.sendto(octets, (options.gateway, 5060))
                sent.value += 1
            while here.recv(65535):
                pass
        except BlockingIOError:
            pass
        # Some times what one may, and not so many that the kernel loses most of everything.
        time.sleep(max(0, began + sent.value / FLOOD_RATE - time.monotonic()))


def outcome(options, here, call, number):
    """The final status of one call, and its Retry-After. It is asked again when nothing comes."""
    octets = invite(options, call, number)
    until = time.monotonic() + PATIENCE
    here.settimeout(0.5)
    here.sendto(octets, (options.gateway, 5060))
    while time.monotonic() < until:
        try:
            answer = here.recv(65535)
        except socket.timeout:
            here.sendto(octets, (options.gateway, 5060))
            continue
        start, fields, _ = read(answer)
        if field(fields, "call-id") == call and not start.startswith("SIP/2.0 1"):
            here.sendto(acknowledged(options, octets, answer), (options.gateway, 5060))
            return start.split(" ")[1], field(fields, "retry-after")
    return "none", ""


def crowd(options):
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind((options.provider, 5071))
    caller = siege.Caller(options)
    told, times = {"before": outcome(options, here, "before", "9")}, [caller.place()]
    rss, stop, sent = resident(options.pid), multiprocessing.Event(), multiprocessing.Value("q", 0)
    flooding = multiprocessing.Process(target=flood, args=(options, stop, sent), daemon=True)
    flooding.start()
    until, number, refused, helped = time.monotonic() + 2 * PATIENCE, 0, [], []
    while len(refused) < REFUSED and time.monotonic() < until:
        number += 1
        status, later = outcome(options, here, f"ordinary-{number}", "9")
        if status == "503":
            refused.append(later)
            helped += [outcome(options, here, f"help-{number}-{n}", "112")[0] for n in range(2)]
            times += [caller.place(), caller.place()]
    stop.set()
    flooding.join(PATIENCE)
    told |= {
        "refused": refused, "helped": helped, "canaries": siege.summary(times), "sent": sent.value,
        "grown_kib": resident(options.pid) - rss,
    }
    # It ends with the flood: a bucket fills within two seconds.
    until = time.monotonic() + PATIENCE
    told["after"] = ("none", "")
    while told["after"][0] != "404" and time.monotonic() < until:
        number += 1
        told["after"] = outcome(options, here, f"after-{number}", "9")
    return told


class Overloaded(threading.Thread):
    """A provider that is busy, and says in each answer how many calls it can do without."""

    def __init__(self, options):
        super().__init__(daemon=True)
        self.options, self.percent, self.vias = options, 0, []
        self.invites, self.answers = 0, 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((options.provider, 5070))

    def run(self):
        contact = f"<sip:callee@{self.options.provider}:5070>"
        while True:
            octets, source = self.socket.recvfrom(65535)
            start, fields, _ = read(octets)
            if not start.startswith("INVITE"):
                continue
            self.answers += 1
            self.invites += field(fields, "via") not in self.vias
            self.vias.append(field(fields, "via"))
            said = f";oc={self.percent};oc-algo=\"loss\";oc-validity=60000;oc-seq={self.answers}.5"
            answer = reply(octets, 486, "Busy Here", contact)
            asked_for = b";oc;oc-algo=\"loss\""
            self.socket.sendto(answer.replace(asked_for, said.encode(), 1), source)


def oc(options):
    """Calls from the TCP trunk to the provider, before it says anything, while it asks for a half to
    stay away, and after it took that back."""
    provider = Overloaded(options)
    provider.start()
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind((options.pbx, 5071))
    asker = argparse.Namespace(**{**vars(options), "provider": options.pbx})
    told = {}
    for name, percent in (("free", 0), ("told", 50), ("half", 50), ("taken back", 0), ("again", 0)):
        provider.percent, before = percent, provider.invites
        # The first answer of each kind brings the news.
        count = 1 if name in ("told", "taken back") else 20
        statuses = []
        while len(statuses) < count or (name == "taken back" and provider.invites == before):
            call = f"{name.replace(' ', '-')}-{len(statuses)}"
            statuses.append(outcome(asker, here, call, "0611")[0])
        told[name] = {
            "asked": provider.invites - before,
            "statuses": {status: statuses.count(status) for status in sorted(set(statuses))},
        }
    told["via"] = provider.vias[0]
    return told


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["lengths", "stalled", "crowd", "oc"])
    for name in ("gateway", "provider", "pbx", "tcp", "tls", "certificates"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--pid", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.what in ("stalled", "crowd"):
        siege.Callee(options).start()
    does = {"lengths": lengths, "stalled": stalled, "crowd": crowd, "oc": oc}
    print(json.dumps(does[options.what](options)), flush=True)


if __name__ == "__main__":
    main()
