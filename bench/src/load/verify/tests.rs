use super::*;
use crate::load::frame::HEADERS;
use crate::load::script::Script;
use bench::media::SrtpKey;

const VOICE: Shape = Shape { voice: 160, events: false };
const PACKETS: usize = 320;

/// Two flows; the second is not sampled.
fn flows(key: Option<&SrtpKey>) -> Vec<Flow> {
    let at = |host: u8, port: u16| SocketAddrV4::new([10, 77, host, 1].into(), port);
    (0..2)
        .map(|n| Flow {
            from: at(0, 40_000 + 2 * n),
            to: at(2, 10_000 + 2 * n),
            arrives_at: at(2, 10_000 + 2 * n),
            arrives_from: at(0, 40_000 + 2 * n),
            sends: key.cloned(),
            receives: key.cloned(),
        })
        .collect()
}

struct Bed {
    script: Script,
    verifier: Verifier,
}

impl Bed {
    fn new(key: Option<&SrtpKey>) -> Bed {
        let flows = flows(key);
        Bed {
            script: Script::prepare(&flows, VOICE, ([1; 6], [2; 6]), PACKETS).unwrap(),
            verifier: Verifier::new(&flows, VOICE, PACKETS, 20..300, true).unwrap(),
        }
    }

    /// Every frame was sent at 1 ms times its ordinal, and `n` came 100 us later.
    fn arrive(&mut self, n: usize, change: impl FnOnce(&mut Vec<u8>)) -> Counts {
        let mut frame = self.script.frame(n).unwrap().to_vec();
        change(&mut frame);
        let sent_at = |n: usize| if n < PACKETS { 1_000_000 * (n as u64 + 1) } else { 0 };
        self.verifier.take(&frame, sent_at(n) + 100_000, sent_at);
        self.verifier.counts()
    }
}

#[test]
fn what_came_as_sent_is_delivered_and_timed() {
    let mut bed = Bed::new(None);
    for n in 0..PACKETS {
        bed.arrive(n, |_| {});
    }
    let expected = Counts { delivered: 280, checked: 160, ..Counts::default() };
    assert_eq!(bed.verifier.counts(), expected, "280 in the window, every second flow sampled");
    let delay = bed.verifier.delay();
    assert!((99.0..101.0).contains(&delay.p50) && (99.0..101.0).contains(&delay.max), "{delay:?}");
    assert_eq!(bed.verifier.delay_curve(&[0.5]).len(), 1);
}

#[test]
fn every_fault_has_its_count() {
    let mut bed = Bed::new(None);
    bed.arrive(40, |_| {});
    assert_eq!(bed.arrive(40, |_| {}).duplicates, 1);
    bed.arrive(44, |_| {});
    assert_eq!(bed.arrive(42, |_| {}).reordered, 1);
    assert_eq!(bed.arrive(46, |frame| frame[HEADERS + 100] ^= 1).corrupted, 1, "payload");
    assert_eq!(bed.arrive(46, |frame| frame[HEADERS + 5] ^= 1).corrupted, 2, "timestamp");
    assert_eq!(bed.arrive(46, |frame| frame[HEADERS + 11] ^= 1).misdelivered, 1, "SSRC");
    assert_eq!(bed.arrive(46, |frame| frame[35] ^= 2).misdelivered, 2, "source port");
    assert_eq!(bed.arrive(46, |frame| frame[37] ^= 1).strangers, 1, "nobody's port");
    let late = bed.arrive(46, |frame| frame[HEADERS + 2] ^= 0x40);
    assert_eq!(late.corrupted, 3, "a sequence number that was never sent");
    let cut = bed.arrive(46, |frame| {
        frame.truncate(HEADERS + 10);
        frame[17] = 38;
        frame[39] = 18;
    });
    assert_eq!(cut.corrupted, 4, "no RTP header");
    assert_eq!(bed.arrive(46, |_| {}).delivered, 4, "and the packet itself still counts");
}

#[test]
fn secure_packets_are_decrypted_with_the_agreed_key() {
    let key = SrtpKey::fresh(Suite::AesCm128HmacSha1_80).unwrap();
    let mut bed = Bed::new(Some(&key));
    for n in 20..60 {
        bed.arrive(n, |_| {});
    }
    let counts = bed.verifier.counts();
    assert_eq!((counts.delivered, counts.checked), (40, 20));
    assert_eq!(bed.arrive(60, |frame| frame[HEADERS + 100] ^= 1).unauthentic, 1);
    let plain = bed.arrive(60, |frame| {
        let mut packet = [0; RTP_MAX];
        let len = packet::write(VOICE, 0, 30, &mut packet);
        frame.truncate(HEADERS);
        frame.extend_from_slice(&packet[..len]);
        let udp = (len as u16 + 8).to_be_bytes();
        frame[38..40].copy_from_slice(&udp);
        frame[16..18].copy_from_slice(&(len as u16 + 28).to_be_bytes());
    });
    assert_eq!(plain.unauthentic, 2, "a packet that was not protected");
    let other = SrtpKey::fresh(Suite::AesCm128HmacSha1_80).unwrap();
    let mut wrong = flows(Some(&key));
    wrong[0].receives = Some(other);
    bed.verifier = Verifier::new(&wrong, VOICE, PACKETS, 20..300, true).unwrap();
    assert_eq!(bed.arrive(60, |_| {}).unauthentic, 1, "another key");
    assert_eq!(bed.arrive(61, |_| {}).delivered, 1, "the flow that is not sampled");
    assert_eq!(bed.arrive(63, |frame| frame[HEADERS] = 0).delivered, 2, "nor looked into");
}

#[test]
fn no_frame_breaks_the_verifier() {
    let mut bed = Bed::new(None);
    let whole = bed.script.frame(0).unwrap().len();
    for len in 0..whole {
        bed.arrive(0, |frame| frame.truncate(len));
    }
    assert_eq!(bed.verifier.counts().delivered, 0);
    for at in 0..HEADERS + 12 {
        for value in [0, 0x7f, 0xff] {
            bed.arrive(0, |frame| frame[at] = value);
        }
    }
}
