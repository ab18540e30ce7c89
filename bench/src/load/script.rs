//! Every frame of a run, in memory before it begins.
//!
//! ```text
//! ordinal n = number * flows + flow     one frame each, STRIDE octets apart, sent in this order
//!   number 0: flow 0, flow 1, ... | number 1: flow 0, flow 1, ... | ...
//! ```
//! Consecutive packets belong to different calls, as on a trunk. SRTP is computed here with the
//! `rtp` crate, which has its own comparison with libsrtp; during the run nothing is computed.

use std::net::SocketAddrV4;

use bench::media::SrtpKey;
use rtp::srtp::{Protect, Suite};

use super::frame::{self, HEADERS, Mac};
use super::packet::{self, RTP_MAX, Shape};
use crate::fault::Fault;

/// One direction of one call.
#[derive(Clone)]
pub struct Flow {
    /// The far end that sends, and where at the device it sends to.
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    /// The far end that receives, and from where at the device.
    pub arrives_at: SocketAddrV4,
    pub arrives_from: SocketAddrV4,
    /// What the sender protects with, and what the receiver must unprotect with.
    pub sends: Option<SrtpKey>,
    pub receives: Option<SrtpKey>,
}

/// The frames of a run.
pub struct Script {
    frames: Vec<u8>,
    lengths: Vec<u16>,
    flows: u32,
}

impl Script {
    /// Prepares `packets` frames, the flows taking turns. `macs` are those of sender and device.
    ///
    /// # Errors
    /// When they do not fit [`MEMORY_MAX`], or a key is unfit for its suite.
    pub fn prepare(
        flows: &[Flow],
        shape: Shape,
        macs: (Mac, Mac),
        packets: usize,
    ) -> Result<Script, Fault> {
        let memory = packets.saturating_mul(STRIDE);
        if memory > MEMORY_MAX {
            return Err(Fault::new(
                format!("{packets} prepared packets take {} MiB", memory >> 20),
                format!("keep --pps times --seconds below {}", MEMORY_MAX / STRIDE),
            ));
        }
        let mut protect = Vec::new();
        for flow in flows {
            let master = flow.sends.as_ref().map(|key| key.master().ok_or_else(unfit));
            protect.push(master.transpose()?.map(|master| Protect::new(&master)));
        }
        let mut script = Script {
            frames: vec![0; memory],
            lengths: Vec::with_capacity(packets),
            flows: flows.len() as u32,
        };
        let mut packet = [0; RTP_MAX + Suite::OVERHEAD_MAX];
        for (n, frame) in script.frames.chunks_exact_mut(STRIDE).enumerate() {
            let (number, index) = (n / flows.len(), n % flows.len());
            let (Some(flow), Some(protect)) = (flows.get(index), protect.get_mut(index)) else {
                continue;
            };
            let plain = packet.first_chunk_mut().ok_or_else(unfit)?;
            let mut len = packet::write(shape, index as u32, number as u32, plain);
            if let Some(protect) = protect {
                len = protect.rtp(&mut packet, len).map_err(|error| {
                    Fault::new(format!("packet {number} of flow {index}: {error}"), "")
                })?;
            }
            let (head, body) = frame.split_at_mut(HEADERS);
            head.copy_from_slice(&frame::headers(macs, flow.from, flow.to, len as u16));
            let (Some(body), Some(packet)) = (body.get_mut(..len), packet.get(..len)) else {
                return Err(Fault::new(
                    "the packet is longer than a frame",
                    "keep --ptime at 20 or below",
                ));
            };
            body.copy_from_slice(packet);
            script.lengths.push((HEADERS + len) as u16);
        }
        Ok(script)
    }

    /// Frames in the script.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// The flow of frame `n`.
    pub fn flow_of(&self, n: usize) -> u32 {
        (n % self.flows.max(1) as usize) as u32
    }

    /// Frame `n`.
    pub fn frame(&self, n: usize) -> Option<&[u8]> {
        let start = n.checked_mul(STRIDE)?;
        self.frames.get(start..start + usize::from(*self.lengths.get(n)?))
    }

    /// Sends frame `n` to another port of the device.
    pub fn redirect(&mut self, n: usize, port: u16) {
        let start = n * STRIDE;
        if let Some(frame) = self.frames.get_mut(start..start + STRIDE) {
            frame::set_destination_port(frame, port);
        }
    }
}

fn unfit() -> Fault {
    Fault::new("a key does not fit its suite", "this is a defect of the bench")
}

/// Octets from frame to frame: 20 ms of G.711 with a GCM tag fit, 188 octets of UDP payload.
const STRIDE: usize = 256;
/// Memory that a script may take.
const MEMORY_MAX: usize = 6 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use rtp::srtp::Unprotect;

    fn flow(index: u16, sends: Option<SrtpKey>) -> Flow {
        let at = |host: u8, port: u16| SocketAddrV4::new([10, 77, host, 1].into(), port);
        Flow {
            from: at(1, 10_000 + 2 * index),
            to: at(0, 30_000 + 2 * index),
            arrives_at: at(2, 10_000 + 2 * index),
            arrives_from: at(0, 40_000 + 2 * index),
            sends,
            receives: None,
        }
    }

    const VOICE: Shape = Shape { voice: 160, events: false };

    #[test]
    fn flows_take_turns_and_are_protected_with_their_own_key() {
        let key = SrtpKey::fresh(Suite::AeadAes128Gcm).unwrap();
        let flows = [flow(0, None), flow(1, Some(key.clone())), flow(2, None)];
        let mut script = Script::prepare(&flows, VOICE, ([1; 6], [2; 6]), 300).unwrap();
        assert_eq!(script.len(), 300);
        let mut unprotect = Unprotect::new(&key.master().unwrap());
        for n in 0..300 {
            let (number, index) = ((n / 3) as u32, (n % 3) as u32);
            assert_eq!(script.flow_of(n), index);
            let datagram = frame::parse(script.frame(n).unwrap()).unwrap();
            assert_eq!(datagram.to, flows[index as usize].to);
            let mut expected = [0; RTP_MAX];
            let len = packet::write(VOICE, index, number, &mut expected);
            let mut got = datagram.payload.to_vec();
            if index == 1 {
                assert_eq!(got.len(), len + 16);
                got = unprotect.rtp(&mut got).unwrap().bytes().to_vec();
            }
            assert_eq!(got, expected[..len]);
        }
        script.redirect(4, 50_000);
        assert_eq!(frame::parse(script.frame(4).unwrap()).unwrap().to.port(), 50_000);
        assert_eq!(script.frame(300), None);
    }

    #[test]
    fn a_run_that_does_not_fit_is_refused_with_a_remedy() {
        let refused = Script::prepare(&[flow(0, None)], VOICE, ([1; 6], [2; 6]), 30_000_000);
        let text = refused.err().unwrap().to_string();
        assert!(text.contains("--seconds") && text.contains("MiB"), "{text}");
    }
}
