//! `trunkline routes`: which number goes where.

use std::process::ExitCode;

use signaling::api::fields::ROUTE;

use super::objects::{self, Kind, Verb};
use crate::client::Gateway;
use crate::failure::Failure;

/// Routes of the running gateway: list, add, change, delete
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trunkline routes list
  trunkline routes add 'to provider' from_trunk=pbx called=_0. strip=1 destination=provider")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    gateway: Gateway,
}

/// What is common to all kinds, for routes.
pub const KIND: Kind = Kind {
    name: "route",
    path: "/routes",
    fields: ROUTE,
    columns: &[
        "id",
        "name",
        "direction",
        "position",
        "from_trunk",
        "called",
        "caller",
        "destination",
        "enabled",
    ],
};

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    objects::run(&KIND, &arguments.verb, &arguments.gateway)
}
