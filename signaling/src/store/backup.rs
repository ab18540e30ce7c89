//! Copies of the store while it works, and taking one back. A copy holds secrets sealed only: the
//! key file is kept apart.

use std::path::{Path, PathBuf};

use super::audit::{Actor, digits};
use super::database::Batch;
use super::keeper::{Keeper, own};
use super::{Refusal, StoreError};

/// A file that is removed when nobody needs it any more.
#[derive(Debug)]
pub struct Passing(PathBuf);

impl Passing {
    /// A file that does not exist yet, in `directory`.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the kernel gives no random bytes.
    pub fn in_directory(directory: &Path) -> Result<Self, StoreError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| StoreError::Database(error.to_string()))?;
        Ok(Self(directory.join(format!(".copy-{}", digits(&random)))))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let _never_made = std::fs::remove_file(&self.0);
    }
}

impl Keeper {
    /// Copies the store, as of now, into a file of its own.
    ///
    /// # Errors
    /// What the database says.
    pub fn backup(&mut self, actor: &Actor) -> Result<Passing, Refusal> {
        let mut draft = self.draft(actor, "backup", None, None);
        draft.kind = String::from("store");
        self.database.commit(Batch { drafts: vec![draft], ..Batch::default() })?;
        let copy = Passing::in_directory(&self.directory)?;
        self.database.copy_to(copy.path())?;
        Ok(copy)
    }

    /// A place for a copy that is being received.
    ///
    /// # Errors
    /// [`StoreError::Database`]
    pub fn place_for_copy(&self) -> Result<Passing, Refusal> {
        Ok(Passing::in_directory(&self.directory)?)
    }

    /// Puts what a copy holds in place of everything. It is read whole before anything changes:
    /// it must be undamaged, its audit log must hold, and the key file must open its secrets.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] when the copy cannot be used; nothing changed then.
    pub fn restore(&mut self, actor: &Actor, copy: &Passing) -> Result<(), Refusal> {
        let unusable = |error: &dyn std::fmt::Display| {
            let cause = format!("this copy cannot be restored: {error}");
            Refusal::Conflict(cause, "use a backup of this store, with the key file of that time")
        };
        let contents = self.database.read_copy(copy.path()).map_err(|e| unusable(&e))?;
        own(&self.key_file.keys, &contents).map_err(|cause| unusable(&cause))?;
        self.assemble(contents).map_err(|e| unusable(&e))?;
        let replaced = self.database.head()?;
        self.database.replace_from(copy.path())?;
        let contents = self.database.load()?;
        let mut draft = self.draft(actor, "restore", None, None);
        draft.kind = String::from("store");
        draft.before = serde_json::json!({
            "audit_entries": replaced.number,
            "audit_head": digits(&replaced.head),
        });
        self.database.commit(Batch { drafts: vec![draft], ..Batch::default() })?;
        self.take(contents)?;
        Ok(())
    }
}
