//! Which flow has something to say next: a heap of due times with one place per flow.
//!
//! A worker asks one question, "when must I wake up for a talker?", so one timer serves them all.
//! Due times lie on a grid of 5 ms; a hundred talkers then share a hundred wake-ups per second
//! instead of making five thousand.
//!
//! ```text
//! heap    [ (20 ms, flow 7) (25 ms, flow 2) (40 ms, flow 9) ... ]     smallest first
//! places  [ flow 0: -, ..., flow 2: 1, ..., flow 7: 0, ... ]          flow -> place in the heap
//! ```
//! The places make setting, moving and removing cost a few swaps each. All memory is reserved by
//! [`Pacer::new`], and because a flow has one entry, the heap cannot overflow.

use abi::FlowId;

use crate::limits::PACE_GRID_NS;

/// Due times of flows.
#[derive(Debug)]
pub struct Pacer {
    heap: Vec<Entry>,
    /// Place in the heap by slot of the flow; [`NOWHERE`] without one.
    places: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    due_ns: u64,
    flow: FlowId,
}

impl Pacer {
    /// For flows in slots below `flows`.
    pub fn new(flows: u32) -> Pacer {
        Pacer { heap: Vec::with_capacity(flows as usize), places: vec![NOWHERE; flows as usize] }
    }

    /// Sets or moves the due time of a flow, up to the grid. An earlier life of its slot is
    /// forgotten. A slot beyond the table's is not taken.
    pub fn set(&mut self, flow: FlowId, due_ns: u64) {
        let due_ns = on_grid(due_ns);
        let Some(place) = self.places.get_mut(flow.index as usize) else { return };
        let at = match *place {
            NOWHERE => {
                *place = self.heap.len() as u32;
                self.heap.push(Entry { due_ns, flow });
                self.heap.len() - 1
            }
            at => {
                if let Some(entry) = self.heap.get_mut(at as usize) {
                    *entry = Entry { due_ns, flow };
                }
                at as usize
            }
        };
        self.settle(at);
    }

    /// Forgets a flow; another life of its slot stays.
    pub fn remove(&mut self, flow: FlowId) {
        let at = self.places.get(flow.index as usize).map_or(usize::MAX, |at| *at as usize);
        if self.heap.get(at).is_some_and(|entry| entry.flow == flow) {
            self.take(at);
        }
    }

    /// When the next flow is due.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.due_ns)
    }

    /// Takes the flow that has been due longest, if one is due. It is to be set again with what its
    /// voice answers.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<FlowId> {
        if self.next_due_ns()? > now_ns {
            return None;
        }
        self.take(0)
    }

    /// Flows with a due time.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    fn take(&mut self, at: usize) -> Option<FlowId> {
        let last = self.heap.len().checked_sub(1)?;
        self.swap(at, last);
        let entry = self.heap.pop()?;
        if let Some(place) = self.places.get_mut(entry.flow.index as usize) {
            *place = NOWHERE;
        }
        if at < last {
            self.settle(at);
        }
        Some(entry.flow)
    }

    /// Moves an entry up or down to where it belongs.
    fn settle(&mut self, at: usize) {
        let mut at = at;
        while at > 0 && self.due(at) < self.due((at - 1) / 2) {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let child = if self.due(right) < self.due(left) { right } else { left };
            if self.due(child) >= self.due(at) {
                return;
            }
            self.swap(at, child);
            at = child;
        }
    }

    /// Beyond the end nothing is ever due.
    fn due(&self, at: usize) -> u64 {
        self.heap.get(at).map_or(u64::MAX, |entry| entry.due_ns)
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a.max(b) >= self.heap.len() {
            return;
        }
        self.heap.swap(a, b);
        for at in [a, b] {
            let flow = self.heap.get(at).map_or(u32::MAX, |entry| entry.flow.index);
            if let Some(place) = self.places.get_mut(flow as usize) {
                *place = at as u32;
            }
        }
    }
}

/// The first moment of the grid that is not before `ns`.
pub const fn on_grid(ns: u64) -> u64 {
    match ns.checked_next_multiple_of(PACE_GRID_NS) {
        Some(due_ns) => due_ns,
        None => u64::MAX,
    }
}

const NOWHERE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const MS: u64 = 1_000_000;

    fn id(index: u32, generation: u32) -> FlowId {
        FlowId { index, generation }
    }

    #[test]
    fn flows_come_in_the_order_of_their_due_times_and_not_before() {
        let mut pacer = Pacer::new(4);
        for (index, due) in [(0, 40), (1, 20), (2, 30), (3, 20)] {
            pacer.set(id(index, 1), due * MS);
        }
        assert_eq!(pacer.next_due_ns(), Some(20 * MS));
        assert_eq!(pacer.pop_due(20 * MS - 1), None);
        let first: Vec<_> = std::iter::from_fn(|| pacer.pop_due(20 * MS)).collect();
        assert!(first == [id(1, 1), id(3, 1)] || first == [id(3, 1), id(1, 1)]);
        assert_eq!(pacer.pop_due(u64::MAX), Some(id(2, 1)));
        assert_eq!(pacer.pop_due(u64::MAX), Some(id(0, 1)));
        assert!(pacer.pop_due(u64::MAX).is_none() && pacer.is_empty());
    }

    #[test]
    fn due_times_go_up_to_the_grid() {
        let mut pacer = Pacer::new(1);
        for (asked, due) in [(0, 0), (1, 5 * MS), (5 * MS, 5 * MS), (5 * MS + 1, 10 * MS)] {
            pacer.set(id(0, 1), asked);
            assert_eq!(pacer.next_due_ns(), Some(due));
        }
        assert_eq!(on_grid(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_new_life_replaces_the_old_one_and_cannot_be_removed_by_it() {
        let mut pacer = Pacer::new(2);
        pacer.set(id(1, 1), 10 * MS);
        pacer.set(id(1, 2), 20 * MS);
        pacer.remove(id(1, 1));
        assert_eq!((pacer.len(), pacer.next_due_ns()), (1, Some(20 * MS)));
        pacer.remove(id(1, 2));
        assert!(pacer.is_empty());
        pacer.set(id(2, 1), 0);
        assert!(pacer.is_empty(), "no such slot");
    }

    proptest::proptest! {
        #[test]
        fn it_is_a_sorted_map(
            steps in proptest::collection::vec((0..4u8, 0..16u32, 0..40u64), 0..300)
        ) {
            let mut pacer = Pacer::new(16);
            let reserved = pacer.heap.capacity();
            let mut model: HashMap<FlowId, u64> = HashMap::new();
            for (verb, index, due) in steps {
                let (flow, due_ns) = (id(index, 1), due * MS);
                match verb {
                    0 | 1 => {
                        pacer.set(flow, due_ns);
                        model.insert(flow, on_grid(due_ns));
                    }
                    2 => {
                        pacer.remove(flow);
                        model.remove(&flow);
                    }
                    _ => {
                        let popped = pacer.pop_due(due_ns);
                        let least = model.values().min().copied();
                        proptest::prop_assert_eq!(popped.is_some(), least.is_some_and(|l| l <= due_ns));
                        if let Some(flow) = popped {
                            proptest::prop_assert_eq!(model.remove(&flow), least);
                        }
                    }
                }
                proptest::prop_assert_eq!(pacer.len(), model.len());
                proptest::prop_assert_eq!(pacer.next_due_ns(), model.values().min().copied());
            }
            proptest::prop_assert_eq!(pacer.heap.capacity(), reserved);
        }
    }
}
