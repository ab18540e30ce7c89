//! Letters between calls of two shards (`letter.rs`): how happenings become letters and letters
//! happenings, and what becomes of one that cannot be sent.

use sip::endpoint::Carried;
use sip::wire::StatusCode;

use super::super::common::Leg;
use super::super::letter::{Letter, Seek};
use super::super::{Desk, Happening, State};
use super::{Calls, gone};
use crate::away::Away;
use crate::media::Token;
use crate::post::Post;

impl Calls {
    /// Calls that hear of those of other shards.
    pub fn tied(post: Post) -> Self {
        Self { last: post.first_token(), post, ..Self::default() }
    }

    pub fn post(&self) -> &Post {
        &self.post
    }

    /// Dialogs that went over to other shards.
    pub fn away(&self) -> &Away {
        &self.away
    }

    /// Takes a letter of another shard.
    pub fn read(&mut self, desk: &mut Desk<'_>, letter: Letter) {
        match letter {
            Letter::Seek(seek) => return self.sought(desk, seek),
            Letter::Found { to, party, found } => self.found(desk, (to, party), found),
            Letter::Wanted { to, by, id, party } => {
                if self.may_leave(desk, to, party) {
                    self.step(desk, to, Happening::Wanted { by, id, party });
                } else {
                    desk.tell_call(by, Happening::Unavailable { from: to });
                }
            }
            Letter::Guest { to, from, mut leg, dialog } => {
                self.take_in(desk, &mut leg, dialog);
                self.step(desk, to, Happening::Guest { from, leg });
            }
            Letter::Unavailable { to, from } => {
                self.step(desk, to, Happening::Unavailable { from });
            }
            Letter::Progress { to, status } => self.step(desk, to, Happening::Progress { status }),
        }
        self.settle(desk);
    }

    /// Tells a call of another shard.
    pub(super) fn write(
        &mut self,
        desk: &mut Desk<'_>,
        shard: usize,
        to: Token,
        happening: Happening,
    ) {
        let letter = match happening {
            Happening::Wanted { by, id, party } => Letter::Wanted { to, by, id, party },
            Happening::Unavailable { from } => Letter::Unavailable { to, from },
            Happening::Progress { status } => Letter::Progress { to, status },
            Happening::Guest { from, leg } => match self.send_off(desk, shard, leg) {
                Some((leg, dialog)) => Letter::Guest { to, from, leg, dialog },
                None => Letter::Unavailable { to, from },
            },
            // Nothing else is told across shards.
            _ => return,
        };
        if let Err(letter) = self.post.send(shard, letter) {
            self.returned(desk, *letter);
        }
    }

    /// A letter that found no room. Who waits for an answer has a deadline of its own, apart from
    /// these.
    fn returned(&mut self, desk: &mut Desk<'_>, letter: Letter) {
        tracing::warn!(?letter, "another shard has no room for a letter; a transfer suffers");
        match letter {
            Letter::Wanted { to, by, .. } => {
                desk.tell_call(by, Happening::Unavailable { from: to });
            }
            Letter::Guest { to, from, mut leg, dialog } => {
                self.take_in(desk, &mut leg, dialog);
                gone(desk, to, Happening::Guest { from, leg });
            }
            _ => {}
        }
    }

    /// Looks for a dialog for somebody: here, and where it went from here.
    fn sought(&mut self, desk: &mut Desk<'_>, seek: Seek) {
        let (to, party) = (seek.from, seek.party);
        let found = match self.home_of(desk, &seek.replaces) {
            // One who moves on and on is not run after for ever.
            Some(shard) if seek.turns < self.post.homes().count() => {
                let seek = Seek { turns: seek.turns + 1, ..seek };
                match self.post.send(shard, Letter::Seek(seek)) {
                    Ok(()) => return,
                    Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
                }
            }
            _ => self.find(desk, &seek).map(Box::new),
        };
        let letter = Letter::Found { to, party, found };
        let shard = self.post.elsewhere(to).unwrap_or(self.post.number());
        let _who_asked_has_a_deadline = self.post.send(shard, letter);
    }

    /// Whether a side may go over to another shard: nothing runs in its dialog.
    fn may_leave(&self, desk: &Desk<'_>, call: Token, party: super::Party) -> bool {
        let call = self.live.get(&call).filter(|call| matches!(call.state, State::Talking(_)));
        let dialog = call.and_then(|call| call.common.leg(party).dialog);
        self.away.has_room() && dialog.is_some_and(|dialog| desk.endpoint.is_quiet(dialog))
    }

    fn send_off(
        &mut self,
        desk: &mut Desk<'_>,
        shard: usize,
        mut leg: Box<Leg>,
    ) -> Option<(Box<Leg>, Carried)> {
        let carried = desk.endpoint.release(leg.dialog.take()?)?;
        let trail = leg.trail.get_or_insert_default();
        self.away.leave(carried.local_tag().clone(), carried.hop_tag(), shard, trail);
        Some((leg, carried))
    }

    fn take_in(&mut self, desk: &mut Desk<'_>, leg: &mut Leg, dialog: Carried) {
        self.away.come_back(dialog.local_tag());
        leg.dialog = Some(desk.endpoint.adopt(dialog));
    }
}
