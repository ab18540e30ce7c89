"""A PJSIP phone system with TLS and mandatory SRTP: the secure peer of the end-to-end tests.

Reads one JSON command a line on standard input, writes one JSON event a line on standard output:

    {"do": "call", "uri": "sip:100@127.0.0.1:5061;transport=tls"}   place a call
    {"do": "hangup"}                                                end every call
    {"do": "hold"} | {"do": "resume"} | {"do": "update"}            change every call
    {"do": "dial", "digits": "5#"}                                  as telephone events
    {"do": "transfer", "uri": "sip:..."}                            the other end of the first call
    {"do": "attend"}                                                the same, to that of the second
    {"do": "quit"}

    {"event": "ready", "port": 5081}
    {"event": "incoming" | "state" | "media" | "digit" | "transferred" | "disconnected", ...}

Every call plays a continuous tone of --tone Hz and records what arrives to --record.
"""

import argparse
import hashlib
import json
import queue
import sys
import threading

import pjsua2 as pj


def tell(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Call(pj.Call):
    def __init__(self, account, options, call_id=pj.PJSUA_INVALID_ID):
        super().__init__(account, call_id)
        self.options = options
        self.tone = None
        self.recorder = None

    def onCallState(self, prm):
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.tone = None
            self.recorder = None
            tell("disconnected", code=info.lastStatusCode, reason=info.lastReason)
        else:
            tell("state", state=info.stateText, code=info.lastStatusCode)

    def onCallTransferStatus(self, prm):
        tell("transferred", code=prm.statusCode, final=prm.finalNotify)

    def onDtmfDigit(self, prm):
        tell("digit", digit=prm.digit)

    def onCallMediaState(self, prm):
        info = self.getInfo()
        for index, media in enumerate(info.media):
            tell("direction", index=index, status=media.status, direction=media.dir)
            if media.type != pj.PJMEDIA_TYPE_AUDIO or media.status != pj.PJSUA_CALL_MEDIA_ACTIVE:
                continue
            audio = self.getAudioMedia(index)
            if self.tone is None:
                self.tone = pj.ToneGenerator()
                self.tone.createToneGenerator(8000, 1)
                tone = pj.ToneDesc()
                tone.freq1 = self.options.tone
                tone.on_msec = 1000
                tone.off_msec = 0
                tones = pj.ToneDescVector()
                tones.append(tone)
                self.tone.play(tones, True)
            if self.recorder is None:
                self.recorder = pj.AudioMediaRecorder()
                self.recorder.createRecorder(self.options.record)
            self.tone.startTransmit(audio)
            audio.startTransmit(self.recorder)
            transport = self.getMedTransportInfo(index)
            tell("media", local=transport.localRtpName, remote=info.remoteContact)


class Account(pj.Account):
    def __init__(self, options):
        super().__init__()
        self.options = options
        self.calls = []

    def onIncomingCall(self, prm):
        call = Call(self, self.options, prm.callId)
        self.calls.append(call)
        tell("incoming", remote=call.getInfo().remoteUri, local=call.getInfo().localUri)
        answer = pj.CallOpParam()
        if self.options.refuse:
            answer.statusCode = self.options.refuse
            call.answer(answer)
            return
        ringing = pj.CallOpParam()
        ringing.statusCode = 180
        call.answer(ringing)
        if not self.options.ring_only:
            answer.statusCode = 200
            call.answer(answer)

    def dial(self, digits):
        for call in self.calls:
            if call.isActive():
                call.dialDtmf(digits)

    def change(self, how):
        for call in self.calls:
            if not call.isActive():
                continue
            parameters = pj.CallOpParam(True)
            if how == "hold":
                call.setHold(parameters)
            elif how == "resume":
                parameters.opt.flag = pj.PJSUA_CALL_UNHOLD
                call.reinvite(parameters)
            else:
                call.update(parameters)

    def transfer(self, uri):
        first, *others = [call for call in self.calls if call.isActive()]
        parameters = pj.CallOpParam(True)
        if uri:
            first.xfer(uri, parameters)
        else:
            first.xferReplaces(others[0], parameters)

    def place(self, uri):
        call = Call(self, self.options)
        self.calls.append(call)
        parameters = pj.CallOpParam(True)
        parameters.opt.videoCount = 0
        call.makeCall(uri, parameters)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--media-port", type=int, required=True)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--tone", type=int, default=440)
    parser.add_argument("--record", required=True)
    parser.add_argument("--refuse", type=int, default=0, help="answer every call with this code")
    parser.add_argument("--ring-only", action="store_true")
    parser.add_argument("--timer", type=int, default=0, help="demands session timers so long")
    parser.add_argument("--user", help="answers challenges as this user")
    parser.add_argument("--password", default="")
    parser.add_argument("--realm", help="knows no password, only the MD5 of it for this realm")
    parser.add_argument("--tcp", action="store_true", help="TCP instead of TLS")
    parser.add_argument("--mux", action="store_true", help="RTCP on the port of RTP (RFC 5761)")
    parser.add_argument("--plain", action="store_true", help="no SRTP: what must be refused")
    return parser.parse_args()


def start(options):
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = 0
    config.logConfig.consoleLevel = 0
    config.uaConfig.maxCalls = 4
    # No thread of PJSIP's own beside the loop of main(): the OpenSSL 1.0.2 that its wheel brings
    # takes no locks, and two threads in it once lost its list of ciphers.
    config.uaConfig.threadCnt = 0
    config.medConfig.clockRate = 8000
    endpoint.libInit(config)
    endpoint.audDevManager().setNullDev()
    transport = pj.TransportConfig()
    transport.port = options.port
    transport.boundAddress = options.address
    transport.publicAddress = options.address
    tls = transport.tlsConfig
    tls.certFile = options.certificate
    tls.privKeyFile = options.key
    tls.CaListFile = options.ca
    tls.verifyServer = True
    tls.verifyClient = True
    tls.requireClientCert = True
    tls.method = pj.PJSIP_TLSV1_2_METHOD
    kind = pj.PJSIP_TRANSPORT_TCP if options.tcp else pj.PJSIP_TRANSPORT_TLS
    endpoint.transportCreate(kind, transport)
    endpoint.libStart()
    for codec in endpoint.codecEnum2():
        wanted = codec.codecId.startswith(("PCMA", "PCMU"))
        endpoint.codecSetPriority(codec.codecId, 128 if wanted else 0)
    return endpoint


def account(options):
    config = pj.AccountConfig()
    transport = "tcp" if options.tcp else "tls"
    config.idUri = f"sip:pbx@{options.address}:{options.port};transport={transport}"
    if options.user:
        credential = pj.AuthCredInfo("digest", "*", options.user, 0, options.password)
        if options.realm:
            known = f"{options.user}:{options.realm}:{options.password}".encode()
            digest = hashlib.md5(known).hexdigest()
            credential = pj.AuthCredInfo("digest", options.realm, options.user, 1, digest)
        config.sipConfig.authCreds.append(credential)
    media = config.mediaConfig
    media.srtpUse = pj.PJMEDIA_SRTP_DISABLED if options.plain else pj.PJMEDIA_SRTP_MANDATORY
    media.srtpSecureSignaling = 0 if options.plain else 1
    media.rtcpMuxEnabled = options.mux
    media.transportConfig.port = options.media_port
    media.transportConfig.boundAddress = options.address
    if options.timer:
        config.callConfig.timerUse = pj.PJSUA_SIP_TIMER_ALWAYS
        config.callConfig.timerSessExpiresSec = options.timer
        config.callConfig.timerMinSESec = 90
    this = Account(options)
    this.create(config)
    return this


def main():
    options = arguments()
    endpoint = start(options)
    phone = account(options)
    commands = queue.Queue()
    threading.Thread(
        target=lambda: [commands.put(line) for line in sys.stdin] + [commands.put('{"do":"quit"}')],
        daemon=True,
    ).start()
    tell("ready", port=options.port)
    while True:
        endpoint.libHandleEvents(20)
        try:
            command = json.loads(commands.get_nowait())
        except queue.Empty:
            continue
        if command["do"] == "call":
            phone.place(command["uri"])
        elif command["do"] == "hangup":
            endpoint.hangupAllCalls()
        elif command["do"] == "dial":
            phone.dial(command["digits"])
        elif command["do"] in ("transfer", "attend"):
            phone.transfer(command.get("uri"))
        elif command["do"] in ("hold", "resume", "update"):
            phone.change(command["do"])
        elif command["do"] == "quit":
            break
    endpoint.hangupAllCalls()
    phone.calls.clear()
    phone.shutdown()
    endpoint.libDestroy()


main()
