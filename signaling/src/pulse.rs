//! Whoever watches over this process is told that it is ready and, again and again, that its loop
//! answers.

use std::time::Duration;

use crate::ask::{Ask, Asks, Unanswered};

/// What is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// Calls are taken.
    Ready,
    /// The loop has answered.
    Alive,
}

/// Who is told, and how often.
pub struct Pulse {
    tell: Box<dyn FnMut(Life) + Send>,
    every: Option<Duration>,
}

impl Pulse {
    /// Calls `tell` when calls are taken, and, if `every` is there, that often while the loop
    /// answers questions.
    pub fn new(every: Option<Duration>, tell: impl FnMut(Life) + Send + 'static) -> Self {
        Self { tell: Box::new(tell), every }
    }

    /// Nobody is told.
    pub fn none() -> Self {
        Self::new(None, |_| ())
    }

    /// Tells that calls are taken, and asks the loop from a thread of its own until there is none.
    ///
    /// # Errors
    /// The kernel's, when there is no such thread.
    pub(crate) fn follow(mut self, asks: Asks) -> std::io::Result<()> {
        (self.tell)(Life::Ready);
        let Some(every) = self.every else { return Ok(()) };
        std::thread::Builder::new().name("pulse".into()).spawn(move || {
            while self.beat(&asks) {
                std::thread::sleep(every);
            }
        })?;
        Ok(())
    }

    /// Tells if the loop answers. A loop that stands still keeps this waiting, and nothing is told.
    /// False when there is no loop any more.
    fn beat(&mut self, asks: &Asks) -> bool {
        // The cheapest question: a short list.
        match asks.ask_blocking(Ask::UnknownCallers) {
            Ok(_) => (self.tell)(Life::Alive),
            Err(Unanswered::Busy) => {}
            Err(Unanswered::Stopping) => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::mpsc::{Receiver, channel};
    use std::task::{Context, Waker};

    use super::*;
    use crate::ask::{ASKS_WAITING_MAX, asks};

    fn pulse(every: Option<Duration>) -> (Pulse, Receiver<Life>) {
        let (told, heard) = channel();
        let pulse = Pulse::new(every, move |life| {
            let _nobody_listens = told.send(life);
        });
        (pulse, heard)
    }

    #[test]
    fn life_is_told_as_often_as_the_loop_answers_and_not_otherwise() {
        let (pulse, heard) = pulse(Some(Duration::ZERO));
        let (asks, mut questions) = asks(1);
        let questions = questions.remove(0);
        pulse.follow(asks).unwrap();
        assert_eq!(heard.recv(), Ok(Life::Ready));
        for _ in 0..3 {
            let Ok(Ask::UnknownCallers(reply)) = questions.recv() else { panic!("no question") };
            assert!(heard.try_recv().is_err(), "not before it is answered");
            reply.send(Vec::new()).unwrap();
            assert_eq!(heard.recv(), Ok(Life::Alive));
        }
        // The loop ends, and with it whoever asks.
        drop(questions);
        assert!(heard.recv().is_err());
    }

    #[test]
    fn a_loop_with_too_many_questions_is_no_sign_of_life() {
        let (mut pulse, heard) = pulse(None);
        let (asks, mut questions) = asks(1);
        let questions = questions.remove(0);
        let mut waiting: Vec<_> =
            (0..ASKS_WAITING_MAX).map(|_| Box::pin(asks.ask(Ask::UnknownCallers))).collect();
        for question in &mut waiting {
            let polled = question.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
        }
        assert_eq!(questions.len(), ASKS_WAITING_MAX);
        assert!(pulse.beat(&asks));
        assert!(heard.try_recv().is_err());
    }
}
