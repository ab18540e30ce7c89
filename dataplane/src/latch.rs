//! Where the media of one port comes from, when its address cannot be trusted to be the one that
//! was signalled (RFC 7362: latching, for peers behind address translation).
//!
//! Sending media to whoever sends us a packet hands calls to strangers (RTP Bleed: one packet to a
//! guessed port diverts the audio). So there are four guards, and a packet passes all of them:
//!
//! ```text
//! place   inside the trunk's media network, when one is configured; RTCP: at the address of the RTP
//! time    plain RTP: in the window after signaling armed the latch. SRTP: any time, authenticated
//! rank    only a better source replaces a learned one:
//!           replaced by a re-INVITE < foreign < host of the signalled address < signalled address
//! SSRC    after 3 s of silence a new source of any rank, if it goes on with the SSRC of the old one
//! ```
//! What is left: in plain RTP, someone inside the network who hits the window before the peer does, or
//! who hits it from the very host that was signalled, is believed until a better source speaks; and
//! someone who forges the addresses of the peer can stop media but not divert it. SRTP is the answer
//! to both.
//!
//! Three details keep forged packets from becoming a diversion. The SSRC that may return after silence
//! is the one that came with the lock; later ones of a plain source change nothing, or one forged
//! packet during a hold would plant the SSRC that the attacker then shows. When a better source with
//! another SSRC displaces a plain one, somebody was lying, and silence opens nothing any more. And
//! guesses at the SSRC are counted: a call on hold is silent for hours.

use crate::io::Endpoint;
use crate::limits::{LATCH_GUESSES_MAX, LATCH_SILENCE_NS, LATCH_STRAGGLERS_NS};

/// Addresses that share their first `prefix` bits, in the mapped form of [`Endpoint`]: an IPv4
/// network of 24 bits has a prefix of 120.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    pub ip: u128,
    pub prefix: u8,
}

impl Network {
    pub fn contains(self, endpoint: Endpoint) -> bool {
        let host_bits = 128u32.saturating_sub(u32::from(self.prefix));
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        (self.ip ^ endpoint.ip) & mask == 0
    }
}

/// Whether a source may be learned at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learning {
    /// Only the signalled address, exactly.
    Off,
    /// Plain RTP may be learned for `window_ns` after arming, and from `within` only.
    Learn { window_ns: u64, within: Option<Network> },
}

/// What a packet's source is, before the packet is looked into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Approach {
    /// Media comes from there.
    Expected,
    /// It may be learned: admit the packet, then ask [`Latch::confirm`]. RTCP that shares the port
    /// of RTP never moves a latch: there a candidate is refused.
    Candidate,
    Refused,
    /// No source is known, and none may be learned.
    Unset,
}

/// What an admitted packet did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Confirmed {
    Kept,
    /// [`Latch::source`] changed, or was heard for the first time.
    Learned,
    Refused,
}

/// The source of one port: what each packet touches first, of a plain flow within one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Latch {
    /// What the usual packet is compared with: the signalled address until another is learned.
    source: Option<Endpoint>,
    heard_ns: u64,
    /// How well the source was learned; `None` before its first packet.
    rank: Option<Rank>,
    secure: bool,
    wrong_guesses: u8,
    successor: Successor,
    anchor: Anchor,
    armed_ns: u64,
    learning: Learning,
    signalled: Option<Endpoint>,
    /// The source before signaling moved it.
    replaced: Option<Endpoint>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Rank {
    Replaced,
    Foreign,
    SameHost,
    Signalled,
}

/// Who may continue for a source that fell silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Successor {
    Nobody,
    WithSsrc(u32),
}

/// Where else than inside the network a candidate has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Anchor {
    Anywhere,
    Nowhere,
    At(u128),
}

impl Latch {
    /// Arms a latch. `secure`: what comes to [`Latch::confirm`] has been authenticated.
    pub fn new(
        signalled: Option<Endpoint>,
        learning: Learning,
        secure: bool,
        now_ns: u64,
    ) -> Latch {
        Latch {
            source: signalled,
            heard_ns: now_ns,
            rank: None,
            secure,
            wrong_guesses: 0,
            successor: Successor::Nobody,
            anchor: Anchor::Anywhere,
            armed_ns: now_ns,
            learning,
            signalled,
            replaced: None,
        }
    }

    /// States again what should be. The same statement changes nothing once the source was heard;
    /// before that it opens the window again, for a peer may send nothing until the call is
    /// answered. Another statement arms the latch afresh. The source so far stays a candidate of the lowest rank: while signaling did not name
    /// another address it goes on, and whoever else speaks now takes over.
    pub fn restate(
        &mut self,
        signalled: Option<Endpoint>,
        learning: Learning,
        secure: bool,
        now_ns: u64,
    ) {
        if (signalled, learning, secure) == (self.signalled, self.learning, self.secure) {
            if self.rank.is_none() {
                self.armed_ns = now_ns;
            }
            return;
        }
        let (before, anchor) = (self.source, self.anchor);
        let moved = signalled != self.signalled;
        *self =
            Latch { anchor, replaced: before, ..Latch::new(signalled, learning, secure, now_ns) };
        if let Some(before) = before
            && !moved
            && before != signalled.unwrap_or(before)
            && self.is_place(before)
        {
            self.source = Some(before);
            self.rank = Some(Rank::Replaced);
        }
    }

    /// Makes this the latch of the RTCP port beside `rtp`: it learns at the current address of the
    /// RTP only, any port. To be called after [`Latch::new`] and [`Latch::restate`] and whenever
    /// `rtp` has learned; when the address is another one than before, the latch is armed afresh.
    pub fn accompany(&mut self, rtp: &Latch, now_ns: u64) {
        let anchor = rtp.source.map_or(Anchor::Nowhere, |source| Anchor::At(source.ip));
        if anchor == self.anchor {
            return;
        }
        *self = Latch { anchor, ..Latch::new(self.signalled, self.learning, self.secure, now_ns) };
    }

    /// Judges the source of a packet that was not looked into yet. Changes nothing.
    pub fn check(&self, source: Endpoint, now_ns: u64) -> Approach {
        if self.source == Some(source) {
            return Approach::Expected;
        }
        if self.outranks(source, now_ns) || self.may_succeed(source, now_ns) {
            return Approach::Candidate;
        }
        match (self.source, self.is_open(now_ns)) {
            (None, false) => Approach::Unset,
            _ => Approach::Refused,
        }
    }

    /// Takes note of an admitted RTP packet, or of the sender of an admitted RTCP packet on a port
    /// of its own. In a secure flow it must have been authenticated, replays excluded.
    pub fn confirm(&mut self, source: Endpoint, ssrc: u32, now_ns: u64) -> Confirmed {
        if self.source == Some(source) && self.rank.is_some() {
            self.heard_ns = now_ns;
            self.wrong_guesses = 0;
            let carried_over =
                self.rank == Some(Rank::Replaced) && self.successor == Successor::Nobody;
            if self.secure || carried_over {
                self.successor = Successor::WithSsrc(ssrc);
            }
            return Confirmed::Kept;
        }
        if self.source == Some(source) || self.outranks(source, now_ns) {
            return self.settle(source, ssrc, now_ns);
        }
        if !self.may_succeed(source, now_ns) {
            return Confirmed::Refused;
        }
        if self.successor != Successor::WithSsrc(ssrc) {
            self.wrong_guesses = self.wrong_guesses.saturating_add(1);
            return Confirmed::Refused;
        }
        self.learn(source, now_ns);
        Confirmed::Learned
    }

    /// The source, if it was heard and is not one of the past.
    pub fn settled(&self) -> Option<Endpoint> {
        self.source.filter(|_| self.rank.is_some_and(|rank| rank > Rank::Replaced))
    }

    /// The source was heard at that time, by somebody else.
    pub fn heard(&mut self, at_ns: u64) {
        self.heard_ns = self.heard_ns.max(at_ns);
        self.wrong_guesses = 0;
    }

    /// Where media comes from now, and therefore where the opposite flow sends to.
    pub fn source(&self) -> Option<Endpoint> {
        self.source
    }

    /// The source, if it was learned from packets that came.
    pub fn learned(&self) -> Option<Endpoint> {
        match self.learning {
            Learning::Off => None,
            Learning::Learn { .. } => self.rank.and(self.source),
        }
    }

    fn settle(&mut self, source: Endpoint, ssrc: u32, now_ns: u64) -> Confirmed {
        let straggling = now_ns.saturating_sub(self.armed_ns) < LATCH_STRAGGLERS_NS;
        if self.rank(source) == Rank::Replaced && self.source.is_some() && straggling {
            // Still under way when signaling named another address: heard, but not followed.
            return Confirmed::Kept;
        }
        let agreed = self.rank.is_none() || self.successor == Successor::WithSsrc(ssrc);
        self.successor = match agreed || self.secure || self.rank == Some(Rank::Replaced) {
            true => Successor::WithSsrc(ssrc),
            false => Successor::Nobody,
        };
        self.learn(source, now_ns);
        Confirmed::Learned
    }

    fn learn(&mut self, source: Endpoint, now_ns: u64) {
        self.source = Some(source);
        self.rank = Some(self.rank(source));
        self.heard_ns = now_ns;
        self.wrong_guesses = 0;
    }

    /// It may be learned now, and is better than what was learned.
    fn outranks(&self, source: Endpoint, now_ns: u64) -> bool {
        self.is_open(now_ns) && self.is_place(source) && Some(self.rank(source)) > self.rank
    }

    /// The learned source is silent, and whoever shows its SSRC from there may continue for it.
    fn may_succeed(&self, source: Endpoint, now_ns: u64) -> bool {
        self.successor != Successor::Nobody
            && now_ns.saturating_sub(self.heard_ns) >= LATCH_SILENCE_NS
            && self.wrong_guesses < LATCH_GUESSES_MAX
            && self.is_place(source)
    }

    fn is_open(&self, now_ns: u64) -> bool {
        match self.learning {
            Learning::Off => false,
            Learning::Learn { window_ns, .. } => {
                self.secure || now_ns.saturating_sub(self.armed_ns) < window_ns
            }
        }
    }

    fn is_place(&self, source: Endpoint) -> bool {
        let Learning::Learn { within, .. } = self.learning else { return false };
        let anchored = match self.anchor {
            Anchor::Anywhere => true,
            Anchor::Nowhere => false,
            Anchor::At(ip) => source.ip == ip,
        };
        let inside = within.is_none_or(|network| network.contains(source));
        // Nothing can be sent to port 0.
        source.port != 0 && anchored && (inside || self.signalled == Some(source))
    }

    fn rank(&self, source: Endpoint) -> Rank {
        if self.signalled == Some(source) {
            Rank::Signalled
        } else if self.replaced == Some(source) {
            Rank::Replaced
        } else if self.signalled.is_some_and(|signalled| signalled.ip == source.ip) {
            Rank::SameHost
        } else {
            Rank::Foreign
        }
    }
}

#[cfg(test)]
mod tests;
