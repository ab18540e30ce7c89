//! RTCP on its way: what the far side reports is noted, and the packets are translated where RTP
//! was renumbered (RFC 3550 §7).

use rtp::rtcp::{RtcpCompound, RtcpPacket, Translation, translate};

use super::Passage;
use crate::admit::Admitted;
use crate::flow::Flow;
use crate::io::Port;
use crate::latch::Confirmed;
use crate::verdict::Verdict;

/// An admitted RTCP packet. `reported`: how the packets that it may report on were renumbered.
pub(super) fn examine(
    flow: &mut Flow,
    admitted: &mut Admitted<'_>,
    passage: &mut Passage<'_>,
    reported: Option<Translation>,
) -> Result<(), Verdict> {
    let now_ns = passage.now_ns;
    let compound = RtcpCompound::parse(admitted.bytes()).map_err(|_| Verdict::Malformed)?;
    if passage.arrival.socket.port == Port::Rtcp {
        let sender = compound.sender_ssrc().0;
        match flow.source_rtcp.confirm(passage.arrival.source, sender, now_ns) {
            Confirmed::Kept => {}
            Confirmed::Learned => passage.news.learned_rtcp = true,
            Confirmed::Refused => return Err(Verdict::OffPath),
        }
    }
    flow.accepted(passage.arrival.len, now_ns);
    for packet in &compound {
        match packet {
            RtcpPacket::SenderReport(report) => {
                passage.news.report_sent = Some((report.info.ntp >> 16) as u32);
                report.blocks().for_each(|block| flow.far.note_report(&block, now_ns));
            }
            RtcpPacket::ReceiverReport(report) => {
                report.blocks().for_each(|block| flow.far.note_report(&block, now_ns));
            }
            _ => {}
        }
    }
    let sent = flow.continuity.translation();
    if sent.is_some() || reported.is_some() {
        let translated = translate(admitted.bytes_mut(), sent.as_ref(), reported.as_ref());
        translated.map_err(|_| Verdict::Malformed)?;
    }
    Ok(())
}
