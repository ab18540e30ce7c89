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
    let sender = compound.sender_ssrc();
    if passage.arrival.socket.port == Port::Rtcp {
        match flow.source_rtcp.confirm(passage.arrival.source, sender.0, now_ns) {
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
    let renamed = sent.filter(|sent| sent.from_ssrc == sender).map_or(sender, |sent| sent.to_ssrc);
    // A key serves few sources, and whoever knows the addresses of a plain side can invent more.
    if flow.egress.is_secure() && flow.continuity.ssrc().is_some_and(|ssrc| ssrc != renamed) {
        return Err(Verdict::Superseded);
    }
    if sent.is_some() || reported.is_some() {
        let translated = translate(admitted.bytes_mut(), sent.as_ref(), reported.as_ref());
        translated.map_err(|_| Verdict::Malformed)?;
    }
    Ok(())
}
