//! The thread that asks the kernel, and tells the workers.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::kernel::Kernel;
use super::message::Link;
use super::{Answer, Bell, Hops, Line, Pair, Question};
use crate::io::frame::Hop;

/// The keeper's thread; it ends with this value.
pub struct Keeper {
    bell: Arc<Bell>,
}

impl Keeper {
    /// Starts it for so many workers, each of which gets its own view.
    ///
    /// # Errors
    /// No descriptor or thread left, or no rtnetlink.
    pub fn start(workers: usize) -> io::Result<(Keeper, Vec<Hops>)> {
        let bell = Bell::new()?;
        let lines: Vec<Arc<Line>> = (0..workers).map(|_| Line::new()).collect();
        let views = lines.iter().map(|line| Hops::new(Arc::clone(line), Arc::clone(&bell)));
        let views = views.collect();
        let kernel = Kernel::open()?;
        let theirs = Arc::clone(&bell);
        let mut work =
            Work { kernel, bell: theirs, lines, wanted: HashMap::new(), links: HashMap::new() };
        Builder::new().name("next-hops".to_owned()).spawn(move || work.run())?;
        Ok((Keeper { bell }, views))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.bell.end();
    }
}

struct Work {
    kernel: Kernel,
    bell: Arc<Bell>,
    lines: Vec<Arc<Line>>,
    wanted: HashMap<Pair, Wanted>,
    /// Interfaces that were asked for in this round.
    links: HashMap<u32, Option<Link>>,
}

/// One way that workers want to know.
#[derive(Default)]
struct Wanted {
    hop: Option<Hop>,
    /// Whose neighbour it needs, and on which interface.
    via: Option<(u32, IpAddr)>,
    /// Workers that ask for it, one bit each.
    users: u64,
    /// Those that have not been told yet.
    untold: u64,
}

impl Work {
    fn run(&mut self) {
        let mut refreshed = Instant::now();
        let mut stale = false;
        loop {
            let patience = if stale || self.wanted.values().any(|wanted| wanted.untold != 0) {
                SETTLE
            } else {
                REFRESH
            };
            self.wait(patience);
            if self.bell.over.load(Ordering::Acquire) {
                return;
            }
            let news = self.kernel.news();
            stale |= news.change || refreshed.elapsed() >= REFRESH;
            self.links.clear();
            // A burst of changes, as of a routing table that is loaded, is answered once.
            if stale && refreshed.elapsed() >= SETTLE {
                self.refresh(|_| true);
                (refreshed, stale) = (Instant::now(), false);
            }
            let moved: HashSet<(u32, IpAddr)> =
                news.neighbours.iter().map(|one| (one.ifindex, one.ip)).collect();
            if !moved.is_empty() {
                self.refresh(|wanted| wanted.via.is_some_and(|via| moved.contains(&via)));
            }
            self.take_questions();
            self.tell();
        }
    }

    fn wait(&self, patience: Duration) {
        let told = self.kernel.told();
        let mut fds =
            [PollFd::new(&self.bell.fd, PollFlags::IN), PollFd::new(&told, PollFlags::IN)];
        let patience =
            Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
        let _ = poll(&mut fds, Some(&patience));
        let _ = abi::doorbell::silence(&self.bell.fd);
    }

    fn take_questions(&mut self) {
        for (worker, line) in self.lines.clone().iter().enumerate() {
            let bit = 1_u64.checked_shl(worker as u32).unwrap_or(0);
            while let Some(question) = line.questions.pop() {
                match question {
                    Question::Of(pair) => {
                        let (hop, via) = self.resolve(pair);
                        let wanted = self.wanted.entry(pair).or_default();
                        let others = if wanted.hop == hop { 0 } else { wanted.users };
                        (wanted.hop, wanted.via) = (hop, via);
                        wanted.users |= bit;
                        wanted.untold |= bit | others;
                    }
                    Question::Forget(pair) => {
                        let Some(wanted) = self.wanted.get_mut(&pair) else { continue };
                        wanted.users &= !bit;
                        wanted.untold &= !bit;
                        if wanted.users == 0 {
                            self.wanted.remove(&pair);
                        }
                    }
                }
            }
        }
    }

    /// Asks again for what `of` chooses.
    fn refresh(&mut self, of: impl Fn(&Wanted) -> bool) {
        let chosen = self.wanted.iter().filter(|(_, wanted)| of(wanted)).map(|(pair, _)| *pair);
        for pair in chosen.collect::<Vec<_>>() {
            let (hop, via) = self.resolve(pair);
            if let Some(wanted) = self.wanted.get_mut(&pair) {
                wanted.via = via;
                if wanted.hop != hop {
                    wanted.hop = hop;
                    wanted.untold = wanted.users;
                }
            }
        }
    }

    fn tell(&mut self) {
        for (pair, wanted) in &mut self.wanted {
            for (worker, line) in self.lines.iter().enumerate() {
                let bit = 1_u64.checked_shl(worker as u32).unwrap_or(0);
                let answer = Answer { pair: *pair, hop: wanted.hop };
                if wanted.untold & bit != 0 && line.answers.push(answer).is_ok() {
                    wanted.untold &= !bit;
                }
            }
        }
    }

    /// The next hop of a pair, if a frame can reach it, and whose neighbour it depends on.
    fn resolve(&mut self, pair: Pair) -> (Option<Hop>, Option<(u32, IpAddr)>) {
        let (to, from) = (ip(pair.to), ip(pair.from));
        let Some(route) = self.kernel.route(to, from).filter(|route| route.unicast) else {
            return (None, None);
        };
        let next = route.gateway.unwrap_or(to);
        let via = Some((route.ifindex, next));
        let Some(link) = self.link(route.ifindex).filter(|link| link.ethernet && link.up) else {
            return (None, via);
        };
        // Below a VLAN the tag is ours, and the wire is the interface below.
        let (wire, vlan) = match link.vlan {
            Some((identifier, below)) => match self.link(below) {
                Some(below) if below.ethernet && below.up && below.vlan.is_none() => {
                    (below.ifindex, Some(identifier))
                }
                // A tag within a tag: the kernel's interface does it.
                _ => (link.ifindex, None),
            },
            None => (link.ifindex, None),
        };
        let neighbour = self.kernel.neighbour(route.ifindex, next);
        let hop = neighbour.and_then(|neighbour| neighbour.mac).map(|target| Hop {
            ifindex: wire,
            source: link.address,
            target,
            vlan,
            mtu: route.mtu.unwrap_or(link.mtu).min(link.mtu),
        });
        (hop, via)
    }

    fn link(&mut self, ifindex: u32) -> Option<Link> {
        if let Some(link) = self.links.get(&ifindex) {
            return *link;
        }
        let link = self.kernel.link(ifindex);
        self.links.insert(ifindex, link);
        link
    }
}

fn ip(ip: u128) -> IpAddr {
    Ipv6Addr::from(ip).to_canonical()
}

/// How long changes may come in before they are answered, and answers wait for room.
const SETTLE: Duration = Duration::from_millis(20);
/// All is asked again after so long, whatever was notified.
const REFRESH: Duration = Duration::from_secs(30);
