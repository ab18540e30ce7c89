//! On the packet path there are no errors: each packet ends in exactly one verdict, and each
//! verdict is one exported counter.

use abi::Counter;

/// What a packet is, once classified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Rtp,
    Rtcp,
    /// A T.38 datagram over UDPTL, which is not read.
    Udptl,
}

/// The end of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    RelayedRtp,
    RelayedRtcp,
    RelayedUdptl,
    /// Shorter than the fixed header of its protocol.
    Runt,
    /// Not RTP or RTCP, or not the one that this port carries.
    NotRtp,
    /// A header that does not hold together.
    Malformed,
    /// From an address or port that was not signalled.
    OffPath,
    /// For a flow that was closed meanwhile.
    NoFlow,
    /// Source, destination or peer are not known yet.
    NotReady,
    /// Another source has the stream: an announcement or digit of ours, or a newer SSRC.
    Superseded,
    /// Signaling holds this direction.
    Direction,
    Authentication,
    Replay,
    /// More sources than one key serves.
    SsrcLimit,
    /// Sealing it would use a key stream twice.
    IndexReused,
    KeyExhausted,
    /// Longer than media can be.
    Oversize,
    /// The kernel refused to send it.
    SendFailed,
}

impl Verdict {
    pub const ALL: [Verdict; 18] = [
        Verdict::RelayedRtp,
        Verdict::RelayedRtcp,
        Verdict::RelayedUdptl,
        Verdict::Runt,
        Verdict::NotRtp,
        Verdict::Malformed,
        Verdict::OffPath,
        Verdict::NoFlow,
        Verdict::NotReady,
        Verdict::Superseded,
        Verdict::Direction,
        Verdict::Authentication,
        Verdict::Replay,
        Verdict::SsrcLimit,
        Verdict::IndexReused,
        Verdict::KeyExhausted,
        Verdict::Oversize,
        Verdict::SendFailed,
    ];

    pub fn relayed(kind: Kind) -> Verdict {
        match kind {
            Kind::Rtp => Verdict::RelayedRtp,
            Kind::Rtcp => Verdict::RelayedRtcp,
            Kind::Udptl => Verdict::RelayedUdptl,
        }
    }

    /// The counter that exports this verdict.
    pub fn counter(self) -> Counter {
        match self {
            Verdict::RelayedRtp => Counter::RelayedRtp,
            Verdict::RelayedRtcp => Counter::RelayedRtcp,
            Verdict::RelayedUdptl => Counter::RelayedUdptl,
            Verdict::Runt => Counter::DropRunt,
            Verdict::NotRtp => Counter::DropNotRtp,
            Verdict::Malformed => Counter::DropMalformed,
            Verdict::OffPath => Counter::DropOffPath,
            Verdict::NoFlow => Counter::DropNoFlow,
            Verdict::NotReady => Counter::DropNotReady,
            Verdict::Superseded => Counter::DropSuperseded,
            Verdict::Direction => Counter::DropDirection,
            Verdict::Authentication => Counter::DropAuthentication,
            Verdict::Replay => Counter::DropReplay,
            Verdict::SsrcLimit => Counter::DropSsrcLimit,
            Verdict::IndexReused => Counter::DropIndexReused,
            Verdict::KeyExhausted => Counter::DropKeyExhausted,
            Verdict::Oversize => Counter::DropOversize,
            Verdict::SendFailed => Counter::DropSendFailed,
        }
    }
}
