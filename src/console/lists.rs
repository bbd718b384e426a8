//! Lists: `limit` and `after` in, `items` and `next` out.
//!
//! `next` is absent on the last page, never an empty page behind it. What a cursor looks like is left
//! to each list; callers only hand it back.

use axum::Json;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::io::store::Page;

const LIMIT_MAX: u32 = 200;
const LIMIT: u32 = 50;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Paging {
    limit: Option<String>,
    after: Option<String>,
}

impl Paging {
    pub(super) fn page(self) -> Result<Page, Problem> {
        let limit = limit(self.limit.as_deref())?;
        let after = self.after.filter(|after| !after.is_empty());
        if after.as_deref().is_some_and(|after| after.contains('\0')) {
            return Err(Problem::field("after", "after must be `next` of the list before"));
        }
        Ok(Page { after, limit })
    }
}

pub(super) fn limit(text: Option<&str>) -> Result<u32, Problem> {
    match text {
        None => Ok(LIMIT),
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| Problem::field("limit", "limit must be a number from 1 to 200")),
    }
}

#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> List<T> {
    /// A page of one more row than `limit` has a next page, which begins after its last shown row.
    pub(super) fn of<R>(
        mut rows: Vec<R>,
        limit: u32,
        cursor: impl Fn(&R) -> String,
        view: impl Fn(R) -> T,
    ) -> Json<Self> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(cursor);
        Json(Self { items: rows.into_iter().map(view).collect(), next })
    }
}

/// The page to read so that [`List::of`] sees whether there is more.
pub(super) fn one_more(page: &Page) -> Page {
    Page { after: page.after.clone(), limit: page.limit.saturating_add(1) }
}
