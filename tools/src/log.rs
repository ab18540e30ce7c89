//! Log output of both processes: standard error, human or JSON lines.

use signaling::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts logging as `[log]` says.
///
/// # Errors
/// The filter's own message when `level` is no filter.
pub fn start(log: &Log) -> Result<(), String> {
    let level = &log.level;
    let filter = EnvFilter::try_new(level)
        .map_err(|e| format!("[log] level = \"{level}\": {e}; try \"info\" or \"debug\""))?;
    let output = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => output.json().init(),
        LogFormat::Text => output.with_target(false).with_ansi(false).init(),
    }
    Ok(())
}
