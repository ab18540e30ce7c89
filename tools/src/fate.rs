//! What the kernel may do to a process of ours: signals, the death of its parent, core dumps.

use tokio::signal::unix::{SignalKind, signal};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM: this process goes, calls may stay.
    Terminate,
    /// SIGINT: the operator ends the whole gateway.
    Interrupt,
}

/// Calls `then` once, from a thread of its own, on the first SIGTERM or SIGINT.
///
/// # Errors
/// The kernel's error when the thread or a handler cannot be made.
pub fn on_stop(then: impl FnOnce(Signal) + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let first = runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => Signal::Terminate,
                _ = interrupt.recv() => Signal::Interrupt,
            }
        });
        then(first);
    })?;
    Ok(())
}

/// Asks the kernel to terminate this process when the one that started it dies.
///
/// # Errors
/// The kernel's error.
pub fn follow_parent() -> std::io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?)
}

/// Keys and passwords of live calls are in this process's memory: the kernel writes none of it out
/// when the process dies.
///
/// # Errors
/// The kernel's error.
pub fn leave_no_core_dump() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
