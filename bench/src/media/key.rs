//! One SRTP master key with its salt as SDES carries them (RFC 4568 §6.1): made by the kernel's
//! generator for each offered line, wiped when dropped, never printed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rtp::srtp::{MasterKey, Suite};
use zeroize::Zeroizing;

/// Master key and salt of one direction under one suite.
#[derive(Clone)]
pub struct SrtpKey {
    suite: Suite,
    octets: Zeroizing<Vec<u8>>,
}

impl SrtpKey {
    /// A fresh random key.
    pub fn fresh(suite: Suite) -> Result<SrtpKey, getrandom::Error> {
        let mut octets = Zeroizing::new(vec![0; suite.key_len() + suite.salt_len()]);
        getrandom::fill(&mut octets)?;
        Ok(SrtpKey { suite, octets })
    }

    /// Reads the base64 after `inline:`; `None` when its length does not fit the suite.
    pub fn of_inline(suite: Suite, inline: &str) -> Option<SrtpKey> {
        let octets = Zeroizing::new(STANDARD.decode(inline).ok()?);
        (octets.len() == suite.key_len() + suite.salt_len()).then_some(SrtpKey { suite, octets })
    }

    /// The base64 to write after `inline:`.
    pub fn inline(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(&self.octets))
    }

    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Master key and master salt; `None` never, by the constructors.
    pub fn parts(&self) -> Option<(&[u8], &[u8])> {
        self.octets.split_at_checked(self.suite.key_len())
    }

    /// The key in the form the transforms take; `None` only if they disagree about lengths.
    pub fn master(&self) -> Option<MasterKey> {
        let (key, salt) = self.parts()?;
        MasterKey::new(self.suite, key, salt).ok()
    }
}

/// All suites, in the order of preference.
pub const SUITES: [Suite; 6] = [
    Suite::AeadAes256Gcm,
    Suite::AeadAes128Gcm,
    Suite::AesCm256HmacSha1_80,
    Suite::AesCm128HmacSha1_80,
    Suite::AesCm128HmacSha1_32,
    Suite::AesCm256HmacSha1_32,
];

/// The name in `a=crypto`: RFC 4568 §6.2, RFC 7714 §14.2.
pub const fn suite_name(suite: Suite) -> &'static str {
    match suite {
        Suite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        Suite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
        Suite::AesCm256HmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
        Suite::AesCm256HmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
        Suite::AeadAes256Gcm => "AEAD_AES_256_GCM",
    }
}

/// The suite of a name in `a=crypto`.
pub fn suite_of_name(name: &str) -> Option<Suite> {
    SUITES.into_iter().find(|suite| suite_name(*suite).eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_length_of_their_suite_and_survive_base64() {
        for (suite, inline_len) in SUITES.into_iter().zip([60, 40, 64, 40, 40, 64]) {
            let key = SrtpKey::fresh(suite).unwrap();
            let inline = key.inline();
            assert_eq!(inline.len(), inline_len);
            let back = SrtpKey::of_inline(suite, &inline).unwrap();
            assert_eq!(*back.octets, *key.octets);
            assert!(back.master().is_some());
            assert_ne!(*SrtpKey::fresh(suite).unwrap().octets, *key.octets);
            assert_eq!(suite_of_name(suite_name(suite)), Some(suite));
        }
    }

    #[test]
    fn a_key_of_the_wrong_length_is_refused() {
        let short = STANDARD.encode([0u8; 29]);
        assert!(SrtpKey::of_inline(Suite::AesCm128HmacSha1_80, &short).is_none());
        assert!(SrtpKey::of_inline(Suite::AeadAes128Gcm, "not base64!").is_none());
        assert!(suite_of_name("F8_128_HMAC_SHA1_80").is_none());
    }
}
