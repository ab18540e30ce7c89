//! The dialog that a Replaces names (RFC 3891 §3).

use bytes::Bytes;

use super::dialogs::Invite;
use super::{DialogId, Endpoint};
use crate::wire::Replaces;

/// A dialog of ours that a request outside of it names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Named {
    pub dialog: DialogId,
    /// The tag of the dialog's hop: whose dialog it is.
    pub tag: u32,
    /// False while it is early.
    pub is_confirmed: bool,
    /// Its INVITE was ours; told of early dialogs alone.
    pub is_ours: bool,
}

impl Endpoint {
    /// How the peer of a dialog is told to replace it: with its tag in `to-tag`.
    pub fn replaces_of(&self, dialog: DialogId) -> Option<Replaces> {
        let dialog = &self.dialogs.get(dialog)?.dialog;
        Some(Replaces {
            call_id: dialog.call_id().clone(),
            to_tag: dialog.remote_tag().clone(),
            from_tag: dialog.local_tag().clone(),
            early_only: false,
        })
    }

    /// The dialog that a Replaces of its peer names: `to_tag` is our tag. A tag of `0` is that of a
    /// peer of RFC 2543, which has none (RFC 3891 §3).
    pub fn named(&self, replaces: &Replaces) -> Option<Named> {
        let Replaces { call_id, to_tag, from_tag, .. } = replaces;
        let named = |local: &Bytes, remote: &[u8]| self.dialogs.find(call_id, local, remote);
        let none = || named(to_tag, &[]).filter(|_| from_tag == "0");
        let dialog = named(to_tag, from_tag).or_else(none)?;
        let entry = self.dialogs.get(dialog)?;
        Some(Named {
            dialog,
            tag: entry.hop.tag,
            is_confirmed: entry.dialog.is_confirmed(),
            is_ours: matches!(entry.invite, Some(Invite::Ours(_))),
        })
    }
}
