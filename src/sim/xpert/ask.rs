//! What the body of a new run asks for: an answer, more of one that was interrupted, or to hear more.
//!
//! Refuses as the real server does what is not one of them. What becomes of the run is `run`'s.

use axum::http::StatusCode;
use serde_json::Value;

use super::answer::Refusal;
use super::run::Steered;
use crate::sim::script::Decision;

/// What the caller's input asks for.
pub enum Ask {
    Send {
        text: String,
    },
    Resume {
        run: Option<String>,
        decision: Decision,
    },
    /// Into the running run.
    Steer {
        run: Option<String>,
        steered: Steered,
    },
}

/// Reads the `input` of a run.
pub fn ask(input: &Value) -> Result<Ask, Refusal> {
    let text = |path: &str| input.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let missing = || Refusal::new(StatusCode::BAD_REQUEST, "path: message; Required");
    let decision = |is_confirmed| if is_confirmed { Decision::Confirm } else { Decision::Reject };
    match input.get("action").and_then(Value::as_str) {
        Some("send") => Ok(Ask::Send { text: text("/message/input/input").ok_or_else(missing)? }),
        Some("follow_up") => {
            let said = text("/message/input/input").ok_or_else(missing)?;
            match input.get("mode").and_then(Value::as_str) {
                Some("steer") => {
                    let steered = Steered { name: text("/message/clientMessageId"), text: said };
                    Ok(Ask::Steer { run: text("/target/executionId"), steered })
                }
                _ => Ok(Ask::Send { text: said }),
            }
        }
        Some("resume") => {
            let decision = decision(text("/decision/type").as_deref() == Some("confirm"));
            Ok(Ask::Resume { run: text("/target/executionId"), decision })
        }
        Some("retry") => Ok(Ask::Send { text: "retry".to_owned() }),
        Some(_) => Err(Refusal::new(StatusCode::BAD_REQUEST, "path: action; Invalid")),
        None => match input.get("confirm").and_then(Value::as_bool) {
            Some(is_confirmed) => {
                Ok(Ask::Resume { run: text("/executionId"), decision: decision(is_confirmed) })
            }
            None => Ok(Ask::Send { text: text("/input").ok_or_else(missing)? }),
        },
    }
}
