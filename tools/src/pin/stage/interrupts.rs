//! Interrupts of media queues on their workers, all others elsewhere.

use crate::pin::cpus::Cpus;
use crate::pin::interrupts::affinity_path;
use crate::pin::setting::{Form, Setting};

use super::{Context, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "interrupts",
    explanation: "a packet that is taken in on its worker's core finds everything in that core's \
                  cache and wakes nobody else; other devices must not interrupt a worker",
    privilege: "root",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    let workers = context.plan.workers();
    let media = context.plan.interface.as_ref().and_then(|name| context.topology.interface(name));
    let served = media.map(|one| one.interrupts.as_slice()).unwrap_or_default();
    let mut settings = Vec::new();
    for irq in context.topology.interrupts.iter().filter(|irq| !irq.managed) {
        let queue = served.iter().find(|(number, _)| *number == irq.number).map(|(_, queue)| queue);
        let wanted = match queue {
            Some(queue) => context.plan.worker_of(*queue),
            None if irq.count > 0 => elsewhere(&irq.affinity, &workers, context),
            None => None,
        };
        let place =
            |cpus: Cpus| Setting::file(affinity_path(irq.number), Form::List, cpus.to_string());
        settings.extend(wanted.map(place));
    }
    let others = context.topology.online().without(&workers);
    if !others.is_empty() {
        let path = "/proc/irq/default_smp_affinity";
        settings.push(Setting::file(path, Form::Mask, others.mask()));
    }
    Scope::of(settings, "there is no interrupt that could be moved")
}

/// Where an interrupt of another device goes that could interrupt a worker.
fn elsewhere(now: &Cpus, workers: &Cpus, context: &Context<'_>) -> Option<Cpus> {
    if now.and(workers).is_empty() {
        return None;
    }
    let rest = now.without(workers);
    let kernel = context.plan.kernel.without(workers);
    [rest, kernel].into_iter().find(|cpus| !cpus.is_empty())
}
