//! `trunkline top`: what the gateway is doing, now and then again.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use crate::client::Gateway;
use crate::failure::{Failure, REFUSED};
use crate::top::{self, Sample, View};

/// Watch the gateway: workers by regime, drops, delays, trunks, the calls that sound worst
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trunkline top                          full screen; q ends it, p pauses it
  trunkline top --once                   the same as text, of one interval
  trunkline top --once --json            for scripts
  trunkline top --json --interval 10     an object a line, until interrupted")]
pub struct Arguments {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    interval: f64,
    /// Print one interval and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    gateway: Gateway,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let client = arguments.gateway.client()?;
    let interval = Duration::from_secs_f64(arguments.interval);
    let mut before = Sample::take(&client)?;
    if !arguments.once && !arguments.gateway.json {
        if !stdout().is_terminal() {
            let text = String::from("standard output is no terminal; use --once, or --json");
            return Err(Failure { code: REFUSED, text });
        }
        top::watch(client, before, interval)?;
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        sleep(interval);
        let now = Sample::take(&client)?;
        let view = View::between(&before, &now);
        if arguments.gateway.json {
            println!("{}", serde_json::to_string(&view).map_err(Failure::host)?);
        } else {
            print!("{}", top::text(&view));
        }
        if arguments.once {
            return Ok(ExitCode::SUCCESS);
        }
        before = now;
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| String::from("not a number of seconds"))?;
    if INTERVALS.contains(&seconds) {
        return Ok(seconds);
    }
    let (least, most) = (INTERVALS.start(), INTERVALS.end());
    Err(format!("from {least} to {most} seconds: workers publish ten times a second"))
}

/// Intervals that show something.
const INTERVALS: std::ops::RangeInclusive<f64> = 0.2..=3600.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_outside_their_limits_are_refused() {
        for (text, wanted) in [("0.2", Some(0.2)), ("3600", Some(3600.0)), ("1.5", Some(1.5))] {
            assert_eq!(seconds(text).ok(), wanted);
        }
        for text in ["0.19", "3601", "-1", "NaN", "inf", "", "x"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
