//! Watches the interfaces under XDP and says what happened to them: a thread that asks the kernel
//! twice a second, since it tells nobody when a program is detached.
//!
//! Media goes on by the sockets when a program or an interface is gone, and by XDP again when the
//! interface is back. A program that was detached is attached again by the [`Warden`], a few times a
//! minute: who detaches it again and again wants it to be off.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle, Thread, park_timeout};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::plane::Wire;
use super::shortcut::Table;
use super::warden::Warden;
use super::way_back::Judge;
use crate::io::frame::Mac;
use crate::io::neighbour::{Kernel, Link};

/// The thread; it ends with this value.
pub struct Sentry {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What is watched of one interface.
struct Post {
    name: String,
    ifindex: u32,
    mac: Mac,
    program: Option<u32>,
    state: State,
    /// Whether what the kernel relays arrives, where it may.
    judge: Option<Judge>,
    /// When the program was attached again.
    again: Vec<Instant>,
}

/// How an interface is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Well,
    /// It does not exist any more.
    Gone,
    /// Switched off, or the cable is out.
    Down,
    /// Our program is not in its driver; another may be.
    Detached(Option<u32>),
    /// It has another address, which the program does not know.
    Readdressed,
}

impl Sentry {
    /// # Errors
    /// No descriptor or thread left.
    pub fn start(
        wires: &[Wire],
        table: Option<&Arc<Table>>,
        mut warden: Option<Warden>,
    ) -> io::Result<Sentry> {
        let mut kernel = Kernel::open()?;
        let mut posts: Vec<Post> = wires.iter().map(|wire| Post::of(wire, table)).collect();
        let over = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&over);
        let relays = posts.iter().any(|post| post.judge.is_some());
        let period = if relays { PERIOD_RELAYING } else { PERIOD };
        let watch = move || {
            while !theirs.load(Ordering::Acquire) {
                for (post, charge) in posts.iter_mut().zip(0..) {
                    let link = kernel.link(post.ifindex);
                    post.look(link, Instant::now(), || Some(warden.as_mut()?.attach(charge)));
                }
                park_timeout(period);
            }
        };
        let thread = Builder::new().name("xdp-sentry".to_owned()).spawn(watch)?;
        Ok(Sentry { over, thread: Some(thread) })
    }
}

impl Drop for Sentry {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            Thread::unpark(thread.thread());
            let _ = thread.join();
        }
    }
}

impl Post {
    fn of(wire: &Wire, table: Option<&Arc<Table>>) -> Post {
        let judged = table.zip(wire.way_back.as_ref());
        Post {
            name: wire.name.clone(),
            ifindex: wire.ifindex,
            mac: wire.mac,
            program: wire.program,
            state: State::Well,
            judge: judged.map(|(table, way)| Judge::of(Arc::clone(table), Arc::clone(way))),
            again: Vec::new(),
        }
    }

    fn state_of(&self, link: Option<Link>) -> State {
        match link {
            None => State::Gone,
            Some(link) if self.program.is_some() && link.xdp != self.program => {
                State::Detached(link.xdp)
            }
            Some(link) if link.address != self.mac => State::Readdressed,
            Some(link) if !link.up => State::Down,
            Some(_) => State::Well,
        }
    }

    /// Says what has changed since the last look, and puts a program back by `attach`, if anybody can.
    fn look(
        &mut self,
        link: Option<Link>,
        now: Instant,
        attach: impl FnOnce() -> Option<io::Result<()>>,
    ) {
        let loss = self.judge.as_mut().and_then(|judge| judge.look(link.as_ref()));
        if let Some(relayed) = loss {
            warn!(
                "{relayed} packets that the kernel relayed on {} (media.xdp_tx) did not arrive; the \
                 workers relay them from now on; the other end of a veth pair needs an XDP program: \
                 restart the data plane when it has one",
                self.name
            );
        }
        let state = self.state_of(link);
        if state == State::Detached(None) && self.attach_again(now, attach) {
            self.state = State::Well;
            return;
        }
        if std::mem::replace(&mut self.state, state) == state {
            return;
        }
        self.tell(state);
    }

    /// Whether the program is where it was.
    fn attach_again(
        &mut self,
        now: Instant,
        attach: impl FnOnce() -> Option<io::Result<()>>,
    ) -> bool {
        self.again.retain(|at| now.saturating_duration_since(*at) < MINUTE);
        if self.again.len() >= AGAIN_MAX {
            return false;
        }
        let name = self.name.as_str();
        match attach() {
            None => false,
            Some(Ok(())) => {
                self.again.push(now);
                warn!(
                    "the XDP program on {name} was detached by someone else and is attached again; \
                     media went by sockets meanwhile"
                );
                true
            }
            Some(Err(cause)) => {
                if self.state == State::Well {
                    warn!("the XDP program on {name} cannot be attached again: {cause}");
                }
                false
            }
        }
    }

    fn tell(&self, state: State) {
        let name = self.name.as_str();
        match state {
            State::Well => info!("{name} is well again; media goes by XDP"),
            State::Down => warn!("{name} is down; media waits for it or goes another way"),
            State::Gone => warn!(
                "{name} is gone; media goes by sockets; restart the data plane when it is back"
            ),
            State::Detached(None) if self.again.len() >= AGAIN_MAX => warn!(
                "the XDP program on {name} was detached {AGAIN_MAX} times in a minute; media goes on \
                 by sockets, for more CPU time, until it is attached again in a minute at most"
            ),
            State::Detached(None) => warn!(
                "the XDP program on {name} was detached by someone else; media goes on by \
                 sockets, for more CPU time; restart the data plane to attach it again"
            ),
            State::Detached(Some(other)) => warn!(
                "someone else put XDP program {other} on {name} in place of ours; media goes on \
                 by sockets, for more CPU time; remove it and restart the data plane"
            ),
            State::Readdressed => warn!(
                "{name} has another hardware address; media goes on by sockets, for more CPU \
                 time; restart the data plane to follow it"
            ),
        }
    }
}

/// The same where the kernel relays: after two looks at packets that do not arrive, no more is lost.
const PERIOD_RELAYING: Duration = Duration::from_millis(200);
/// How often in a minute a program is attached again.
const AGAIN_MAX: usize = 3;
const MINUTE: Duration = Duration::from_secs(60);
/// Media recovers by itself; this is how late the operator is told.
const PERIOD: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    /// An interface with this address and with our program on it.
    fn post(mac: Mac) -> Post {
        Post {
            name: "eth0".to_owned(),
            ifindex: 3,
            mac,
            program: Some(7),
            state: State::Well,
            judge: None,
            again: Vec::new(),
        }
    }

    #[test]
    fn the_worst_that_is_the_matter_is_told() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let well = Link {
            ifindex: 3,
            ethernet: true,
            up: true,
            address: mac,
            xdp: Some(7),
            ..Link::default()
        };
        let post = post(mac);
        let down = Link { up: false, ..well };
        let table = [
            (None, State::Gone),
            (Some(well), State::Well),
            (Some(down), State::Down),
            (Some(Link { xdp: None, ..down }), State::Detached(None)),
            (Some(Link { xdp: Some(8), ..well }), State::Detached(Some(8))),
            (Some(Link { address: Mac([9; 6]), ..well }), State::Readdressed),
        ];
        for (link, state) in table {
            assert_eq!(post.state_of(link), state, "{link:?}");
        }
    }

    #[test]
    fn a_program_is_attached_again_three_times_a_minute_and_not_more() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let well = Link { ifindex: 3, up: true, address: mac, xdp: Some(7), ..Link::default() };
        let detached = Some(Link { xdp: None, ..well });
        let mut post = post(mac);
        let begun = Instant::now();
        let mut attached = 0;
        let mut detach = |post: &mut Post, at| {
            post.look(detached, at, || {
                attached += 1;
                Some(Ok(()))
            });
            post.look(Some(well), at, || None);
            attached
        };
        assert_eq!([0; 5].map(|_| detach(&mut post, begun)), [1, 2, 3, 3, 3]);
        assert_eq!(detach(&mut post, begun + MINUTE), 4);
        // Who cannot is asked again with each look, and media goes by sockets.
        let mut asked = 0;
        for _ in 0..3 {
            post.look(detached, begun + MINUTE, || {
                asked += 1;
                Some(Err(io::ErrorKind::BrokenPipe.into()))
            });
            assert_eq!(post.state, State::Detached(None));
        }
        assert_eq!(asked, 3);
    }
}
