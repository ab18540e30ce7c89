//! What the API says of the gateway at one moment.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::client::Client;
use crate::failure::Failure;

/// One look at the gateway.
#[derive(Clone, Debug)]
pub struct Sample {
    pub workers: Vec<Worker>,
    pub trunks: Vec<Trunk>,
    /// The calls that sound worst.
    pub worst: Vec<Call>,
    /// All calls.
    pub calls: u64,
}

/// As `/workers` has it.
#[derive(Clone, Deserialize, Debug)]
pub struct Worker {
    pub id: u32,
    pub state: String,
    pub core: Option<u32>,
    pub flows: u64,
    pub flows_max: u64,
    pub at_ns: u64,
    pub counters: BTreeMap<String, u64>,
    pub histograms: BTreeMap<String, Histogram>,
}

#[derive(Clone, Deserialize, Debug)]
pub struct Histogram {
    /// Largest value and count of each bucket.
    pub buckets: Vec<(Option<u64>, u64)>,
}

/// As `/trunks/status` has it.
#[derive(Clone, Deserialize, Debug)]
pub struct Trunk {
    pub name: String,
    pub status: Option<String>,
    pub calls: Used,
    pub max_concurrent_calls: Option<u32>,
}

#[derive(Clone, Copy, Deserialize, Debug)]
pub struct Used {
    pub inbound: u32,
    pub outbound: u32,
}

/// As `/calls` has it.
#[derive(Clone, Deserialize, Debug)]
pub struct Call {
    pub id: String,
    pub state: String,
    pub from_trunk: Option<String>,
    pub to_trunk: Option<String>,
    pub media: Option<Media>,
}

#[derive(Clone, Deserialize, Debug)]
pub struct Media {
    pub worker: u32,
    pub from_caller: Option<Way>,
    pub from_callee: Option<Way>,
}

#[derive(Clone, Copy, Deserialize, Debug)]
pub struct Way {
    pub packets: u64,
    pub lost: u64,
    pub jitter_ms: Option<f64>,
    pub mos: Option<f64>,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    total: u64,
}

impl Sample {
    /// Looks now.
    ///
    /// # Errors
    /// What the gateway said, or that it does not answer.
    pub fn take(client: &Client) -> Result<Sample, Failure> {
        let workers: Page<Worker> = page(client, "/workers")?;
        let trunks: Page<Trunk> = page(client, "/trunks/status")?;
        let calls: Page<Call> = page(client, &format!("/calls?sort=mos&limit={WORST}"))?;
        Ok(Sample {
            workers: workers.items,
            trunks: trunks.items,
            worst: calls.items,
            calls: calls.total,
        })
    }
}

fn page<T: for<'de> Deserialize<'de>>(client: &Client, path: &str) -> Result<Page<T>, Failure> {
    let reply = client.ask("GET", path, None)?;
    serde_json::from_slice(&reply.bytes).map_err(|error| {
        let hint = "are the gateway and this command of the same release?";
        Failure::host(format!("{path}: {error}; {hint}"))
    })
}

/// Calls that are shown.
const WORST: usize = 20;
