//! INVITE client transaction: RFC 3261 §17.1.1 and figure 5, with the Accepted state of RFC 6026
//! §8.4.
//!
//! The ACK for a failure is made here ([`Action::Acknowledge`]); the ACK for a 2xx is the user's
//! and travels outside the transaction. After a 2xx the transaction stays for 64*T1 so that
//! repeated 2xx and those of other forks still reach the user.

use std::time::Duration;

use super::{Action, Actions, Class, TIMER_D, Timer, Timers};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Calling,
    Proceeding,
    Completed,
    Accepted,
    Terminated,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    Response(Class),
    Timer(Timer),
    TransportFailed,
}

#[derive(Clone, Debug)]
pub struct ClientInvite {
    state: State,
    timers: Timers,
    reliable: bool,
    /// Interval that timer A was last set to.
    interval: Duration,
}

impl ClientInvite {
    /// Starts in Calling: sends the request and sets A and B.
    pub fn start(timers: Timers, reliable: bool, out: &mut Actions) -> Self {
        out.push(Action::Transmit);
        if !reliable {
            out.push(Action::Arm(Timer::A, timers.t1));
        }
        out.push(Action::Arm(Timer::B, timers.give_up()));
        ClientInvite { state: State::Calling, timers, reliable, interval: timers.t1 }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// One step of figure 5. What the figure does not draw changes nothing.
    pub fn on(&mut self, event: Event, out: &mut Actions) {
        use Class::{Failure, Provisional, Success};
        use State::{Accepted, Calling, Completed, Proceeding, Terminated};

        self.state = match (self.state, event) {
            (Calling, Event::Timer(Timer::A)) => {
                // Doubles without the T2 cap, unlike every other retransmission (§17.1.1.2).
                self.interval = self.interval.saturating_mul(2);
                out.extend([Action::Transmit, Action::Arm(Timer::A, self.interval)]);
                Calling
            }
            (Calling, Event::Timer(Timer::B)) => {
                out.extend([Action::Timeout, Action::Terminate]);
                Terminated
            }
            (Calling, Event::TransportFailed) | (Completed, Event::TransportFailed) => {
                out.extend([Action::TransportFailed, Action::Terminate]);
                Terminated
            }
            (Calling, Event::Response(Provisional)) => {
                self.answered(out);
                out.push(Action::Deliver);
                Proceeding
            }
            (Proceeding, Event::Response(Provisional)) => {
                out.push(Action::Deliver);
                Proceeding
            }
            (Calling | Proceeding, Event::Response(Success)) => {
                self.answered(out);
                out.extend([Action::Deliver, Action::Arm(Timer::M, self.timers.give_up())]);
                Accepted
            }
            (Calling | Proceeding, Event::Response(Failure)) => {
                self.answered(out);
                out.extend([Action::Acknowledge, Action::Deliver]);
                if self.reliable {
                    out.push(Action::Terminate);
                    Terminated
                } else {
                    out.push(Action::Arm(Timer::D, TIMER_D.max(self.timers.give_up())));
                    Completed
                }
            }
            (Completed, Event::Response(Failure)) => {
                out.push(Action::Acknowledge);
                Completed
            }
            (Completed, Event::Timer(Timer::D)) => {
                out.push(Action::Terminate);
                Terminated
            }
            (Accepted, Event::Response(Success)) => {
                out.push(Action::Deliver);
                Accepted
            }
            (Accepted, Event::Timer(Timer::M)) => {
                out.push(Action::Terminate);
                Terminated
            }
            (state, _) => state,
        };
    }

    /// The first response of any kind ends retransmission and timeout.
    fn answered(&self, out: &mut Actions) {
        if self.state == State::Calling {
            out.extend([Action::Disarm(Timer::A), Action::Disarm(Timer::B)]);
        }
    }
}
