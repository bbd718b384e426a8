//! Files and quotes through the running service.

use dingtalk_trigger::sim::dingtalk::fault::{self, Fault};
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::dingtalk::record::Kind;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{Service, callback, xpert};

const GIF: &str = "GIF89a\u{1}";

fn picture(code: &str) -> Say {
    let content = json!({"msgtype": "picture", "content": {"downloadCode": code}});
    Say::direct("robot", "ann", "").content(content)
}

fn rich(items: &Value) -> Say {
    let content = json!({"msgtype": "richText", "content": {"richText": items}});
    Say::direct("robot", "ann", "").content(content)
}

async fn start(outside: &Outside, settings: &[(&str, &str)], runtime: Value) -> Service {
    let service = Service::start_with(outside, settings).await;
    service.stream_robot(outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": runtime })).await;
    service
}

#[tokio::test]
async fn pictures_and_quotes_reach_the_expert_and_a_file_over_the_limit_is_answered() {
    let outside = Outside::start().await;
    let service = start(&outside, &[("DT_MEDIA_MAX_BYTES", "2048")], callback(&outside)).await;
    let code = outside.cloud.put_file("x", GIF);
    outside.ask(picture(&code), "You said: [picture 1]").await;
    let call = outside.expert.calls().pop().unwrap();
    let file = &call.body["input"]["messages"][0]["files"][0];
    assert_eq!((&file["contentType"], &file["size"]), (&json!("image/gif"), &json!(GIF.len())));

    let mut quoting = Say::direct("robot", "ann", "and this?");
    quoting.quote =
        Some(json!({"msgType": "picture", "msgId": "m0", "content": {"downloadCode": code}}));
    outside.ask(quoting, "and this?").await;
    let call = outside.expert.calls().pop().unwrap();
    let quoted = &call.body["input"]["messages"][0]["quoted"];
    assert_eq!(
        (&call.body["input"]["text"], &quoted["text"]),
        (&json!("and this?"), &json!("[picture 1]"))
    );

    let asked = outside.expert.calls().len();
    let large = outside.cloud.put_file("x", vec![b'x'; 4096]);
    outside
        .ask(picture(&large), "The file is too large to be read. Please send a smaller one.")
        .await;
    assert_eq!(outside.expert.calls().len(), asked, "nobody was asked");
    assert!(service.metric("dt_limit_breaches_total", "media_bytes").await >= 1.0);
    let with_text = json!([{"text": "sum up "}, {"type": "picture", "downloadCode": large}]);
    outside.ask(rich(&with_text), "sum up [picture 1 (too large)]").await;
    service.finish().await;
}

#[tokio::test]
async fn files_reach_xpert_with_the_question() {
    let outside = Outside::start().await;
    let service = start(&outside, &[], xpert(&outside)).await;
    let code = outside.cloud.put_file("x", GIF);
    outside.ask(picture(&code), "You said: [picture 1]").await;
    let call = outside.xpert.calls().pop().unwrap();
    assert_eq!(call.body["input"]["message"]["input"]["files"][0]["name"], "picture-1.gif");
    service.finish().await;
}

#[tokio::test]
async fn a_download_that_fails_comes_again_and_one_that_hangs_is_stopped() {
    let outside = Outside::start().await;
    let service = start(&outside, &[], callback(&outside)).await;
    let code = outside.cloud.put_file("x", GIF);
    outside.cloud.fault(Fault::preset("download", "qps"));
    outside.ask(picture(&code), "You said: [picture 1]").await;

    outside.cloud.fault(Fault::new("file", fault::Outcome::Hang));
    let seen = outside.cloud.book().since(0, usize::MAX).len();
    outside.say(picture(&code));
    let hangs = outside.cloud.book().wait_for(seen as u64, LIMIT, |r| r.kind == Kind::Faulted);
    hangs.await.expect("the download began");
    let told = Instant::now();
    outside.ask(Say::direct("robot", "ann", "/stop"), "Stopped.").await;
    assert!(told.elapsed() < std::time::Duration::from_secs(20), "{:?}", told.elapsed());
    assert_eq!(outside.expert.calls().len(), 1, "the stopped question was not asked");
    service.finish().await;
}

#[tokio::test]
async fn ten_thousand_segments_are_answered_and_delay_nobody() {
    let outside = Outside::start().await;
    let service = start(&outside, &[], callback(&outside)).await;
    let code = outside.cloud.put_file("x", GIF);
    let mut items: Vec<_> = (0..10_000)
        .map(|index| match index % 500 {
            0 => json!({"type": "picture", "downloadCode": code}),
            _ => json!({"text": "a"}),
        })
        .collect();
    items.push(json!({"type": "picture", "downloadCode": code}));
    let said = outside.say(rich(&json!(items)));
    let asked = Instant::now();
    outside.ask(Say::direct("robot", "bob", "hello"), "You said: hello").await;
    println!("MEASURED another's answer after {:?}", asked.elapsed());
    outside.reply(&said.conversation, "[1 more not passed on: too many]").await;
    assert!(service.metric("dt_limit_breaches_total", "turn_files").await >= 1.0);
    service.finish().await;
}
