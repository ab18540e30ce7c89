//! What a flow listens for in what arrives: digits, as telephone events or as tones, told to
//! signaling once each. Most flows listen for nothing and pay one comparison.

use abi::{Codec, Format, Heard, TelephoneEvent, Update};
use rtp::packet::RtpPacket;

use crate::dtmf::digit::Digit;
use crate::dtmf::events::EventDetector;
use crate::dtmf::tones::ToneDetector;
use crate::g711::Law;

/// The ears of one flow.
#[derive(Default)]
pub struct Hearing {
    events: Option<Events>,
    /// Made when it is asked for, not on the packet path.
    tones: Option<Box<Tones>>,
}

struct Events {
    format: TelephoneEvent,
    detector: EventDetector,
}

struct Tones {
    payload_type: u8,
    law: Law,
    detector: ToneDetector,
}

impl Hearing {
    /// Listens from now on for what `update` asks; what was being heard goes on where it is the
    /// same.
    pub fn state(&mut self, update: &Update) {
        let events = update.events_received.filter(|_| update.report_digits);
        if self.events.as_ref().map(|events| events.format) != events {
            let detector = EventDetector::default();
            self.events = events.map(|format| Events { format, detector });
        }
        let tones = update.received.filter(|_| update.detect_tones).and_then(audible);
        if self.tones.as_ref().map(|tones| (tones.payload_type, tones.law)) != tones {
            self.tones = tones.map(|(payload_type, law)| {
                Box::new(Tones { payload_type, law, detector: ToneDetector::new() })
            });
        }
    }

    /// Whether packets have to be shown.
    pub fn is_on(&self) -> bool {
        self.events.is_some() || self.tones.is_some()
    }

    /// Whether tones are listened for in the voice itself.
    pub fn hears_tones(&self) -> bool {
        self.tones.is_some()
    }

    /// Whether packets of this type are events that are listened to.
    pub fn takes(&self, payload_type: u8) -> bool {
        self.events.as_ref().is_some_and(|events| events.format.payload_type == payload_type)
    }

    /// Listens to an admitted packet.
    pub fn hear(&mut self, packet: &RtpPacket<'_>, now_ns: u64) -> Option<(Digit, Heard)> {
        let payload_type = packet.payload_type().value();
        let (timestamp, payload) = (packet.timestamp(), packet.payload());
        if let Some(Events { format, detector }) = &mut self.events
            && format.payload_type == payload_type
        {
            let digit = detector.note(timestamp, payload, format.rate_hz, now_ns);
            return digit.map(|digit| (digit, Heard::Event));
        }
        let tones = self.tones.as_mut().filter(|tones| tones.payload_type == payload_type)?;
        let digit = tones.detector.note(tones.law, timestamp, payload, now_ns);
        self.alone(digit, now_ns)
    }

    /// A digit whose end was lost, or that waited for its turn. To be called every 100 ms or so.
    pub fn expire(&mut self, now_ns: u64) -> Option<(Digit, Heard)> {
        let event = self.events.as_mut().and_then(|events| events.detector.expire(now_ns));
        if let Some(digit) = event {
            return Some((digit, Heard::Event));
        }
        let digit = self.tones.as_mut()?.detector.expire(now_ns);
        self.alone(digit, now_ns)
    }

    /// A tone that is not the leaking beginning of an event.
    fn alone(&self, tone: Option<Digit>, now_ns: u64) -> Option<(Digit, Heard)> {
        let known = |digit: &Digit| {
            let events = self.events.as_ref();
            events.is_some_and(|events| events.detector.is_recent(digit.code, now_ns))
        };
        tone.filter(|digit| !known(digit)).map(|digit| (digit, Heard::Tone))
    }
}

/// The payload type and law in which tones can be heard.
fn audible(format: Format) -> Option<(u8, Law)> {
    match format.codec {
        Codec::Pcmu => Some((format.payload_type, Law::Mu)),
        Codec::Pcma => Some((format.payload_type, Law::A)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtmf::{DigitCode, ToneSender};
    use abi::FlowId;

    const FLOW: FlowId = FlowId { index: 0, generation: 1 };

    fn packet(payload_type: u8, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, payload_type, 0, 1];
        packet.extend(timestamp.to_be_bytes());
        packet.extend([0, 0, 0, 9]);
        packet.extend(payload);
        packet
    }

    fn hear(hearing: &mut Hearing, packet: &[u8]) -> Option<(u8, Heard)> {
        let heard = hearing.hear(&RtpPacket::parse(packet).unwrap(), 0);
        heard.map(|(digit, how)| (digit.code.value(), how))
    }

    fn listening() -> Update {
        Update {
            report_digits: true,
            detect_tones: true,
            events_received: Some(TelephoneEvent { payload_type: 101, rate_hz: 8000 }),
            received: Some(Format {
                codec: Codec::Pcma,
                payload_type: 8,
                rate_hz: 8000,
                ptime_ms: 20,
            }),
            ..Update::new(1, FLOW)
        }
    }

    #[test]
    fn nothing_is_listened_to_unless_asked() {
        let mut hearing = Hearing::default();
        let silent = Update { report_digits: false, detect_tones: false, ..listening() };
        hearing.state(&silent);
        assert!(!hearing.is_on());
        hearing.state(&listening());
        assert!(hearing.is_on());
        hearing.state(&silent);
        assert!(!hearing.is_on());
    }

    #[test]
    fn an_event_is_told_once_and_only_from_its_payload_type() {
        let mut hearing = Hearing::default();
        hearing.state(&listening());
        let end = [5, 0x8A, 0x03, 0x20];
        assert_eq!(hear(&mut hearing, &packet(96, 1000, &end)), None, "another payload type");
        assert_eq!(hear(&mut hearing, &packet(101, 1000, &end)), Some((5, Heard::Event)));
        hearing.state(&listening());
        assert_eq!(hear(&mut hearing, &packet(101, 1000, &end)), None, "the same, repeated");
    }

    /// A key that is pressed for 200 ms and whose first 60 ms were sent as audio too.
    #[test]
    fn the_tone_of_an_event_is_not_another_digit() {
        const MS: u64 = 1_000_000;
        for (leaking, expected) in [('5', Heard::Event), ('6', Heard::Tone)] {
            let mut hearing = Hearing::default();
            hearing.state(&listening());
            let code = DigitCode::of_char(leaking).unwrap();
            let mut tone = ToneSender::new(code, 60, Law::A);
            let mut told = Vec::new();
            for slot in 0..20_u32 {
                let now_ns = u64::from(slot) * 20 * MS;
                let mut audio = [0; 160];
                tone.write(&mut audio);
                let audio = packet(8, slot * 160, &audio);
                told.extend(hearing.hear(&RtpPacket::parse(&audio).unwrap(), now_ns));
                if (1..=10).contains(&slot) {
                    let flags = if slot == 10 { 0x8A } else { 0x0A };
                    let event = packet(101, 160, &[5, flags, 0, slot as u8]);
                    told.extend(hearing.hear(&RtpPacket::parse(&event).unwrap(), now_ns));
                }
                told.extend(hearing.expire(now_ns));
            }
            let of_event = told.iter().filter(|(_, heard)| *heard == Heard::Event).count();
            assert_eq!((told[0].1, of_event), (expected, 1), "{told:?}");
            assert_eq!(told.len(), if leaking == '5' { 1 } else { 2 }, "{told:?}");
        }
    }
}
