//! `trunkline groups`: failover groups.

use std::process::ExitCode;

use signaling::api::fields::GROUP;

use super::objects::{self, Kind, Verb};
use crate::client::Gateway;
use crate::failure::Failure;

/// Failover groups of the running gateway: list, add, change, delete
#[derive(clap::Args)]
#[command(
    after_help = "A trunk joins by its own field: trunkline trunks set NAME failover_group=GROUP"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    gateway: Gateway,
}

/// What is common to all kinds, for groups.
pub const KIND: Kind = Kind {
    name: "group",
    path: "/failover-groups",
    fields: GROUP,
    columns: &["id", "name", "strategy", "reach_timer", "progress_timer", "failover_codes"],
};

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    objects::run(&KIND, &arguments.verb, &arguments.gateway)
}
