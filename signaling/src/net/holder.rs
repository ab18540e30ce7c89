//! Who has a port, for the message that says it is taken. Best effort from `/proc`.

use std::fs;
use std::path::Path;

use sip::endpoint::Transport;

/// Name and id of a process that has the port, if the system lets us see it.
pub(super) fn holder(transport: Transport, port: u16) -> Option<String> {
    let tables = match transport {
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        Transport::Tcp | Transport::Tls => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes(&table, port, transport == Transport::Udp))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    for process in processes {
        let name = process.file_name();
        let Some(id) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else { continue };
        if has_socket(&process.path(), &inodes) {
            let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {id})", command.trim()));
        }
    }
    None
}

/// Inodes of sockets bound to the port. A TCP row counts when it listens (state 0A).
fn inodes(table: &str, port: u16, any_state: bool) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    let rows = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        let fits = local.ends_with(&wanted) && (any_state || state == "0A") && inode != "0";
        fits.then(|| inode.to_owned())
    });
    rows.collect()
}

fn has_socket(process: &Path, inodes: &[String]) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else { return false };
    files.filter_map(Result::ok).filter_map(|file| fs::read_link(file.path()).ok()).any(|target| {
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        inode.is_some_and(|inode| inodes.iter().any(|wanted| wanted == inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_as_the_holder() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = holder(Transport::Udp, port).unwrap();
        assert!(found.contains(&format!("(process {})", std::process::id())), "{found}");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = holder(Transport::Tls, port).unwrap();
        assert!(found.contains(&format!("(process {})", std::process::id())), "{found}");
    }

    #[test]
    fn garbage_names_nobody() {
        assert!(inodes("header\nx\n1: y\n\n", 5060, true).is_empty());
        assert_eq!(holder(Transport::Tcp, 1), None);
    }
}
