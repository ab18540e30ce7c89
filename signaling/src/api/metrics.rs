//! `/metrics`: what Prometheus scrapes (OpenMetrics text). Everything is read when it is asked for;
//! nothing is counted for it on the way of a call.

use std::collections::HashMap;
use std::fmt;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use utoipa::openapi::HttpMethod;

use super::problem::Problem;
use super::{Api, Endpoint};
use crate::ask::Ask;
use crate::store::Role;
use crate::trunk::{Trunk, TrunkId};

/// Content type of OpenMetrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![endpoint()]
}

/// It is also at `/metrics`, where scrapers look for it.
pub(super) fn endpoint() -> Endpoint {
    Endpoint::new(HttpMethod::Get, "/metrics", Some(Role::ReadOnly), "Metrics", scrape)
        .about("Metrics in the text format of Prometheus; also at /metrics")
        .answers(200, OPENMETRICS, "Metrics")
}

async fn scrape(State(api): State<Api>) -> Result<Response, Problem> {
    let calls = api.gateway.asks.ask(Ask::Calls).await?;
    let mut live: HashMap<(TrunkId, Bound), u64> = HashMap::new();
    for call in &calls {
        for (trunk, bound) in [(call.from_trunk_id, Bound::In), (call.to_trunk_id, Bound::Out)] {
            if let Some(trunk) = trunk {
                *live.entry((trunk, bound)).or_default() += 1;
            }
        }
    }
    let plan = api.gateway.plan.plan();
    let trunks = plan.trunks.iter().map(|trunk| Row::new(trunk, &live)).collect();
    let scraped = Scraped {
        trunks,
        calls: calls.len() as u64,
        refused: api.refused.load(std::sync::atomic::Ordering::Relaxed),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scraped));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response()),
        Err(error) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "metrics",
            "The metrics cannot be written",
            error.to_string(),
            "report this with the log",
        )),
    }
}

/// Everything of one scrape.
#[derive(Debug)]
struct Scraped {
    trunks: Vec<Row>,
    calls: u64,
    refused: u64,
}

/// One trunk.
#[derive(Debug)]
struct Row {
    id: String,
    name: String,
    enabled: bool,
    cap: Option<u32>,
    live: [u64; 2],
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Row {
    fn new(trunk: &Trunk, live: &HashMap<(TrunkId, Bound), u64>) -> Self {
        let of = |bound| live.get(&(trunk.id, bound)).copied().unwrap_or_default();
        Self {
            id: trunk.id.to_string(),
            name: trunk.name.clone(),
            enabled: trunk.enabled,
            cap: trunk.max_concurrent_calls,
            live: Bound::ALL.map(of),
        }
    }

    fn labels(&self) -> Labels<'_> {
        vec![("trunk_id", self.id.as_str()), ("trunk", self.name.as_str())]
    }

    /// Both directions, with their labels.
    fn ways(&self) -> impl Iterator<Item = (Labels<'_>, u64)> {
        Bound::ALL.into_iter().zip(self.live).map(|(bound, live)| {
            let mut labels = self.labels();
            labels.push(("direction", bound.name()));
            (labels, live)
        })
    }
}

/// Calls from the trunk, or to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Bound {
    In,
    Out,
}

impl Bound {
    const ALL: [Self; 2] = [Self::In, Self::Out];

    fn name(self) -> &'static str {
        match self {
            Self::In => "inbound",
            Self::Out => "outbound",
        }
    }
}

/// One gauge with all its rows; a row without a value is left out.
fn gauge<'a, L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &'a str,
    rows: impl Iterator<Item = (L, Option<f64>)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in rows {
        if let Some(value) = value {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

/// The same for a counter.
fn counter<'a, L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &'a str,
    rows: impl Iterator<Item = (L, f64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in rows {
        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
    }
    Ok(())
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let none = |value: f64| std::iter::once((Labels::new(), value));
        let e = &mut encoder;
        let calls = none(self.calls as f64).map(|(labels, value)| (labels, Some(value)));
        gauge(e, "trunkline_calls", "Live calls", calls)?;
        let help = "API requests without a valid token";
        counter(e, "trunkline_api_refused", help, none(self.refused as f64))?;
        let live = self.trunks.iter().flat_map(Row::ways);
        let live = live.map(|(labels, live)| (labels, Some(live as f64)));
        gauge(e, "trunkline_trunk_calls", "Live calls of the trunk", live)?;
        let enabled =
            self.trunks.iter().map(|row| (row.labels(), Some(f64::from(u8::from(row.enabled)))));
        gauge(e, "trunkline_trunk_enabled", "Whether the trunk takes part", enabled)?;
        let caps = self.trunks.iter().map(|row| (row.labels(), row.cap.map(f64::from)));
        gauge(e, "trunkline_trunk_calls_max", "Calls that the trunk may have at once", caps)
    }
}
