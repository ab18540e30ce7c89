//! Bodies that judge the ring against a simple model. They run as unit tests over generated and
//! enumerated input, and as fuzz targets (`cfg(fuzzing)`).

use std::collections::VecDeque;

use bytemuck::{Pod, Zeroable};

use crate::memory::{Words, sync::AtomicU64, sync::Ordering};
use crate::ring::{Consumer, Full, HEAD, Producer, SLOTS, Slot, TAIL, ring_words};

/// A slot of two words that must arrive together.
#[repr(C)]
#[derive(Pod, Zeroable, Copy, Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    pub value: u64,
    pub complement: u64,
}

impl Pair {
    /// A pair that [`Pair::is_whole`].
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self { value, complement: !value }
    }

    /// Whether both words are of one push.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.complement == !self.value
    }
}

impl Slot for Pair {}

/// Drives a ring by the bytes of `data` and compares it with a queue after every step.
///
/// Byte 0 picks the capacity, each further byte one step: push, push by closure, pop, death and
/// return of the producer (with or without a half-filled slot), death and return of the consumer.
///
/// # Panics
/// When ring and model disagree, or a released slot still holds something.
pub fn ring_oracle(data: &[u8]) {
    let Some((first, steps)) = data.split_first() else {
        return;
    };
    let capacity = 2_usize << (first % 4);
    let words = Words::heap(ring_words::<Pair>(capacity));
    if first & 0x80 != 0 {
        // Near the end of the cursors' range, to see them wrap.
        set_cursors(&words, u64::MAX - 5);
    }
    let mut ends = Producer::<Pair>::attach(words.clone()).zip(Consumer::attach(words.clone()));
    let Some((producer, consumer)) = &mut ends else {
        unreachable!("the words are exactly a ring");
    };
    let mut model = VecDeque::new();
    for (value, step) in (1..).zip(steps) {
        let pair = Pair::new(value);
        match step % 8 {
            0..=2 => {
                let room = model.len() < capacity;
                let pushed = producer.push(&pair);
                assert_eq!(pushed, if room { Ok(()) } else { Err(Full) });
                model.extend(room.then_some(pair));
            }
            3..=5 => assert_eq!(consumer.pop(), model.pop_front()),
            6 => {
                if step & 0x80 != 0 {
                    abandon_push(&words, capacity);
                }
                if let Some(next) = Producer::attach(words.clone()) {
                    *producer = next;
                }
            }
            _ => {
                model.clear();
                if let Some(next) = Consumer::attach(words.clone()) {
                    *consumer = next;
                }
            }
        }
        assert_eq!(consumer.is_empty(), model.is_empty());
        assert_eq!((producer.faults(), consumer.faults()), (0, 0));
        assert_free_slots_are_wiped(&words, capacity, step);
    }
}

/// Drives the host's ends of two rings while a hostile guest writes into the memory.
///
/// Each nine bytes are one step: which word, what value; the host works after each. Nothing may
/// panic; afterwards the guest behaves, and traffic must flow again.
///
/// # Panics
/// When the host's ends do not recover.
pub fn hostile_oracle(data: &[u8]) {
    const CAPACITY: usize = 8;
    let commands = Words::heap(ring_words::<Pair>(CAPACITY));
    let events = Words::heap(ring_words::<Pair>(CAPACITY));
    let ends = Consumer::<Pair>::new(commands.clone()).zip(Producer::<Pair>::new(events.clone()));
    let Some((mut consumer, mut producer)) = ends else {
        unreachable!("the words are exactly a ring");
    };
    let mut steps = data.chunks_exact(9);
    for step in &mut steps {
        let [at, value @ ..] = step else { continue };
        let value = value.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        for words in [&commands, &events] {
            // Cursors more often than slots: they are where the danger is.
            let word = match at % 4 {
                0 => HEAD,
                1 => TAIL,
                _ => usize::from(*at) % words.len(),
            };
            // Small values too, which look like sense.
            let value = if at & 0x80 == 0 { value % 32 } else { value };
            if let Some(word) = words.get(word) {
                word.store(value, Ordering::Relaxed);
            }
        }
        let _ = producer.push(&Pair::new(value));
        // A hostile tail may present at most the whole ring.
        let popped = std::iter::from_fn(|| consumer.pop()).take(CAPACITY + 1).count();
        assert!(popped <= CAPACITY);
    }
    consumer.repair();
    producer.repair();
    let guest = Producer::<Pair>::attach(commands).zip(Consumer::<Pair>::attach(events));
    let Some((mut push, mut pop)) = guest else {
        unreachable!("the words are exactly a ring");
    };
    while consumer.pop().is_some() {}
    for value in 0..100 {
        assert_eq!(push.push(&Pair::new(value)), Ok(()));
        assert_eq!(consumer.pop(), Some(Pair::new(value)));
        assert_eq!(producer.push(&Pair::new(value)), Ok(()));
        assert_eq!(pop.pop(), Some(Pair::new(value)));
    }
}

fn set_cursors(words: &Words, cursor: u64) {
    for word in [HEAD, TAIL] {
        if let Some(word) = words.get(word) {
            word.store(cursor, Ordering::Relaxed);
        }
    }
}

/// What a producer leaves that is killed between filling a slot and publishing it.
fn abandon_push(words: &Words, capacity: usize) {
    let load = |word: usize| words.get(word).map_or(0, |word| word.load(Ordering::Relaxed));
    if load(TAIL).wrapping_sub(load(HEAD)) < capacity as u64 {
        let word = SLOTS + 2 * (load(TAIL) as usize & (capacity - 1));
        if let Some(word) = words.get(word) {
            word.store(0x5EC2_E75E_C2E7, Ordering::Relaxed);
        }
    }
}

fn assert_free_slots_are_wiped(words: &Words, capacity: usize, step: &u8) {
    let load = |word: usize| words.get(word).map_or(0, |word| word.load(Ordering::Relaxed));
    let free = capacity as u64 - load(TAIL).wrapping_sub(load(HEAD));
    for cursor in (0..free).map(|ahead| load(TAIL).wrapping_add(ahead)) {
        let start = SLOTS + 2 * (cursor as usize & (capacity - 1));
        let slot: &[AtomicU64] = words.get(start..start + 2).unwrap_or_default();
        assert!(slot.iter().all(|word| word.load(Ordering::Relaxed) == 0), "after step {step}");
    }
}
