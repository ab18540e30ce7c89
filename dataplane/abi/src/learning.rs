//! Whether and from where a flow may learn its source (RFC 7362, latching).

use std::net::IpAddr;

use bytemuck::{Pod, Zeroable};

/// Permission to learn the source of a flow's media from the packets that come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Learning {
    /// How long after arming a plain packet may still be the first, in milliseconds (from 1). A
    /// packet that was authenticated may be the first at any time.
    pub window_ms: u32,
    /// The only network that is learned from, as address and prefix length; none: any.
    pub within: Option<(IpAddr, u8)>,
}

/// The shared form; all zero: no learning.
#[repr(C)]
#[derive(Pod, Zeroable, Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct LearningSlot {
    /// Network order, v4-mapped for IPv4.
    pub ip: [u8; 16],
    pub window_ms: u32,
    /// Of the address in its own family.
    pub prefix: u8,
    /// 0 any network, 4 IPv4, 6 IPv6.
    pub family: u8,
    pub pad: u16,
}

impl LearningSlot {
    pub(crate) fn decode(self) -> Result<Option<Learning>, BadLearning> {
        if self == Self::default() {
            return Ok(None);
        }
        let mapped = std::net::Ipv6Addr::from(self.ip);
        let within = match (self.family, mapped.to_ipv4_mapped()) {
            (0, _) if self.ip == [0; 16] && self.prefix == 0 => None,
            (4, Some(ip)) if self.prefix <= 32 => Some((IpAddr::V4(ip), self.prefix)),
            (6, None) if self.prefix <= 128 => Some((IpAddr::V6(mapped), self.prefix)),
            _ => return Err(BadLearning),
        };
        if self.window_ms == 0 || self.pad != 0 {
            return Err(BadLearning);
        }
        Ok(Some(Learning { window_ms: self.window_ms, within }))
    }
}

impl From<Option<Learning>> for LearningSlot {
    fn from(learning: Option<Learning>) -> Self {
        let Some(Learning { window_ms, within }) = learning else { return Self::default() };
        let (ip, prefix, family) = match within.map(|(ip, prefix)| (ip.to_canonical(), prefix)) {
            None => ([0; 16], 0, 0),
            Some((IpAddr::V4(ip), prefix)) => (ip.to_ipv6_mapped().octets(), prefix, 4),
            Some((IpAddr::V6(ip), prefix)) => (ip.octets(), prefix, 6),
        };
        Self { ip, window_ms, prefix, family, pad: 0 }
    }
}

/// The octets are no permission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadLearning;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_is_understood_exactly_or_refused() {
        let of = |text: &str, prefix| Some((text.parse().unwrap(), prefix));
        for within in [None, of("192.0.2.0", 24), of("2001:db8::", 32), of("0.0.0.0", 0)] {
            let learning = Some(Learning { window_ms: 5000, within });
            let slot = LearningSlot::from(learning);
            assert_eq!(slot.decode(), Ok(learning));
            for place in 0..size_of::<LearningSlot>() {
                for value in 0..=255 {
                    let mut changed = slot;
                    bytemuck::bytes_of_mut(&mut changed)[place] = value;
                    if let Ok(learning) = changed.decode() {
                        assert_eq!(LearningSlot::from(learning), changed);
                    }
                }
            }
        }
        assert_eq!(LearningSlot::default().decode(), Ok(None));
        assert_eq!(
            LearningSlot { window_ms: 0, prefix: 1, ..Default::default() }.decode(),
            Err(BadLearning)
        );
    }
}
