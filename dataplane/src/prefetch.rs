//! Asks the processor for memory that will be needed soon. A hint: wrong addresses harm nothing.
//!
//! A packet meets its flow cold: with thousands of calls, each flow was last touched 20 ms ago. The
//! relay knows the flows of a whole batch before it looks at the first packet, so it asks for the
//! lines of a later flow while it works on this one, and for the keys of one in between, which are
//! asked for only when its lines say that there are any.

/// Asks for the cache line that holds the octet `offset` octets behind `base`.
#[inline(always)]
pub fn line<T>(base: &T, offset: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let at = std::ptr::from_ref(base).cast::<i8>().wrapping_add(offset);
        // SAFETY: PREFETCHT0 reads nothing that the program could see and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (base, offset);
}
