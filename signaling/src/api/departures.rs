//! What happens when a trunk leaves the store: it is drained, leaves its registrar, and only then
//! the plan. Who is talking over it goes on talking.

use std::time::Duration;

use tokio::sync::mpsc;

use super::Api;
use crate::ask::{Ask, Unanswered};
use crate::drain::Drained;
use crate::planner::Move;
use crate::store::{Departure, Refusal};
use crate::trunk::TrunkId;

/// Sees trunks off, and welcomes those that come back, until the store ends.
pub async fn follow(api: Api, mut moves: mpsc::UnboundedReceiver<Move>) {
    while let Some(step) = moves.recv().await {
        match step {
            Move::Left(trunk) => drop(tokio::spawn(see_off(api.clone(), trunk))),
            Move::Back(trunk) => drop(tokio::spawn(welcome(api.clone(), trunk))),
        }
    }
}

async fn see_off(api: Api, trunk: TrunkId) {
    let drained = patiently(|| {
        api.gateway.asks.ask(|reply| Ask::Drain { trunk, limit: Some(DRAIN_LIMIT), reply })
    });
    // Resumed: it came back. No answer: the gateway stops, and the trunk with it.
    if !matches!(drained.await, Some(Drained::Empty)) {
        return;
    }
    depart(&api, trunk, Departure::Leave).await;
    tokio::time::sleep(UNREGISTER_LIMIT).await;
    depart(&api, trunk, Departure::Gone).await;
}

async fn welcome(api: Api, trunk: TrunkId) {
    let _stopping = patiently(|| api.gateway.asks.ask(|reply| Ask::Resume { trunk, reply })).await;
}

async fn depart(api: &Api, trunk: TrunkId, step: Departure) {
    loop {
        match api.store.ask(move |keeper| keeper.depart(trunk.0, step)).await {
            Err(Refusal::Busy) => tokio::time::sleep(PAUSE).await,
            _ => return,
        }
    }
}

/// Asks again while the shard has too many questions; `None` when it is stopping.
async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Result<T, Unanswered>>,
{
    loop {
        match ask().await {
            Ok(answer) => return Some(answer),
            Err(Unanswered::Busy) => tokio::time::sleep(PAUSE).await,
            Err(Unanswered::Stopping) => return None,
        }
    }
}

/// How long calls over a deleted trunk may go on.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(4 * 3_600);
/// How long a registrar has to answer that a deleted trunk leaves it.
const UNREGISTER_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);
