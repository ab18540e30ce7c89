"""A gateway under siege, with canary calls that must go on.

    siege.py mutants  … --messages 100000   structure-aware mutants of SIP over UDP, TCP and TLS
    siege.py halfopen … --connections 5000  connections that stop in the middle of the TLS handshake
    siege.py flood    … --seconds 10        INVITEs from addresses that belong to no trunk

with --gateway, --provider (UDP trunk, called), --pbx (TLS trunk, calls), --tcp and --tls (trunks that
attack), --strangers (a network /24 of nobody), --certificates DIRECTORY, --pid (of signaling), --seed.

Canaries call from the PBX over TLS to the provider over UDP: INVITE, 200, ACK, BYE. One JSON line at
the end says how many there were and went well, how long their set-up took, and what the attack did.
Another process asks the gateway for OPTIONS all the while: its longest wait is the longest stall.
"""

import argparse
import json
import multiprocessing
import queue
import random
import socket
import ssl
import sys
import threading
import time

PATIENCE = 30
PAUSE = 0.02
CANARY = "0777"
PLAIN = (
    "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\n"
    "m=audio 16000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
)
SECURE = PLAIN.replace("RTP/AVP", "RTP/SAVP") + (
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n"
)


def message(start, headers, body=""):
    head = [start] + [f"{name}: {value}" for name, value in headers]
    head.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def read(octets):
    head, _, body = octets.decode("latin-1").partition("\r\n\r\n")
    lines = head.split("\r\n")
    fields = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if ":" in line]
    return lines[0], fields, body


def field(fields, name):
    return next((value for key, value in fields if key.lower() == name), "")


def reply(octets, code, reason, contact, body=""):
    _, fields, _ = read(octets)
    same = [(k, v) for k, v in fields if k.lower() in ("via", "from", "call-id", "cseq")]
    to = field(fields, "to")
    same.append(("To", to if "tag=" in to else to + ";tag=callee"))
    same.append(("Contact", contact))
    if body:
        same.append(("Content-Type", "application/sdp"))
    return message(f"SIP/2.0 {code} {reason}", same, body)


class Callee(threading.Thread):
    """The provider: canaries are answered, everybody else is busy."""

    def __init__(self, options):
        super().__init__(daemon=True)
        self.options = options
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((options.provider, 5070))

    def run(self):
        address = self.options.provider
        contact = f"<sip:callee@{address}:5070>"
        while True:
            octets, source = self.socket.recvfrom(65535)
            start, fields, _ = read(octets)
            method = start.split(" ")[0]
            if method in ("SIP/2.0", "ACK"):
                continue
            is_canary = CANARY in start
            if method == "INVITE" and is_canary:
                answer = reply(octets, 200, "OK", contact, PLAIN.format(address))
            elif method == "INVITE":
                answer = reply(octets, 486, "Busy Here", contact)
            else:
                answer = reply(octets, 200, "OK", contact)
            self.socket.sendto(answer, source)


class Caller:
    """The PBX: places canaries on one connection over TLS."""

    def __init__(self, options):
        self.options, self.count = options, 0
        self.socket = connect_tls(options, options.pbx)
        self.socket.settimeout(None)
        self.answers = queue.Queue()
        threading.Thread(target=self.receive, daemon=True).start()

    def receive(self):
        waiting = b""
        while True:
            octets = self.socket.recv(65536)
            if not octets:
                self.answers.put(None)
                return
            waiting += octets
            while b"\r\n\r\n" in waiting:
                head, _, rest = waiting.partition(b"\r\n\r\n")
                length = int(field(read(head + b"\r\n\r\n")[1], "content-length") or 0)
                if len(rest) < length:
                    break
                self.answers.put(head + b"\r\n\r\n" + rest[:length])
                waiting = rest[length:]

    def ask(self, method, target, to, number, body=""):
        address, port = self.socket.getsockname()
        headers = [
            ("Via", f"SIP/2.0/TLS {address}:{port};branch=z9hG4bK{self.call}{number}{method}"),
            ("From", f"<sip:canary@{address}>;tag=canary"),
            ("To", to),
            ("Call-ID", self.call),
            ("CSeq", f"{number} {method}"),
            ("Contact", f"<sip:canary@{address}:5081;transport=tls>"),
            ("Max-Forwards", "70"),
        ]
        if body:
            headers.append(("Content-Type", "application/sdp"))
        self.socket.sendall(message(f"{method} {target} SIP/2.0", headers, body))

    def final(self, until):
        while True:
            answer = self.answers.get(timeout=max(0.001, until - time.monotonic()))
            if answer is None:
                raise ConnectionError("the gateway closed the canaries' connection")
            start, fields, _ = read(answer)
            if field(fields, "call-id") == self.call and not start.startswith("SIP/2.0 1"):
                return start, fields

    def place(self):
        """One call; the seconds to its answer, or None. Ports that a call had rest for a while, so
        calls follow each other with a pause."""
        time.sleep(PAUSE)
        self.count += 1
        self.call = f"canary-{self.options.seed}-{self.count}-{time.monotonic_ns()}"
        began, gateway = time.monotonic(), self.options.gateway
        to = f"<sip:{CANARY}1@{gateway}>"
        try:
            target = f"sip:{CANARY}1@{gateway}:5061;transport=tls"
            self.ask("INVITE", target, to, 1, SECURE.format(self.options.pbx))
            start, fields = self.final(began + PATIENCE)
            if not start.startswith("SIP/2.0 200"):
                print(f"canary {self.count}: {start}", file=sys.stderr)
                return None
            took = time.monotonic() - began
            to, contact = field(fields, "to"), field(fields, "contact")
            target = contact.split("<")[1].split(">")[0]
            self.ask("ACK", target, to, 1)
            self.ask("BYE", target, to, 2)
            start, _ = self.final(time.monotonic() + PATIENCE)
            return took if start.startswith("SIP/2.0 200") else None
        except queue.Empty:
            print(f"canary {self.count}: no answer", file=sys.stderr)
            return None


def connect_tls(options, source):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    directory = options.certificates
    context.load_verify_locations(f"{directory}/ca.pem")
    if source == options.pbx:
        context.load_cert_chain(f"{directory}/pbx.pem", f"{directory}/pbx.key")
    plain = socket.create_connection((options.gateway, 5061), PATIENCE, (source, 0))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain)


def probe(options, stop, longest, count):
    """Asks OPTIONS over and over; keeps the longest wait in milliseconds."""
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind((options.provider, 5072))
    number = 0
    while not stop.is_set():
        number += 1
        ask = message(
            f"OPTIONS sip:{options.gateway} SIP/2.0",
            [
                ("Via", f"SIP/2.0/UDP {options.provider}:5072;branch=z9hG4bKprobe{number};rport"),
                ("From", f"<sip:probe@{options.provider}>;tag=probe{number}"),
                ("To", f"<sip:{options.gateway}>"),
                ("Call-ID", f"probe-{number}@{options.provider}"),
                ("CSeq", "1 OPTIONS"),
                ("Max-Forwards", "70"),
            ],
        )
        began = time.monotonic()
        here.sendto(ask, (options.gateway, 5060))
        here.settimeout(PATIENCE)
        try:
            while f"branch=z9hG4bKprobe{number};".encode() not in here.recv(65535):
                pass
        except socket.timeout:
            pass
        longest.value = max(longest.value, (time.monotonic() - began) * 1000)
        count.value += 1
        time.sleep(0.005)


class Probe:
    def __init__(self, options):
        self.stop = multiprocessing.Event()
        self.longest, self.count = multiprocessing.Value("d", 0), multiprocessing.Value("q", 0)
        arguments = (options, self.stop, self.longest, self.count)
        self.process = multiprocessing.Process(target=probe, args=arguments, daemon=True)
        self.process.start()

    def end(self):
        self.stop.set()
        self.process.join(2 * PATIENCE)
        return {"probes": self.count.value, "longest_ms": round(self.longest.value, 1)}


NASTY = [
    "", " ", "0", "-1", "1e9", "4294967296", "4294967328", "18446744073709551616", "9" * 400, "\t",
    '"', '"\\', '<', '<>', '<sip:>', 'sip:', 'sip:@', 'sip:a@[::1', 'sip:a@[::1]:99999', "a" * 5000,
    "\x00", "\x7f\xff\xfe", "\xc0\xaf", ";", ";;;", ",", ",,,", "=", "a=b;a=b;a=b", "%", "%zz", "%00",
    "sip:a@b;lr;lr", "tel:+1;x", '"' + "\\" * 99, "(((((", "SIP/2.0/UDP", "SIP/2.0/UDP x;branch=",
    "*", "INVITE", "0 INVITE", "2147483648 INVITE", "1 BYE", "Digest", 'Digest realm="', "sip:" * 50,
]
EXTRA = [
    ("Content-Length", "0"), ("Content-Length", "-1"), ("l", "4294967328"), ("Content-Length", "99999"),
    ("Route", "<sip:x;lr>"), ("Record-Route", "<sip:x;lr>"), ("Require", "100rel,nonsense"),
    ("Session-Expires", "1"), ("Session-Expires", "99999999999;refresher=both"), ("Min-SE", "-4"),
    ("Replaces", "a;from-tag=b;to-tag=c"), ("RAck", "1 1 INVITE"), ("Refer-To", "<sip:a@b?X=%0d%0a>"),
    ("P-Asserted-Identity", "<sip:a@b>,<sip:c@d>,<tel:1>"), ("Privacy", "id;user;none"),
    ("Diversion", "<sip:a@b>;counter=99999"), ("History-Info", "<sip:a@b>;index=1.1.1.1.1.1.1.1"),
    ("Authorization", 'Digest username="a", realm="b", nonce="c", uri="d", response="e"'),
    ("Expires", "-1"), ("Max-Forwards", "0"), ("Max-Forwards", "256"), ("Contact", "*"), ("t", "<sip:a@b>"),
    ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx;received=::1;rport=0"), ("To", "<sip:x@y>;tag=z"),
]
METHODS = ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "UPDATE", "PRACK", "INFO", "REFER",
           "NOTIFY", "SUBSCRIBE", "MESSAGE", "PUBLISH", "invite", "X" * 70, ""]


class Mutants:
    """Messages that are nearly right, each from its number."""

    def __init__(self, options):
        self.options = options

    def whole(self, dice, number, transport):
        address, gateway = self.options.provider, self.options.gateway
        method = dice.choice(METHODS[:14])
        body = (SECURE if dice.random() < 0.3 else PLAIN).format(address) if dice.random() < 0.6 else ""
        start = f"{method} sip:{dice.choice(['0611', '39061', 'x'])}@{gateway} SIP/2.0"
        if dice.random() < 0.15:
            start = f"SIP/2.0 {dice.choice([100, 180, 200, 302, 401, 486, 503, 699])} Whatever"
        fields = [
            ("Via", f"SIP/2.0/{transport} {address}:5071;branch=z9hG4bKm{number}"),
            ("From", f"<sip:3902@{address}>;tag=m{number}"),
            ("To", f"<sip:0611@{gateway}>" + (";tag=t" if dice.random() < 0.2 else "")),
            ("Call-ID", f"mutant-{number}@{address}"),
            ("CSeq", f"{dice.randrange(1, 9)} {method}"),
            ("Contact", f"<sip:3902@{address}:5071>"),
            ("Max-Forwards", "70"),
        ]
        if body:
            fields.append(("Content-Type", "application/sdp"))
        return start, fields, body

    def make(self, number, transport):
        dice = random.Random(self.options.seed * 1_000_003 + number)
        start, fields, body = self.whole(dice, number, transport)
        for _ in range(dice.randrange(1, 4)):
            at = dice.randrange(len(fields)) if fields else 0
            kind = dice.randrange(13)
            if kind == 0 and fields:
                fields.pop(at)
            elif kind == 1 and fields:
                fields.insert(dice.randrange(len(fields)), fields[at])
            elif kind == 2 and fields:
                fields[at] = (fields[at][0], dice.choice(NASTY))
            elif kind == 3 and fields:
                fields[at] = (fields[at][0], fields[at][1] + dice.choice([";", ",", " "]) + dice.choice(NASTY))
            elif kind == 4:
                fields.insert(at, dice.choice(EXTRA))
            elif kind == 5:
                start = " ".join([dice.choice(METHODS)] + start.split(" ")[1:])
            elif kind == 6:
                fields += [dice.choice(EXTRA)] * dice.choice([20, 130, 300])
            elif kind == 7 and fields:
                fields[at] = (fields[at][0], "\r\n ".join(dice.choice(NASTY) for _ in range(4)))
            elif kind == 8:
                lines = body.split("\r\n")
                lines.insert(dice.randrange(len(lines)), dice.choice(["m=audio 1 RTP/AVP 8", "a=" + "x" * 3000,
                             "m=audio 99999 RTP/SAVP 300", "c=IN IP6 x", "a=crypto:-1 X inline:", "v=1", "\x00"]))
                body = "\r\n".join(lines)
            elif kind == 9:
                body = body * dice.choice([2, 30])
            elif kind == 10:
                start = start.replace("sip:", dice.choice(["sips:", "tel:", "", "http://", "sip:a:b@", "SIP:"]))
            elif kind == 11 and fields:
                name = fields[at][0]
                fields[at] = (dice.choice([name.lower(), name[:1], name + " ", " " + name, name + "\t", ""]), fields[at][1])
        octets = bytearray(self.join(dice, start, fields, body))
        for _ in range(dice.choice([0, 0, 1, 4])):
            if octets:
                octets[dice.randrange(len(octets))] = dice.randrange(256)
        if dice.random() < 0.1:
            octets = octets[: dice.randrange(len(octets) + 1)]
        return bytes(octets[:60_000])

    def join(self, dice, start, fields, body):
        end = dice.choice(["\r\n"] * 12 + ["\n", "\r"])
        head = [start] + [f"{name}: {value}" for name, value in fields]
        if dice.random() < 0.9:
            head.append(f"Content-Length: {len(body)}")
        return (end.join(head) + end * 2 + body).encode("latin-1", "replace")


class Way:
    """How mutants get there; a connection that the gateway ends is opened again."""

    def __init__(self, options, transport):
        self.options, self.transport, self.opened = options, transport, 0
        self.socket = None

    def open(self):
        self.opened += 1
        if self.transport == "UDP":
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind((self.options.provider, 5071))
            self.socket.connect((self.options.gateway, 5060))
        elif self.transport == "TCP":
            place = (self.options.gateway, 5060)
            self.socket = socket.create_connection(place, PATIENCE, (self.options.tcp, 0))
        else:
            self.socket = connect_tls(self.options, self.options.tls)
        self.socket.settimeout(PATIENCE)

    def send(self, octets):
        for _ in range(3):
            try:
                if self.socket is None:
                    self.open()
                self.socket.sendall(octets)
                self.empty()
                return
            except OSError:
                self.close()

    def empty(self):
        """Takes what has come, so that it is not we who do not read."""
        self.socket.setblocking(False)
        try:
            while self.socket.recv(65536):
                pass
            if self.transport != "UDP":
                self.close()
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        finally:
            if self.socket is not None:
                self.socket.settimeout(PATIENCE)

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None


def summary(times):
    well = sorted(seconds for seconds in times if seconds is not None)
    at = lambda part: round(well[min(len(well) - 1, int(len(well) * part))] * 1000, 3) if well else None
    return {"placed": len(times), "well": len(well), "median_ms": at(0.5), "p99_ms": at(0.99)}


def mutants(options, caller):
    makes, ways = Mutants(options), [Way(options, name) for name in ("UDP", "TCP", "TLS")]
    times, prober = [caller.place()], Probe(options)
    for number in range(options.messages):
        way = ways[number % len(ways)]
        way.send(makes.make(number, way.transport))
        if (number + 1) % options.every == 0:
            times.append(caller.place())
    opened = {way.transport: way.opened for way in ways}
    return {"canaries": summary(times), "messages": options.messages, "opened": opened, **prober.end()}


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        context.wrap_bio(incoming, outgoing).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def open_halves(options, hello, count):
    """Connections that stop at every place of the ClientHello, from many addresses: of one network,
    or of many if they come back without end."""
    halves = []
    networks = options.strangers.rsplit(".", 1)[0]
    for number in range(count):
        source = f"{options.strangers}.{20 + number % 200}"
        if options.endless:
            source = f"{networks}.{number % 200}.{20 + number % 7}"
        half = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        half.bind((source, 0))
        half.settimeout(PATIENCE)
        try:
            half.connect((options.gateway, 5061))
            half.send(hello[: number % len(hello)])
        except OSError:
            half.close()
            continue
        half.setblocking(False)
        halves.append(half)
    return halves


def besiege(options, stop, opened, held):
    """Keeps so many half-open connections. Those that the gateway ends are opened again: as fast as
    its deadline of five seconds ends them, or without a pause."""
    hello, halves = client_hello(), []
    while not stop.is_set():
        is_full = opened.value >= options.connections
        batch = options.connections // 100 if is_full and not options.endless else 250
        fresh = open_halves(options, hello, min(batch, options.connections - len(halves)))
        opened.value += len(fresh)
        halves += fresh
        alive = []
        for half in halves:
            try:
                if half.recv(4096):
                    alive.append(half)
                else:
                    half.close()
            except BlockingIOError:
                alive.append(half)
            except OSError:
                half.close()
        halves = alive
        held.value = max(held.value, len(halves))
        if is_full and not options.endless:
            time.sleep(0.05)


def halfopen(options, caller):
    before = [caller.place() for _ in range(options.calls)]
    stop = multiprocessing.Event()
    opened, held = multiprocessing.Value("q", 0), multiprocessing.Value("q", 0)
    attack = multiprocessing.Process(target=besiege, args=(options, stop, opened, held), daemon=True)
    attack.start()
    while opened.value < options.connections and attack.is_alive():
        time.sleep(0.01)
    during = [caller.place() for _ in range(options.calls)]
    began = time.monotonic()
    connect_tls(options, options.pbx).close()
    handshake = time.monotonic() - began
    stop.set()
    attack.join(PATIENCE)
    return {
        "before": summary(before), "canaries": summary(during), "opened": opened.value,
        "held_max": held.value, "new_connection_ms": round(handshake * 1000, 1),
    }


def deluge(options, stop, sent, answered):
    ends = []
    for number in range(200):
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.bind((f"{options.strangers}.{20 + number}", 0))
        end.setblocking(False)
        ends.append(end)
    number = 0
    while not stop.is_set():
        for end in ends:
            number += 1
            address = end.getsockname()[0]
            invite = message(
                f"INVITE sip:{CANARY}1@{options.gateway} SIP/2.0",
                [
                    ("Via", f"SIP/2.0/UDP {address};branch=z9hG4bKflood{number}"),
                    ("From", f"<sip:{number}@{options.provider}>;tag={number}"),
                    ("To", f"<sip:{CANARY}1@{options.gateway}>"),
                    ("Call-ID", f"flood-{number}@{options.provider}"),
                    ("CSeq", "1 INVITE"),
                    ("Contact", f"<sip:{options.provider}:5070>"),
                    ("Max-Forwards", "70"),
                    ("Content-Type", "application/sdp"),
                ],
                PLAIN.format(options.provider),
            )
            try:
                end.sendto(invite, (options.gateway, 5060))
                sent.value += 1
            except BlockingIOError:
                pass
            try:
                end.recv(65535)
                answered.value += 1
            except BlockingIOError:
                pass


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1])


def flood(options, caller):
    until = time.monotonic() + options.seconds / 4
    before = []
    while time.monotonic() < until:
        before.append(caller.place())
    rss = resident(options.pid)
    stop = multiprocessing.Event()
    sent, answered = multiprocessing.Value("q", 0), multiprocessing.Value("q", 0)
    attack = multiprocessing.Process(target=deluge, args=(options, stop, sent, answered), daemon=True)
    attack.start()
    times, until = [], time.monotonic() + options.seconds
    while time.monotonic() < until or sent.value < 10 * len(times):
        times.append(caller.place())
    stop.set()
    attack.join(PATIENCE)
    grown = resident(options.pid) - rss
    return {
        "before": summary(before), "canaries": summary(times), "sent": sent.value,
        "answered": answered.value, "grown_kib": grown, "times_flooded": sent.value // len(times),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attack", choices=["mutants", "halfopen", "flood"])
    for name in ("gateway", "provider", "pbx", "tcp", "tls", "strangers", "certificates"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--pid", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--every", type=int, default=1_000)
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--endless", action="store_true", help="halfopen: reopen without a pause")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    Callee(options).start()
    attacks = {"mutants": mutants, "halfopen": halfopen, "flood": flood}
    print(json.dumps(attacks[options.attack](options, Caller(options))), flush=True)


if __name__ == "__main__":
    main()
