//! Replay window in two phases (RFC 3711 §3.3.2).
//!
//! ```text
//!  too old | highest - 127 ......... highest | newer
//!  refused |   refused when its bit is set   | accepted, moves the window
//! ```
//!
//! [`Window::check`] looks and changes nothing; [`Window::commit`] takes the token once the packet
//! is authenticated. The egress keeps one as well: an index that was used once is never encrypted
//! under again.

/// Indices that a window remembers, the highest included.
pub const WINDOW: u64 = 128;

/// The indices accepted so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    highest: u64,
    /// Bit `i` of `low`, then of `high`: index `highest - i` was accepted. Bit 0 is set from the
    /// first commit on. Two halves instead of one `u128` keep the alignment at eight.
    low: u64,
    high: u64,
}

/// Proof that an index passed [`Window::check`], to be handed back after authentication.
#[must_use = "an accepted index must be committed, or it will be accepted again"]
#[derive(Debug)]
pub struct Token {
    index: u64,
}

/// The index was accepted before, or is too old to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replayed;

impl Window {
    /// A window that has accepted nothing yet.
    pub const EMPTY: Self = Self { highest: 0, low: 0, high: 0 };

    /// The highest index accepted, `None` before the first.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        (self.low & 1 == 1).then_some(self.highest)
    }

    /// Looks whether `index` may be accepted. Changes nothing.
    ///
    /// # Errors
    /// [`Replayed`] when it was accepted before or lies [`WINDOW`] or more behind the highest.
    pub fn check(&self, index: u64) -> Result<Token, Replayed> {
        let Some(highest) = self.highest() else {
            return Ok(Token { index });
        };
        let Some(age) = highest.checked_sub(index) else {
            return Ok(Token { index });
        };
        let seen = age >= WINDOW || (self.bits() >> age) & 1 == 1;
        if seen { Err(Replayed) } else { Ok(Token { index }) }
    }

    /// Marks the token's index as accepted.
    pub fn commit(&mut self, token: Token) {
        let bits = match token.index.checked_sub(self.highest) {
            Some(ahead) => {
                self.highest = token.index;
                let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
                self.bits().checked_shl(shift).unwrap_or(0) | 1
            }
            None => {
                let age = u32::try_from(self.highest - token.index).unwrap_or(u32::MAX);
                self.bits() | 1u128.checked_shl(age).unwrap_or(0)
            }
        };
        self.low = bits as u64;
        self.high = (bits >> 64) as u64;
    }

    fn bits(&self) -> u128 {
        (u128::from(self.high) << 64) | u128::from(self.low)
    }
}

#[cfg(test)]
mod tests;
