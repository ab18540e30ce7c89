//! A thread that turns the data plane's doorbells into something the loop can wait for.

use std::os::fd::AsFd;

use crossbeam::channel::{Receiver, TrySendError, bounded};
use rustix::event::{PollFd, PollFlags, poll};

use crate::media::Bells;

/// What the data plane did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bell {
    /// Some worker has events.
    Events,
    /// The data plane's end of the link is closed.
    Gone,
}

/// Starts watching; the thread ends with the link or with the receiver.
///
/// # Errors
/// The kernel's error when no thread can be had.
pub fn watch(bells: Bells) -> std::io::Result<Receiver<Bell>> {
    // One wake-up is enough: the loop looks at every event ring when it is woken.
    let (sender, receiver) = bounded(1);
    std::thread::Builder::new().name("bells".into()).spawn(move || {
        while let Some(bell) = wait(&bells) {
            match sender.try_send(bell) {
                Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(Bell::Events)) | Ok(()) if bell == Bell::Events => {}
                _ => break,
            }
        }
        let _receiver_gone = sender.send(Bell::Gone);
    })?;
    Ok(receiver)
}

/// Blocks until something happened; `None` when nothing can be waited for any more.
fn wait(bells: &Bells) -> Option<Bell> {
    let links = bells.links.iter().take(1);
    let mut fds: Vec<_> =
        links.chain(&bells.workers).map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    loop {
        match poll(&mut fds, None) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
    // The host never speaks on the link after the handover: readable means closed.
    if ready.next() == Some(true) {
        return None;
    }
    for (bell, rung) in bells.workers.iter().zip(ready) {
        if rung {
            let mut count = [0_u8; 8];
            let _drained = rustix::io::read(bell.as_fd(), &mut count);
        }
    }
    Some(Bell::Events)
}
