//! The RTP packet of flow F with number N: everything in it follows from the two, so that a
//! receiver can tell what it should have got.
//!
//! G.711 A-law of 20 ms is 160 octets of payload; other packet times scale it. SSRC and payload
//! name the flow, sequence number and payload name the packet.

use rtp::packet::RTP_HEADER_MIN;

/// What a flow sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Octets of voice in one packet: 8 for each millisecond.
    pub voice: usize,
    /// Every tenth packet belongs to a telephone-event (RFC 4733).
    pub events: bool,
}

/// The longest RTP packet that any shape makes.
pub const RTP_MAX: usize = RTP_HEADER_MIN + 8 * 60;

/// Writes packet `number` of `flow` and returns its length.
pub fn write(shape: Shape, flow: u32, number: u32, into: &mut [u8; RTP_MAX]) -> usize {
    let begun = number - number % EVENT_CYCLE + EVENT_CYCLE - EVENT_PACKETS;
    let event = shape.events && number >= begun;
    // All packets of an event bear the time at which it began (RFC 4733 §2.5.1.2).
    let spoken = if event { begun } else { number };
    let [t0, t1, t2, t3] = spoken.wrapping_mul(shape.voice as u32).to_be_bytes();
    let payload_type = if event { EVENT_TYPE } else { VOICE_TYPE };
    let [s0, s1] = sequence(number).to_be_bytes();
    let [a, b, c, d] = ssrc(flow).to_be_bytes();
    let header = [0x80, payload_type, s0, s1, t0, t1, t2, t3, a, b, c, d];
    into[..RTP_HEADER_MIN].copy_from_slice(&header);
    if event {
        let within = number - begun;
        let [d_hi, d_lo] = (((within + 1) * shape.voice as u32) as u16).to_be_bytes();
        let end = if within + 3 >= EVENT_PACKETS { 0x80 } else { 0 };
        let digit = (number / EVENT_CYCLE % 16) as u8;
        into[RTP_HEADER_MIN..RTP_HEADER_MIN + 4].copy_from_slice(&[digit, end | 10, d_hi, d_lo]);
        return RTP_HEADER_MIN + 4;
    }
    let len = (RTP_HEADER_MIN + shape.voice).min(RTP_MAX);
    if let Some(payload) = into.get_mut(RTP_HEADER_MIN..len) {
        fill(payload, flow, number);
    }
    len
}

/// SSRC of a flow.
pub fn ssrc(flow: u32) -> u32 {
    SSRC_BASE | flow
}

/// Sequence number on the wire of packet `number`.
pub fn sequence(number: u32) -> u16 {
    (FIRST_SEQUENCE + number) as u16
}

/// The number of the packet with this sequence number, nearest to `expected`.
pub fn number(sequence_on_wire: u16, expected: u32) -> Option<u32> {
    let step = sequence_on_wire.wrapping_sub(sequence(expected)).cast_signed();
    expected.checked_add_signed(step.into())
}

/// Flow, number, then octets that differ from flow to flow and packet to packet.
fn fill(payload: &mut [u8], flow: u32, number: u32) {
    let mut word = (u64::from(flow) << 32 | u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for chunk in payload.chunks_mut(8) {
        word ^= word >> 29;
        word = word.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        for (octet, from) in chunk.iter_mut().zip(word.to_be_bytes()) {
            *octet = from;
        }
    }
    for (octet, from) in
        payload.iter_mut().zip(flow.to_be_bytes().into_iter().chain(number.to_be_bytes()))
    {
        *octet = from;
    }
}

/// One event of 10 packets in 100: 200 ms of digit in 2 s.
const EVENT_CYCLE: u32 = 100;
const EVENT_PACKETS: u32 = 10;
/// PCMA (RFC 3551 §6) and the usual dynamic type of telephone-event.
const VOICE_TYPE: u8 = 8;
const EVENT_TYPE: u8 = 101;
const SSRC_BASE: u32 = 0x5000_0000;
/// Not 0, so that a device that starts counting anew shows.
const FIRST_SEQUENCE: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use rtp::packet::RtpPacket;

    const VOICE: Shape = Shape { voice: 160, events: false };

    #[test]
    fn packets_say_which_they_are() {
        let mut buffer = [0; RTP_MAX];
        let len = write(VOICE, 7, 70_000, &mut buffer);
        assert_eq!(len, 172);
        let packet = RtpPacket::parse(&buffer[..len]).unwrap();
        assert_eq!(packet.ssrc().0, 0x5000_0007);
        assert_eq!(number(packet.seq().0, 69_990), Some(70_000));
        assert_eq!(number(packet.seq().0, 70_010), Some(70_000));
        assert_eq!(packet.payload()[..8], [0, 0, 0, 7, 0, 1, 0x11, 0x70]);
        let mut other = [0; RTP_MAX];
        write(VOICE, 7, 70_001, &mut other);
        let same = buffer.iter().zip(&other).skip(20).filter(|(a, b)| a == b).count();
        assert!(same < 380, "payloads of two packets differ throughout");
        assert_eq!(number(sequence(0).wrapping_sub(1), 0), None, "before the first");
    }

    #[test]
    fn one_packet_in_ten_is_an_event_that_begins_and_ends() {
        let shape = Shape { voice: 160, events: true };
        let mut buffer = [0; RTP_MAX];
        let mut events = Vec::new();
        for number in 0..200 {
            let len = write(shape, 1, number, &mut buffer);
            let packet = RtpPacket::parse(&buffer[..len]).unwrap();
            if packet.payload_type().value() == EVENT_TYPE {
                let payload: [u8; 4] = packet.payload().try_into().unwrap();
                events.push((number, packet.timestamp(), payload));
            }
        }
        assert_eq!(events.len(), 20);
        assert!(events[..10].iter().all(|(_, timestamp, _)| *timestamp == 90 * 160));
        let ends: Vec<_> = events.iter().filter(|e| e.2[1] & 0x80 != 0).map(|e| e.0).collect();
        assert_eq!(ends, [97, 98, 99, 197, 198, 199]);
        assert_eq!(events[10].2[0], 1, "the second digit");
        assert_eq!(events[9].2[2..], 1600_u16.to_be_bytes());
    }
}
