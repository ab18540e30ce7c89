//! What a boot undoes is done again by the units.

use crate::pin::cpus::Cpus;
use crate::pin::service::{self, DATAPLANE, SIGNALING};
use crate::pin::setting::Setting;

use super::{Context, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "permanent",
    explanation: "the kernel forgets all this with the next boot: drop-ins place the units on their \
                  cores and have trunkline-pin.service apply the rest before the data plane starts",
    privilege: "root (systemctl daemon-reload and a restart follow)",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    if !context.needs.permanent {
        return Scope::Nothing("only with --permanent".to_owned());
    }
    let plan = context.plan;
    let workers = plan.workers();
    let nodes = plan.cpus().into_iter().filter_map(|cpu| Some(context.topology.cpu(cpu)?.node));
    let nodes: Cpus = nodes.collect();
    // Where there is one node, a policy changes nothing; workers on several take memory where they
    // run, as the kernel gives it.
    let memory = if context.topology.nodes.len() > 1 && nodes.len() == 1 {
        format!("NUMAPolicy=preferred\nNUMAMask={nodes}\n")
    } else {
        String::new()
    };
    let dataplane = format!(
        "[Unit]\nWants=trunkline-pin.service\nAfter=trunkline-pin.service\n\n\
         [Service]\nCPUAffinity={workers}\n{memory}"
    );
    let signaling = format!("[Service]\nCPUAffinity={}\n", plan.signaling);
    let pinned = [(DATAPLANE, dataplane), (SIGNALING, signaling)];
    let settings = pinned.into_iter().map(|(unit, text)| {
        Setting::document(service::drop_in(unit, "50-cores"), service::headed(&text))
    });
    Scope::Settings(settings.collect())
}
