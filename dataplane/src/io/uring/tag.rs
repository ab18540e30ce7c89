//! What a completion is about, in the 64 bits that the ring carries: kind, port, flow index,
//! generation. So a completion of a closed flow finds nothing.

use abi::FlowId;

use crate::io::{Port, SocketId};

/// The operation that a completion belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tag {
    Receive(SocketId),
    Send(SocketId),
    Cancel,
    Bell,
    Rung,
}

impl Tag {
    pub fn encode(self) -> u64 {
        let socket = |kind: u64, id: SocketId| {
            kind << 60
                | u64::from(id.port == Port::Rtcp) << 59
                | u64::from(id.flow.index) << 32
                | u64::from(id.flow.generation)
        };
        match self {
            Tag::Receive(id) => socket(1, id),
            Tag::Send(id) => socket(2, id),
            Tag::Cancel => 3 << 60,
            Tag::Bell => 4 << 60,
            Tag::Rung => 5 << 60,
        }
    }

    pub fn decode(word: u64) -> Option<Tag> {
        let port = if word >> 59 & 1 == 0 { Port::Rtp } else { Port::Rtcp };
        let index = (word >> 32) as u32 & INDEX_MASK;
        let id = SocketId { flow: FlowId { index, generation: word as u32 }, port };
        match word >> 60 {
            1 => Some(Tag::Receive(id)),
            2 => Some(Tag::Send(id)),
            3 => Some(Tag::Cancel),
            4 => Some(Tag::Bell),
            5 => Some(Tag::Rung),
            _ => None,
        }
    }
}

const INDEX_MASK: u32 = (1 << 27) - 1;

const _: () = assert!(crate::limits::FLOWS_MAX < INDEX_MASK);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_round_trip() {
        let id = |index, generation, port| SocketId { flow: FlowId { index, generation }, port };
        let ids = [
            id(0, 1, Port::Rtp),
            id(1, 1, Port::Rtcp),
            id(crate::limits::FLOWS_MAX - 1, u32::MAX, Port::Rtcp),
            id(INDEX_MASK, u32::MAX, Port::Rtp),
        ];
        for id in ids {
            for tag in [Tag::Receive(id), Tag::Send(id), Tag::Cancel, Tag::Bell, Tag::Rung] {
                assert_eq!(Tag::decode(tag.encode()), Some(tag));
            }
        }
        assert_eq!(Tag::decode(0), None);
        assert_eq!(Tag::decode(u64::MAX), None);
    }
}
