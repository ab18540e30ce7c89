//! `trunkline backup` and `trunkline restore`: a copy of the store, while the gateway runs.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::client::Gateway;
use crate::failure::{Failure, REFUSED};

/// Copy the store of the running gateway into a new file
#[derive(clap::Args)]
#[command(after_help = "Passwords in it are sealed. Keep the key file apart: \
                        without it a backup cannot be restored.")]
pub struct Arguments {
    /// File that does not exist yet
    file: PathBuf,
    #[command(flatten)]
    gateway: Gateway,
}

/// Put a backup in place of everything in the store; calls go on
#[derive(clap::Args)]
pub struct RestoreArguments {
    /// A file that trunkline backup made
    file: PathBuf,
    #[command(flatten)]
    gateway: Gateway,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let file = &arguments.file;
    let fault = |error: std::io::Error| Failure {
        code: REFUSED,
        text: format!("{}: {error}", file.display()),
    };
    let client = arguments.gateway.client()?;
    let mut options = OpenOptions::new();
    let mut output = options.write(true).create_new(true).mode(0o600).open(file).map_err(fault)?;
    let taken = client.send("POST", "/backup", &[], Default::default()).and_then(|copy| {
        output.write_all(&copy.bytes).and_then(|()| output.sync_all()).map_err(fault)?;
        Ok(copy.bytes.len())
    });
    let bytes = taken.inspect_err(|_| {
        let _half_a_backup_is_none = std::fs::remove_file(file);
    })?;
    match arguments.gateway.json {
        true => println!("{}", serde_json::json!({ "file": file, "bytes": bytes })),
        false => println!("{bytes} bytes in {}", file.display()),
    }
    Ok(ExitCode::SUCCESS)
}

pub fn restore(arguments: &RestoreArguments) -> Result<ExitCode, Failure> {
    let file = &arguments.file;
    let bytes = std::fs::read(file)
        .map_err(|error| Failure { code: REFUSED, text: format!("{}: {error}", file.display()) })?;
    let headers = [("content-type", "application/vnd.sqlite3")];
    arguments.gateway.client()?.send("PUT", "/backup", &headers, bytes.into())?;
    if !arguments.gateway.json {
        println!("restored from {}; tokens are those of the backup", file.display());
    }
    Ok(ExitCode::SUCCESS)
}
