//! What moves of a key leave on the stack. Types that wipe themselves wipe the place where they
//! end, not those that they were moved from; those are overwritten here.

use std::hint::black_box;

use zeroize::Zeroize;

/// Calls `work` and overwrites the stack that it used, as far as [`DEPTH`].
pub fn leave_none<T>(work: impl FnOnce() -> T) -> T {
    let result = apart(work);
    wipe();
    result
}

/// Its frame begins where that of [`wipe`] will, and holds nothing but a margin: what a compiler
/// puts on top of the frame of `wipe` is not overwritten, so the work stays below it.
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    let margin = [0_u8; MARGIN];
    black_box(&margin);
    let result = below(work);
    black_box(&margin);
    result
}

#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn wipe() {
    let mut space = [0_u64; DEPTH / size_of::<u64>()];
    space.zeroize();
    black_box(&mut space);
}

/// Octets of stack that are overwritten: a command's deepest calls, the key schedules, stay well
/// above (`tests/key_memory.rs` would find what does not). A small part of a thread's 2 MiB.
const DEPTH: usize = 64 << 10;

/// Octets between the beginnings of the two frames: more than saved registers and alignment take.
const MARGIN: usize = 1 << 10;
