//! A question to several shards, and one answer made of theirs.

use std::collections::HashMap;
use std::net::IpAddr;

use crossbeam::channel::Sender;
use tokio::sync::oneshot;

use super::{Ask, Reply, Unanswered, give, put};
use crate::drain::Drained;
use crate::media::{OrderError, Ordered, WorkerReport};
use crate::report::{GatewayReport, TrunkReport};
use crate::trunk::UnknownCaller;

/// Asks whom it takes, and answers when they have.
///
/// # Errors
/// [`Unanswered`] by one of them; there is no answer then.
pub(super) async fn spread(shards: &[Sender<Ask>], ask: Ask) -> Result<(), Unanswered> {
    match ask {
        Ask::Calls(reply) => give(reply, all(shards, Ask::Calls).await?.concat()),
        Ask::HangUp { call, reply } => {
            let ask = |reply| Ask::HangUp { call: call.clone(), reply };
            give(reply, all(shards, ask).await?.contains(&true));
        }
        Ask::Trunks { which, reply } => {
            let ask = |reply| Ask::Trunks { which: which.clone(), reply };
            give(reply, trunks(all(shards, ask).await?));
        }
        Ask::Gateway(reply) => {
            let mut reports = all(shards, Ask::Gateway).await?.into_iter();
            let Some(first) = reports.next() else { return Err(Unanswered::Stopping) };
            give(reply, reports.fold(first, gateway));
        }
        Ask::Drain { trunk, limit, reply } => {
            let ask = |reply| Ask::Drain { trunk, limit, reply };
            let all = all(shards, ask).await?;
            let is_empty = all.iter().all(|one| *one == Drained::Empty);
            give(reply, if is_empty { Drained::Empty } else { Drained::Resumed });
        }
        Ask::Resume { trunk, reply } => {
            all(shards, |reply| Ask::Resume { trunk, reply }).await?;
            give(reply, ());
        }
        Ask::Close(reply) => {
            all(shards, Ask::Close).await?;
            give(reply, ());
        }
        Ask::UnknownCallers(reply) => {
            give(reply, callers(all(shards, Ask::UnknownCallers).await?));
        }
        Ask::Workers(reply) => give(reply, workers(all(shards, Ask::Workers).await?)),
        Ask::Order { worker, duty, reply } => {
            let ask = |reply| Ask::Order { worker, duty, reply };
            give(reply, whose_it_is(shards, ask).await?);
        }
        Ask::ForgetCaller { source, reply } => {
            let ask = |reply| Ask::ForgetCaller { source, reply };
            give(reply, all(shards, ask).await?.contains(&true));
        }
        // The first shard knows as much of routes as any.
        Ask::Explain { .. } => return shards.first().map_or(Ok(()), |shard| put(shard, ask)),
    }
    Ok(())
}

/// Every shard's answer, in their order; they are all asked before the first has answered.
async fn all<T>(
    shards: &[Sender<Ask>],
    question: impl Fn(Reply<T>) -> Ask,
) -> Result<Vec<T>, Unanswered> {
    let mut waiting = Vec::with_capacity(shards.len());
    for shard in shards {
        let (reply, answer) = oneshot::channel();
        put(shard, question(reply))?;
        waiting.push(answer);
    }
    let mut answers = Vec::with_capacity(waiting.len());
    for answer in waiting {
        answers.push(answer.await.map_err(|_| Unanswered::Stopping)?);
    }
    Ok(answers)
}

/// An order goes to the shard whose worker it means: one after the other, since two that stand by
/// would both obey. Else what the last one said that has a data plane.
async fn whose_it_is(
    shards: &[Sender<Ask>],
    question: impl Fn(Reply<Ordered>) -> Ask,
) -> Result<Ordered, Unanswered> {
    let mut refusal = Err(OrderError::Detached);
    for shard in shards {
        let (reply, answer) = oneshot::channel();
        put(shard, question(reply))?;
        match answer.await.map_err(|_| Unanswered::Stopping)? {
            Err(OrderError::Detached) => {}
            none @ Err(OrderError::NoSuchWorker(_) | OrderError::NoneStandsBy) => refusal = none,
            done => return Ok(done),
        }
    }
    Ok(refusal)
}

/// The first shard's reports, with the attempts of all.
fn trunks(reports: Vec<Vec<TrunkReport>>) -> Vec<TrunkReport> {
    let mut reports = reports.into_iter();
    let mut first = reports.next().unwrap_or_default();
    for other in reports.flatten() {
        let Some(one) = first.iter_mut().find(|one| one.id == other.id) else { continue };
        for (sum, more) in [(&mut one.inbound, other.inbound), (&mut one.outbound, other.outbound)]
        {
            match (sum, more) {
                (Some(sum), Some(more)) => sum.add(&more),
                (sum @ None, more) => *sum = more,
                (Some(_), None) => {}
            }
        }
    }
    first
}

/// Two shards as one gateway. The edge and the CDRs are everybody's: each says the same of them.
fn gateway(mut sum: GatewayReport, more: GatewayReport) -> GatewayReport {
    sum.calls += more.calls;
    sum.transactions += more.transactions;
    sum.dialogs += more.dialogs;
    sum.attached &= more.attached;
    sum.closing |= more.closing;
    for (reason, count) in more.turned_away {
        *sum.turned_away.entry(reason).or_default() += count;
    }
    sum
}

/// One entry for each source, the latest first.
fn callers(lists: Vec<Vec<UnknownCaller>>) -> Vec<UnknownCaller> {
    let mut sources: HashMap<IpAddr, UnknownCaller> = HashMap::new();
    for caller in lists.into_iter().flatten() {
        let known = sources.entry(caller.source).or_insert(UnknownCaller { count: 0, ..caller });
        let newer = if caller.last > known.last { caller } else { *known };
        let (count, first) = (known.count + caller.count, known.first.min(caller.first));
        *known = UnknownCaller { count, first, ..newer };
    }
    let mut callers: Vec<_> = sources.into_values().collect();
    callers.sort_by_key(|caller| std::cmp::Reverse(caller.last));
    callers
}

fn workers(lists: Vec<Vec<WorkerReport>>) -> Vec<WorkerReport> {
    let mut workers = lists.concat();
    workers.sort_by_key(|worker| worker.id);
    workers
}

#[cfg(test)]
mod tests;
