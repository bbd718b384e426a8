//! The card of a question: registered for, shown once, and closed.
//!
//! Guarantees that no card of an integration in HTTP mode is made before DingTalk knows where its presses
//! go. A card is idempotent by its turn: the same again changes nothing, so no outcome is ambiguous.
//! Whether and when to try again, and what to do without a card, is the caller's.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use reqwest::Method;

use super::failure::{SendError, permanent};
use super::send::{Call, Sender};
use crate::domain::binding::{Integration, Language};
use crate::domain::entry::Origin;
use crate::domain::id::TurnId;
use crate::io::governor::Api;
use crate::protocol::card::question::{self, Callback, Question, Route};

/// The apps and addresses that this process has registered: DingTalk keeps them, so once is enough.
#[derive(Default)]
pub(super) struct Registered(Mutex<BTreeSet<(String, String)>>);

impl Sender {
    /// Shows a question as a card.
    pub async fn ask(
        &self,
        integration: &Integration,
        origin: &Origin,
        question: Question<'_>,
        callback: &Callback,
    ) -> Result<(), SendError> {
        let body = question::create(question, origin, callback);
        let nowhere = || permanent("DingTalk has no place for a card here".into());
        let body = body.ok_or_else(nowhere)?;
        if let Callback::Http(route) = callback {
            self.register(integration, route).await?;
        }
        self.card(integration, Method::POST, question::CREATE, body).await
    }

    /// Disables the card's buttons; `result` is what it says from now on.
    pub async fn close(
        &self,
        integration: &Integration,
        turn: &TurnId,
        language: Language,
        result: Option<&str>,
    ) -> Result<(), SendError> {
        let body = question::close(turn, language, result);
        self.card(integration, Method::PUT, question::UPDATE, body).await
    }

    async fn register(&self, integration: &Integration, route: &Route) -> Result<(), SendError> {
        let known = (integration.client_id.clone(), route.url.clone());
        if self.registered.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&known) {
            return Ok(());
        }
        let body = question::register(&integration.id, route);
        self.card(integration, Method::POST, question::REGISTER, body).await?;
        self.registered.0.lock().unwrap_or_else(PoisonError::into_inner).insert(known);
        Ok(())
    }

    async fn card(
        &self,
        integration: &Integration,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(), SendError> {
        self.pass(integration, Api::Card).await?;
        let posted = self.call(integration, Call { method, path, body }, question::judge).await?;
        match self.settle(integration, Api::Card, posted).await {
            Ok(_) => Ok(()),
            Err(error) => Err(SendError { is_ambiguous: false, ..error }),
        }
    }
}
