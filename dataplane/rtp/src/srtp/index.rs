//! The 48-bit SRTP packet index and its estimate (RFC 3711 §3.3.1, Appendix A).
//!
//! A packet carries only the lower 16 bits of its index. The upper 32, the rollover counter, are
//! counted by both sides; an index is estimated from the highest one seen so far.
//!
//! One deviation: while the rollover counter is 0 there is no earlier one, so a sequence number far
//! ahead is taken as a jump forward. RFC 3711 Appendix A would subtract one modulo 2^32 and name an
//! index at the far end of the key's life. libsrtp does the same as we do.

use crate::packet::Seq;

/// Rollover counter: how often the sequence number has wrapped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Roc(pub u32);

/// 2^16 * ROC + SEQ, below 2^48.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct PacketIndex(u64);

impl PacketIndex {
    /// The last index that a master key may be used for (RFC 3711 §9.2).
    pub const MAX: Self = Self((1 << 48) - 1);

    /// An index from its two parts.
    #[must_use]
    pub const fn new(roc: Roc, seq: Seq) -> Self {
        Self(((roc.0 as u64) << 16) | seq.0 as u64)
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The upper 32 bits.
    #[must_use]
    pub const fn roc(self) -> Roc {
        Roc((self.0 >> 16) as u32)
    }

    /// The lower 16 bits.
    #[must_use]
    pub const fn seq(self) -> Seq {
        Seq(self.0 as u16)
    }

    /// The index of a packet with sequence number `seq` when `highest` is the highest index so far:
    /// the one nearest to it. A first packet has rollover counter 0.
    ///
    /// `None` when the sequence number wraps and the rollover counter is at its end.
    #[must_use]
    pub const fn estimate(highest: Option<Self>, seq: Seq) -> Option<Self> {
        let Some(highest) = highest else {
            return Some(Self::new(Roc(0), seq));
        };
        let (roc, highest) = (highest.roc().0, highest.seq().0);
        let roc = if highest < HALF && seq.0.saturating_sub(highest) > HALF {
            roc.saturating_sub(1)
        } else if highest >= HALF && highest - HALF > seq.0 {
            match roc.checked_add(1) {
                Some(roc) => roc,
                None => return None,
            }
        } else {
            roc
        };
        Some(Self::new(Roc(roc), seq))
    }

    /// [`estimate`](Self::estimate) from the highest index that a window holds.
    pub(super) fn after(highest: Option<u64>, seq: Seq) -> Option<Self> {
        Self::estimate(highest.map(Self), seq)
    }
}

/// Half of the sequence number's ring.
const HALF: u16 = 1 << 15;

#[cfg(test)]
mod tests;
