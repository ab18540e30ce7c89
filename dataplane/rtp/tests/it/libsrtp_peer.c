/*
 * libsrtp behind a pipe. Reads frames from stdin, answers each on stdout:
 *
 *   request   operation (1 octet) | length (4 octets, big endian) | octets
 *   answer    status (1 octet, 0 is success) | length | octets
 *
 *   K   start over: suite (1 octet, 0 to 5), MKI (its length in 1 octet, 0 for none, then itself),
 *       master key, master salt
 *   p   protect RTP      c   protect RTCP
 *   u   unprotect RTP    v   unprotect RTCP
 *   f   send all answers so far; is not answered itself
 */
#include <srtp2/srtp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 70000 };

static uint8_t buf[ROOM] __attribute__((aligned(16)));
static srtp_t sender, receiver;
static unsigned use_mki;

static void fail(const char *what)
{
    fprintf(stderr, "libsrtp_peer: %s\n", what);
    exit(1);
}

static srtp_t context(int suite, uint8_t *mki, int outbound)
{
    srtp_policy_t policy;
    srtp_master_key_t key = { .key = mki + 1 + mki[0], .mki_id = mki + 1, .mki_size = mki[0] };
    srtp_master_key_t *keys[] = { &key };
    srtp_t made;
    memset(&policy, 0, sizeof policy);
    switch (suite) {
    case 0:
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&policy.rtp);
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&policy.rtcp);
        break;
    case 1:
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(&policy.rtp);
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&policy.rtcp);
        break;
    case 2:
        srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(&policy.rtp);
        srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(&policy.rtcp);
        break;
    case 3:
        srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32(&policy.rtp);
        srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(&policy.rtcp);
        break;
    case 4:
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtp);
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtcp);
        break;
    case 5:
        srtp_crypto_policy_set_aes_gcm_256_16_auth(&policy.rtp);
        srtp_crypto_policy_set_aes_gcm_256_16_auth(&policy.rtcp);
        break;
    default:
        fail("no such suite");
    }
    policy.ssrc.type = outbound ? ssrc_any_outbound : ssrc_any_inbound;
    policy.keys = keys;
    policy.num_master_keys = 1;
    policy.window_size = 128;
    if (srtp_create(&made, &policy) != srtp_err_status_ok)
        fail("srtp_create refused the policy");
    return made;
}

static void answer(int status, uint32_t len)
{
    uint8_t head[5] = { status, len >> 24, len >> 16, len >> 8, len };
    if (status != srtp_err_status_ok)
        memset(head + 1, 0, 4), len = 0;
    fwrite(head, 1, sizeof head, stdout);
    fwrite(buf, 1, len, stdout);
}

int main(void)
{
    uint8_t head[5];
    if (srtp_init() != srtp_err_status_ok)
        fail("srtp_init failed");
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        uint32_t asked = (uint32_t)head[1] << 24 | head[2] << 16 | head[3] << 8 | head[4];
        int len = (int)asked, status = srtp_err_status_ok;
        if (asked > ROOM - SRTP_MAX_TRAILER_LEN - 4)
            fail("frame too long");
        if (fread(buf, 1, asked, stdin) != asked)
            fail("frame cut off");
        switch (head[0]) {
        case 'K':
            if (sender)
                srtp_dealloc(sender), srtp_dealloc(receiver);
            sender = context(buf[0], buf + 1, 1);
            receiver = context(buf[0], buf + 1, 0);
            use_mki = buf[1] != 0;
            len = 0;
            break;
        case 'p': status = srtp_protect_mki(sender, buf, &len, use_mki, 0); break;
        case 'c': status = srtp_protect_rtcp_mki(sender, buf, &len, use_mki, 0); break;
        case 'u': status = srtp_unprotect_mki(receiver, buf, &len, use_mki); break;
        case 'v': status = srtp_unprotect_rtcp_mki(receiver, buf, &len, use_mki); break;
        case 'f': fflush(stdout); continue;
        default: fail("no such operation");
        }
        answer(status, (uint32_t)len);
    }
    return 0;
}
