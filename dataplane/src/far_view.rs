//! How the far side of a leg receives what we send it, by its own account: the report blocks of the
//! RTCP that it sends us (RFC 3550 §6.4.1).
//!
//! The round trip between us and it comes from the sender reports that we relay to it: a report block
//! names the last one it had and for how long it had it (RFC 3550 §6.4.1, DLSR):
//!
//! ```text
//! we     --- SR (NTP 7) --> t0                     t3 <-- RR (LSR 7, DLSR t2 - t1) ---
//! far side                      t1 ........... t2                    RTT = t3 - t0 - DLSR
//! ```
//! So it needs no clock but ours, and a relayed report serves as well as one of our own: only the
//! moment counts at which it left. A report block may name an older SR than our last (they crossed, or
//! one was lost); therefore the last few are kept.
//!
//! A report is a claim of the far side. Numbers that cannot be are left out; the others are shown and
//! decide nothing.

use rtp::rtcp::ReportBlock;

use crate::limits::{CLOCK_SLACK_NS, RTT_MAX_NS};

/// What one far side reports.
#[derive(Clone, Copy, Default, Debug)]
pub struct FarView {
    /// The last SRs that went there, the latest first: NTP middle bits (0: none), when they left.
    relayed: [(u32, u64); SRS_KEPT],
    rtt_ns: Option<u64>,
    report: Option<ReportBlock>,
}

impl FarView {
    /// An SR whose NTP time has these middle 32 bits left for the far side.
    pub fn note_sr_relayed(&mut self, ntp_middle: u32, now_ns: u64) {
        self.relayed.rotate_right(1);
        if let Some(latest) = self.relayed.first_mut() {
            *latest = (ntp_middle, now_ns);
        }
    }

    /// The far side reported on what we send it.
    pub fn note_report(&mut self, report: &ReportBlock, now_ns: u64) {
        self.report = Some(*report);
        let known =
            |(ntp_middle, _): &&(u32, u64)| report.last_sr != 0 && *ntp_middle == report.last_sr;
        let Some((_, left_ns)) = self.relayed.iter().find(known) else { return };
        let held_ns = (u64::from(report.delay_since_last_sr) * SECOND_NS) >> 16;
        let elapsed_ns = now_ns.saturating_sub(*left_ns);
        // On a short path the rounding of DLSR may exceed the round trip.
        if held_ns <= elapsed_ns.saturating_add(CLOCK_SLACK_NS) {
            let rtt_ns = elapsed_ns.saturating_sub(held_ns);
            self.rtt_ns = Some(rtt_ns).filter(|rtt_ns| *rtt_ns <= RTT_MAX_NS).or(self.rtt_ns);
        }
    }

    /// The latest round trip between us and the far side, in microseconds.
    pub fn rtt_us(&self) -> Option<u32> {
        self.rtt_ns.and_then(|rtt_ns| u32::try_from(rtt_ns / 1_000).ok())
    }

    /// Packets that it did not receive, since the beginning.
    pub fn lost(&self) -> Option<u32> {
        self.report.map(|report| report.cumulative_lost.max(0).unsigned_abs())
    }

    /// Interarrival jitter in timestamp units.
    pub fn jitter(&self) -> Option<u32> {
        self.report.map(|report| report.jitter)
    }
}

const SECOND_NS: u64 = 1_000_000_000;
/// Sender reports that a report block may refer to: both sides report about every 5 s, so four
/// bridge three lost ones.
const SRS_KEPT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn report(last_sr: u32, held_ms: u64) -> ReportBlock {
        ReportBlock {
            ssrc: rtp::packet::Ssrc(7),
            highest_seq: 0,
            fraction_lost: 64,
            cumulative_lost: 12,
            jitter: 40,
            last_sr,
            delay_since_last_sr: ((held_ms << 16) / 1000) as u32,
        }
    }

    #[test]
    fn a_report_tells_what_it_tells() {
        let mut view = FarView::default();
        assert_eq!((view.rtt_us(), view.lost(), view.jitter()), (None, None, None));
        view.note_report(&report(0, 0), 5);
        assert_eq!((view.rtt_us(), view.lost(), view.jitter()), (None, Some(12), Some(40)));
        view.note_report(&ReportBlock { cumulative_lost: -3, ..report(0, 0) }, 5);
        assert_eq!(view.lost(), Some(0), "more duplicates than losses");
    }

    /// RFC 3550 §6.4.1, Figure 2: an SR at 0xb44db705 (NTP 46853.125 s), held for 5.250 s, answered
    /// by a report that comes at 46864.500 s: a round trip of 6.125 s.
    #[test]
    fn the_round_trip_of_the_rfc() {
        let ns = |seconds: f64| (seconds * 1e9) as u64;
        let mut view = FarView::default();
        view.note_sr_relayed(0xb705_2000, ns(46853.125));
        let block = ReportBlock { delay_since_last_sr: 0x0005_4000, ..report(0xb705_2000, 0) };
        view.note_report(&block, ns(46864.5));
        assert_eq!(view.rtt_us(), Some(6_125_000));
    }

    #[test]
    fn the_sr_that_a_report_means_is_found() {
        let mut view = FarView::default();
        for (ntp_middle, at) in [(10, 100 * MS), (11, 5_100 * MS), (12, 10_100 * MS)] {
            view.note_sr_relayed(ntp_middle, at);
        }
        view.note_report(&report(11, 5_000), 10_150 * MS);
        assert!(view.rtt_us().unwrap().abs_diff(50_000) < 20);
        view.note_sr_relayed(13, 15_100 * MS);
        view.note_sr_relayed(14, 20_100 * MS);
        // The first one is forgotten: the report counts, the round trip stays.
        view.note_report(&report(10, 20_100), 20_600 * MS);
        assert!(view.rtt_us().unwrap().abs_diff(50_000) < 20);
        view.note_report(&report(99, 0), 20_600 * MS);
        assert!(view.rtt_us().unwrap().abs_diff(50_000) < 20, "an SR that never was");
    }

    #[test]
    fn round_trips_that_cannot_be_are_left_out() {
        let mut view = FarView::default();
        view.note_sr_relayed(7, 0);
        view.note_report(&report(7, 2_000), 1_000 * MS);
        assert_eq!(view.rtt_us(), None, "held for longer than it was away");
        view.note_report(&report(7, 0), RTT_MAX_NS + 1);
        assert_eq!(view.rtt_us(), None);
        view.note_report(&report(7, 1_000), 1_000 * MS - CLOCK_SLACK_NS / 2);
        assert_eq!(view.rtt_us(), Some(0), "rounding on a short path");
        view.note_report(&report(7, 0), RTT_MAX_NS);
        assert_eq!(view.rtt_us(), Some((RTT_MAX_NS / 1000) as u32));
    }

    #[test]
    fn zero_means_no_sr() {
        let mut view = FarView::default();
        view.note_report(&report(0, 0), 9);
        assert_eq!(view.rtt_us(), None, "the empty places are not SRs");
    }

    proptest::proptest! {
        #[test]
        fn any_report_is_harmless(
            events in proptest::collection::vec(
                (0..2u8, 0..4u32, 0..=u32::MAX, i32::MIN..=i32::MAX, 0..=u64::MAX), 0..100)
        ) {
            let mut view = FarView::default();
            for (kind, ntp, number, lost, now_ns) in events {
                if kind == 0 {
                    view.note_sr_relayed(ntp, now_ns);
                } else {
                    let block = ReportBlock {
                        ssrc: rtp::packet::Ssrc(7),
                        highest_seq: number,
                        fraction_lost: number as u8,
                        cumulative_lost: lost,
                        jitter: number,
                        last_sr: ntp,
                        delay_since_last_sr: number,
                    };
                    view.note_report(&block, now_ns);
                }
                assert!(view.rtt_us().is_none_or(|rtt| u64::from(rtt) * 1000 <= RTT_MAX_NS));
                let _ = (view.lost(), view.jitter());
            }
        }
    }
}
