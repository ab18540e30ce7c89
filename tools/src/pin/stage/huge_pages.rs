//! No pages moved under running workers.

use crate::pin::setting::{Form, Setting};

use super::{Context, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "huge_pages",
    explanation: "the kernel that makes huge pages of everybody's memory moves and compacts pages \
                  while packets wait; only programs that ask should get them (the gateway touches \
                  and locks its memory at the start and needs no reserved ones)",
    privilege: "root",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    let settings = ["enabled", "defrag"].into_iter().filter_map(|file| {
        let path = format!("/sys/kernel/mm/transparent_hugepage/{file}");
        let now = context.host.read(&path)?;
        // Whoever turned them off, or put the work off, wants no more of them.
        let kept = ["never", "defer", "defer+madvise"];
        let kept = kept.into_iter().find(|word| now.contains(&format!("[{word}]")));
        Some(Setting::file(path, Form::Choice, kept.unwrap_or("madvise")))
    });
    Scope::of(settings.collect(), "this kernel makes no huge pages by itself")
}
