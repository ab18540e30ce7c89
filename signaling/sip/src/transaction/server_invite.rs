//! INVITE server transaction: RFC 3261 §17.2.1 and figure 7, with the Accepted state of RFC 6026
//! §8.7.
//!
//! A 2xx is sent once by the transaction and repeated by the transaction user until its ACK
//! comes, which is why repeated INVITEs in Accepted are swallowed.

use std::time::Duration;

use super::{Action, Actions, Class, TRYING_AFTER, Timer, Timers};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Proceeding,
    Completed,
    Confirmed,
    Accepted,
    Terminated,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The INVITE again.
    Invite,
    /// An ACK with the transaction's branch.
    Ack,
    /// The transaction user answers.
    Respond(Class),
    Timer(Timer),
    TransportFailed,
}

#[derive(Clone, Debug)]
pub struct ServerInvite {
    state: State,
    timers: Timers,
    reliable: bool,
    /// A provisional response exists that a repeated INVITE is answered with.
    provisional: bool,
    /// Interval that timer G was last set to.
    interval: Duration,
}

impl ServerInvite {
    /// Starts in Proceeding: hands the request up and sets the timer for 100 Trying.
    pub fn start(timers: Timers, reliable: bool, out: &mut Actions) -> Self {
        out.extend([Action::Deliver, Action::Arm(Timer::Trying, TRYING_AFTER)]);
        ServerInvite {
            state: State::Proceeding,
            timers,
            reliable,
            provisional: false,
            interval: timers.t1,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// One step of figure 7. What the figure does not draw changes nothing.
    pub fn on(&mut self, event: Event, out: &mut Actions) {
        use Class::{Failure, Provisional, Success};
        use State::{Accepted, Completed, Confirmed, Proceeding};

        self.state = match (self.state, event) {
            (Proceeding, Event::Timer(Timer::Trying)) if !self.provisional => {
                self.provisional = true;
                out.push(Action::Trying);
                Proceeding
            }
            (Proceeding, Event::Invite) if self.provisional => {
                out.push(Action::Transmit);
                Proceeding
            }
            (Proceeding, Event::Respond(Provisional)) => {
                self.provisional = true;
                out.extend([Action::Disarm(Timer::Trying), Action::Transmit]);
                Proceeding
            }
            (Proceeding, Event::Respond(Success)) => {
                let absorb = Action::Arm(Timer::L, self.timers.give_up());
                out.extend([Action::Disarm(Timer::Trying), Action::Transmit, absorb]);
                Accepted
            }
            (Proceeding, Event::Respond(Failure)) => {
                out.extend([Action::Disarm(Timer::Trying), Action::Transmit]);
                if !self.reliable {
                    out.push(Action::Arm(Timer::G, self.timers.t1));
                }
                out.push(Action::Arm(Timer::H, self.timers.give_up()));
                Completed
            }
            (Proceeding | Accepted, Event::TransportFailed) => {
                out.push(Action::TransportFailed);
                self.state
            }
            (Completed, Event::Invite) | (Accepted, Event::Respond(Success)) => {
                out.push(Action::Transmit);
                self.state
            }
            (Completed, Event::Timer(Timer::G)) => {
                self.interval = self.timers.back_off(self.interval);
                out.extend([Action::Transmit, Action::Arm(Timer::G, self.interval)]);
                Completed
            }
            (Completed, Event::Timer(Timer::H)) => end(&[Action::Timeout], out),
            (Completed, Event::TransportFailed) => end(&[Action::TransportFailed], out),
            (Completed, Event::Ack) => {
                out.extend([Action::Disarm(Timer::G), Action::Disarm(Timer::H)]);
                if self.reliable {
                    end(&[], out)
                } else {
                    out.push(Action::Arm(Timer::I, self.timers.t4));
                    Confirmed
                }
            }
            (Accepted, Event::Ack) => {
                out.push(Action::Deliver);
                Accepted
            }
            (Confirmed, Event::Timer(Timer::I)) | (Accepted, Event::Timer(Timer::L)) => {
                end(&[], out)
            }
            (state, _) => state,
        };
    }
}

/// The last things done, then the end.
fn end(last: &[Action], out: &mut Actions) -> State {
    out.extend_from_slice(last);
    out.push(Action::Terminate);
    State::Terminated
}
