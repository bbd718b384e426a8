//! What a person does with a page: look, point, press, type.
//!
//! A page that is drawn anew under a person's finger loses the press, so each is repeated until it has had
//! its effect.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::browser::LIMIT;
use crate::browser::devtools::Tab;

/// How long a press may take to show its effect before it is pressed again.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

pub(crate) struct Page(Tab);

impl Page {
    pub(crate) fn new(tab: Tab) -> Self {
        Self(tab)
    }

    /// What the page complained of so far.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.0.complaints.clone()
    }

    /// The value of an expression of JavaScript.
    pub(crate) async fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let mut said = self.0.call("Runtime.evaluate", asked).await;
        assert!(said.get("exceptionDetails").is_none(), "{expression}: {said}");
        said["result"]["value"].take()
    }

    async fn holds(&mut self, condition: &str) -> bool {
        self.value(&format!("!!({condition})")).await == true
    }

    async fn holds_within(&mut self, condition: &str, limit: Duration) -> bool {
        let began = Instant::now();
        while !self.holds(condition).await {
            if began.elapsed() > limit {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }

    /// Fails the test, with what can be read on the page, where it does not come true.
    pub(crate) async fn until(&mut self, what: &str, condition: &str) {
        if !self.holds_within(condition, LIMIT).await {
            let read = self.value("document.body.innerText").await;
            panic!("waited {LIMIT:?} in vain: {what}; the page says {read}");
        }
    }

    /// Presses what the selector finds until the condition holds.
    pub(crate) async fn press(&mut self, selector: &str, condition: &str) {
        let began = Instant::now();
        loop {
            self.point_and_press(selector).await;
            if self.holds_within(condition, PATIENCE).await {
                return;
            }
            assert!(began.elapsed() < LIMIT, "{selector} was pressed in vain: {condition}");
        }
    }

    async fn point_and_press(&mut self, selector: &str) {
        let found = format!(
            "(() => {{ const it = document.querySelector({selector:?}); if (!it) return null; \
             it.scrollIntoView({{ block: 'center' }}); const at = it.getBoundingClientRect(); \
             return [at.x + at.width / 2, at.y + at.height / 2]; }})()"
        );
        let point = self.value(&found).await;
        let (Some(x), Some(y)) = (point[0].as_f64(), point[1].as_f64()) else { return };
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.0.call("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Types it into the field for messages and sends it by the key for it.
    pub(crate) async fn say(&mut self, text: &str) {
        self.enter_field().await;
        self.0.call("Input.insertText", json!({ "text": text })).await;
        self.until("it is typed", &format!("document.querySelector('#text').value === {text:?}"))
            .await;
        self.send().await;
    }

    pub(crate) async fn enter_field(&mut self) {
        self.press("#text", "document.activeElement === document.querySelector('#text')").await;
    }

    /// The key that sends, and then the field is empty again.
    pub(crate) async fn send(&mut self) {
        for kind in ["keyDown", "keyUp"] {
            let key = json!({
                "type": kind, "key": "Enter", "code": "Enter", "text": "\r",
                "windowsVirtualKeyCode": 13,
            });
            self.0.call("Input.dispatchKeyEvent", key).await;
        }
        let is_sent = "document.querySelector('#text').value === '' \
                       && document.querySelector('#file').files.length === 0";
        self.until("it is sent", is_sent).await;
    }

    /// Chooses a file as the window for it does.
    pub(crate) async fn attach(&mut self, file: &Path) {
        let asked = json!({ "expression": "document.querySelector('#file')" });
        let found = self.0.call("Runtime.evaluate", asked).await;
        let object = &found["result"]["objectId"];
        let files = json!({ "files": [file], "objectId": object });
        self.0.call("DOM.setFileInputFiles", files).await;
    }
}
