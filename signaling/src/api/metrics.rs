//! `/metrics`: what Prometheus scrapes (OpenMetrics text). Everything is read when it is asked for;
//! nothing is counted for it on the way of a call.

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
use crate::report::{GatewayReport, TrunkReport};
use crate::store::Role;
use crate::trunk::Status;
use crate::trunk::tally::{self, DELAY_BOUNDS_MS};

pub(super) mod workers;

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
    let calls = api.gateway.asks.ask(Ask::Calls).await?.len();
    let reports = api.gateway.asks.ask(|reply| Ask::Trunks { which: None, reply }).await?;
    let workers = api.gateway.asks.ask(Ask::Workers).await?;
    let workers = workers.into_iter().map(workers::Row::new).collect();
    // Not while the gateway stops; the rest is worth telling then.
    let gateway = api.gateway.asks.ask(Ask::Gateway).await.ok();
    let refused = api.refused.load(std::sync::atomic::Ordering::Relaxed);
    let trunks = reports.into_iter().map(Row::new).collect();
    let scraped = Scraped { trunks, workers, calls, refused, gateway };
    match scraped.text() {
        Ok(text) => Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response()),
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
pub struct Scraped {
    /// Each trunk.
    pub trunks: Vec<Row>,
    /// Each worker of the data plane.
    pub workers: Vec<workers::Row>,
    /// Live calls.
    pub calls: usize,
    /// Requests without a valid token.
    pub refused: u64,
    /// The gateway itself.
    pub gateway: Option<GatewayReport>,
}

/// One trunk.
#[derive(Debug)]
pub struct Row {
    id: String,
    report: TrunkReport,
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Row {
    /// A trunk's row.
    pub fn new(report: TrunkReport) -> Self {
        Self { id: report.id.to_string(), report }
    }

    fn labels(&self) -> Labels<'_> {
        vec![("trunk_id", self.id.as_str()), ("trunk", self.report.name.as_str())]
    }

    fn with<'a>(&'a self, label: &'static str, value: &'a str) -> Labels<'a> {
        let mut labels = self.labels();
        labels.push((label, value));
        labels
    }

    /// Both directions that had attempts, with their labels.
    fn ways(&self) -> impl Iterator<Item = (Labels<'_>, &tally::Report)> {
        let both = [("inbound", &self.report.inbound), ("outbound", &self.report.outbound)];
        both.into_iter()
            .filter_map(|(way, report)| Some((self.with("direction", way), report.as_ref()?)))
    }
}

/// One gauge with all its rows; a row without a value is left out.
fn gauge<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
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
fn counter<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in rows {
        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
    }
    Ok(())
}

/// What the edge of SIP did, whom it turned away, and when our certificates end.
fn encode_edge(e: &mut DescriptorEncoder<'_>, gateway: &GatewayReport) -> fmt::Result {
    let counts = &gateway.edge;
    let events = [
        ("messages_in", counts.messages_in),
        ("messages_out", counts.messages_out),
        ("sends_failed", counts.sends_failed),
        ("malformed", counts.malformed),
        ("datagrams_dropped", counts.datagrams_dropped),
        ("connections_refused", counts.connections_refused),
        ("connections_evicted", counts.connections_evicted),
        ("handshakes_failed", counts.handshakes_failed),
        ("first_message_missed", counts.first_message_missed),
        ("idle_closed", counts.idle_closed),
        ("pongs_missed", counts.pongs_missed),
        ("writes_stuck", counts.writes_stuck),
        ("dials_failed", counts.dials_failed),
    ];
    let rows = events.into_iter().map(|(event, count)| (vec![("event", event)], count));
    counter(e, "trunkline_sip_edge", "What happened at the edge of SIP", rows)?;
    let rows =
        gateway.turned_away.iter().map(|(reason, count)| (vec![("reason", *reason)], *count));
    counter(e, "trunkline_sip_turned_away", "Requests that belonged to no trunk", rows)?;
    let open = std::iter::once((Labels::new(), Some(counts.connections as f64)));
    gauge(e, "trunkline_sip_connections", "TCP and TLS connections", open)?;
    let files: Vec<(String, i64)> = gateway
        .certificates
        .iter()
        .map(|one| (one.file.display().to_string(), one.not_after))
        .collect();
    let rows = files.iter().map(|(file, end)| (vec![("file", file.as_str())], Some(*end as f64)));
    let help = "When a certificate of ours ends, in seconds since 1970";
    gauge(e, "trunkline_certificate_not_after_seconds", help, rows)
}

fn flag(value: bool) -> Option<f64> {
    Some(f64::from(u8::from(value)))
}

impl Scraped {
    /// The text that a scraper reads.
    ///
    /// # Errors
    /// The formatter's.
    pub fn text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    fn ways(&self) -> impl Iterator<Item = (Labels<'_>, &tally::Report)> {
        self.trunks.iter().flat_map(Row::ways)
    }

    fn encode_standing(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "1 for the status that the trunk has, 0 for the others";
        let rows = self.trunks.iter().flat_map(|row| {
            let has = row.report.standing.as_ref().map(|standing| standing.verdict.status);
            Status::ALL.into_iter().filter_map(move |status| {
                has.map(|has| (row.with("status", status.as_str()), flag(has == status)))
            })
        });
        gauge(e, "trunkline_trunk_status", help, rows)?;
        let rows =
            self.trunks.iter().map(|row| (row.labels(), row.report.registered.and_then(flag)));
        gauge(e, "trunkline_trunk_registered", "Whether the trunk is registered", rows)?;
        let rows = self.trunks.iter().map(|row| {
            let fastest = row.report.targets.iter().filter_map(|target| target.rtt_ms).min();
            (row.labels(), fastest.map(|ms| ms as f64 / 1_000.0))
        });
        let help = "Round trip of the last probe to the fastest target";
        gauge(e, "trunkline_trunk_probe_rtt_seconds", help, rows)?;
        let rows = self
            .trunks
            .iter()
            .map(|row| (row.labels(), row.report.certificate_days_left.map(|days| days as f64)));
        let help = "Days until the certificate that we show to the trunk expires";
        gauge(e, "trunkline_trunk_certificate_days_left", help, rows)?;
        let rows =
            self.trunks.iter().map(|row| (row.labels(), flag(row.report.rewritten.is_some())));
        let help = "Whether a device on the path rewrites SIP";
        gauge(e, "trunkline_trunk_sip_rewritten", help, rows)
    }

    fn encode_calls(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rows = self.trunks.iter().flat_map(|row| {
            let used = row.report.calls;
            let both = [("inbound", used.inbound), ("outbound", used.outbound)];
            both.map(|(way, used)| (row.with("direction", way), Some(f64::from(used))))
        });
        gauge(e, "trunkline_trunk_calls", "Live calls of the trunk", rows)?;
        let caps = self
            .trunks
            .iter()
            .map(|row| (row.labels(), row.report.max_concurrent_calls.map(f64::from)));
        let help = "Calls that the trunk may have at once";
        gauge(e, "trunkline_trunk_calls_max", help, caps)
    }

    fn encode_attempts(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rows = self.ways().map(|(labels, report)| (labels, report.total.attempts));
        counter(e, "trunkline_trunk_attempts", "Attempts that are over", rows)?;
        let rows = self.ways().map(|(labels, report)| (labels, report.total.answered));
        counter(e, "trunkline_trunk_answered", "Attempts that were answered", rows)?;
        let rows = self.ways().map(|(labels, report)| (labels, report.total.talk_seconds));
        counter(e, "trunkline_trunk_talk_seconds", "Seconds talked", rows)?;
        let kind = MetricType::Counter;
        let help = "Attempts that are over, by final status";
        let mut metric = e.encode_descriptor("trunkline_trunk_responses", help, None, kind)?;
        for (labels, report) in self.ways() {
            for (code, count) in &report.codes {
                let code = code.to_string();
                let mut labels = labels.clone();
                labels.push(("code", &code));
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
            }
        }
        Ok(())
    }

    fn encode_day(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rows = self.ways().map(|(labels, report)| (labels, report.asr));
        let help = "Answer-seizure ratio of the last 24 hours";
        gauge(e, "trunkline_trunk_answer_seizure_ratio", help, rows)?;
        let rows = self.ways().map(|(labels, report)| (labels, report.ner));
        let help = "Network effectiveness ratio of the last 24 hours";
        gauge(e, "trunkline_trunk_network_effectiveness_ratio", help, rows)?;
        let rows = self.ways().map(|(labels, report)| (labels, report.acd));
        let help = "Average duration of answered calls of the last 24 hours";
        gauge(e, "trunkline_trunk_average_call_seconds", help, rows)
    }

    fn encode_delays(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let name = "trunkline_trunk_post_dial_delay_seconds";
        let help = "From the attempt to its first ringing";
        let mut metric = e.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, report) in self.ways() {
            let delays = &report.delays;
            let bounds = DELAY_BOUNDS_MS.into_iter().map(|ms| ms as f64 / 1_000.0);
            let bounds = bounds.chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(delays.counts).collect();
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                delays.sum_ms as f64 / 1_000.0,
                delays.counts.iter().sum(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let e = &mut encoder;
        let calls = std::iter::once((Labels::new(), Some(self.calls as f64)));
        gauge(e, "trunkline_calls", "Live calls", calls)?;
        let help = "API requests without a valid token";
        counter(e, "trunkline_api_refused", help, std::iter::once((Labels::new(), self.refused)))?;
        if let Some(gateway) = &self.gateway {
            encode_edge(e, gateway)?;
        }
        self.encode_standing(e)?;
        self.encode_calls(e)?;
        self.encode_attempts(e)?;
        self.encode_day(e)?;
        self.encode_delays(e)?;
        workers::encode(e, &self.workers)
    }
}
