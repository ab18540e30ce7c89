use super::*;
use crate::packet::Ssrc;
use crate::srtp::hmac_sha1::Midstates;
use crate::srtp::tests::hex;
use aes::{Aes128Enc, Aes256Enc};

/// RFC 3711 Appendix B.2: key stream of 65,282 blocks, of which the first and last three are given.
#[test]
fn rfc_3711_appendix_b_2() {
    let octets = key_stream::<Aes128Enc>("2B7E151628AED2A6ABF7158809CF4F3C");
    let first = hex("E03EAD0935C95E80E166B16DD92B4EB4
         D23513162B02D0F72A43A2FE4A5F97AB
         41E95B3BB0A2E8DD477901E4FCA894C0");
    let last = hex("EC8CDF7398607CB0F2D21675EA9EA1E4
         362B7C3C6773516318A077D7FC5073AE
         6A2CC3787889374FBEB4C81B17BA6C44");
    assert_eq!(octets[..48], first);
    assert_eq!(octets[0xfeff * 16..], last);
}

/// RFC 6188 §7.1: the same blocks with a 256-bit key.
#[test]
fn rfc_6188_section_7_1() {
    let key = "57f82fe3613fd170a85ec93c40b1f092 2ec4cb0dc025b58272147cc438944a98";
    let octets = key_stream::<Aes256Enc>(key);
    let first = hex("92bdd28a93c3f52511c677d08b5515a4
         9da71b2378a854f67050756ded165bac
         63c4868b7096d88421b563b8c94c9a31");
    let last = hex("cea518c90fd91ced9cbb18c078a54711
         3dbc4814f4da5f00a08772b63c6a046d
         6eb246913062a16891433e97dd01a57f");
    assert_eq!(octets[..48], first);
    assert_eq!(octets[0xfeff * 16..], last);
}

/// 65,282 blocks under the salt of both RFCs, SSRC 0 and index 0.
fn key_stream<C>(key: &str) -> Vec<u8>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
    let key = hex(key);
    let transform = AesCm::<C, Midstates>::new(
        key.as_slice().try_into().unwrap(),
        &[0; 20],
        &salt,
        10,
        Mki::NONE,
    );
    let mut octets = vec![0; 1_044_512];
    transform.apply(&mut octets, PacketId { ssrc: Ssrc(0), index: 0 });
    octets
}

/// The counter block of RFC 3711 §4.1.1, bit by bit: SSRC and index reach disjoint octets.
#[test]
fn ssrc_and_index_reach_the_counter_block_where_rfc_3711_puts_them() {
    let key = [3; 16];
    let transform =
        AesCm::<Aes128Enc, Midstates>::new(&key.into(), &[0; 20], &[0; 14], 10, Mki::NONE);
    let mut found = [0; 16];
    transform.apply(&mut found, PacketId { ssrc: Ssrc(0x0102_0304), index: 0x0506_0708_090a });
    let mut expected = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0].into();
    Aes128Enc::new(&key.into()).encrypt_block(&mut expected);
    assert_eq!(found[..], expected[..]);
}
