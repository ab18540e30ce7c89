//! The key file: one key a line, number and 64 hexadecimal digits, readable by its owner alone.
//!
//! It is made at the first start and replaced whole by a rename, so that a process killed at any
//! point leaves a file that opens everything.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::StoreError;
use super::seal::{KEY_LEN, Keys};
use crate::secret::Secret;

/// A file of keys and what it holds.
pub struct KeyFile {
    path: PathBuf,
    /// The keys.
    pub keys: Keys,
}

impl KeyFile {
    /// Whether there is a file.
    pub fn exists(path: &Path) -> bool {
        path.exists()
    }

    /// Makes a file with one new key.
    ///
    /// # Errors
    /// [`StoreError::Key`]
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let key = Keys::draw().map_err(|error| fault(path, error.to_string()))?;
        let keys = Keys::new([(1, key)].into()).ok_or_else(|| fault(path, "it is empty"))?;
        write_new(path, &keys).map_err(|error| fault(path, error.to_string()))?;
        Ok(Self { path: path.to_owned(), keys })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`StoreError::Key`]: unreadable, readable by others, or not a key file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let open = || -> io::Result<(u32, Zeroizing<String>)> {
            let mode = fs::metadata(path)?.mode();
            Ok((mode, Zeroizing::new(fs::read_to_string(path)?)))
        };
        let (mode, text) = open().map_err(|error| fault(path, error.to_string()))?;
        if mode & 0o077 != 0 {
            return Err(StoreError::Key {
                file: path.display().to_string(),
                cause: format!("others may read it (mode {:o})", mode & 0o777),
                remedy: "chmod 600 it, and rotate the key if others had access",
            });
        }
        let keys = parse(&text).ok_or_else(|| fault(path, "it holds no valid keys"))?;
        Ok(Self { path: path.to_owned(), keys })
    }

    /// Puts `keys` in place of what the file holds.
    ///
    /// # Errors
    /// [`StoreError::Key`]; the file is as it was.
    pub fn replace(&mut self, keys: Keys) -> Result<(), StoreError> {
        let beside = self.path.with_extension("new");
        let swap = || -> io::Result<()> {
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            write_new(&beside, &keys)?;
            fs::rename(&beside, &self.path)?;
            sync_directory(&self.path)
        };
        swap().map_err(|error| fault(&self.path, error.to_string()))?;
        self.keys = keys;
        Ok(())
    }
}

fn fault(path: &Path, cause: impl Into<String>) -> StoreError {
    StoreError::Key {
        file: path.display().to_string(),
        cause: cause.into(),
        remedy: "restore it from where it is kept; without it sealed passwords are lost",
    }
}

fn parse(text: &str) -> Option<Keys> {
    let mut keys = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (number, digits) = line.split_once(' ')?;
        let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
        if pairs.len() != KEY_LEN || !odd.is_empty() {
            return None;
        }
        let mut key = Zeroizing::new([0; KEY_LEN]);
        for (byte, pair) in key.iter_mut().zip(pairs) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        keys.insert(number.parse().ok()?, Secret::new(*key));
    }
    Keys::new(keys)
}

fn write_new(path: &Path, keys: &Keys) -> io::Result<()> {
    let mut text = Zeroizing::new(String::from(HEADER));
    for (number, key) in keys.iter() {
        let _infallible = write!(*text, "{number} ");
        for byte in key.expose() {
            let _infallible = write!(*text, "{byte:02x}");
        }
        text.push('\n');
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    sync_directory(path)
}

/// Makes a new name or a rename survive a loss of power.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

const HEADER: &str = "# Trunkline seals the passwords in its store under the last of these keys.\n\
                      # Keep a copy of this file apart from the backups of the store.\n";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::seal::Place;
    use super::*;

    #[test]
    fn a_new_file_is_its_owners_alone_and_reads_back() {
        let directory = super::super::tests::Scratch::new("key");
        let path = directory.path("store.key");
        let place = Place { kind: "trunk", id: 1, field: "password" };
        let file = KeyFile::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(KeyFile::create(&path).is_err(), "never overwritten");
        let sealed = file.keys.seal(place, "x").unwrap();
        let again = KeyFile::open(&path).unwrap();
        assert_eq!(again.keys.open(place, &sealed).unwrap().expose(), "x");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = KeyFile::open(&path).err().unwrap().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn what_is_no_key_file_is_refused() {
        for text in
            ["", "# only a comment\n", "1 00\n", "x 00", &format!("1 {}\n", "zz".repeat(32))]
        {
            assert!(parse(text).is_none(), "{text:?}");
        }
        assert!(parse(&format!("# c\n3 {}\n", "ab".repeat(32))).is_some(), "positive control");
    }
}
