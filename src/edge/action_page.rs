//! The page behind a signed link: the road of those whose robot has no cards.
//!
//! `GET` changes nothing and submits itself where scripts run, so that a link preview ends nothing;
//! `POST` to the same address publishes the entry. Whether the action still means something is the
//! worker's to judge; where it surely does not, the page says so already.

mod page;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use tokio::time::Instant;

use self::page::Page;
use super::accept::{self, Decision};
use super::press::pressed;
use super::repeat::Arrival;
use super::{Edge, Taken};
use crate::domain::binding::{Integration, Language};
use crate::domain::press::Standing;
use crate::protocol::action::{self, Link};

const DEADLINE: Duration = Duration::from_millis(1400);

pub async fn get(State(edge): State<Arc<Edge>>, RawQuery(query): RawQuery) -> Response {
    answered(&edge, ask(&edge, query)).await
}

pub async fn post(State(edge): State<Arc<Edge>>, RawQuery(query): RawQuery) -> Response {
    let arrived = Instant::now();
    answered(&edge, act(&edge, query, arrived)).await
}

async fn answered(edge: &Edge, work: impl Future<Output = Result<Response, Refused>>) -> Response {
    let done = tokio::time::timeout(DEADLINE, work).await;
    done.unwrap_or(Err(Refused::NotNow(None))).unwrap_or_else(|refused| {
        edge.count(None, refused.label());
        refused.into_response()
    })
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

    fn page(&self, page: &Page) -> Response {
        render(StatusCode::OK, page, Some(self.language()))
    }

    fn decision(&self) -> Decision {
        let publish = accept::link(&self.integration, &self.link, &self.signature);
        Decision::Publish(Box::new(publish))
    }
}

/// The language is absent where no integration is known: the page then speaks both.
enum Refused {
    Wrong,
    Over(Option<Language>),
    NotNow(Option<Language>),
}

impl Refused {
    /// The `result` of `dt_inbound_total`.
    fn label(&self) -> &'static str {
        match self {
            Self::Wrong => "LINK_WRONG",
            Self::Over(_) => "LINK_OVER",
            Self::NotNow(_) => "NOT_DURABLE",
        }
    }
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

async fn check(edge: &Edge, query: Option<String>) -> Result<Checked, Refused> {
    let query = query.unwrap_or_default();
    let (link, signature) = Link::verify(&query, &edge.action_key, edge.context.clock.now())
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

async fn ask(edge: &Edge, query: Option<String>) -> Result<Response, Refused> {
    let checked = check(edge, query).await?;
    let decision = checked.decision();
    if let Some(action) = pressed(&decision) {
        let head = edge.head(action).await;
        if edge.foresee(action, head, Taken::Ignored).await == Some(Standing::Over) {
            return Err(Refused::Over(Some(checked.language())));
        }
    }
    Ok(checked.page(&Page::Ask(checked.link.kind)))
}

async fn act(edge: &Edge, query: Option<String>, arrived: Instant) -> Result<Response, Refused> {
    let checked = check(edge, query).await?;
    let decision = checked.decision();
    let (action, arrival) = (pressed(&decision).cloned(), Arrival::unsigned(arrived));
    let integration = &checked.integration;
    let taken = match &action {
        Some(action) => edge.take_action(integration, decision, arrival, action).await,
        None => edge.take(integration, decision, arrival).await.map(|taken| (taken, None)),
    };
    let (taken, head) = match taken {
        Ok(stored @ (Taken::Stored(_), _)) => stored,
        Ok((Taken::Duplicate(_) | Taken::Ignored, _)) => {
            return Err(Refused::Over(Some(checked.language())));
        }
        Err(error) => {
            tracing::warn!(%error, "the log did not take an action");
            return Err(Refused::NotNow(Some(checked.language())));
        }
    };
    let foreseen = match &action {
        Some(action) => edge.foresee(action, head, taken).await,
        None => None,
    };
    match foreseen {
        Some(Standing::Over) => Err(Refused::Over(Some(checked.language()))),
        Some(Standing::Counts | Standing::Foreign) | None => {
            Ok(checked.page(&Page::Done(checked.link.kind)))
        }
    }
}

fn render(status: StatusCode, page: &Page, language: Option<Language>) -> Response {
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, page::POLICY),
    ];
    (status, headers, Html(page.html(language))).into_response()
}
