//! One file per subcommand.

use std::path::PathBuf;

pub mod check;
pub mod dataplane;
pub mod demo;
pub mod signaling;
pub mod up;

/// Where the gateway's configuration file is.
#[derive(clap::Args)]
pub struct ConfigArgument {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", default_value = "/etc/trunkline/trunkline.toml")]
    pub config: PathBuf,
}
