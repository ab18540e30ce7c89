//! The two gates of the relay, as types: nothing leaves that was not admitted and sealed.
//!
//! ```text
//! bytes + source --check--> FromSource --Ingress::admit--> Admitted --Egress::seal--> Sealed
//!                  |                        |                           |
//!               off path            not authentic, replayed      index reused, key exhausted
//! ```
//! [`FromSource`], [`Admitted`] and [`Sealed`] have no other constructors, are not `Clone`, and each
//! is consumed by the next step; `io::Departure` takes a [`Sealed`]. A plain packet is admitted for its source
//! alone; a packet of a secure flow only as the [`Authentic`](rtp::srtp::Authentic) result of
//! [`Unprotect`], and it is sealed by [`Protect`] whenever the far side is secure.

use rtp::packet::RtpHeaderMut;
use rtp::srtp::{MasterKey, Protect, ProtectError, Unprotect, UnprotectError};

use crate::latch::Approach;
use crate::verdict::{Kind, Verdict};

/// Proof that a packet came from where it may come from.
pub struct FromSource(());

impl FromSource {
    /// Lets pass what the latch expects, or may learn from once it is admitted.
    ///
    /// # Errors
    /// [`Verdict::NotReady`] while no source is known, [`Verdict::OffPath`] from elsewhere.
    pub fn check(approach: Approach) -> Result<FromSource, Verdict> {
        match approach {
            Approach::Expected | Approach::Candidate => Ok(FromSource(())),
            Approach::Refused => Err(Verdict::OffPath),
            Approach::Unset => Err(Verdict::NotReady),
        }
    }
}

/// A plain packet that may be relayed: the first `len` octets of `body`.
pub struct Admitted<'a> {
    body: &'a mut [u8],
    len: usize,
    kind: Kind,
}

impl<'a> Admitted<'a> {
    /// A packet of our own making: the first `len` octets of `body`, RTP.
    ///
    /// # Errors
    /// [`Verdict::Oversize`] when the body is shorter.
    pub fn own(body: &'a mut [u8], len: usize) -> Result<Admitted<'a>, Verdict> {
        if len > body.len() {
            Err(Verdict::Oversize)
        } else {
            Ok(Admitted { body, len, kind: Kind::Rtp })
        }
    }

    /// The plain packet.
    pub fn bytes(&self) -> &[u8] {
        self.body.get(..self.len).unwrap_or_default()
    }

    /// The plain packet, to be rewritten in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.body.get_mut(..self.len).unwrap_or_default()
    }

    /// Its RTP header; `None` when it is not RTP.
    pub fn header_mut(&mut self) -> Option<RtpHeaderMut<'_>> {
        RtpHeaderMut::parse(self.bytes_mut()).ok()
    }
}

/// A packet in the form in which it leaves.
#[derive(Debug)]
pub struct Sealed {
    len: usize,
}

impl Sealed {
    #[expect(clippy::len_without_is_empty, reason = "a sealed packet has at least a header")]
    pub fn len(&self) -> usize {
        self.len
    }
}

/// How packets of a flow come in.
#[expect(clippy::large_enum_variant, reason = "contexts live inside the flow; nothing is boxed")]
pub enum Ingress {
    Plain,
    Secure(Unprotect),
}

impl Ingress {
    pub fn new(key: Option<&MasterKey>) -> Ingress {
        key.map_or(Ingress::Plain, |key| Ingress::Secure(Unprotect::new(key)))
    }

    /// Turns the first `len` octets of `body` into a plain packet.
    ///
    /// # Errors
    /// The verdict on a packet that is not authentic, was seen before, or exceeds the context.
    pub fn admit<'a>(
        &mut self,
        _proof: FromSource,
        kind: Kind,
        body: &'a mut [u8],
        len: usize,
    ) -> Result<Admitted<'a>, Verdict> {
        let packet = body.get_mut(..len).ok_or(Verdict::Oversize)?;
        let len = match (self, kind) {
            (Ingress::Plain, _) => len,
            // A secure flow carries nothing that SRTP cannot protect.
            (Ingress::Secure(_), Kind::Udptl) => return Err(Verdict::Direction),
            (Ingress::Secure(context), Kind::Rtp) => context.rtp(packet)?.len(),
            (Ingress::Secure(context), Kind::Rtcp) => context.rtcp(packet)?.len(),
        };
        Ok(Admitted { body, len, kind })
    }
}

/// How packets of a flow go out.
#[expect(clippy::large_enum_variant, reason = "contexts live inside the flow; nothing is boxed")]
pub enum Egress {
    Plain,
    Secure(Protect),
}

impl Egress {
    pub fn new(key: Option<&MasterKey>) -> Egress {
        key.map_or(Egress::Plain, |key| Egress::Secure(Protect::new(key)))
    }

    pub fn is_secure(&self) -> bool {
        matches!(self, Egress::Secure(_))
    }

    /// Gives the packet the form of the far side, in place.
    ///
    /// # Errors
    /// The verdict on a packet whose index was used before or that exceeds the context.
    pub fn seal(&mut self, packet: Admitted<'_>) -> Result<Sealed, Verdict> {
        let Admitted { body, len, kind } = packet;
        let len = match (self, kind) {
            (Egress::Plain, _) => len,
            (Egress::Secure(_), Kind::Udptl) => return Err(Verdict::Direction),
            (Egress::Secure(context), Kind::Rtp) => context.rtp(body, len)?,
            (Egress::Secure(context), Kind::Rtcp) => context.rtcp(body, len)?,
        };
        Ok(Sealed { len })
    }
}

impl From<UnprotectError> for Verdict {
    fn from(error: UnprotectError) -> Verdict {
        match error {
            UnprotectError::Malformed => Verdict::Malformed,
            UnprotectError::Authentication => Verdict::Authentication,
            UnprotectError::Replay => Verdict::Replay,
            UnprotectError::SsrcLimit => Verdict::SsrcLimit,
            UnprotectError::KeyExhausted => Verdict::KeyExhausted,
        }
    }
}

impl From<ProtectError> for Verdict {
    fn from(error: ProtectError) -> Verdict {
        match error {
            ProtectError::Malformed => Verdict::Malformed,
            ProtectError::NoRoom => Verdict::Oversize,
            ProtectError::IndexReused => Verdict::IndexReused,
            ProtectError::SsrcLimit => Verdict::SsrcLimit,
            ProtectError::KeyExhausted => Verdict::KeyExhausted,
        }
    }
}
