//! What systemd is told of a process of ours: ready, alive, stopping (`sd_notify(3)`).
//!
//! One datagram each, to the socket that `NOTIFY_SOCKET` names. It is connected at the start, for a
//! hardened process can neither make a socket nor reach another one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// The service manager, or nobody.
#[derive(Clone, Debug, Default)]
pub struct Systemd {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
}

/// What it is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    Ready,
    Alive,
    Stopping,
}

impl Systemd {
    /// Who started this process, by its environment.
    ///
    /// # Errors
    /// That the socket which is named there cannot be reached.
    pub fn of_this_process() -> io::Result<Self> {
        let names = [SOCKET, WATCHDOG, WATCHDOG_PID].map(std::env::var_os);
        Self::of(names, std::process::id())
    }

    fn of([socket, watchdog, for_pid]: [Option<OsString>; 3], pid: u32) -> io::Result<Self> {
        let Some(name) = socket.filter(|name| !name.is_empty()) else { return Ok(Self::default()) };
        let unreachable = |cause: io::Error| {
            let name = name.display();
            io::Error::new(cause.kind(), format!("{SOCKET}={name} cannot be reached: {cause}"))
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(&name).map_err(unreachable)?).map_err(unreachable)?;
        // A full socket must not hold up a loop; the next word says the same.
        socket.set_nonblocking(true)?;
        let number = |text: Option<OsString>| text?.to_str()?.parse::<u64>().ok();
        let meant = for_pid.is_none() || number(for_pid) == Some(u64::from(pid));
        let watchdog = number(watchdog).filter(|us| meant && *us > 0).map(Duration::from_micros);
        Ok(Self { socket: Some(Arc::new(socket)), watchdog })
    }

    /// How often to say [`Word::Alive`]: twice in the time after which silence is death.
    pub fn interval(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 2)
    }

    pub fn tell(&self, word: Word) {
        let text: &[u8] = match word {
            Word::Ready => b"READY=1",
            Word::Alive => b"WATCHDOG=1",
            Word::Stopping => b"STOPPING=1",
        };
        if let Some(socket) = &self.socket {
            // Whoever does not listen is not served better by our end.
            let _unheard = socket.send(text);
        }
    }
}

/// A path, or after `@` a name in the abstract space.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        _ => SocketAddr::from_pathname(name),
    }
}

/// What a child of ours must not inherit: it would speak in our name.
pub const ENVIRONMENT: [&str; 3] = [SOCKET, WATCHDOG, WATCHDOG_PID];

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(socket: &str, watchdog: &str, pid: &str) -> [Option<OsString>; 3] {
        [socket, watchdog, pid].map(|text| (!text.is_empty()).then(|| text.into()))
    }

    #[test]
    fn words_arrive_at_a_path_and_at_an_abstract_name() {
        let path = std::env::temp_dir().join(format!("trunkline-notify-{}", std::process::id()));
        let _left_over = std::fs::remove_file(&path);
        let abstract_name = format!("trunkline-notify-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        for (socket, name) in
            [(by_path, path.display().to_string()), (by_name, format!("@{abstract_name}"))]
        {
            let systemd = Systemd::of(environment(&name, "3000000", "7"), 7).unwrap();
            assert_eq!(systemd.interval(), Some(Duration::from_millis(1_500)));
            for (word, text) in [
                (Word::Ready, "READY=1"),
                (Word::Alive, "WATCHDOG=1"),
                (Word::Stopping, "STOPPING=1"),
            ] {
                systemd.tell(word);
                let mut buffer = [0; 64];
                let length = socket.recv(&mut buffer).unwrap();
                assert_eq!(std::str::from_utf8(&buffer[..length]).unwrap(), text);
            }
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_a_service_manager_nobody_is_told() {
        let systemd = Systemd::of(environment("", "3000000", ""), 7).unwrap();
        assert_eq!(systemd.interval(), None);
        systemd.tell(Word::Ready);
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let address = SocketAddr::from_abstract_name("trunkline-notify-pid").unwrap();
        let _socket = UnixDatagram::bind_addr(&address).unwrap();
        let of = |watchdog, pid| {
            Systemd::of(environment("@trunkline-notify-pid", watchdog, pid), 7).unwrap()
        };
        assert!(of("1000", "7").interval().is_some() && of("1000", "").interval().is_some());
        for (watchdog, pid) in [("1000", "8"), ("0", "7"), ("x", "7"), ("", "7")] {
            assert_eq!(of(watchdog, pid).interval(), None, "{watchdog} {pid}");
        }
    }

    #[test]
    fn a_socket_that_is_not_there_is_named() {
        let error = Systemd::of(environment("/nonexistent/notify", "", ""), 7).unwrap_err();
        assert!(error.to_string().contains("NOTIFY_SOCKET=/nonexistent/notify"), "{error}");
    }
}
