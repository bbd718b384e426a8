//! The page behind a signed link: the road of those whose robot has no cards.
//!
//! `GET` changes nothing and submits itself where scripts run, so that a link preview ends nothing;
//! `POST` to the same address publishes the entry. Whether the action still means something is the
//! worker's to judge; here it is only wrong, expired or used.

mod words;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use tokio::time::Instant;

use self::words::Page;
use super::accept::{self, Decision};
use super::{Edge, Taken};
use crate::domain::binding::{Integration, Language};
use crate::protocol::action::{self, Link};

const DEADLINE: Duration = Duration::from_millis(1400);

pub async fn get(
    State(edge): State<Arc<Edge>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let checked = tokio::time::timeout(DEADLINE, check(&edge, query)).await;
    match checked.unwrap_or(Err(Refused::NotNow(None))) {
        Ok(checked) => {
            render(StatusCode::OK, &Page::Ask(checked.link.kind), Some(checked.language()))
        }
        Err(refused) => refused.into_response(),
    }
}

pub async fn post(
    State(edge): State<Arc<Edge>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let arrived = Instant::now();
    let acted = tokio::time::timeout(DEADLINE, act(&edge, query, arrived)).await;
    acted.unwrap_or(Err(Refused::NotNow(None))).unwrap_or_else(IntoResponse::into_response)
}

/// A link that is ours and still holds.
struct Checked {
    link: Link,
    signature: String,
    integration: Arc<Integration>,
}

impl Checked {
    fn language(&self) -> Language {
        self.integration.language
    }
}

/// The language is absent where no integration is known: the page then speaks both.
enum Refused {
    Wrong,
    Over(Option<Language>),
    NotNow(Option<Language>),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Wrong => render(StatusCode::FORBIDDEN, &Page::Wrong, None),
            Self::Over(language) => render(StatusCode::GONE, &Page::Over, language),
            Self::NotNow(language) => {
                let page = render(StatusCode::SERVICE_UNAVAILABLE, &Page::NotNow, language);
                ([(header::RETRY_AFTER, "1")], page).into_response()
            }
        }
    }
}

async fn check(
    edge: &Edge,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Checked, Refused> {
    let Query(pairs) = query.map_err(|_| Refused::Wrong)?;
    let (link, signature) = Link::verify(pairs, &edge.action_key, edge.context.clock.now())
        .map_err(|error| match error {
            action::Error::Wrong => Refused::Wrong,
            action::Error::Expired => Refused::Over(None),
        })?;
    match edge.routing.integration(&link.integration).await {
        Ok(Some(integration)) => Ok(Checked { link, signature, integration }),
        // It was removed since the link was made.
        Ok(None) => Err(Refused::Over(None)),
        Err(error) => {
            tracing::warn!(%error, "an integration could not be read");
            Err(Refused::NotNow(None))
        }
    }
}

async fn act(
    edge: &Edge,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    arrived: Instant,
) -> Result<Response, Refused> {
    let checked = check(edge, query).await?;
    let publish = accept::link(&checked.integration, &checked.link, &checked.signature);
    let decision = Decision::Publish(Box::new(publish));
    match edge.take(&checked.integration, decision, arrived).await {
        Ok(Taken::Stored) => {
            Ok(render(StatusCode::OK, &Page::Done(checked.link.kind), Some(checked.language())))
        }
        Ok(Taken::Duplicate | Taken::Ignored) => Err(Refused::Over(Some(checked.language()))),
        Err(error) => {
            tracing::warn!(%error, "the log did not take an action");
            Err(Refused::NotNow(Some(checked.language())))
        }
    }
}

fn render(status: StatusCode, page: &Page, language: Option<Language>) -> Response {
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    (status, headers, Html(page.html(language))).into_response()
}
