//! What the service talks to, played inside the test's process: DingTalk, an Xpert server, a callback
//! expert. It outlives every restart of the service.

use std::sync::Arc;
use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::sim::dingtalk::message::{Said, Say};
use dingtalk_trigger::sim::dingtalk::record::{Kind, Record};
use dingtalk_trigger::sim::dingtalk::{Sim, settings};
use dingtalk_trigger::sim::expert::Expert;
use dingtalk_trigger::sim::xpert::Xpert;

use crate::support::program::LIMIT;

pub(crate) const EXPERT_SECRET: &str = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
pub(crate) const XPERT_KEY: &str = "sk-x-tests";

pub(crate) struct Outside {
    pub(crate) cloud: Sim,
    pub(crate) xpert: Xpert,
    pub(crate) expert: Expert,
    context: Context,
}

impl Outside {
    /// Redelivers soon, and often enough for a service that is restarted.
    pub(crate) async fn start() -> Self {
        Self::behind(None, "127.0.0.1:0").await
    }

    /// The simulated DingTalk listens on `address` and says that it is reached at `public_url`.
    pub(crate) async fn behind(public_url: Option<String>, address: &str) -> Self {
        let context = Context::new(Clock::system());
        let settings = settings::Config {
            address: address.to_owned(),
            public_url,
            ack_timeout: Duration::from_secs(3),
            http_retries: vec![Duration::from_secs(1); 40],
            attempts_max: 40,
            ..settings::Config::default()
        };
        let cloud = Sim::start(&context, settings).await.expect("start the simulated DingTalk");
        let xpert = Xpert::start(&context, "127.0.0.1:0", Secret::new(XPERT_KEY));
        let expert = Expert::start(&context, "127.0.0.1:0", Secret::new(EXPERT_SECRET));
        Self {
            cloud,
            xpert: xpert.await.expect("start the simulated Xpert server"),
            expert: expert.await.expect("start the simulated expert"),
            context,
        }
    }

    pub(crate) fn say(&self, say: Say) -> Said {
        self.cloud.say(say).expect("the robot exists")
    }

    /// All that people read in the conversation so far.
    pub(crate) fn read_in(&self, conversation: &str) -> Vec<String> {
        let replies = self.cloud.replies();
        let here = replies.iter().filter(|reply| reply.conversation == conversation);
        here.map(|reply| reply.text.clone()).collect()
    }

    /// The reply in the conversation that ends with `text`.
    pub(crate) async fn reply(&self, conversation: &str, text: &str) -> Arc<Record> {
        let found = self.cloud.wait_for(LIMIT, |record| {
            record.kind == Kind::Reply
                && record.conversation == conversation
                && record.text.trim_end().ends_with(text)
        });
        let read = || self.read_in(conversation);
        found.await.unwrap_or_else(|| panic!("no reply {text:?}; people read {:?}", read()))
    }

    /// Says it and waits for the reply that ends with `answer`.
    pub(crate) async fn ask(&self, say: Say, answer: &str) -> Arc<Record> {
        let said = self.say(say);
        self.reply(&said.conversation, answer).await
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.context.clock.now().0
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.cloud.stop();
        self.xpert.stop();
        self.expert.stop();
    }
}
