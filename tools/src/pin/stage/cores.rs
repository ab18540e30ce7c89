//! Workers on their cores, signaling on others.

use crate::pin::service;
use crate::pin::setting::{Place, Setting};

use super::{Context, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "cores",
    explanation: "a worker that stays on its core keeps its flows in that core's cache and never \
                  waits for signaling",
    privilege: "root, or the user of the processes",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    let Some(config) = &context.needs.config else {
        return Scope::Nothing("which processes are meant is told by --config".to_owned());
    };
    let plan = context.plan;
    let mut settings = Vec::new();
    for thread in service::threads(context.host, config, "dataplane") {
        let worker = thread.name.strip_prefix("media-").and_then(|worker| worker.parse().ok());
        let place = worker.and_then(|worker: usize| plan.placements.get(worker));
        if let Some(place) = place {
            settings.push(affinity(thread, place.cpu.to_string()));
        }
    }
    for thread in service::threads(context.host, config, "signaling") {
        settings.push(affinity(thread, plan.signaling.to_string()));
    }
    Scope::of(settings, "no process of this configuration runs; [media] cores places the next one")
}

fn affinity(thread: service::Thread, wanted: String) -> Setting {
    let service::Thread { pid, tid, name } = thread;
    Setting { place: Place::Affinity { pid, tid, name }, wanted }
}
