//! One writer, any number of readers, and a reader never sees a mix of two writes.
//!
//! Word 0 of an entry is its version: odd while the writer is inside. A reader copies the body
//! between two looks at the version and keeps the copy only if both looks agree on an even number.
//! The writer never waits. A writer that died inside leaves the version odd, so readers give up
//! after [`ATTEMPTS_MAX`] looks instead of spinning.

use crate::memory::sync::{AtomicU64, Ordering, fence};

/// Writes `body` under the even `version`, which must differ from the previous write's.
pub(crate) fn write(entry: &[AtomicU64], version: u64, body: &[u64]) {
    let Some((shared_version, shared_body)) = entry.split_first() else {
        return;
    };
    shared_version.store(version.wrapping_sub(1), Ordering::Relaxed);
    // Orders the odd version before every word below, and before every word of this entry that
    // the writer stores later by itself: a reader that copied one of those words sees, behind its
    // own acquire fence, at least this version.
    fence(Ordering::Release);
    for (shared, word) in shared_body.iter().zip(body) {
        shared.store(*word, Ordering::Relaxed);
    }
    shared_version.store(version, Ordering::Release);
}

/// Copies the body out. `false` means that no undisturbed copy was had; `body` is then garbage.
pub(crate) fn read(entry: &[AtomicU64], body: &mut [u64]) -> bool {
    let Some((shared_version, shared_body)) = entry.split_first() else {
        return false;
    };
    for _ in 0..ATTEMPTS_MAX {
        let before = shared_version.load(Ordering::Acquire);
        if before & 1 == 1 {
            core::hint::spin_loop();
            continue;
        }
        for (shared, word) in shared_body.iter().zip(body.iter_mut()) {
            *word = shared.load(Ordering::Relaxed);
        }
        // Keeps the copy above from moving below the second look.
        fence(Ordering::Acquire);
        if shared_version.load(Ordering::Relaxed) == before {
            return true;
        }
    }
    false
}

/// A write is some 32 stores; a reader that lost this often is reading behind a dead writer.
#[cfg(not(loom))]
const ATTEMPTS_MAX: u32 = 1_000;
/// The model needs one retry to be exhaustive; more only multiplies states.
#[cfg(loom)]
const ATTEMPTS_MAX: u32 = 2;

#[cfg(test)]
#[cfg(loom)]
mod model {
    use loom::thread;

    use super::*;
    use crate::memory::Words;

    #[test]
    fn a_reader_never_sees_a_mix_of_two_writes() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let entry = Words::heap(3);
            let shared = entry.clone();
            let writer = thread::spawn(move || {
                write(&shared, 2, &[1, 1]);
                write(&shared, 4, &[2, 2]);
            });
            let mut body = [0; 2];
            if read(&entry, &mut body) {
                assert!(body[0] == body[1], "mix: {body:?}");
            }
            writer.join().unwrap();
        });
    }

    /// A tally of the second flow must not be read as one of the first.
    #[test]
    fn a_word_set_after_a_write_is_never_read_with_the_write_before() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let entry = Words::heap(3);
            write(&entry, 2, &[1, 10]);
            let shared = entry.clone();
            let writer = thread::spawn(move || {
                write(&shared, 4, &[2, 0]);
                shared[2].store(20, Ordering::Relaxed);
            });
            let mut body = [0; 2];
            if read(&entry, &mut body) {
                assert!(matches!(body, [1, 10] | [2, 0] | [2, 20]), "mix: {body:?}");
            }
            writer.join().unwrap();
        });
    }
}
