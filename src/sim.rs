//! What is not ours, played over real sockets: the DingTalk cloud with a chat page, the Xpert server,
//! and an expert for the demo.
//!
//! Guarantees the shapes and tempers that the facts name, and faults on request. Nothing of the service
//! uses it.

pub mod server;
pub mod script;
pub mod dingtalk;
pub mod xpert;
pub mod expert;

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;

use self::dingtalk::Sim;
use self::dingtalk::app::App;
use self::expert::Expert;
use self::xpert::Xpert;
use crate::context::Context;
use crate::domain::secret::Secret;

/// Addresses are `host:port`; port 0 takes a free one.
#[derive(Debug, Clone)]
pub struct Config {
    /// `DT_SIM_ADDR`: the DingTalk cloud and its chat page.
    pub address: String,
    pub xpert_address: String,
    pub expert_address: String,
    /// Robots that exist from the start.
    pub apps: Vec<App>,
    /// What the Xpert server asks of its callers.
    pub xpert_api_key: Secret,
    /// `whsec_` and base64: signs the turns that the callback expert takes.
    pub expert_secret: Secret,
}

/// Everything simulated, as long as the process runs.
pub struct Running {
    pub cloud: Sim,
    pub xpert: Xpert,
    pub expert: Expert,
    /// Both APIs of DingTalk, and in a browser the chat page.
    pub dingtalk_url: String,
    /// The base address of a runtime of kind `xpert`.
    pub xpert_url: String,
    /// The address of a runtime of kind `callback`.
    pub expert_url: String,
}

/// Everything listens when this returns.
pub async fn start(context: &Context, config: Config) -> anyhow::Result<Running> {
    let settings = dingtalk::settings::Config {
        address: config.address,
        apps: config.apps,
        ..dingtalk::settings::Config::default()
    };
    let cloud = Sim::start(context, settings).await.context("start the simulated DingTalk")?;
    let xpert = Xpert::start(context, &config.xpert_address, config.xpert_api_key)
        .await
        .context("start the simulated Xpert server")?;
    let expert = Expert::start(context, &config.expert_address, config.expert_secret)
        .await
        .context("start the simulated expert")?;
    let dingtalk_url = cloud.url().to_owned();
    let (xpert_url, expert_url) = (xpert.url().to_owned(), expert.url().to_owned());
    Ok(Running { cloud, xpert, expert, dingtalk_url, xpert_url, expert_url })
}

/// The simulated state stays usable when a test's thread died with the lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
