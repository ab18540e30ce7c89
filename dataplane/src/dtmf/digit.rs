//! The sixteen digits.

use std::fmt;

/// A digit by its event code (RFC 4733 §3.2): 0 to 9, 10 `*`, 11 `#`, 12 to 15 `A` to `D`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DigitCode(u8);

/// A digit that was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digit {
    pub code: DigitCode,
    /// How long the key was held. A lower bound when the end was lost.
    pub duration_ms: u32,
}

impl DigitCode {
    /// Every digit, in the order of the codes.
    pub const ALL: [DigitCode; 16] = {
        let mut all = [DigitCode(0); 16];
        let mut code = 0;
        while code < 16 {
            #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
            {
                all[code] = DigitCode(code as u8);
            }
            code += 1;
        }
        all
    };

    /// The digit of an event code; `None` for events that are not digits.
    pub const fn new(code: u8) -> Option<DigitCode> {
        if code < 16 { Some(DigitCode(code)) } else { None }
    }

    /// The digit that a key or a signaling message names; lower-case letters count.
    pub fn of_char(key: char) -> Option<DigitCode> {
        let key = key.to_ascii_uppercase();
        let place = KEYS.iter().position(|known| char::from(*known) == key)?;
        DigitCode::new(u8::try_from(place).ok()?)
    }

    pub const fn value(self) -> u8 {
        self.0
    }

    pub fn as_char(self) -> char {
        KEYS.get(usize::from(self.0)).copied().map_or('?', char::from)
    }

    /// Row and column of the key, and so its tones (ITU-T Q.23 §5).
    pub(super) fn place(self) -> (usize, usize) {
        let key = self.as_char();
        let at = PAD.iter().position(|known| char::from(*known) == key).unwrap_or(0);
        (at / 4, at % 4)
    }

    /// The digit in a row and a column, each 0 to 3.
    pub(super) fn at(row: usize, column: usize) -> Option<DigitCode> {
        PAD.get(row * 4 + column).and_then(|key| DigitCode::of_char(char::from(*key)))
    }
}

impl fmt::Display for DigitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

const KEYS: &[u8; 16] = b"0123456789*#ABCD";
const PAD: &[u8; 16] = b"123A456B789C*0#D";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_keys_and_places_name_the_same_digits() {
        for (code, digit) in DigitCode::ALL.into_iter().enumerate() {
            assert_eq!(DigitCode::new(code as u8), Some(digit));
            assert_eq!(DigitCode::of_char(digit.as_char()), Some(digit));
            let (row, column) = digit.place();
            assert_eq!(DigitCode::at(row, column), Some(digit));
        }
        assert_eq!(DigitCode::new(10).map(DigitCode::as_char), Some('*'));
        assert_eq!(DigitCode::of_char('#').map(DigitCode::value), Some(11));
        assert_eq!(DigitCode::of_char('d').map(DigitCode::value), Some(15));
    }

    #[test]
    fn what_is_no_digit_is_none() {
        for code in 16..=255 {
            assert_eq!(DigitCode::new(code), None);
        }
        for key in ['E', ' ', '\0', 'é', '+'] {
            assert_eq!(DigitCode::of_char(key), None);
        }
    }

    #[test]
    fn the_pad_is_that_of_the_recommendation() {
        assert_eq!(DigitCode::of_char('1').unwrap().place(), (0, 0));
        assert_eq!(DigitCode::of_char('0').unwrap().place(), (3, 1));
        assert_eq!(DigitCode::of_char('D').unwrap().place(), (3, 3));
    }
}
