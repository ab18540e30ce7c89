//! Where the packets of a flow go: to the addresses that signaling stated, or to where the far side
//! is found to send from.
//!
//! ```text
//! stated by signaling            the peer has learned its source     goes to
//! an address                     no                                  the stated address
//! an address                     yes                                 the learned source
//! "await" (private address)      no                                  nowhere yet
//! "await"                        yes                                 the learned source
//! ```
//! The peer is the flow of the opposite direction: where its packets come from is where ours go
//! (symmetric RTP, RFC 4961; latching, RFC 7362).

use crate::io::Endpoint;
use crate::latch::Latch;
use crate::verdict::Kind;

/// Destinations of one flow, that of RTP first. By default nowhere.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Aim {
    pub rtp: Option<Endpoint>,
    pub rtcp: Option<Endpoint>,
    stated_rtp: Option<Endpoint>,
    stated_rtcp: Option<Endpoint>,
}

impl Aim {
    /// Takes what signaling states; [`Aim::follow`] has to be asked again.
    pub fn state(&mut self, rtp: Option<Endpoint>, rtcp: Option<Endpoint>) {
        *self = Aim { rtp, rtcp, stated_rtp: rtp, stated_rtcp: rtcp };
    }

    /// Takes account of what the peer has learned.
    pub fn follow(&mut self, peer_rtp: &Latch, peer_rtcp: &Latch) {
        let learned = peer_rtp.learned();
        self.rtp = learned.or(self.stated_rtp);
        // A host that is not where it said it is has no RTCP port there either: nothing is known
        // of it before it sends.
        let moved = learned
            .is_some_and(|learned| self.stated_rtp.is_none_or(|stated| stated.ip != learned.ip));
        self.rtcp = peer_rtcp.learned().or(if moved { None } else { self.stated_rtcp });
    }

    /// Where packets of `kind` go; `mux`: RTCP goes with RTP (RFC 5761).
    pub fn at(&self, kind: Kind, mux: bool) -> Option<Endpoint> {
        match kind {
            Kind::Rtcp if !mux => self.rtcp,
            Kind::Rtp | Kind::Rtcp | Kind::Udptl => self.rtp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latch::{Confirmed, Learning};

    fn endpoint(text: &str) -> Option<Endpoint> {
        text.parse::<std::net::SocketAddr>().ok().map(Endpoint::from)
    }

    fn latches(learning: Learning, heard: &str, heard_rtcp: &str) -> (Latch, Latch) {
        let mut rtp = Latch::new(endpoint("10.0.0.1:4000"), learning, false, 0);
        let mut rtcp = Latch::new(endpoint("10.0.0.1:4001"), learning, false, 0);
        if let Some(heard) = endpoint(heard) {
            assert_eq!(rtp.confirm(heard, 7, 1), Confirmed::Learned);
        }
        rtcp.accompany(&rtp, 1);
        if let Some(heard) = endpoint(heard_rtcp) {
            assert_eq!(rtcp.confirm(heard, 7, 1), Confirmed::Learned);
        }
        (rtp, rtcp)
    }

    #[test]
    fn media_goes_where_the_far_side_was_heard_else_where_it_was_stated() {
        let learn = Learning::Learn { window_ns: 1000, within: None };
        let stated = ("10.0.0.1:4000", "10.0.0.1:4001");
        let table = [
            (Learning::Off, "", "", stated, ("10.0.0.1:4000", "10.0.0.1:4001")),
            (learn, "", "", stated, ("10.0.0.1:4000", "10.0.0.1:4001")),
            (learn, "", "", ("", ""), ("", "")),
            (learn, "192.0.2.9:77", "", stated, ("192.0.2.9:77", "")),
            (learn, "192.0.2.9:77", "192.0.2.9:78", stated, ("192.0.2.9:77", "192.0.2.9:78")),
            (learn, "10.0.0.1:77", "", stated, ("10.0.0.1:77", "10.0.0.1:4001")),
            (learn, "192.0.2.9:77", "", ("", ""), ("192.0.2.9:77", "")),
        ];
        for (row, (learning, heard, heard_rtcp, stated, goes)) in table.into_iter().enumerate() {
            let (rtp, rtcp) = latches(learning, heard, heard_rtcp);
            let mut aim = Aim::default();
            aim.state(endpoint(stated.0), endpoint(stated.1));
            aim.follow(&rtp, &rtcp);
            assert_eq!((aim.rtp, aim.rtcp), (endpoint(goes.0), endpoint(goes.1)), "row {row}");
            assert_eq!(aim.at(Kind::Rtcp, true), aim.rtp);
            assert_eq!(aim.at(Kind::Rtcp, false), aim.rtcp);
        }
    }
}
