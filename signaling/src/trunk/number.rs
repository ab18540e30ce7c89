//! Numbers that belong to a trunk: one number, a range of digits, or a SIP user.

use std::fmt;

/// One entry of `virtual_phone_number`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Number {
    /// E.164 (`+` and 7 to 15 digits), national digits, or a SIP user. Compared as it is.
    One(String),
    /// Digits of equal length, both ends included, with or without a common `+`.
    Range {
        /// `+` or nothing.
        plus: bool,
        /// Length of every number in the range.
        digits: usize,
        /// Lowest.
        first: u64,
        /// Highest.
        last: u64,
    },
}

impl Number {
    /// Reads `+493012345`, `200`, `alice`, `+49301000-+49301999` or `100-199`; the error says
    /// what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some((first, last)) = text.split_once('-')
            && let (Some(a), Some(b)) = (digits(first), digits(last))
        {
            let common = a.0 == b.0 && a.1.len() == b.1.len();
            return match (a.1.parse().ok(), b.1.parse().ok()) {
                (Some(first), Some(last)) if common && first <= last => {
                    Ok(Self::Range { plus: a.0, digits: a.1.len(), first, last })
                }
                _ => Err(String::from(
                    "a range needs two numbers of equal length, the lower one first",
                )),
            };
        }
        if let Some((true, number)) = digits(text)
            && !(E164_DIGITS_MIN..=E164_DIGITS_MAX).contains(&number.len())
        {
            return Err(format!(
                "an E.164 number has {E164_DIGITS_MIN} to {E164_DIGITS_MAX} digits after the +"
            ));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,?/#".contains(&b);
        if text.is_empty() || text.len() > USER_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(String::from("not a number and not the user part of a SIP URI"));
        }
        Ok(Self::One(text.to_owned()))
    }

    /// Whether `user` is this number or lies in the range. Parameters behind a `;` are ignored.
    pub fn contains(&self, user: &str) -> bool {
        let user = user.split(';').next().unwrap_or(user);
        match self {
            Self::One(number) => number == user,
            Self::Range { plus, digits: length, first, last } => match digits(user) {
                Some((p, number)) if p == *plus && number.len() == *length => {
                    number.parse::<u64>().is_ok_and(|n| (*first..=*last).contains(&n))
                }
                _ => false,
            },
        }
    }

    /// The number, or the lowest of the range.
    pub fn first(&self) -> String {
        match self {
            Self::One(number) => number.clone(),
            Self::Range { plus, digits, first, .. } => {
                let sign = if *plus { "+" } else { "" };
                format!("{sign}{first:0w$}", w = *digits)
            }
        }
    }

    /// Whether some number belongs to both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::One(number), any) | (any, Self::One(number)) => any.contains(number),
            (
                Self::Range { plus, digits, first, last },
                Self::Range { plus: p, digits: d, first: f, last: l },
            ) => plus == p && digits == d && first <= l && f <= last,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(number) => f.write_str(number),
            Self::Range { plus, digits, first, last } => {
                let sign = if *plus { "+" } else { "" };
                write!(f, "{sign}{first:0w$}-{sign}{last:0w$}", w = *digits)
            }
        }
    }
}

/// Splits an optional `+` from a string of digits that fits a `u64`.
fn digits(text: &str) -> Option<(bool, &str)> {
    let (plus, number) = match text.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let fits = !number.is_empty() && number.len() <= 18;
    (fits && number.bytes().all(|b| b.is_ascii_digit())).then_some((plus, number))
}

/// Shortest E.164 number that is accepted.
pub const E164_DIGITS_MIN: usize = 7;
/// Longest E.164 number (ITU-T E.164).
pub const E164_DIGITS_MAX: usize = 15;
/// Longest user part.
pub const USER_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ranges_and_users() {
        let one = Number::parse("+493012345").unwrap();
        assert!(one.contains("+493012345") && one.contains("+493012345;npdi"));
        assert!(!one.contains("493012345"));
        let range = Number::parse("0100-0199").unwrap();
        assert_eq!(range.to_string(), "0100-0199");
        assert_eq!((range.first(), one.first()), (String::from("0100"), one.to_string()));
        for (user, want) in [("0100", true), ("0199", true), ("0200", false), ("100", false)] {
            assert_eq!(range.contains(user), want, "{user}");
        }
        assert!(!range.contains("+0100"));
        let user = Number::parse("alice-b").unwrap();
        assert!(user.contains("alice-b") && !user.contains("alice"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "+123", "+1234567890123456", "199-100", "10-199", "a b", "x@y", "a;b"] {
            assert!(Number::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn overlap_is_symmetric() {
        for (a, b, want) in [
            ("100-199", "150-250", true),
            ("100-199", "200-299", false),
            ("100-199", "150", true),
            ("150", "100-199", true),
            ("100-199", "1000-1999", false),
            ("alice", "alice", true),
            ("alice", "bob", false),
            ("+4930100-+4930199", "4930100", false),
        ] {
            let (a, b) = (Number::parse(a).unwrap(), Number::parse(b).unwrap());
            assert_eq!(a.overlaps(&b), want, "{a} {b}");
            assert_eq!(b.overlaps(&a), want, "{b} {a}");
        }
    }
}
