//! Non-INVITE client transaction: RFC 3261 §17.1.2 and figure 6.
//!
//! Unlike an INVITE, a provisional response does not stop the retransmissions, it only slows them
//! to one per T2, and timer F keeps running.

use std::time::Duration;

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
    Response(Class),
    Timer(Timer),
    TransportFailed,
}

#[derive(Clone, Debug)]
pub struct ClientNonInvite {
    state: State,
    timers: Timers,
    reliable: bool,
    /// Interval that timer E was last set to.
    interval: Duration,
}

impl ClientNonInvite {
    /// Starts in Trying: sends the request and sets E and F.
    pub fn start(timers: Timers, reliable: bool, out: &mut Actions) -> Self {
        out.push(Action::Transmit);
        if !reliable {
            out.push(Action::Arm(Timer::E, timers.t1));
        }
        out.push(Action::Arm(Timer::F, timers.give_up()));
        ClientNonInvite { state: State::Trying, timers, reliable, interval: timers.t1 }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// One step of figure 6. What the figure does not draw changes nothing.
    pub fn on(&mut self, event: Event, out: &mut Actions) {
        use Class::{Failure, Provisional, Success};
        use State::{Completed, Proceeding, Terminated, Trying};

        self.state = match (self.state, event) {
            (Trying, Event::Timer(Timer::E)) => {
                self.interval = self.timers.back_off(self.interval);
                out.extend([Action::Transmit, Action::Arm(Timer::E, self.interval)]);
                Trying
            }
            (Proceeding, Event::Timer(Timer::E)) => {
                out.extend([Action::Transmit, Action::Arm(Timer::E, self.timers.t2)]);
                Proceeding
            }
            (Trying | Proceeding, Event::Timer(Timer::F)) => {
                out.extend([Action::Timeout, Action::Terminate]);
                Terminated
            }
            (Trying | Proceeding, Event::TransportFailed) => {
                out.extend([Action::TransportFailed, Action::Terminate]);
                Terminated
            }
            (Trying | Proceeding, Event::Response(Provisional)) => {
                out.push(Action::Deliver);
                Proceeding
            }
            (Trying | Proceeding, Event::Response(Success | Failure)) => {
                out.extend([Action::Disarm(Timer::E), Action::Disarm(Timer::F), Action::Deliver]);
                if self.reliable {
                    out.push(Action::Terminate);
                    Terminated
                } else {
                    out.push(Action::Arm(Timer::K, self.timers.t4));
                    Completed
                }
            }
            (Completed, Event::Timer(Timer::K)) => {
                out.push(Action::Terminate);
                Terminated
            }
            (state, _) => state,
        };
    }
}
