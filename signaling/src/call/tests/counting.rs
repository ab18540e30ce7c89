//! The allocator of the unit tests: the system's, and on each thread a count of the octets that it
//! holds. What is allocated on one thread and freed on another is a fault of who compares.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
    static IS_AWAY: Cell<bool> = const { Cell::new(false) };
}

/// Octets that this thread asked for and has not given back, apart from what it did [`away`].
pub fn held() -> i64 {
    HELD.get()
}

/// Does something that does not count: it must free what it allocates in here alone.
pub fn away<T>(deed: impl FnOnce() -> T) -> T {
    IS_AWAY.set(true);
    let done = deed();
    IS_AWAY.set(false);
    done
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches neither
// the memory nor the layout.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise about `memory` and `layout` is passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise about `memory`, `layout` and `size` is passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(octets: i64) {
    if !IS_AWAY.get() {
        HELD.set(HELD.get() + octets);
    }
}

#[test]
fn what_is_held_is_counted_and_what_is_done_away_is_not() {
    let before = held();
    let kept = vec![0_u8; 1_000];
    assert_eq!(held() - before, 1_000);
    let elsewhere = away(|| vec![0_u8; 1_000]);
    assert_eq!(held() - before, 1_000);
    drop(kept);
    away(|| drop(elsewhere));
    assert_eq!(held(), before);
}
