//! Final responses that move a hunt on.

use std::fmt;

/// A set of SIP status codes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Codes(Vec<u16>);

impl Codes {
    /// The set of these codes.
    ///
    /// # Errors
    /// A text for the operator when one of them cannot move a hunt on: only failures can, and
    /// challenges (401, 407) and 487 are between us and the member.
    pub fn new(codes: impl IntoIterator<Item = u64>) -> Result<Self, String> {
        let mut set = Vec::new();
        for code in codes {
            let fits = u16::try_from(code).ok().filter(|code| FAILURES.contains(code));
            match fits.filter(|code| !OURS.contains(code)) {
                Some(code) => set.push(code),
                None => return Err(format!("{code} cannot move a call to the next trunk")),
            }
        }
        set.sort_unstable();
        set.dedup();
        Ok(Self(set))
    }

    /// Whether a response with this code moves the hunt on.
    pub fn contains(&self, code: u16) -> bool {
        self.0.binary_search(&code).is_ok()
    }

    /// The codes in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().copied()
    }
}

/// What says that another trunk may do better. What is about the callee (404, 486, 603, …) is the
/// same by whatever trunk, and a busy callee that three trunks ring in turn is three times angry.
impl Default for Codes {
    fn default() -> Self {
        Self(vec![408, 429, 500, 502, 503, 504])
    }
}

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes: Vec<String> = self.iter().map(|code| code.to_string()).collect();
        f.write_str(&codes.join(", "))
    }
}

const FAILURES: std::ops::Range<u16> = 400..700;
const OURS: [u16; 3] = [401, 407, 487];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_never_rings_a_busy_callee_again() {
        let codes = Codes::default();
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(codes.contains(code), "{code}");
        }
        for code in [302, 404, 410, 484, 486, 487, 488, 600, 603, 604, 606, 200, 180] {
            assert!(!codes.contains(code), "{code}");
        }
    }

    #[test]
    fn the_list_can_be_edited_within_reason() {
        let codes = Codes::new([603, 486, 603]).unwrap();
        assert_eq!(codes.to_string(), "486, 603");
        assert!(codes.contains(603) && !codes.contains(503));
        assert!(!Codes::new([]).unwrap().contains(503), "an empty list hunts on no code");
        for code in [0, 100, 200, 302, 401, 407, 487, 700, 70_000] {
            assert!(Codes::new([code]).is_err(), "{code}");
        }
    }
}
