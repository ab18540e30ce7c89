//! Differentiated services code points (RFC 2474), as operators write them.

use super::section::Section;

/// A number, or one of the names of RFC 2474, RFC 2597, RFC 3246, RFC 5865 and RFC 8622; `None` when
/// nothing, or nothing of these, is written.
pub(super) fn code_point(section: &mut Section<'_, '_>, key: &'static str) -> Option<u8> {
    let value = section.value(key)?;
    let Some(name) = value.value.as_text() else {
        let number = section.integer(key, 0..DSCP_MAX + 1).map(|number| number.value);
        return number.and_then(|number| u8::try_from(number).ok());
    };
    let known = DSCP_NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let number = || name.parse().ok().filter(|number| u64::from(*number) <= DSCP_MAX);
    let found = known.map(|(_, code)| *code).or_else(number);
    if found.is_none() {
        let remedy = "use EF, CS0 to CS7, AF11 to AF43, VA, LE, DF or a number from 0 to 63";
        section.error(key, format!("\"{name}\" is no code point"), remedy);
    }
    found
}

/// Code points have six bits.
pub const DSCP_MAX: u64 = 63;

const DSCP_NAMES: [(&str, u8); 24] = [
    ("EF", 46),
    ("VA", 44),
    ("LE", 1),
    ("DF", 0),
    ("CS0", 0),
    ("CS1", 8),
    ("CS2", 16),
    ("CS3", 24),
    ("CS4", 32),
    ("CS5", 40),
    ("CS6", 48),
    ("CS7", 56),
    ("AF11", 10),
    ("AF12", 12),
    ("AF13", 14),
    ("AF21", 18),
    ("AF22", 20),
    ("AF23", 22),
    ("AF31", 26),
    ("AF32", 28),
    ("AF33", 30),
    ("AF41", 34),
    ("AF42", 36),
    ("AF43", 38),
];
