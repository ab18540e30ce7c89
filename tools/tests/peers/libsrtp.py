"""SRTP by Debian's libsrtp: the foreign implementation that `far.py` talks through."""

import ctypes
import ctypes.util


class CryptoPolicy(ctypes.Structure):
    _fields_ = [
        ("cipher_type", ctypes.c_uint32),
        ("cipher_key_len", ctypes.c_int),
        ("auth_type", ctypes.c_uint32),
        ("auth_key_len", ctypes.c_int),
        ("auth_tag_len", ctypes.c_int),
        ("sec_serv", ctypes.c_int),
    ]


class Policy(ctypes.Structure):
    """`srtp_policy_t` of libsrtp 2; the fields after the first four stay zero but for the window."""

    _fields_ = [
        ("ssrc_type", ctypes.c_int),
        ("ssrc_value", ctypes.c_uint),
        ("rtp", CryptoPolicy),
        ("rtcp", CryptoPolicy),
        ("key", ctypes.c_char_p),
        ("keys", ctypes.c_void_p),
        ("num_master_keys", ctypes.c_ulong),
        ("deprecated_ekt", ctypes.c_void_p),
        ("window_size", ctypes.c_ulong),
        ("allow_repeat_tx", ctypes.c_int),
        ("enc_xtn_hdr", ctypes.c_void_p),
        ("enc_xtn_hdr_count", ctypes.c_int),
        ("next", ctypes.c_void_p),
    ]


LIBRARY = ctypes.CDLL("libsrtp2.so.1")
INBOUND, OUTBOUND = 2, 3
WINDOW = 1024
ROOM = 64

# Octets of key and salt, policy of SRTP, policy of SRTCP. A short tag is for SRTP alone
# (RFC 4568 §6.2.2, RFC 6188 §4).
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": (30, "rtp_default", "rtp_default"),
    "AES_CM_128_HMAC_SHA1_32": (30, "aes_cm_128_hmac_sha1_32", "rtp_default"),
    "AES_256_CM_HMAC_SHA1_80": (46, "aes_cm_256_hmac_sha1_80", "aes_cm_256_hmac_sha1_80"),
    "AES_256_CM_HMAC_SHA1_32": (46, "aes_cm_256_hmac_sha1_32", "aes_cm_256_hmac_sha1_80"),
    "AEAD_AES_128_GCM": (28, "aes_gcm_128_16_auth", "aes_gcm_128_16_auth"),
    "AEAD_AES_256_GCM": (44, "aes_gcm_256_16_auth", "aes_gcm_256_16_auth"),
}


class Refused(Exception):
    """libsrtp refused a packet; the argument is its `srtp_err_status_t`."""


class Context:
    """One direction under one master key."""

    def __init__(self, suite, key, direction):
        octets, rtp, rtcp = SUITES[suite]
        if len(key) != octets:
            raise ValueError(f"{suite} takes {octets} octets of key and salt, not {len(key)}")
        policy = Policy(ssrc_type=direction, key=key, window_size=WINDOW)
        for name, part in ((rtp, policy.rtp), (rtcp, policy.rtcp)):
            getattr(LIBRARY, f"srtp_crypto_policy_set_{name}")(ctypes.byref(part))
        self.context = ctypes.c_void_p()
        check(LIBRARY.srtp_create(ctypes.byref(self.context), ctypes.byref(policy)))

    def protect(self, packet):
        return self.apply(LIBRARY.srtp_protect, packet)

    def unprotect(self, packet):
        return self.apply(LIBRARY.srtp_unprotect, packet)

    def protect_rtcp(self, packet):
        return self.apply(LIBRARY.srtp_protect_rtcp, packet)

    def unprotect_rtcp(self, packet):
        return self.apply(LIBRARY.srtp_unprotect_rtcp, packet)

    def apply(self, function, packet):
        buffer = ctypes.create_string_buffer(packet, len(packet) + ROOM)
        length = ctypes.c_int(len(packet))
        check(function(self.context, buffer, ctypes.byref(length)))
        return buffer.raw[: length.value]


def check(status):
    if status != 0:
        raise Refused(status)


check(LIBRARY.srtp_init())
