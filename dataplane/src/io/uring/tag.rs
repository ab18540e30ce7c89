//! What a completion is about, in the 64 bits that the ring carries: kind, port or what was sent, flow
//! index, generation. So a completion of a closed flow finds nothing.

use abi::FlowId;

use crate::io::{Origin, Port, Sent, SocketId};
use crate::verdict::Kind;

/// The operation that a completion belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tag {
    Receive(SocketId),
    Send(Origin),
    Cancel,
    Bell,
    Rung,
}

impl Tag {
    pub fn encode(self) -> u64 {
        let of = |kind: u64, part: u64, flow: FlowId| {
            kind << 60 | part << 58 | u64::from(flow.index) << 32 | u64::from(flow.generation)
        };
        match self {
            Tag::Receive(id) => of(1, u64::from(id.port == Port::Rtcp), id.flow),
            Tag::Send(origin) => of(2, part(origin.sent), origin.flow),
            Tag::Cancel => 3 << 60,
            Tag::Bell => 4 << 60,
            Tag::Rung => 5 << 60,
        }
    }

    pub fn decode(word: u64) -> Option<Tag> {
        let part = word >> 58 & 3;
        let index = (word >> 32) as u32 & INDEX_MASK;
        let flow = FlowId { index, generation: word as u32 };
        match word >> 60 {
            1 => {
                let port = if part == 0 { Port::Rtp } else { Port::Rtcp };
                Some(Tag::Receive(SocketId { flow, port }))
            }
            2 => Some(Tag::Send(Origin { flow, sent: sent(part) })),
            3 => Some(Tag::Cancel),
            4 => Some(Tag::Bell),
            5 => Some(Tag::Rung),
            _ => None,
        }
    }
}

const fn part(sent: Sent) -> u64 {
    match sent {
        Sent::Relayed(Kind::Rtp) => 0,
        Sent::Relayed(Kind::Rtcp) => 1,
        Sent::Relayed(Kind::Udptl) => 2,
        Sent::Own => 3,
    }
}

const fn sent(part: u64) -> Sent {
    match part {
        0 => Sent::Relayed(Kind::Rtp),
        1 => Sent::Relayed(Kind::Rtcp),
        2 => Sent::Relayed(Kind::Udptl),
        _ => Sent::Own,
    }
}

const INDEX_MASK: u32 = (1 << 26) - 1;

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
            for tag in [Tag::Receive(id), Tag::Cancel, Tag::Bell, Tag::Rung] {
                assert_eq!(Tag::decode(tag.encode()), Some(tag));
            }
            for part in 0..4 {
                let tag = Tag::Send(Origin { flow: id.flow, sent: sent(part) });
                assert_eq!(Tag::decode(tag.encode()), Some(tag));
            }
        }
        assert_eq!(Tag::decode(0), None);
        assert_eq!(Tag::decode(u64::MAX), None);
    }
}
