//! Non-INVITE server transaction: RFC 3261 §17.2.2 and figure 8.

use super::{Action, Actions, Class, Timer, Timers};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The request again.
    Request,
    /// The transaction user answers.
    Respond(Class),
    Timer(Timer),
    TransportFailed,
}

#[derive(Clone, Debug)]
pub struct ServerNonInvite {
    state: State,
    timers: Timers,
    reliable: bool,
}

impl ServerNonInvite {
    /// Starts in Trying: hands the request up.
    pub fn start(timers: Timers, reliable: bool, out: &mut Actions) -> Self {
        out.push(Action::Deliver);
        ServerNonInvite { state: State::Trying, timers, reliable }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// One step of figure 8. What the figure does not draw changes nothing.
    pub fn on(&mut self, event: Event, out: &mut Actions) {
        use Class::{Failure, Provisional, Success};
        use State::{Completed, Proceeding, Terminated, Trying};

        self.state = match (self.state, event) {
            (Trying | Proceeding, Event::Respond(Provisional)) => {
                out.push(Action::Transmit);
                Proceeding
            }
            (Trying | Proceeding, Event::Respond(Success | Failure)) => {
                out.push(Action::Transmit);
                if self.reliable {
                    out.push(Action::Terminate);
                    Terminated
                } else {
                    out.push(Action::Arm(Timer::J, self.timers.give_up()));
                    Completed
                }
            }
            (Proceeding, Event::Request) => {
                out.push(Action::Transmit);
                Proceeding
            }
            (Completed, Event::Request) => {
                out.push(Action::Transmit);
                Completed
            }
            (Proceeding | Completed, Event::TransportFailed) => {
                out.extend([Action::TransportFailed, Action::Terminate]);
                Terminated
            }
            (Completed, Event::Timer(Timer::J)) => {
                out.push(Action::Terminate);
                Terminated
            }
            (state, _) => state,
        };
    }
}
