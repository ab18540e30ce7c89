//! The host as files below a directory, and as what a few programs say.
//!
//! The live host is the directory `/`. A recorded one is a directory that holds the same paths; what
//! a program printed lies there under `programs/`, and none is run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest file that is read: `/proc/interrupts` of a machine with 512 processors has 4 MiB.
const FILE_MAX: usize = 16 << 20;

/// Where settings are read and written.
pub struct Host {
    root: PathBuf,
    live: bool,
}

impl Host {
    /// The machine that this runs on.
    pub fn live() -> Host {
        Host { root: PathBuf::from("/"), live: true }
    }

    /// A machine whose files were copied below `root`.
    pub fn recorded(root: &Path) -> Host {
        Host { root: root.to_owned(), live: false }
    }

    pub fn is_live(&self) -> bool {
        self.live
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file without the white space around it; `None` when it cannot be read.
    pub fn read(&self, path: &str) -> Option<String> {
        let mut bytes = fs::read(self.at(path)).ok()?;
        bytes.truncate(FILE_MAX);
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    pub fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// Whether the file is there, and nobody may write it.
    pub fn is_read_only(&self, path: &str) -> bool {
        fs::metadata(self.at(path)).is_ok_and(|about| about.permissions().readonly())
    }

    /// The names in a directory, in order of their numbers; none when there is no such directory.
    pub fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_by_key(|name| (last_number(name), name.clone()));
        names
    }

    /// The last part of what a link points to. A recorded tree has a file with that text instead.
    pub fn link(&self, path: &str) -> Option<String> {
        match fs::read_link(self.at(path)) {
            Ok(target) => Some(target.file_name()?.to_string_lossy().into_owned()),
            Err(_) => self.read(path).filter(|text| !text.contains('/')),
        }
    }

    /// Writes a setting. Files of the kernel are not created.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write(&self, path: &str, text: &str) -> io::Result<()> {
        use io::Write;
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(self.at(path))?;
        file.write_all(format!("{text}\n").as_bytes())
    }

    /// Makes `text` the whole of a document (a file of ours, with its directories), at once or not
    /// at all; an empty text removes it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write_document(&self, path: &str, text: &str) -> io::Result<()> {
        let file = self.at(path);
        if text.is_empty() {
            return match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        let beside = file.with_extension("new");
        fs::write(&beside, text)?;
        fs::File::open(&beside)?.sync_all()?;
        fs::rename(&beside, &file)
    }

    /// What a program prints.
    ///
    /// # Errors
    /// That it is not installed, or what it says on standard error.
    pub fn run(&self, program: &str, arguments: &[&str]) -> io::Result<String> {
        if !self.live {
            let name = format!("/programs/{program} {}", arguments.join(" "));
            let missing =
                || io::Error::new(io::ErrorKind::NotFound, format!("no record of {name}"));
            return self.read(&name).ok_or_else(missing);
        }
        let output = Command::new(program).args(arguments).output().map_err(|cause| {
            io::Error::new(cause.kind(), format!("cannot run {program}: {cause}"))
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim().lines().next().unwrap_or("no reason given").to_owned();
            return Err(io::Error::other(format!("{program}: {said}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The number at the end of a name, for an order in which `rx-10` follows `rx-9`.
pub fn last_number(name: &str) -> Option<usize> {
    let start = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name.get(start..)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_the_order_of_their_numbers() {
        let mut names = ["rx-10", "rx-9", "rx-0", "config"];
        names.sort_by_key(|name| (last_number(name), *name));
        assert_eq!(names, ["config", "rx-0", "rx-9", "rx-10"]);
    }
}
