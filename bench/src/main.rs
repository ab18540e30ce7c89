//! The load benchmark: media through a device under test on an own stage, and peers beside it;
//! calls through the whole gateway.
//!
//! Start reading at `measure.rs` (one run of media), `stage/mod.rs` (where it takes place) and
//! `sip_load.rs` (calls). The library
//! of this package, the demonstration's SIP and RTP peers, is another thing.
#![deny(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};

mod account;
mod command;
mod compare;
mod crypto;
mod device;
mod fault;
mod gateway;
mod load;
mod measure;
mod options;
mod publish;
mod screen;
mod sip_load;
mod stage;
mod workload;

use fault::Fault;

/// Measure Trunkline: its data plane, alone and beside its peers, and its signalling.
#[derive(Parser)]
#[command(name = "bench", version, about, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples (root, because the stage is made of network namespaces):
  bench media                                   calls per core, CPU per packet, every workload
  bench media cm80-in --pps 80000 --seconds 10  one workload
  bench compare --workloads relay,cm80-out      ours beside rtpengine, ratios
  bench calls                                   calls per second, delay and memory of signalling
  bench selftest                                the bench itself: no loss of its own, sees faults";

#[derive(Subcommand)]
enum Command {
    Media(command::media::Arguments),
    Compare(command::compare::Arguments),
    Selftest(command::selftest::Arguments),
    Crypto(command::crypto::Arguments),
    Calls(command::calls::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let stop = Arc::new(AtomicBool::new(false));
    let result = watch_signals(stop.clone()).and_then(|()| match arguments.command {
        Command::Media(arguments) => command::media::run(&arguments, &stop),
        Command::Compare(arguments) => command::compare::run(&arguments, &stop),
        Command::Selftest(arguments) => command::selftest::run(&arguments, &stop),
        Command::Crypto(arguments) => command::crypto::run(&arguments, &stop),
        Command::Calls(arguments) => command::calls::run(&arguments, &stop),
    });
    match result {
        Ok(code) => code,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// The first SIGINT or SIGTERM asks the run to end; the stage is taken down on the way out.
fn watch_signals(stop: Arc<AtomicBool>) -> Result<(), Fault> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = || Fault::io("watch signals");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(failed())?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate()).map_err(failed())?,
            signal(SignalKind::interrupt()).map_err(failed())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        });
        stop.store(true, Ordering::Relaxed);
    });
    Ok(())
}
