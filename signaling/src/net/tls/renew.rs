//! Certificates that are renewed while we run: their files are looked at every so often, and read
//! when they changed. Connections that are open stay as they are; the next handshake is by the new
//! ones.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::super::Core;
use super::{Loaded, Tls};
use crate::config::Sip;
use crate::plan::Plan;

/// A certificate of ours and its end.
#[derive(Clone, PartialEq, Eq, serde::Serialize, Debug)]
pub struct Expiry {
    /// The file.
    pub file: PathBuf,
    /// Seconds since 1970 at which it is valid no more.
    pub not_after: i64,
}

/// What tells one version of a file from the next; `None` where there is none.
pub(super) type Stamp = Option<(i64, i64, u64, u64)>;
type Stamps = BTreeMap<PathBuf, Stamp>;

/// Looks at the files of the newest plan until the runtime ends.
pub(in super::super) async fn follow_files(core: Arc<Core>) {
    let look =
        |core: Arc<Core>, seen: Option<Stamps>| move || core.tls.look(&core.plan.plan(), seen);
    let mut seen = tokio::task::spawn_blocking(look(Arc::clone(&core), None)).await.ok();
    loop {
        tokio::time::sleep(core.limits.certificates).await;
        // Files may be on a slow disk, and signatures cost time: not on the edge's thread.
        let looked = tokio::task::spawn_blocking(look(Arc::clone(&core), seen)).await;
        seen = looked.ok();
    }
}

impl Tls {
    /// Reads the files anew if they are others than those `seen`; returns what is there now.
    fn look(&self, plan: &Plan, seen: Option<Stamps>) -> Stamps {
        let stamps = stamps(&self.sip, plan);
        if seen.is_some_and(|seen| seen != stamps) {
            self.renew(plan);
        }
        stamps
    }

    /// Reads everything anew. If something cannot be used that could be before, such as half of a
    /// pair that is just being replaced, everything stays as it was until the files change again.
    fn renew(&self, plan: &Plan) {
        let now = self.now();
        let mut failed = HashMap::new();
        let read = Loaded::read(&self.provider, &self.sip, &plan.trunks, &mut |trunk, error| {
            if now.failed.contains_key(&trunk) {
                failed.insert(trunk, error.to_string());
                return Ok(());
            }
            Err(error)
        });
        match read {
            Ok(mut loaded) => {
                loaded.trunks.retain(|trunk, _| !failed.contains_key(trunk));
                let loaded = Arc::new(Loaded { failed, ..loaded });
                *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                tracing::info!("certificates were read anew");
            }
            Err(error) => {
                tracing::error!(%error, "new certificates not used; the ones before stay");
            }
        }
    }

    /// When our certificates end.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.now().expiries.clone()
    }
}

fn stamps(sip: &Sip, plan: &Plan) -> Stamps {
    let own = [&sip.tls_certificate, &sip.tls_key, &sip.tls_ca].into_iter().flatten();
    let settings = plan.trunks.iter().filter_map(|trunk| trunk.tls.as_ref());
    let of_trunks = settings.flat_map(|tls| [&tls.ca, &tls.client_cert, &tls.client_key]);
    own.chain(of_trunks.flatten()).map(|file| (file.clone(), stamp(file))).collect()
}

pub(super) fn stamp(file: &Path) -> Stamp {
    let found = std::fs::metadata(file).ok()?;
    Some((found.mtime(), found.mtime_nsec(), found.size(), found.ino()))
}
