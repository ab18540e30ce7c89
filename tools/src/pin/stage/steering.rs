//! RPS and XPS: which core goes on with a received packet, by which queue a core sends.

use crate::pin::cpus::Cpus;
use crate::pin::setting::{Form, Setting};

use super::{Context, NO_INTERFACE, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "steering",
    explanation: "with a queue for each worker, spreading received packets in software (RPS) costs \
                  a second wake-up for nothing; with fewer queues it is what lets workers share the \
                  work; XPS keeps each worker to its own send queue",
    privilege: "root",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    let plan = context.plan;
    let interface = plan.interface.as_ref().and_then(|name| context.topology.interface(name));
    let Some(interface) = interface else { return Scope::Nothing(NO_INTERFACE.into()) };
    let at = format!("/sys/class/net/{}/queues", interface.name);
    let enough = interface.receive.len() >= plan.placements.len();
    let spread = if enough { Cpus::default() } else { plan.workers() };
    let receive = interface.receive.iter().map(|queue| {
        Setting::file(format!("{at}/rx-{}/rps_cpus", queue.index), Form::Mask, spread.mask())
    });
    // With one queue there is no choice, and the kernel refuses to write one down.
    let several = interface.send.len() > 1;
    let send = interface.send.iter().filter(|_| several).filter_map(|queue| {
        let path = format!("{at}/tx-{}/xps_cpus", queue.index);
        Some(Setting::file(path, Form::Mask, plan.worker_of(queue.index)?.mask()))
    });
    Scope::of(receive.chain(send).collect(), "the interface has no queues")
}
