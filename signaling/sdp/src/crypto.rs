use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::limits::{KEY_TEXT_MAX, LIFETIME_MAX, MKI_BYTES_MAX, MKI_BYTES_NAMED_MAX};
use crate::text::decimal;
use crate::{Key, KeyLengthError, Suite};

/// One `a=crypto` line (RFC 4568 §4): what its sender protects its packets with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// Names the line; the answer repeats it.
    pub tag: u32,
    pub suite: Suite,
    pub key: Key,
    /// Packets that the key may protect, 1 to 2^48; `None` is the default of the suite.
    pub lifetime: Option<u64>,
    /// The sender's packets carry a master key identifier. Ours never do.
    pub mki: Option<Mki>,
}

/// Master key identifier (RFC 3711 §3.1): its value, and its length on the wire in bytes, 1 to
/// [`MKI_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mki {
    pub value: u32,
    pub length: u8,
}

/// Why an `a=crypto` line cannot be used. Never quotes key material.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CryptoError {
    #[error("the tag is not a decimal number of one to nine digits")]
    Tag,
    #[error("the suite {0} is not implemented")]
    Suite(String),
    #[error("the key parameter does not start with inline:")]
    Method,
    #[error("the key is not base64")]
    Encoding,
    #[error(transparent)]
    Length(#[from] KeyLengthError),
    #[error("the lifetime is neither 2^0 to 2^48 nor a decimal number up to 2^48")]
    Lifetime,
    #[error("the MKI is not value:length with a length of 1 to 128 bytes that holds the value")]
    Mki,
    #[error("its MKI is longer than {MKI_BYTES_MAX} bytes, which is not supported")]
    LongMki,
    #[error("the line has several keys, which is not supported")]
    SeveralKeys,
    #[error("the parameter {0} is not supported")]
    Parameter(String),
    #[error("the suite {0} is not one of this trunk")]
    NotAllowed(Suite),
    #[error("its tag repeats that of an earlier line")]
    RepeatedTag,
}

impl Crypto {
    /// Parses the value of one attribute: what follows `a=crypto:`.
    pub fn parse(value: &str) -> Result<Self, CryptoError> {
        let mut words = value.split([' ', '\t']).filter(|word| !word.is_empty());
        let tag = words.next().filter(|tag| tag.len() <= 9).and_then(decimal);
        let tag = tag.ok_or(CryptoError::Tag)?;
        let name = words.next().unwrap_or_default();
        let suite = Suite::parse(name).ok_or_else(|| CryptoError::Suite(nameable(name)))?;
        let (key, lifetime, mki) = parse_key(suite, words.next().unwrap_or_default())?;
        words.try_for_each(check_parameter)?;
        Ok(Self { tag, suite, key, lifetime, mki })
    }

    /// The attribute value that offers or answers `key` under `tag`: no lifetime, no MKI, no
    /// parameter.
    pub(crate) fn write(tag: u32, key: &Key) -> Zeroizing<String> {
        let start = format!("{tag} {} inline:", key.suite().name());
        let mut value = Zeroizing::new(String::with_capacity(start.len() + KEY_TEXT_MAX));
        value.push_str(&start);
        BASE64.encode_string(key.material(), &mut value);
        value
    }
}

type KeyParts = (Key, Option<u64>, Option<Mki>);

/// `inline:key["|"lifetime]["|"mki:length]` (RFC 4568 §6.1). Several, joined by `;`, would let the
/// sender change from one to the other within the call; no trunk does.
fn parse_key(suite: Suite, text: &str) -> Result<KeyParts, CryptoError> {
    if text.contains(';') {
        return Err(CryptoError::SeveralKeys);
    }
    let (method, info) = text.split_once(':').ok_or(CryptoError::Method)?;
    if !method.eq_ignore_ascii_case("inline") {
        return Err(CryptoError::Method);
    }
    let mut fields = info.split('|');
    let key = decode(suite, fields.next().unwrap_or_default())?;
    let (lifetime, mki) = match (fields.next(), fields.next(), fields.next()) {
        (None, ..) => (None, None),
        (Some(mki), None, _) if mki.contains(':') => (None, Some(parse_mki(mki)?)),
        (Some(lifetime), None, _) => (Some(parse_lifetime(lifetime)?), None),
        (Some(lifetime), Some(mki), None) => {
            (Some(parse_lifetime(lifetime)?), Some(parse_mki(mki)?))
        }
        _ => return Err(CryptoError::Mki),
    };
    Ok((key, lifetime, mki))
}

fn decode(suite: Suite, text: &str) -> Result<Key, CryptoError> {
    if text.is_empty() || text.len() > KEY_TEXT_MAX {
        return Err(CryptoError::Encoding);
    }
    let mut buffer = Zeroizing::new([0; KEY_TEXT_MAX]);
    let length =
        BASE64.decode_slice(text, buffer.as_mut_slice()).map_err(|_| CryptoError::Encoding)?;
    Ok(Key::new(suite, buffer.get(..length).unwrap_or_default())?)
}

fn parse_lifetime(text: &str) -> Result<u64, CryptoError> {
    let packets = match text.strip_prefix("2^") {
        Some(exponent) => decimal(exponent).and_then(|n| 1_u64.checked_shl(n)),
        None => decimal(text),
    };
    packets.filter(|packets| (1..=LIFETIME_MAX).contains(packets)).ok_or(CryptoError::Lifetime)
}

fn parse_mki(text: &str) -> Result<Mki, CryptoError> {
    let (value, length) = text.split_once(':').ok_or(CryptoError::Mki)?;
    let value: u128 = decimal(value).ok_or(CryptoError::Mki)?;
    let length: u8 = decimal(length).ok_or(CryptoError::Mki)?;
    let needed = (u128::BITS - value.leading_zeros()).div_ceil(8).max(1);
    if length > MKI_BYTES_NAMED_MAX || u32::from(length) < needed {
        return Err(CryptoError::Mki);
    }
    let value = u32::try_from(value).map_err(|_| CryptoError::LongMki)?;
    if length > MKI_BYTES_MAX { Err(CryptoError::LongMki) } else { Ok(Mki { value, length }) }
}

/// RFC 4568 §6.3: a parameter that is not understood makes the line unusable, unless a dash marks
/// it as optional. Those that weaken or change the transform are refused by name. The window size
/// hint (§6.3.6) is one that a receiver may ignore.
fn check_parameter(word: &str) -> Result<(), CryptoError> {
    let hint = word
        .split_once('=')
        .filter(|(name, _)| name.eq_ignore_ascii_case("WSH"))
        .and_then(|(_, size)| decimal::<u32>(size));
    if hint.is_some_and(|size| size >= WINDOW_MIN) {
        return Ok(());
    }
    let optional = word.strip_prefix('-').filter(|name| !name.is_empty());
    if optional.is_some_and(|name| !REFUSED.iter().any(|known| starts_with(name, known))) {
        return Ok(());
    }
    Err(CryptoError::Parameter(nameable(word.split('=').next().unwrap_or_default())))
}

fn starts_with(text: &str, name: &str) -> bool {
    text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

/// A suite or parameter name to show, or a placeholder when the word could be key material that
/// stands in the wrong place.
fn nameable(word: &str) -> String {
    let name = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"_-".contains(&b);
    if !word.is_empty() && word.len() <= NAME_MAX && word.bytes().all(name) {
        word.to_owned()
    } else {
        String::from("(not a name)")
    }
}

/// Names of suites and parameters are shorter; base64 keys are longer.
const NAME_MAX: usize = 36;

/// Smallest window that a hint may ask for (RFC 4568 §6.3.6).
const WINDOW_MIN: u32 = 64;

/// Parameters that weaken SRTP or change how it works, refused even when marked optional.
const REFUSED: [&str; 6] = [
    "UNENCRYPTED_SRTP",
    "UNENCRYPTED_SRTCP",
    "UNAUTHENTICATED_SRTP",
    "KDR",
    "FEC_ORDER",
    "FEC_KEY",
];

/// RFC 4568 §6.1 wants padding; FreeSWITCH cuts it off, so it is not required when reading.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
