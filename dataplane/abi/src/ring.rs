//! A ring of fixed-size slots from one process to another: single producer, single consumer.
//!
//! ```text
//! word  0        head   next slot to take; written by the consumer only
//!      16        tail   next slot to fill; written by the producer only      (128-byte lines)
//!      32        slots  capacity * size_of::<T>() / 8 words, capacity a power of two
//! ```
//!
//! Cursors count for ever (64 bits do not wrap in practice; the arithmetic wraps regardless), so
//! `tail - head` is the fill and `cursor & (capacity - 1)` the slot. Each side keeps its own cursor
//! in private memory as the truth and a cached copy of the peer's, so a push or pop normally
//! touches the peer's line only when the ring looks full or empty.
//!
//! **Ordering.** The producer fills a slot with relaxed stores, then stores `tail` with release; the
//! consumer loads `tail` with acquire, so it sees the slot. The consumer wipes the slot with
//! relaxed stores, then stores `head` with release; the producer loads `head` with acquire, so its
//! next fill comes after the wipe. Nothing else is ordered, nothing waits, nothing fails halfway: a
//! producer that dies before storing `tail` has pushed nothing.
//!
//! **Trust.** A peer's cursor is input. A fill beyond the capacity is counted as a fault and treated
//! as full (producer) or empty (consumer) by the host, while the guest follows the host; the own cursor's shared copy is repaired on the way, for
//! the peer may have overwritten it. A slot's index comes from the private cursor alone and so is
//! always inside.

use std::marker::PhantomData;

use bytemuck::{AnyBitPattern, NoUninit, Pod};
use crossbeam::utils::CachePadded;

use crate::memory::{Words, sync::AtomicU64, sync::Ordering};

/// A type that may travel in a ring: plain data of whole, aligned words.
pub trait Slot: Pod {}

/// The sending end.
pub struct Producer<T> {
    ring: Ring<T>,
    /// The truth of which `TAIL` is the shared copy.
    tail: u64,
    /// The consumer's cursor when last looked at; never more than `capacity` behind `tail`.
    head_seen: u64,
    faults: u64,
    on_fault: OnFault,
}

impl<T: Slot> Producer<T> {
    /// The host's end of a ring in zeroed memory.
    pub(crate) fn new(words: Words) -> Option<Self> {
        let ring = Ring::new(words)?;
        Some(Self { ring, tail: 0, head_seen: 0, faults: 0, on_fault: OnFault::Hold })
    }

    /// The guest's end. Takes over from a producer that died: continues its tail (or, where that
    /// makes no sense, starts at the consumer's head) and wipes what it may have left in slots that
    /// it never finished. There must be no other producer.
    pub(crate) fn attach(words: Words) -> Option<Self> {
        let ring = Ring::new(words)?;
        let head = ring.load(HEAD, Ordering::Acquire);
        let tail = ring.load(TAIL, Ordering::Acquire);
        let sane = tail.wrapping_sub(head) <= ring.capacity;
        let tail = if sane { tail } else { head };
        ring.store(TAIL, tail);
        let (faults, on_fault) = (u64::from(!sane), OnFault::Follow);
        let producer = Self { ring, tail, head_seen: head, faults, on_fault };
        let free = producer.ring.capacity - tail.wrapping_sub(head);
        for ahead in 0..free {
            producer.ring.wipe(tail.wrapping_add(ahead));
        }
        Some(producer)
    }

    /// Copies `value` into the next free slot.
    ///
    /// # Errors
    /// [`Full`] when the consumer has not yet released a slot (or claims nonsense).
    pub fn push(&mut self, value: &T) -> Result<(), Full> {
        self.make_room()?;
        self.ring.fill(self.tail, value);
        self.tail = self.tail.wrapping_add(1);
        self.ring.store(TAIL, self.tail);
        Ok(())
    }

    /// Slots of the ring.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.ring.capacity
    }

    /// How often the consumer's cursor made no sense.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// Stores the own cursor again if the peer overwrote it; says whether it had.
    pub fn repair(&mut self) -> bool {
        self.ring.repair(TAIL, self.tail)
    }

    fn make_room(&mut self) -> Result<(), Full> {
        // The guest looks every time: its pushes are rare, and only so does it notice at once
        // that the host has repaired a cursor that an earlier guest had ruined.
        let cached = self.on_fault == OnFault::Hold;
        if cached && self.tail.wrapping_sub(self.head_seen) < self.ring.capacity {
            return Ok(());
        }
        let head = self.ring.load(HEAD, Ordering::Acquire);
        let mut fill = self.tail.wrapping_sub(head);
        if fill > self.ring.capacity {
            self.faults += 1;
            if self.on_fault == OnFault::Follow {
                (self.tail, fill) = (head, 0);
            }
        }
        if fill >= self.ring.capacity {
            self.repair();
            return Err(Full);
        }
        self.head_seen = head;
        Ok(())
    }
}

/// The receiving end.
pub struct Consumer<T> {
    ring: Ring<T>,
    /// The truth of which `HEAD` is the shared copy.
    head: u64,
    /// The producer's cursor when last looked at; at most `capacity` ahead of `head`.
    tail_seen: u64,
    faults: u64,
    /// The last senseless tail, so that one incident is counted once however often it is polled.
    senseless: Option<u64>,
    on_fault: OnFault,
}

/// What an end does about a peer's cursor that makes no sense.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnFault {
    /// Keep the own cursor and wait for sense: the host, whose cursors are the truth.
    Hold,
    /// Move to the peer's cursor: the guest, which takes the host's cursors as the truth.
    Follow,
}

impl<T: Slot> Consumer<T> {
    /// The host's end of a ring in zeroed memory.
    pub(crate) fn new(words: Words) -> Option<Self> {
        Some(Self::at(Ring::new(words)?, 0, OnFault::Hold))
    }

    /// The guest's end: drops what the ring holds, for it was meant for the consumer that died.
    pub(crate) fn attach(words: Words) -> Option<Self> {
        let ring = Ring::new(words)?;
        let head = ring.load(HEAD, Ordering::Acquire);
        let tail = ring.load(TAIL, Ordering::Acquire);
        let fill = tail.wrapping_sub(head).min(ring.capacity);
        for ahead in 0..fill {
            ring.wipe(head.wrapping_add(ahead));
        }
        ring.store(HEAD, tail);
        Some(Self::at(ring, tail, OnFault::Follow))
    }

    /// Copies the oldest slot out, wipes it, then releases it to the producer.
    ///
    /// What was popped is the peer's input: validate it before use, and pop at most so many in one
    /// go, for the peer can fill the ring as fast as it is emptied.
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail_seen {
            self.look()?;
        }
        let value = self.ring.take(self.head);
        self.head = self.head.wrapping_add(1);
        self.ring.store(HEAD, self.head);
        Some(value)
    }

    /// Whether a pop would find nothing now.
    #[must_use]
    pub fn is_empty(&mut self) -> bool {
        self.head == self.tail_seen && self.look().is_none()
    }

    /// Slots of the ring.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.ring.capacity
    }

    /// How often the producer's cursor made no sense.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// Stores the own cursor again if the peer overwrote it; says whether it had.
    pub fn repair(&mut self) -> bool {
        self.ring.repair(HEAD, self.head)
    }

    /// Looks at the producer's cursor; `None` when there is nothing to take.
    fn look(&mut self) -> Option<()> {
        let tail = self.ring.load(TAIL, Ordering::Acquire);
        let fill = tail.wrapping_sub(self.head);
        if fill > self.ring.capacity {
            if self.senseless.replace(tail) != Some(tail) {
                self.faults += 1;
            }
            if self.on_fault == OnFault::Follow {
                (self.head, self.tail_seen) = (tail, tail);
            }
            self.repair();
            return None;
        }
        self.senseless = None;
        if fill == 0 {
            self.repair();
            return None;
        }
        self.tail_seen = tail;
        Some(())
    }

    fn at(ring: Ring<T>, head: u64, on_fault: OnFault) -> Self {
        Self { ring, head, tail_seen: head, faults: 0, senseless: None, on_fault }
    }
}

/// No free slot. Try again after the consumer has run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the ring is full; the other process is not taking from it")]
pub struct Full;

/// What both ends know: the memory and how slots lie in it.
struct Ring<T> {
    words: Words,
    capacity: u64,
    slot: PhantomData<fn() -> T>,
}

impl<T: Slot> Ring<T> {
    const SLOT_WORDS: usize = {
        assert!(size_of::<T>() > 0 && size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8);
        size_of::<T>() / 8
    };

    /// `None` unless `words` is exactly a ring of some power of two of slots.
    fn new(words: Words) -> Option<Self> {
        let capacity = words.len().checked_sub(SLOTS)? / Self::SLOT_WORDS;
        let exact = capacity.is_power_of_two() && ring_words::<T>(capacity) == words.len();
        exact.then_some(Self { words, capacity: capacity as u64, slot: PhantomData })
    }

    /// The words of the slot at a cursor; never outside, whatever the cursor.
    fn slot(&self, cursor: u64) -> &[AtomicU64] {
        let index = (cursor & (self.capacity - 1)) as usize;
        let start = SLOTS + index * Self::SLOT_WORDS;
        self.words.get(start..start + Self::SLOT_WORDS).unwrap_or_default()
    }

    fn fill(&self, cursor: u64, value: &T) {
        let words: &[u64] = bytemuck::cast_slice(std::slice::from_ref(value));
        for (shared, word) in self.slot(cursor).iter().zip(words) {
            shared.store(*word, Ordering::Relaxed);
        }
    }

    fn take(&self, cursor: u64) -> T {
        let mut value = T::zeroed();
        let words: &mut [u64] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut value));
        for (shared, word) in self.slot(cursor).iter().zip(words) {
            *word = shared.load(Ordering::Relaxed);
            shared.store(0, Ordering::Relaxed);
        }
        value
    }

    fn wipe(&self, cursor: u64) {
        self.slot(cursor).iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    fn repair(&self, word: usize, cursor: u64) -> bool {
        let ruined = self.load(word, Ordering::Relaxed) != cursor;
        if ruined {
            self.store(word, cursor);
        }
        ruined
    }

    fn load(&self, word: usize, ordering: Ordering) -> u64 {
        self.words.get(word).map_or(0, |cursor| cursor.load(ordering))
    }

    fn store(&self, word: usize, cursor: u64) {
        if let Some(shared) = self.words.get(word) {
            shared.store(cursor, Ordering::Release);
        }
    }
}

/// Words of a ring with `capacity` slots.
pub(crate) const fn ring_words<T: NoUninit + AnyBitPattern>(capacity: usize) -> usize {
    SLOTS + capacity * (size_of::<T>() / 8)
}

const LINE_BYTES: usize = 128;
const LINE_WORDS: usize = LINE_BYTES / size_of::<u64>();
pub(crate) const HEAD: usize = 0;
pub(crate) const TAIL: usize = LINE_WORDS;
pub(crate) const SLOTS: usize = 2 * LINE_WORDS;

// The shared layout is fixed; it must be at least what this machine needs to keep the two cursors
// from sharing a line (or a prefetched pair of lines).
const _: () = assert!(size_of::<CachePadded<u64>>() <= LINE_BYTES);

#[cfg(test)]
mod tests;
