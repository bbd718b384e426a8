//! `/api/dead`: what was given up, and dropping it. Asking again is the business of `replay`.
//!
//! A letter is `dead` while the stream has it and nobody settled it. What an operator settled is a row
//! in SQL, which shows it after its record is gone.

pub(super) mod filter;
pub(super) mod replay;
pub(super) mod view;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::json;

use self::filter::{Filter, Search, Wanted};
use self::view::{Item, Shown};
use super::body::Query;
use super::lists::{self, List};
use super::problem::Problem;
use crate::domain::id::Seq;
use crate::io::dead::{Buried, DeadLetters};
use crate::io::store::dead::{Settled, State as Settlement};

/// Records read before SQL is asked which of them are settled.
const CHUNK: usize = 100;

pub(super) async fn list(
    State(state): State<super::State>,
    Query(search): Query<Search>,
) -> Result<Json<List<Item>>, Problem> {
    let limit = lists::limit(search.limit())?;
    let after = search.after()?;
    let filter = search.filter()?;
    let count = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
    let items = match filter.state {
        Wanted::Dead => {
            let found = unsettled(&state, &filter, after, count).await?;
            found.iter().map(view::item).collect()
        }
        Wanted::Settled(settlement) => settled(&state, &filter, settlement, after, count).await?,
    };
    Ok(List::of(items, limit, |item: &Item| item.id.clone(), |item| item))
}

pub(super) async fn show(
    State(state): State<super::State>,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Problem> {
    let seq = seq(&id)?;
    let settled = state.store.dead_settled(seq).await?;
    match DeadLetters::new(&state.nats).at(seq).await? {
        Some(buried) => {
            let state = settled.filter(|settled| settled.stored_at == buried.at);
            Ok(Json(view::shown(&buried, state.map(|settled| settled.state))))
        }
        None => {
            let settled = settled.ok_or_else(absent)?;
            Ok(Json(view::remembered(view::stored(&settled)?)))
        }
    }
}

/// Safe to repeat. What was replayed is being answered, or was, and is not taken back.
pub(super) async fn drop(
    State(state): State<super::State>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let seq = seq(&id)?;
    let dead = DeadLetters::new(&state.nats);
    let before = state.store.dead_settled(seq).await?;
    let Some(buried) = dead.at(seq).await? else {
        return match before.map(|settled| settled.state) {
            Some(Settlement::Dropped) => Ok(StatusCode::NO_CONTENT),
            Some(Settlement::Replayed) => Err(replayed()),
            None => Err(absent()),
        };
    };
    if !settle(&state, &buried, Settlement::Dropped).await? {
        let now = state.store.dead_settled(seq).await?;
        if now.is_some_and(|settled| settled.state == Settlement::Replayed) {
            return Err(replayed());
        }
    }
    dead.delete(seq).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// False where it was settled before.
async fn settle(
    state: &super::State,
    buried: &Buried,
    settlement: Settlement,
) -> Result<bool, Problem> {
    let action = match settlement {
        Settlement::Replayed => "dead.replay",
        Settlement::Dropped => "dead.drop",
    };
    let mut item = view::item(buried);
    item.state = settlement.as_str().to_owned();
    let note = state.note(action, &item.id, &json!({ "turnId": item.turn_id }));
    let settled = Settled {
        seq: buried.seq,
        stored_at: buried.at,
        state: settlement,
        shown: json!(item).to_string(),
    };
    Ok(state.store.settle_dead(&settled, &note).await?)
}

/// Up to `count` letters that nobody settled and that fit.
async fn unsettled(
    state: &super::State,
    filter: &Filter,
    mut after: Seq,
    count: usize,
) -> Result<Vec<Buried>, Problem> {
    let dead = DeadLetters::new(&state.nats);
    let mut found = Vec::new();
    loop {
        let chunk = dead.after(after, CHUNK).await?;
        let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { return Ok(found) };
        let settled = state.store.dead_settled_between(first.seq, last.seq).await?;
        after = last.seq;
        for buried in chunk {
            if !settled.contains(&(buried.seq, buried.at)) && filter.fits(&view::item(&buried)) {
                found.push(buried);
            }
            if found.len() == count {
                return Ok(found);
            }
        }
    }
}

async fn settled(
    state: &super::State,
    filter: &Filter,
    settlement: Settlement,
    mut after: Seq,
    count: usize,
) -> Result<Vec<Item>, Problem> {
    let mut found = Vec::new();
    let chunk_rows = u32::try_from(CHUNK).unwrap_or(u32::MAX);
    loop {
        let chunk = state.store.dead_settled_as(settlement, after, chunk_rows).await?;
        let Some(last) = chunk.last() else { return Ok(found) };
        after = last.seq;
        for row in &chunk {
            let item = view::stored(row)?;
            if filter.fits(&item) {
                found.push(item);
            }
            if found.len() == count {
                return Ok(found);
            }
        }
    }
}

fn seq(id: &str) -> Result<Seq, Problem> {
    id.parse().map(Seq).map_err(|_| absent())
}

fn absent() -> Problem {
    Problem::missing("DEAD_LETTER_NOT_FOUND", "there is no such dead letter")
}

fn replayed() -> Problem {
    Problem::conflict("ALREADY_REPLAYED", "this dead letter was replayed and cannot be dropped")
}
