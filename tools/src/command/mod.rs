//! One file per subcommand.

use std::path::PathBuf;

pub mod audit;
pub mod backup;
pub mod calls;
pub mod check;
pub mod completion;
pub mod dataplane;
pub mod demo;
pub mod groups;
pub mod manual;
pub mod objects;
pub mod pin;
pub mod presets;
pub mod routes;
pub mod signaling;
pub mod tokens;
pub mod top;
pub mod transfer;
pub mod trunks;
pub mod up;
pub mod workers;

/// Where the configuration is unless `--config` says otherwise.
pub const CONFIG_DEFAULT: &str = "/etc/trunkline/trunkline.toml";

/// Where the gateway's configuration file is.
#[derive(clap::Args)]
pub struct ConfigArgument {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,
}
