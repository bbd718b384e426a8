//! The demo's chat page as a person uses it: a real Chromium, a real mouse and keyboard, and what can be
//! read on the screen.
//!
//! The page talks to the simulated DingTalk alone; whatever is answered there has crossed the service.

mod devtools;
mod page;

use std::time::Duration;

use data_encoding::BASE64;
use tempfile::TempDir;

use crate::browser::devtools::Browser;
use crate::browser::page::Page;
use crate::support::env;
use crate::support::program::{Program, anywhere};
use crate::support::wait::wait_for;

/// A browser and a service that start at the same time, on a machine that runs other tests as well.
const LIMIT: Duration = Duration::from_secs(90);

/// One red point.
const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAA\
     AElFTkSuQmCC";

const IS_CONNECTED: &str = "document.querySelector('#link.on')";
const HAS_CARD: &str = "document.querySelector('article .buttons button')";
/// What the service made of the card, not only what the page did when it was pressed.
const IS_CLOSED: &str = "document.querySelector('article .result') \
     && [...document.querySelectorAll('article .buttons button')].every((it) => it.disabled)";
const IS_PRESSED: &str = "document.querySelector('article .buttons button').disabled";
const IS_QUOTING: &str = "!document.querySelector('#quote').hidden";
const HAS_QUOTE: &str = "document.querySelector('article.mine .quoted')";
const HAS_READ_FILE_AND_QUOTE: &str = "[...document.querySelectorAll('article:not(.mine) .bubble')] \
     .some((it) => it.textContent.includes('> hello from a browser') \
     && it.textContent.includes('notes.txt'))";
const HAS_PICTURE: &str = "[...document.querySelectorAll('article.mine .bubble img')] \
     .some((it) => it.naturalWidth === 1 && it.closest('article').querySelector('.state .ok'))";
const IS_GROUP: &str = "document.querySelector('#title small').textContent.includes('group')";
const MENTIONS: &str = "document.querySelector('#mention').checked";
const HEARS_NOBODY: &str =
    "document.querySelector('article.mine .state').textContent.includes('no mention')";

/// The robot says it: in the bubble of a message that is not the person's own.
fn robot_says(text: &str) -> String {
    format!(
        "[...document.querySelectorAll('article:not(.mine) .bubble')] \
         .some((it) => it.textContent.includes({text:?}))"
    )
}

fn is_attached(name: &str) -> String {
    format!("document.querySelector('#attached').textContent.includes({name:?})")
}

async fn asks(page: &mut Page, text: &str) {
    page.say(text).await;
    page.until(text, &robot_says(&format!("You said: {text}"))).await;
}

#[tokio::test]
async fn a_person_chats_confirms_quotes_sends_a_picture_and_mentions_the_robot_in_a_browser() {
    let Some(chromium) = env::chromium() else {
        env::skipped("the test in a browser: there is no Chromium that runs");
        return;
    };
    let directory = TempDir::new().expect("create a directory");
    let pairs = anywhere(&directory.path().join("data"));
    let mut program = Program::start(directory.path(), "demo", &["up", "--demo"], &pairs);
    let browser = Browser::start(&chromium, &directory.path().join("chromium")).await;
    let url = wait_for("`up --demo` names its chat page", LIMIT, async || {
        program.assert_runs();
        let said = program.said();
        said.lines().find_map(|line| line.strip_prefix("chat page: ")).map(str::to_owned)
    })
    .await;
    let mut page = Page::new(browser.open(url.trim()).await);
    page.until("the robot is connected", IS_CONNECTED).await;

    asks(&mut page, "hello from a browser").await;
    // Each message shows the id by which it is traced.
    let shown = page.value("document.querySelector('article.mine .state code').textContent").await;
    assert!(shown.as_str().is_some_and(|id| id.starts_with("msg")), "{shown}");

    page.say("confirm the order").await;
    page.until("the card is there", HAS_CARD).await;
    page.press("article .buttons button", IS_PRESSED).await;
    page.until("the expert goes on", &robot_says("Confirmed, and done.")).await;
    page.until("the card is closed", IS_CLOSED).await;

    page.press("article.mine .state button", IS_QUOTING).await;
    page.say("what about this").await;
    page.until("the message bears its quote", HAS_QUOTE).await;
    page.until("the expert has read it", &robot_says("> hello from a browser")).await;

    let picture = directory.path().join("point.png");
    std::fs::write(&picture, BASE64.decode(PICTURE.as_bytes()).expect("base64")).expect("write it");
    page.attach(&picture).await;
    page.until("it is attached", &is_attached("point.png")).await;
    page.enter_field().await;
    page.send().await;
    page.until("the service has taken the picture, and it is drawn", HAS_PICTURE).await;

    // What is typed with a file, and what it replies to, come with it.
    let notes = directory.path().join("notes.txt");
    std::fs::write(&notes, "some notes").expect("write it");
    page.press("article.mine .state button", IS_QUOTING).await;
    page.attach(&notes).await;
    page.until("it is attached", &is_attached("notes.txt")).await;
    asks(&mut page, "read my notes").await;
    page.until("the expert has both", HAS_READ_FILE_AND_QUOTE).await;

    // In a group the robot hears who mentions it, and nobody else.
    page.press("#conversations button:nth-child(2)", IS_GROUP).await;
    page.press("#mention", &format!("!{MENTIONS}")).await;
    page.say("nobody hears this").await;
    page.until("it says that nobody hears it", HEARS_NOBODY).await;
    page.press("#mention", MENTIONS).await;
    asks(&mut page, "good morning, robot").await;
    let is_answered = page.value(&robot_says("nobody hears this")).await;
    assert_eq!(is_answered, false);

    assert_eq!(page.complaints(), Vec::<String>::new(), "the page's own errors");
    drop(page);
    browser.close().await;
    let status = program.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", program.complained());
}
