//! Keeps the two processes of the gateway running.
//!
//! ```text
//!   trunkline up ──► trunkline dataplane   (media goes on whatever happens to the other)
//!              └───► trunkline signaling   (attaches to dataplane; restarted when it dies)
//! ```
//! A process that dies is started again after a pause that doubles up to [`PAUSE_MAX`]. One that
//! says at its first start that its configuration or the host is at fault ends the gateway with its
//! code. Later that is no reason: a mistake in the file must not end the media of live calls.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal as Posix, kill_process};

use crate::failure::{FINAL, Failure};

/// First pause before a restart.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a restart.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A process that ran this long starts again after the shortest pause.
const STABLE: Duration = Duration::from_secs(30);
/// A process that ran this long once has shown that configuration and host allow it.
const PROVEN: Duration = Duration::from_secs(2);
/// How often the children are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long a process may take to end its work before it is killed.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Process {
    Dataplane,
    Signaling,
}

impl Process {
    pub fn name(self) -> &'static str {
        match self {
            Process::Dataplane => "dataplane",
            Process::Signaling => "signaling",
        }
    }
}

/// One supervised process.
struct Ward {
    process: Process,
    child: Option<Child>,
    started: Instant,
    proven: bool,
    pause: Duration,
    due: Instant,
}

/// Both processes; dropping it kills what still runs.
pub struct Supervisor {
    config: std::path::PathBuf,
    wards: [Ward; 2],
}

impl Supervisor {
    /// Starts both processes with the configuration file `config`.
    ///
    /// # Errors
    /// When a process cannot be started at all.
    pub fn start(config: &Path) -> Result<Self, Failure> {
        let now = Instant::now();
        let ward = |process| Ward {
            process,
            child: None,
            started: now,
            proven: false,
            pause: PAUSE_MIN,
            due: now,
        };
        let wards = [ward(Process::Dataplane), ward(Process::Signaling)];
        let mut this = Self { config: config.to_path_buf(), wards };
        this.tend()?;
        Ok(this)
    }

    /// The process id, while it runs.
    pub fn pid(&self, process: Process) -> Option<u32> {
        let ward = self.wards.iter().find(|w| w.process == process)?;
        ward.child.as_ref().map(Child::id)
    }

    /// Looks at both processes once: reaps what died, starts what is due.
    ///
    /// # Errors
    /// When a process says that starting it again cannot help.
    pub fn tend(&mut self) -> Result<(), Failure> {
        let config = self.config.clone();
        for ward in &mut self.wards {
            ward.tend(&config)?;
        }
        Ok(())
    }

    /// Tends until `stop` says so, then ends both: signaling first, so that calls end cleanly.
    ///
    /// # Errors
    /// As [`Supervisor::tend`]; both processes are ended then too.
    pub fn run(mut self, stop: &Receiver<()>) -> Result<(), Failure> {
        let result = loop {
            match stop.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break Ok(()),
            }
            if let Err(failure) = self.tend() {
                break Err(failure);
            }
        };
        self.end();
        result
    }

    /// Ends both processes; a process that does not end in [`GRACE`] is killed.
    pub fn end(&mut self) {
        let [dataplane, signaling] = &mut self.wards;
        signaling.end(Posix::INT);
        dataplane.end(Posix::TERM);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}

impl Ward {
    fn tend(&mut self, config: &Path) -> Result<(), Failure> {
        if let Some(child) = &mut self.child {
            let Some(status) = child.try_wait().map_err(Failure::host)? else { return Ok(()) };
            self.child = None;
            self.died(status)?;
        }
        if Instant::now() >= self.due {
            self.child = Some(spawn(self.process, config)?);
            self.started = Instant::now();
        }
        Ok(())
    }

    fn died(&mut self, status: ExitStatus) -> Result<(), Failure> {
        let name = self.process.name();
        self.proven |= self.started.elapsed() >= PROVEN;
        if let Some(code) =
            status.code().and_then(|c| u8::try_from(c).ok()).filter(|c| FINAL.contains(c))
        {
            if !self.proven {
                return Err(Failure { code, text: format!("{name} cannot start (see above)") });
            }
            tracing::error!(process = name, code, "cannot start again; correct what it says above");
            self.pause = PAUSE_MAX;
        }
        if self.started.elapsed() >= STABLE {
            self.pause = PAUSE_MIN;
        }
        tracing::warn!(process = name, %status, pause_ms = self.pause.as_millis(), "died; restarting");
        self.due = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }

    fn end(&mut self, signal: Posix) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _gone_already = kill_process(pid, signal);
        }
        let patience = Instant::now() + GRACE;
        while Instant::now() < patience {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(TICK);
        }
        tracing::warn!(process = self.process.name(), "did not end in time; killed");
        let _gone_already = child.kill();
        let _reaped = child.wait();
    }
}

/// Starts this executable again as one of its processes, in a process group of its own so that
/// Ctrl-C reaches only the supervisor, which ends the two in order.
fn spawn(process: Process, config: &Path) -> Result<Child, Failure> {
    let executable = std::env::current_exe().map_err(Failure::host)?;
    let mut command = Command::new(&executable);
    for variable in crate::systemd::ENVIRONMENT {
        command.env_remove(variable);
    }
    command
        .arg(process.name())
        .arg("--supervised")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|e| Failure::host(format!("cannot start {}: {e}", executable.display())))
}
