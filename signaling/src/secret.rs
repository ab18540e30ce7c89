//! Values that must not be read in a log: secrets are wiped and redacted, personal data is masked.

use std::fmt;

use zeroize::Zeroize;

/// A credential. Wiped when dropped, never printed: `Debug` writes `[secret]` and there is no
/// `Display` and no serialisation. [`Secret::expose`] is the one way to the value, so that every
/// use can be found by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value into custody.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the digest computation or the handshake that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A number or name of a person. `Debug` and `Display` show only the last digits, so that two log
/// lines of one call can be matched without telling who called whom.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pii<T>(pub T);

impl<T: AsRef<str>> Pii<T> {
    /// The masked form: everything but the last [`PII_VISIBLE`] characters becomes `*`; short
    /// values are masked whole.
    pub fn masked(&self) -> String {
        let text = self.0.as_ref();
        let count = text.chars().count();
        let hidden = if count > 2 * PII_VISIBLE { count - PII_VISIBLE } else { count };
        text.chars().enumerate().map(|(i, c)| if i < hidden { '*' } else { c }).collect()
    }
}

impl<T: AsRef<str>> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl<T: AsRef<str>> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

/// Serialises the value itself: records of calls hold it, logs do not.
impl<T: serde::Serialize> serde::Serialize for Pii<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Characters of personal data that stay readable.
pub const PII_VISIBLE: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new(String::from("hunter2"));
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert!(!format!("{:#?}", Some(&secret)).contains("hunter2"));
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn personal_data_keeps_its_last_digits() {
        assert_eq!(Pii("+4930123456").to_string(), "********456");
        assert_eq!(format!("{:?}", Pii("+4930123456")), "********456");
        assert_eq!(Pii("123456").to_string(), "******");
        assert_eq!(Pii("").to_string(), "");
    }
}
