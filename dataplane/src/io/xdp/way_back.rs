//! Whether frames that a driver sends back (`XDP_TX`), or out of another interface (`XDP_REDIRECT`), arrive:
//! nobody says so, and where they do not, the kernel must not relay.
//!
//! The other end of a veth pair looks for such frames only while it has an XDP program itself (Linux
//! 6.18 drops them otherwise, or leaves them in a ring that nobody empties). So it is asked at the start,
//! with the rights that are left then; and as programs go without notice, the interface's own counts
//! are compared with what the program says that it sent, which takes no right.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use super::shortcut::Table;
use crate::io::neighbour::{Kernel, Link};

/// Out by an interface, past the kernel.
#[derive(Debug)]
pub struct WayBack {
    closed: AtomicBool,
    /// A bit for each entry of the table that is on and leads this way.
    on: Vec<AtomicU64>,
}

impl WayBack {
    /// An open way, for a table of so many entries.
    pub fn new(entries: usize) -> WayBack {
        let words = entries.div_ceil(u64::BITS as usize);
        WayBack {
            closed: AtomicBool::new(false),
            on: std::iter::repeat_with(AtomicU64::default).take(words).collect(),
        }
    }

    /// Whether the kernel may relay.
    pub fn is_open(&self) -> bool {
        !self.closed.load(Ordering::SeqCst)
    }

    /// For good: the workers take their flows back with their next sweep.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Notes that an entry leads this way, before it is turned on.
    pub fn join(&self, entry: usize) {
        self.change(entry, |word, bit| word.fetch_or(bit, Ordering::SeqCst));
    }

    /// Notes that it does no longer, once it is off.
    pub fn leave(&self, entry: usize) {
        self.change(entry, |word, bit| word.fetch_and(!bit, Ordering::SeqCst));
    }

    fn change(&self, entry: usize, change: impl FnOnce(&AtomicU64, u64) -> u64) {
        if let Some(word) = self.on.get(entry / u64::BITS as usize) {
            change(word, 1 << (entry % u64::BITS as usize));
        }
    }

    /// The entries that lead this way.
    fn entries(&self) -> impl Iterator<Item = usize> {
        self.on.iter().zip((0..).step_by(u64::BITS as usize)).flat_map(|(word, first)| {
            let word = word.load(Ordering::SeqCst);
            let set = (0..u64::BITS as usize).filter(move |bit| word >> bit & 1 == 1);
            set.map(move |bit| first + bit)
        })
    }
}

/// Why frames that are sent back would not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deaf {
    /// The other end of the veth pair has no program.
    NoProgram,
    /// Or may have none: it is in a namespace that we must not look into.
    OutOfSight,
}

impl fmt::Display for Deaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Deaf::NoProgram => "the other end of this veth pair has no XDP program",
            Deaf::OutOfSight => {
                "whether the other end of this veth pair has an XDP program is hidden"
            }
        })
    }
}

/// Whether the far end of `link` would not take frames that the driver sends back.
pub fn deafness(kernel: &mut Kernel, link: &Link) -> Option<Deaf> {
    let peer = link.peer?;
    match kernel.peer(peer) {
        Some(peer) if peer.xdp.is_some() => None,
        Some(_) => Some(Deaf::NoProgram),
        None => Some(Deaf::OutOfSight),
    }
}

/// Compares what the program sent back by one interface with what the interface says.
pub struct Judge {
    table: Arc<Table>,
    way: Arc<WayBack>,
    /// The count of each entry at the last look.
    counts: Vec<u64>,
    scales: Scales,
}

impl Judge {
    pub fn of(table: Arc<Table>, way: Arc<WayBack>) -> Judge {
        Judge { counts: vec![0; table.entries()], table, way, scales: Scales::default() }
    }

    /// Takes one look; tells how many packets were relayed in vain since the last one, when that is
    /// enough to close the way.
    pub fn look(&mut self, link: Option<&Link>) -> Option<u64> {
        let relayed = self.relayed();
        let lost = self.way.is_open() && self.scales.weigh(relayed, link);
        lost.then(|| {
            self.way.close();
            // An entry that is turned on at this moment sees the way closed, or is seen here.
            fence(Ordering::SeqCst);
            self.way.entries().for_each(|entry| self.table.switch_off(entry));
            relayed
        })
    }

    /// Since the last call.
    fn relayed(&mut self) -> u64 {
        let Judge { table, way, counts, .. } = self;
        let mut sum = 0;
        for entry in way.entries() {
            let (Some(count), now) = (counts.get_mut(entry), table.packets(entry)) else {
                continue;
            };
            let before = std::mem::replace(count, now);
            // An entry begins at 0 again with each flow.
            sum += if now < before { now } else { now - before };
        }
        sum
    }
}

/// What an interface said at the last look, and how it has done since the look before that.
#[derive(Default)]
struct Scales {
    last: Option<(u64, u64)>,
    bad: u32,
}

impl Scales {
    /// Whether too little of what was relayed since the last look has left, now and the last time.
    fn weigh(&mut self, relayed: u64, link: Option<&Link>) -> bool {
        let Some(link) = link.filter(|link| link.up) else {
            *self = Scales::default();
            return false;
        };
        let Some((sent, dropped)) = self.last.replace((link.sent, link.dropped)) else {
            return false;
        };
        let (sent, dropped) = (link.sent.wrapping_sub(sent), link.dropped.wrapping_sub(dropped));
        // A veth pair counts as sent what the other end took; other drivers count what they wish.
        let lost = match link.peer {
            Some(_) => sent < relayed / 2,
            None => dropped > relayed / 2,
        };
        self.bad = if lost && relayed >= LEAST { self.bad + 1 } else { 0 };
        self.bad >= LOOKS
    }
}

/// So many looks in a row must say the same: a host that stood still proves nothing.
const LOOKS: u32 = 2;
/// Fewer packets in one look prove nothing.
const LEAST: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::neighbour::Peer;

    fn link(veth: bool, sent: u64, dropped: u64) -> Link {
        let peer = veth.then_some(Peer { ifindex: 4, namespace: None });
        Link { up: true, peer, sent, dropped, ..Link::default() }
    }

    /// Looks at which (relayed, sent, dropped) since the one before; the first that says "lost".
    fn first_loss(veth: bool, looks: &[(u64, u64, u64)]) -> Option<usize> {
        let mut scales = Scales::default();
        let mut at = (1000, 10);
        assert!(!scales.weigh(0, Some(&link(veth, at.0, at.1))));
        looks.iter().position(|(relayed, sent, dropped)| {
            at = (at.0 + sent, at.1 + dropped);
            scales.weigh(*relayed, Some(&link(veth, at.0, at.1)))
        })
    }

    #[test]
    fn what_does_not_arrive_is_seen_at_the_second_look_and_nothing_else_is() {
        assert_eq!(first_loss(true, &[(10, 10, 0); 20]), None);
        assert_eq!(first_loss(true, &[(10, 100, 0); 20]), None);
        assert_eq!(first_loss(true, &[(10, 0, 0); 20]), Some(1));
        assert_eq!(first_loss(true, &[(10, 10, 0), (10, 0, 0), (10, 10, 0), (10, 0, 0)]), None);
        assert_eq!(first_loss(true, &[[(10, 10, 0); 3], [(10, 1, 9); 3]].concat()), Some(4));
        assert_eq!(first_loss(true, &[(LEAST - 1, 0, 0); 20]), None, "too little to say so");
        // Other drivers: what was dropped counts.
        assert_eq!(first_loss(false, &[(10, 0, 0); 20]), None);
        assert_eq!(first_loss(false, &[(100, 100, 3); 20]), None);
        assert_eq!(first_loss(false, &[(10, 0, 10); 20]), Some(1));
    }

    #[test]
    fn an_interface_that_is_down_proves_nothing() {
        let mut scales = Scales::default();
        for _ in 0..20 {
            let down = Link { up: false, ..link(true, 7, 0) };
            assert!(!scales.weigh(10, Some(&down)));
            assert!(!scales.weigh(10, None));
            assert!(!scales.weigh(10, Some(&link(true, 7, 0))));
        }
    }

    #[test]
    fn a_way_knows_which_entries_lead_there() {
        let way = WayBack::new(130);
        [0, 63, 64, 129].into_iter().for_each(|entry| way.join(entry));
        way.leave(63);
        // Beyond the table there is nothing.
        way.join(1 << 20);
        assert_eq!(way.entries().collect::<Vec<_>>(), [0, 64, 129]);
    }
}
