//! Keeping the way of a flow's media open while it carries none (RFC 6263).

use bytemuck::{Pod, Zeroable};

/// What is sent when nothing else is: RTP without payload, of a type that nobody negotiated
/// (RFC 6263 §4.6), which a receiver ignores (RFC 3550 §4.1) and a translator of addresses counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// After so long without RTP, from 1 to [`KEEPALIVE_MS_MAX`].
    pub interval_ms: u32,
    /// 0 to 127; of no format of the far side.
    pub payload_type: u8,
}

/// The shared form; all zero: none.
#[repr(C)]
#[derive(Pod, Zeroable, Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct KeepaliveSlot {
    pub interval_ms: u32,
    pub payload_type: u8,
    pub pad: [u8; 3],
}

impl KeepaliveSlot {
    pub(crate) fn decode(self) -> Result<Option<Keepalive>, BadKeepalive> {
        if self == Self::default() {
            return Ok(None);
        }
        let Self { interval_ms, payload_type, pad } = self;
        let is_interval = (1..=KEEPALIVE_MS_MAX).contains(&interval_ms);
        if !is_interval || payload_type > PAYLOAD_TYPE_MAX || pad != [0; 3] {
            return Err(BadKeepalive);
        }
        Ok(Some(Keepalive { interval_ms, payload_type }))
    }
}

impl From<Option<Keepalive>> for KeepaliveSlot {
    fn from(keepalive: Option<Keepalive>) -> Self {
        let Some(Keepalive { interval_ms, payload_type }) = keepalive else {
            return Self::default();
        };
        Self { interval_ms, payload_type, pad: [0; 3] }
    }
}

/// The octets are no keepalive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadKeepalive;

/// Longest silence that is asked for: an hour. No translator's binding lasts longer.
pub const KEEPALIVE_MS_MAX: u32 = 3_600_000;
const PAYLOAD_TYPE_MAX: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_is_understood_exactly_or_refused() {
        let keepalive = Some(Keepalive { interval_ms: 15_000, payload_type: 126 });
        let slot = KeepaliveSlot::from(keepalive);
        assert_eq!(slot.decode(), Ok(keepalive));
        for place in 0..size_of::<KeepaliveSlot>() {
            for value in 0..=255 {
                let mut changed = slot;
                bytemuck::bytes_of_mut(&mut changed)[place] = value;
                if let Ok(keepalive) = changed.decode() {
                    assert_eq!(KeepaliveSlot::from(keepalive), changed);
                }
            }
        }
        assert_eq!(KeepaliveSlot::default().decode(), Ok(None));
        for bad in [
            KeepaliveSlot { interval_ms: 0, ..slot },
            KeepaliveSlot { interval_ms: KEEPALIVE_MS_MAX + 1, ..slot },
            KeepaliveSlot { payload_type: 128, ..slot },
            KeepaliveSlot { pad: [0, 0, 1], ..slot },
        ] {
            assert_eq!(bad.decode(), Err(BadKeepalive), "{bad:?}");
        }
    }
}
