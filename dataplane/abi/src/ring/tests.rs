use super::*;
use crate::oracle::Pair;

fn ring(capacity: usize) -> (Words, Producer<Pair>, Consumer<Pair>) {
    let words = Words::heap(ring_words::<Pair>(capacity));
    let (producer, consumer) = (Producer::new(words.clone()), Consumer::new(words.clone()));
    (words, producer.unwrap(), consumer.unwrap())
}

#[cfg(not(loom))]
mod behaviour {
    use proptest::prelude::*;

    use super::*;
    use crate::command::Command;
    use crate::flow::FlowId;
    use crate::key::{Key, Suite};
    use crate::oracle::{hostile_oracle, ring_oracle};
    use crate::request::Update;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn agrees_with_a_queue(data in prop::collection::vec(any::<u8>(), 0..300)) {
            ring_oracle(&data);
        }

        #[test]
        fn the_host_survives_a_hostile_guest(data in prop::collection::vec(any::<u8>(), 0..900)) {
            hostile_oracle(&data);
        }
    }

    #[test]
    fn agrees_with_a_queue_for_every_short_history() {
        // Push, pop, producer dies halfway, consumer dies: all histories of eight steps, with
        // cursors at the beginning and at the end of their range.
        let steps = [0, 3, 0x86, 7];
        for first in [0x00, 0x80] {
            for history in 0..4_usize.pow(8) {
                let mut data = vec![first];
                data.extend((0..8).map(|place| steps[history >> (2 * place) & 3]));
                ring_oracle(&data);
            }
        }
    }

    #[test]
    fn a_million_slots_cross_threads_whole_and_in_order() {
        const COUNT: u64 = 1_000_000;
        let (_, mut producer, mut consumer) = ring(64);
        let pusher = std::thread::spawn(move || {
            for value in 0..COUNT {
                while producer.push(&Pair::new(value)).is_err() {
                    std::thread::yield_now();
                }
            }
            producer.faults()
        });
        for value in 0..COUNT {
            let pair = loop {
                match consumer.pop() {
                    Some(pair) => break pair,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(pair, Pair::new(value));
        }
        assert_eq!((pusher.join().unwrap(), consumer.faults()), (0, 0));
    }

    #[test]
    fn memory_that_is_not_a_ring_is_refused() {
        for words in 0..2_000 {
            let capacity = (words as u64).saturating_sub(SLOTS as u64) / 2;
            let exact = words == SLOTS + 2 * capacity as usize && capacity.is_power_of_two();
            assert_eq!(Producer::<Pair>::new(Words::heap(words)).is_some(), exact, "{words}");
            assert_eq!(Consumer::<Pair>::attach(Words::heap(words)).is_some(), exact, "{words}");
        }
    }

    #[test]
    fn a_full_ring_loses_nothing() {
        let (_, mut producer, mut consumer) = ring(2);
        assert_eq!(producer.push(&Pair::new(1)), Ok(()));
        assert_eq!(producer.push(&Pair::new(2)), Ok(()));
        assert_eq!(producer.push(&Pair::new(9)), Err(Full));
        assert_eq!(consumer.pop(), Some(Pair::new(1)));
        assert_eq!(producer.push(&Pair::new(3)), Ok(()));
        assert_eq!(consumer.pop(), Some(Pair::new(2)));
        assert_eq!(consumer.pop(), Some(Pair::new(3)));
        assert_eq!(consumer.pop(), None);
    }

    #[test]
    fn one_senseless_tail_is_one_fault_however_often_it_is_polled() {
        let (words, mut producer, mut consumer) = ring(4);
        for (incident, tail) in [(1, 5), (2, u64::MAX), (3, 1 << 63)] {
            words[TAIL].store(tail, Ordering::Relaxed);
            for _ in 0..10 {
                assert_eq!(consumer.pop(), None);
            }
            assert_eq!(consumer.faults(), incident);
        }
        producer.push(&Pair::new(7)).unwrap();
        assert_eq!(consumer.pop(), Some(Pair::new(7)));
        assert_eq!(consumer.faults(), 3);
    }

    #[test]
    fn a_senseless_head_reads_as_full_and_is_counted() {
        let (words, mut producer, mut consumer) = ring(2);
        producer.push(&Pair::new(1)).unwrap();
        producer.push(&Pair::new(2)).unwrap();
        for head in [3, u64::MAX, 1 << 40] {
            words[HEAD].store(head, Ordering::Relaxed);
            assert_eq!(producer.push(&Pair::new(3)), Err(Full));
        }
        assert_eq!(producer.faults(), 3);
        assert!(consumer.repair());
        assert_eq!(producer.push(&Pair::new(3)), Err(Full));
        assert_eq!(producer.faults(), 3);
        assert_eq!(consumer.pop(), Some(Pair::new(1)));
        assert_eq!(producer.push(&Pair::new(3)), Ok(()));
    }

    #[test]
    fn an_overwritten_cursor_of_our_own_is_repaired_on_the_way() {
        let (words, mut producer, mut consumer) = ring(2);
        words[HEAD].store(99, Ordering::Relaxed);
        assert_eq!(consumer.pop(), None);
        assert_eq!(words[HEAD].load(Ordering::Relaxed), 0);
        producer.push(&Pair::new(1)).unwrap();
        producer.push(&Pair::new(2)).unwrap();
        words[TAIL].store(99, Ordering::Relaxed);
        assert_eq!(producer.push(&Pair::new(3)), Err(Full));
        assert_eq!(words[TAIL].load(Ordering::Relaxed), 2);
        assert_eq!(consumer.pop(), Some(Pair::new(1)));
    }

    #[test]
    fn the_guest_follows_the_host_after_a_repair() {
        let words = Words::heap(ring_words::<Pair>(4));
        let mut host = Consumer::<Pair>::new(words.clone()).unwrap();
        words[HEAD].store(1_000, Ordering::Relaxed);
        words[TAIL].store(5_000, Ordering::Relaxed);
        let mut guest = Producer::<Pair>::attach(words.clone()).unwrap();
        assert_eq!(guest.faults(), 1);
        assert!(host.repair());
        guest.push(&Pair::new(1)).unwrap();
        assert_eq!(host.pop(), Some(Pair::new(1)));
        assert_eq!(guest.faults(), 2);
    }

    fn secret_command() -> Command {
        let mut update = Update::new(1, FlowId { index: 0, generation: 1 });
        update.unprotect = Key::new(Suite::AeadAes256Gcm, &[0xA5; 32], &[0x5A; 12]);
        update.protect = Key::new(Suite::AesCm128HmacSha1_80, &[0xA5; 16], &[0x5A; 14]);
        Command::update(&update)
    }

    fn holds_secret(words: &Words) -> bool {
        let bytes = words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
        bytes.into_iter().any(|byte| byte == 0xA5 || byte == 0x5A)
    }

    #[test]
    fn no_key_remains_in_a_popped_slot() {
        let words = Words::heap(ring_words::<Command>(2));
        let mut producer = Producer::new(words.clone()).unwrap();
        let mut consumer = Consumer::<Command>::new(words.clone()).unwrap();
        for _ in 0..5 {
            producer.push(&secret_command()).unwrap();
            assert!(holds_secret(&words));
            assert_eq!(consumer.pop(), Some(secret_command()));
            assert!(!holds_secret(&words));
        }
    }

    #[test]
    fn no_key_remains_after_a_producer_died_while_pushing() {
        let words = Words::heap(ring_words::<Command>(2));
        let dying = Producer::<Command>::new(words.clone()).unwrap();
        dying.ring.fill(0, &secret_command());
        drop(dying);
        assert!(holds_secret(&words));
        let mut consumer = Consumer::<Command>::new(words.clone()).unwrap();
        assert_eq!(consumer.pop(), None);
        let mut next = Producer::<Command>::attach(words.clone()).unwrap();
        assert!(!holds_secret(&words));
        next.push(&secret_command()).unwrap();
        assert_eq!(consumer.pop(), Some(secret_command()));
    }

    #[test]
    fn what_a_dead_producer_had_finished_still_arrives() {
        let (words, mut dying, mut consumer) = ring(4);
        dying.push(&Pair::new(1)).unwrap();
        dying.push(&Pair::new(2)).unwrap();
        drop(dying);
        let mut next = Producer::attach(words).unwrap();
        next.push(&Pair::new(3)).unwrap();
        let all: Vec<_> = std::iter::from_fn(|| consumer.pop()).collect();
        assert_eq!(all, [1, 2, 3].map(Pair::new));
    }
}

/// Exhaustive within the bounds: every interleaving up to three preemptions, every value that the
/// memory model lets a load return. Run with `RUSTFLAGS="--cfg loom"`.
#[cfg(loom)]
mod model {
    use loom::sync::atomic::AtomicU64;
    use loom::thread;

    use super::*;

    fn check(body: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(body);
    }

    fn expect_in_order(consumer: &mut Consumer<Pair>, count: u64) {
        for value in 1..=count {
            let pair = loop {
                match consumer.pop() {
                    Some(pair) => break pair,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(pair, Pair::new(value));
        }
    }

    #[test]
    fn slots_arrive_whole_and_in_order_while_the_ring_wraps() {
        check(|| {
            let (_, mut producer, mut consumer) = ring(2);
            let pusher = thread::spawn(move || {
                for value in 1..=4 {
                    while producer.push(&Pair::new(value)).is_err() {
                        thread::yield_now();
                    }
                }
                assert_eq!(producer.faults(), 0);
            });
            expect_in_order(&mut consumer, 4);
            assert_eq!((consumer.pop(), consumer.faults()), (None, 0));
            pusher.join().unwrap();
        });
    }

    #[test]
    fn a_new_producer_takes_over_while_the_consumer_runs() {
        check(|| {
            let (words, mut dying, mut consumer) = ring(2);
            let guest = thread::spawn(move || {
                dying.push(&Pair::new(1)).unwrap();
                dying.ring.fill(1, &Pair::new(99));
                drop(dying);
                let mut next = Producer::attach(words).unwrap();
                for value in 2..=3 {
                    while next.push(&Pair::new(value)).is_err() {
                        thread::yield_now();
                    }
                }
            });
            expect_in_order(&mut consumer, 3);
            assert_eq!(consumer.faults(), 0);
            guest.join().unwrap();
        });
    }

    /// Positive control: without release and acquire the model does find a stale slot.
    #[test]
    #[should_panic(expected = "stale")]
    fn the_model_sees_a_missing_release() {
        check(|| {
            let words = std::sync::Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
            let writer = words.clone();
            let writer = thread::spawn(move || {
                writer[0].store(7, Ordering::Relaxed);
                writer[1].store(1, Ordering::Relaxed);
            });
            if words[1].load(Ordering::Relaxed) == 1 {
                assert_eq!(words[0].load(Ordering::Relaxed), 7, "stale");
            }
            writer.join().unwrap();
        });
    }
}
