"""Just enough SIP for one call at a time over UDP or TLS, written for `far.py`."""

import asyncio
import secrets
import ssl


class Message:
    def __init__(self, start, headers, body=b""):
        self.start, self.headers, self.body = start, headers, body

    def get(self, name):
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def all(self, name):
        return [(key, value) for key, value in self.headers if key.lower() == name.lower()]

    @property
    def method(self):
        return self.get("CSeq").split()[-1]

    @property
    def code(self):
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0") else None

    def octets(self):
        head = [self.start] + [f"{key}: {value}" for key, value in self.headers]
        head.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(head).encode() + b"\r\n\r\n" + self.body


def parse(head, body):
    lines = head.decode().split("\r\n")
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if line]
    return Message(lines[0], [h for h in headers if h[0].lower() != "content-length"], body)


class Link:
    """Carries messages between this far end and the gateway; `take` gets each with its way back."""

    def __init__(self, options, take):
        self.options, self.take = options, take

    async def start(self):
        options = self.options
        if options.transport == "udp":
            self.datagrams, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: self, local_addr=(options.address, options.port)
            )
        else:
            context = self.context(ssl.PROTOCOL_TLS_SERVER)
            await asyncio.start_server(self.serve, options.address, options.port, ssl=context)

    def context(self, role):
        context = ssl.SSLContext(role)
        context.check_hostname = False
        context.load_cert_chain(self.options.certificate, self.options.key)
        context.load_verify_locations(self.options.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    async def way_to(self, host, port):
        if self.options.transport == "udp":
            return lambda octets: self.datagrams.sendto(octets, (host, port))
        context = self.context(ssl.PROTOCOL_TLS_CLIENT)
        local = (self.options.address, 0)
        pair = await asyncio.open_connection(host, port, ssl=context, local_addr=local)
        asyncio.ensure_future(self.serve(*pair))
        return pair[1].write

    def connection_made(self, transport):
        pass

    def connection_lost(self, cause):
        pass

    def error_received(self, cause):
        pass

    def datagram_received(self, octets, source):
        head, _, body = octets.partition(b"\r\n\r\n")
        self.take(parse(head, body), lambda reply: self.datagrams.sendto(reply, source))

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.strip():
                    continue
                fields = head.decode().lower().split("\r\n")
                length = next(f.split(":")[1] for f in fields if f.startswith("content-length"))
                self.take(parse(head[:-4], await reader.readexactly(int(length))), writer.write)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass


class Dialog:
    """One call: what identifies it, and where its requests go."""

    def __init__(self, options, way):
        self.options, self.way = options, way
        self.call_id, self.tag = secrets.token_hex(8), secrets.token_hex(4)
        self.cseq = 0
        self.invite = None

    @staticmethod
    def answering(options, invite, way):
        this = Dialog(options, way)
        this.call_id, this.invite = invite.get("Call-ID"), invite
        this.local = f"{invite.get('To')};tag={this.tag}"
        this.remote = invite.get("From")
        this.target = uri_of(invite.get("Contact"))
        return this

    @staticmethod
    def calling(options, target, way):
        this = Dialog(options, way)
        this.local = f"<sip:390200000001@{host_of(options)}>;tag={this.tag}"
        this.remote, this.target = f"<{target}>", target
        return this

    def request(self, method, body=b""):
        if method not in ("ACK", "CANCEL"):
            self.cseq += 1
        options = self.options
        via = f"SIP/2.0/{options.transport.upper()} {host_of(options)}:{options.port}"
        headers = [
            ("Via", f"{via};branch=z9hG4bK{secrets.token_hex(8)}"),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} {method}"),
            ("Contact", self.contact()),
            ("Max-Forwards", "70"),
        ]
        if body:
            headers.append(("Content-Type", "application/sdp"))
        self.way(Message(f"{method} {self.target} SIP/2.0", headers, body).octets())

    def reply(self, code, reason, request, way, body=b""):
        same = [h for name in ("Via", "From", "Call-ID", "CSeq") for h in request.all(name)]
        to = request.get("To")
        headers = same + [("To", to if "tag=" in to else self.local), ("Contact", self.contact())]
        if body:
            headers.append(("Content-Type", "application/sdp"))
        way(Message(f"SIP/2.0 {code} {reason}", headers, body).octets())

    def answered(self, response):
        self.remote = response.get("To")
        self.target = uri_of(response.get("Contact"))

    def contact(self):
        options = self.options
        return f"<sip:far@{host_of(options)}:{options.port};transport={options.transport}>"


def host_of(options):
    return f"[{options.address}]" if ":" in options.address else options.address


def place_of(text):
    """The address and the port of "192.0.2.1:5060" or "[::1]:5060"."""
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def uri_of(header):
    return header.split("<", 1)[1].split(">", 1)[0] if "<" in header else header.split(";")[0]
