use super::*;
use crate::srtp::tests::hex;

/// RFC 3711 Appendix B.3: master key and salt, and what is derived from them.
#[test]
fn rfc_3711_appendix_b_3() {
    let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
    let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
    let master = MasterKey::new(Suite::AesCm128HmacSha1_80, &key, &salt).unwrap();
    let cipher_key: [u8; 16] = derive(&master, Label::RtpEncryption);
    assert_eq!(cipher_key[..], hex("C61E7A93744F39EE10734AFE3FF7A087"));
    let cipher_salt: [u8; 14] = derive(&master, Label::RtpSalt);
    assert_eq!(cipher_salt[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
    let auth_key: [u8; 94] = derive(&master, Label::RtpAuthentication);
    let expected = hex("CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
         E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25
         6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2");
    assert_eq!(auth_key[..], expected);
}

/// RFC 6188 §7.2: key derivation with a 256-bit master key.
#[test]
fn rfc_6188_section_7_2() {
    let key = hex("f0f04914b513f2763a1b1fa130f10e29 98f6f6e43e4309d1e622a0e332b9f1b6");
    let salt = hex("3b04803de51ee7c96423ab5b78d2");
    let master = MasterKey::new(Suite::AesCm256HmacSha1_80, &key, &salt).unwrap();
    let cipher_key: [u8; 32] = derive(&master, Label::RtpEncryption);
    let expected = hex("5ba1064e30ec51613cad926c5a28ef73 1ec7fb397f70a960653caf06554cd8c4");
    assert_eq!(cipher_key[..], expected);
    let cipher_salt: [u8; 14] = derive(&master, Label::RtpSalt);
    assert_eq!(cipher_salt[..], hex("fa31791685ca444a9e07c6c64e93"));
    let auth_key: [u8; 20] = derive(&master, Label::RtpAuthentication);
    assert_eq!(auth_key[..], hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"));
}

#[test]
fn no_two_labels_give_the_same_key() {
    let labels = [
        Label::RtpEncryption,
        Label::RtpAuthentication,
        Label::RtpSalt,
        Label::RtcpEncryption,
        Label::RtcpAuthentication,
        Label::RtcpSalt,
    ];
    for suite in Suite::ALL {
        let (key, salt) = ([5; 32], [6; 14]);
        let master =
            MasterKey::new(suite, &key[..suite.key_len()], &salt[..suite.salt_len()]).unwrap();
        let mut keys = labels.map(|label| derive::<20>(&master, label)).to_vec();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), labels.len(), "{suite:?}");
    }
}
