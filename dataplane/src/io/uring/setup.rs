//! Making a ring: the flags it needs, and what it may do afterwards.
//!
//! A ring starts disabled, is told the few operations that a worker uses, and is enabled by the
//! thread that owns it from then on (single issuer). Whatever else ever gets into the submission
//! queue, the kernel refuses it: no file is opened, no program started, no buffer registered through
//! this ring.

use std::io;

use io_uring::register::Restriction;
use io_uring::{IoUring, opcode, squeue};

/// Tries to make a small ring with everything that a worker needs; says whether it can gather.
///
/// # Errors
/// As [`Uring::new`](super::Uring::new).
pub fn probe() -> io::Result<bool> {
    let ring = build(8, 16)?;
    ring.submitter().register_files_sparse(2)?;
    enable(&ring)?;
    Ok(ring.params().is_feature_min_timeout())
}

/// A disabled ring. What the restrictions forbid later is registered before [`enable`].
pub fn build(submissions: u32, completions: u32) -> io::Result<IoUring> {
    let with = |no_array: bool| {
        let mut builder = IoUring::builder();
        builder
            .setup_r_disabled()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(completions);
        if no_array {
            builder.setup_no_sqarray();
        }
        builder.build(submissions)
    };
    match with(true) {
        // Linux before 6.6.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => with(false),
        made => made,
    }
}

/// Restricts the ring to what workers do, and enables it for this thread.
pub fn enable(ring: &IoUring) -> io::Result<()> {
    let flags =
        squeue::Flags::FIXED_FILE | squeue::Flags::BUFFER_SELECT | squeue::Flags::SKIP_SUCCESS;
    let mut allowed = [
        Restriction::sqe_op(opcode::RecvMsgMulti::CODE),
        Restriction::sqe_op(opcode::Send::CODE),
        Restriction::sqe_op(opcode::AsyncCancel::CODE),
        Restriction::sqe_op(opcode::PollAdd::CODE),
        Restriction::sqe_op(opcode::Write::CODE),
        Restriction::sqe_flags_allowed(flags.bits()),
        Restriction::register_op(REGISTER_FILES_UPDATE),
        Restriction::register_op(UNREGISTER_BUFFER_RING),
    ];
    ring.submitter().register_restrictions(&mut allowed)?;
    ring.submitter().register_enable_rings()
}

/// `IORING_REGISTER_FILES_UPDATE`.
const REGISTER_FILES_UPDATE: u8 = 6;
/// `IORING_UNREGISTER_PBUF_RING`.
const UNREGISTER_BUFFER_RING: u8 = 23;
