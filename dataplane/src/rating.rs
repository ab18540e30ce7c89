//! The listening quality of what arrives on a flow, as one number: the E-model's estimate over the
//! last seconds (ITU-T G.107), from loss and round-trip time.

use abi::Codec;

use crate::emodel;
use crate::limits::RATING_NS;
use crate::quality::Quality;

/// The rating of one flow, renewed every [`RATING_NS`] while media comes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Rating {
    mos_x100: u32,
    due_ns: u64,
}

impl Rating {
    /// MOS times 100, 100 to 450; 0 while there is none.
    pub fn mos_x100(&self) -> u32 {
        self.mos_x100
    }

    /// Judges the interval since the last judgement, if it is over and had media. A codec that is
    /// not known is judged as G.711.
    pub fn judge(&mut self, quality: &mut Quality, codec: Option<Codec>, rtt_us: u32, now_ns: u64) {
        if self.due_ns == 0 {
            self.due_ns = now_ns.saturating_add(RATING_NS);
        }
        if now_ns < self.due_ns {
            return;
        }
        self.due_ns = now_ns.saturating_add(RATING_NS);
        let interval = quality.take_interval();
        if interval.expected == 0 {
            return;
        }
        let one_way_ms = f64::from(rtt_us) / 2000.0 + TERMINAL_MS;
        let codec = codec.unwrap_or(Codec::Pcma);
        let (loss, burst) = (interval.loss_ratio(), interval.burst_ratio);
        self.mos_x100 = emodel::mos_x100(codec, loss, burst, one_way_ms);
    }
}

/// Delay of the terminals, in milliseconds: a packet of 20 ms and a jitter buffer of two.
const TERMINAL_MS: f64 = 60.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::Seen;

    const PACKET_NS: u64 = 20_000_000;

    /// Six seconds of media from `start_ns` of which every `lost_of`th packet is lost.
    fn hear(quality: &mut Quality, start_ns: u64, lost_of: u64) -> u64 {
        let mut now_ns = start_ns;
        for n in 0..300 {
            now_ns += PACKET_NS;
            if n % lost_of != lost_of - 1 {
                let seq = (start_ns / PACKET_NS + n) as u16;
                let timestamp = u32::from(seq) * 160;
                quality.note(Seen { ssrc: 1, seq, timestamp, payload_type: 8 }, now_ns);
            }
        }
        now_ns
    }

    #[test]
    fn each_interval_is_rated_by_itself() {
        let (mut quality, mut rating) = (Quality::default(), Rating::default());
        rating.judge(&mut quality, None, 0, 1);
        assert_eq!(rating.mos_x100(), 0, "nothing was heard");
        let now_ns = hear(&mut quality, 0, 1000);
        rating.judge(&mut quality, Some(Codec::Pcmu), 0, now_ns);
        let good = rating.mos_x100();
        assert!(good > 430, "{good}");
        let now_ns = hear(&mut quality, now_ns, 10);
        rating.judge(&mut quality, Some(Codec::Pcmu), 0, now_ns);
        let lossy = rating.mos_x100();
        assert!(lossy + 30 < good, "{lossy}");
        let now_ns = hear(&mut quality, now_ns, 1000);
        rating.judge(&mut quality, Some(Codec::Pcmu), 400_000, now_ns);
        let late = rating.mos_x100();
        assert!(lossy < late && late < good, "{late}: a fifth of a second more delay");
        rating.judge(&mut quality, None, 0, now_ns + 6_000_000_000);
        assert_eq!(rating.mos_x100(), late, "silence is not rated");
    }
}
