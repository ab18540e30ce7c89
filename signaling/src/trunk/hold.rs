//! How a trunk is told that the other side holds the call (`hold_style`).

use sdp::Direction;

/// The direction that stands in our description toward a trunk while the other side holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HoldStyle {
    /// What the other side says.
    #[default]
    AsIs,
    /// `a=sendonly`: peers that take `inactive` for the end of the call.
    SendOnly,
    /// `a=inactive`: peers that play music of their own only then, or know no `sendonly`.
    Inactive,
}

impl HoldStyle {
    /// What is written for a side that does `direction`.
    pub fn writes(self, direction: Direction) -> Direction {
        match (self, direction) {
            (Self::SendOnly, Direction::Inactive) => Direction::SendOnly,
            (Self::Inactive, Direction::SendOnly) => Direction::Inactive,
            (_, as_it_is) => as_it_is,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hold_is_written_otherwise() {
        use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
        for (style, directions) in [
            (HoldStyle::AsIs, [SendRecv, SendOnly, RecvOnly, Inactive]),
            (HoldStyle::SendOnly, [SendRecv, SendOnly, RecvOnly, SendOnly]),
            (HoldStyle::Inactive, [SendRecv, Inactive, RecvOnly, Inactive]),
        ] {
            let written = [SendRecv, SendOnly, RecvOnly, Inactive].map(|said| style.writes(said));
            assert_eq!(written, directions, "{style:?}");
        }
    }
}
