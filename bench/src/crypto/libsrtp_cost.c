/*
 * Cost of libsrtp on this host, measured as crypto.rs measures ours.
 *
 *   libsrtp_cost SUITE CONTEXTS ROUNDS    SUITE 0 CM-80, 1 CM-32, 2 GCM-128, 3 GCM-256
 *
 * Prints one line for each round: nanoseconds per packet to protect, and to unprotect.
 */
#include <srtp2/srtp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PACKET = 172, ROOM = 256, PACKETS = 1024 };

static uint8_t packets[PACKETS][ROOM] __attribute__((aligned(16)));
static int lengths[PACKETS];

static void fail(const char *what)
{
    fprintf(stderr, "libsrtp_cost: %s\n", what);
    exit(1);
}

static srtp_t context(int suite, uint8_t *key, int outbound)
{
    srtp_policy_t policy;
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
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtp);
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtcp);
        break;
    case 3:
        srtp_crypto_policy_set_aes_gcm_256_16_auth(&policy.rtp);
        srtp_crypto_policy_set_aes_gcm_256_16_auth(&policy.rtcp);
        break;
    default:
        fail("no such suite");
    }
    policy.ssrc.type = outbound ? ssrc_any_outbound : ssrc_any_inbound;
    policy.key = key;
    policy.window_size = 128;
    if (srtp_create(&made, &policy) != srtp_err_status_ok)
        fail("srtp_create refused the policy");
    return made;
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        fail("suite, contexts and rounds are needed");
    int suite = atoi(argv[1]), contexts = atoi(argv[2]), rounds = atoi(argv[3]);
    if (contexts < 1 || srtp_init() != srtp_err_status_ok)
        fail("srtp_init failed");
    srtp_t *senders = calloc(contexts, sizeof *senders);
    srtp_t *receivers = calloc(contexts, sizeof *receivers);
    for (int i = 0; i < contexts; i++) {
        uint8_t key[64];
        for (int at = 0; at < 64; at++)
            key[at] = (uint8_t)(i * 31 + at * 7 + 1);
        senders[i] = context(suite, key, 1);
        receivers[i] = context(suite, key, 0);
    }
    uint64_t ordinal = 0;
    for (int round = 0; round < rounds; round++) {
        uint64_t first = ordinal;
        for (int i = 0; i < PACKETS; i++, ordinal++) {
            uint16_t seq = (uint16_t)(ordinal / contexts);
            memset(packets[i], 0x5a, PACKET);
            uint8_t head[12] = { 0x80, 0, seq >> 8, seq, 0, 0, 0, 0, 1, 2, 3, 4 };
            memcpy(packets[i], head, sizeof head);
            lengths[i] = PACKET;
        }
        double start = now_ns();
        for (int i = 0; i < PACKETS; i++)
            if (srtp_protect(senders[(first + i) % contexts], packets[i], &lengths[i]))
                fail("srtp_protect refused a packet");
        double protected = now_ns();
        for (int i = 0; i < PACKETS; i++)
            if (srtp_unprotect(receivers[(first + i) % contexts], packets[i], &lengths[i]))
                fail("srtp_unprotect refused a packet");
        double unprotected = now_ns();
        printf("%.1f %.1f\n", (protected - start) / PACKETS, (unprotected - protected) / PACKETS);
    }
    return 0;
}
