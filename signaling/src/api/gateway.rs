//! The running gateway as the API reaches it.

use std::path::PathBuf;

use axum::http::StatusCode;

use super::problem::Problem;
use super::trunk_test::Begin;
use crate::ask::{Asks, Unanswered};
use crate::feed::Feed;
use crate::plan::LivePlan;

/// What of the gateway the API works with.
#[derive(Clone)]
pub struct Gateway {
    /// Questions to the shard.
    pub asks: Asks,
    /// What happens.
    pub feed: Feed,
    /// What runs.
    pub plan: LivePlan,
    /// Tests a trunk's connection.
    pub test: Begin,
    /// Where call records are written.
    pub cdrs: PathBuf,
}

impl From<Unanswered> for Problem {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Busy => Self::busy(unanswered.to_string(), 1),
            Unanswered::Stopping => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "The gateway is stopping",
                unanswered.to_string(),
                "try again when it runs",
            ),
        }
    }
}
