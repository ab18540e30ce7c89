//! What the tests of all SRTP files share, and what is true of a context as a whole.

use super::*;

/// Octets written as hexadecimal digits; white space is skipped.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    assert!(digits.len().is_multiple_of(2), "odd number of digits");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub(super) fn master(suite: Suite) -> MasterKey {
    let (key, salt) = ([0x42; 32], [0x17; 14]);
    MasterKey::new(suite, &key[..suite.key_len()], &salt[..suite.salt_len()]).unwrap()
}

/// 160 octets of payload, as 20 ms of G.711 have.
pub(super) fn rtp_packet(ssrc: u32, seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 0]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0x5a; 160]);
    packet
}

/// A receiver report without blocks and an SDES chunk.
pub(super) fn rtcp_packet(ssrc: u32) -> Vec<u8> {
    let ssrc = ssrc.to_be_bytes();
    [&[0x80, 201, 0, 1], &ssrc[..], &[0x81, 202, 0, 2], &ssrc, &[1, 1, b'c', 0]].concat()
}

/// A context is what each direction of a secure leg costs, and its hot part what each packet reads.
/// Growth should be noticed here first.
#[test]
fn context_sizes() {
    use super::aes_cm::AesCm;
    use super::hmac_sha1::Midstates;
    use super::{ssrcs::Ssrcs, unprotect::Received};
    use aes::{Aes128Enc, Aes256Enc};
    assert_eq!([size_of::<Protect>(), size_of::<Unprotect>()], [512, 512]);

    // The state of the first source, which of the transforms it is, and the transform.
    let line = 64;
    let hot = |transform: usize| (size_of::<Ssrcs<Received>>() + 16 + transform).div_ceil(line);
    assert_eq!(hot(size_of::<AesCm<Aes128Enc, Midstates>>()), 5);
    assert_eq!(hot(size_of::<AesCm<Aes256Enc, Midstates>>()), 6);
    assert_eq!(hot(size_of::<super::aes_gcm::Gcm<Aes128Enc>>()), 7);
    assert_eq!(hot(size_of::<super::aes_gcm::Gcm<Aes256Enc>>()), 8);
}

/// Master key, master salt, SRTP tag, SRTCP tag (RFC 4568 §6.2, RFC 6188 §4, RFC 7714 §12).
#[test]
fn lengths_are_those_of_the_suites_rfc() {
    let rows = [
        (Suite::AesCm128HmacSha1_80, [16, 14, 10, 10]),
        (Suite::AesCm128HmacSha1_32, [16, 14, 4, 10]),
        (Suite::AesCm256HmacSha1_80, [32, 14, 10, 10]),
        (Suite::AesCm256HmacSha1_32, [32, 14, 4, 10]),
        (Suite::AeadAes128Gcm, [16, 12, 16, 16]),
        (Suite::AeadAes256Gcm, [32, 12, 16, 16]),
    ];
    assert_eq!(rows.map(|row| row.0), Suite::ALL);
    for (suite, lengths) in rows {
        let found = [suite.key_len(), suite.salt_len(), suite.rtp_tag_len(), suite.rtcp_tag_len()];
        assert_eq!(found, lengths, "{suite:?}");
    }
}

#[test]
fn overhead_max_is_the_most_that_any_suite_adds() {
    let added = |suite: Suite| suite.rtp_tag_len().max(suite.rtcp_tag_len() + 4) + 4;
    assert_eq!(Suite::ALL.map(added).into_iter().max(), Some(Suite::OVERHEAD_MAX));
}

#[test]
fn master_keys_of_another_length_are_refused_by_name() {
    for suite in Suite::ALL {
        for key_len in 0..40 {
            for salt_len in 0..20 {
                let made = MasterKey::new(suite, &[1; 40][..key_len], &[2; 20][..salt_len]);
                let fits = key_len == suite.key_len() && salt_len == suite.salt_len();
                assert_eq!(made.is_ok(), fits, "{suite:?} {key_len} {salt_len}");
            }
        }
    }
    let Err(error) = MasterKey::new(Suite::AeadAes256Gcm, &[1; 16], &[2; 12]) else {
        panic!("accepted half a key");
    };
    assert_eq!(
        error.to_string(),
        "SRTP master key for AeadAes256Gcm has 16 octets instead of 32: \
         send 44 octets, key then salt"
    );
}

#[test]
fn master_keys_are_equal_when_suite_key_and_salt_are() {
    let key = |suite, key: u8, salt: u8| MasterKey::new(suite, &[key; 16], &[salt; 14]).unwrap();
    let one = key(Suite::AesCm128HmacSha1_80, 1, 2);
    assert!(one == key(Suite::AesCm128HmacSha1_80, 1, 2));
    assert!(one != key(Suite::AesCm128HmacSha1_32, 1, 2));
    assert!(one != key(Suite::AesCm128HmacSha1_80, 3, 2));
    assert!(one != key(Suite::AesCm128HmacSha1_80, 1, 3));
}

#[test]
fn an_mki_has_1_to_4_octets() {
    assert_eq!(Mki::new(0, 0), None);
    assert_eq!(Mki::new(0, 5), None);
    for (value, len, octets) in [
        (0, 1, &[0][..]),
        (255, 1, &[255]),
        (1, 2, &[0, 1]),
        (0x01_0203, 3, &[1, 2, 3]),
        (1, 4, &[0, 0, 0, 1]),
        (u32::MAX, 4, &[255; 4]),
    ] {
        let mki = Mki::new(value, len).unwrap();
        assert_eq!((mki.value(), mki.len(), mki.octets()), (value, octets.len(), octets));
    }
    assert_eq!(Mki::new(256, 1), None);
    assert_eq!(Mki::new(0x0100_0000, 3), None);
    assert_ne!(Mki::new(0, 1), Mki::new(0, 2), "the length belongs to it");
}

/// One secret under another MKI or tag length is another key, but not another key stream.
#[test]
fn keys_that_share_a_secret_are_told() {
    let key = |suite, key: u8| MasterKey::new(suite, &[key; 16], &[9; 14]).unwrap();
    let one = || key(Suite::AesCm128HmacSha1_80, 1);
    let with_mki = |value| one().with_mki(Mki::new(value, 1).unwrap());
    assert!(one() != with_mki(1) && with_mki(1) != with_mki(2) && with_mki(1) == with_mki(1));
    assert!(one().mki().is_none() && with_mki(1).mki() == Mki::new(1, 1));
    assert!(one().shares_secret(&with_mki(1)));
    assert!(one().shares_secret(&key(Suite::AesCm128HmacSha1_32, 1)));
    assert!(!one().shares_secret(&key(Suite::AesCm128HmacSha1_80, 2)));
}

/// The vectors that libsrtp validates itself with: `AES_CM_128_HMAC_SHA1_80` from a master key, an
/// SRTP packet and an SRTCP packet with index 1.
#[test]
fn libsrtp_reference_packets() {
    let key = hex("e1f97a0d3e018be0d64fa32c06de4139");
    let salt = hex("0ec675ad498afeebb6960b3aabe6");
    let master = MasterKey::new(Suite::AesCm128HmacSha1_80, &key, &salt).unwrap();
    let mut protect = Protect::new(&master);

    let rtp = hex("800f1234decafbadcafebabeabababababababababababababababab");
    let mut buf = [&rtp[..], &[0; 10]].concat();
    assert_eq!(protect.rtp(&mut buf, rtp.len()), Ok(38));
    let expected = "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb";
    assert_eq!(buf, hex(expected));

    let rtcp = hex("81c8000bcafebabeabababababababababababababababab");
    let mut buf = [&rtcp[..], &[0; 14]].concat();
    assert_eq!(protect.rtcp(&mut buf, rtcp.len()), Ok(38), "index 0");
    let mut buf = [&rtcp[..], &[0; 14]].concat();
    assert_eq!(protect.rtcp(&mut buf, rtcp.len()), Ok(38), "index 1");
    let expected = "81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798";
    assert_eq!(buf, hex(expected));
}
