//! Every kind of file, in the order people sent it, for every kind of runtime.

use dingtalk_trigger::domain::binding::RuntimeKind;
use dingtalk_trigger::io::runtime::Outcome;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::media::stand::{INLINE_MAX_BYTES, Stand, bytes_of, message, picture};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
const PDF: &[u8] = b"%PDF-1.7\n1 0 obj";
const MP4: &[u8] = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41";
const AMR: &[u8] = b"#!AMR\n<\x91\x17\x16";

fn kind(msgtype: &str, content: Value) -> Value {
    let mut body = json!({"msgtype": msgtype});
    body["content"] = content;
    message(body)
}

#[tokio::test]
async fn every_kind_of_file_reaches_a_callback_with_its_bytes_and_what_they_are() {
    let stand = Stand::start().await;
    let put = |name: &str, bytes: &'static [u8]| stand.cloud.put_file(name, bytes);
    let table = [
        (
            kind("picture", json!({"downloadCode": put("x", PNG)})),
            ("[picture 1]", PNG),
            json!({"kind": "picture", "name": "picture-1.png", "contentType": "image/png"}),
        ),
        (
            kind("file", json!({"downloadCode": put("x", PDF), "fileName": "一种方法"})),
            ("[file 1 一种方法.pdf]", PDF),
            json!({"kind": "file", "name": "一种方法.pdf", "contentType": "application/pdf"}),
        ),
        (
            kind("file", json!({"downloadCode": put("x", b"a,b\n"), "fileName": "t.csv"})),
            ("[file 1 t.csv]", b"a,b\n"),
            json!({"kind": "file", "name": "t.csv", "contentType": "text/csv"}),
        ),
        (
            kind(
                "video",
                json!({"duration": "5", "videoType": "mp4", "downloadCode": put("x", MP4)}),
            ),
            ("[video 1]", MP4),
            json!({"kind": "video", "name": "video-1.mp4", "contentType": "video/mp4"}),
        ),
        (
            kind("audio", json!({"duration": 4000, "downloadCode": put("x", AMR)})),
            ("[voice 1]", AMR),
            json!({"kind": "audio", "name": "audio-1.amr", "contentType": "audio/amr"}),
        ),
    ];
    for (said, (text, bytes), expected) in table {
        let input = stand.input(&[said]).await;
        assert_eq!(input["text"], text);
        let file = &input["messages"][0]["files"][0];
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&file[field], value, "{field} of {file}");
        }
        assert_eq!((&file["number"], &file["size"]), (&json!(1), &json!(bytes.len())));
        assert_eq!(bytes_of(file), bytes);
    }
    assert_eq!(stand.counted(r#"dt_media_total{result="ok"}"#), 5);
}

#[tokio::test]
async fn a_voice_message_that_was_understood_is_its_words_and_no_download() {
    let stand = Stand::start().await;
    let said = kind("audio", json!({"downloadCode": "none", "recognition": "钉钉，让进步发生"}));
    let input = stand.input(&[said]).await;
    assert_eq!(input["text"], "钉钉，让进步发生");
    assert_eq!(input["messages"][0]["files"], json!([]));
    assert_eq!(stand.counted(r#"dt_media_total{result="ok"}"#), 0);
}

#[tokio::test]
async fn text_and_pictures_keep_their_order_and_a_quote_stands_beside_them() {
    let stand = Stand::start().await;
    let code = |bytes: &'static [u8]| stand.cloud.put_file("x", bytes);
    let rich = kind(
        "richText",
        json!({"richText": [
            {"text": "compare "},
            {"type": "picture", "downloadCode": code(PNG), "pictureDownloadCode": "other"},
            {"text": " with "},
            {"type": "picture", "downloadCode": code(b"GIF89a\x01\0")},
            {"type": "at", "atName": "Tom", "atUserId": "t"},
        ]}),
    );
    let quoting = message(json!({"msgtype": "text", "originalMsgId": "msg0==", "text": {
        "content": "and this?", "isReplyMsg": true,
        "repliedMsg": {"msgType": "file", "msgId": "msg0==",
            "content": {"downloadCode": code(PDF), "fileName": "plan.pdf"}},
    }}));
    let quoting_text = message(json!({"msgtype": "text", "text": {
        "content": "sum up", "isReplyMsg": true,
        "repliedMsg": {"msgType": "text", "msgId": "msg9==", "content": {"text": "one\ntwo"}},
    }}));
    let input = stand.input(&[rich, quoting, quoting_text]).await;
    let expected = "compare [picture 1] with [picture 2]@Tom\n\
                    and this?\nsum up";
    assert_eq!(input["text"], expected);
    let [first, second, third] = [0, 1, 2].map(|index| &input["messages"][index]);
    assert_eq!(bytes_of(&first["files"][0]), PNG);
    assert_eq!(first["files"][1]["contentType"], "image/gif");
    assert_eq!(first.get("quoted"), None);
    assert_eq!((&second["text"], &second["files"]), (&json!("and this?"), &json!([])));
    assert_eq!(second["quoted"]["msgId"], "msg0==");
    assert_eq!(bytes_of(&second["quoted"]["files"][0]), PDF);
    assert_eq!(third["quoted"], json!({"msgId": "msg9==", "text": "one\ntwo", "files": []}));
}

#[tokio::test]
async fn what_is_too_much_for_the_turn_goes_as_an_address_that_can_be_fetched() {
    let stand = Stand::start().await;
    let large = usize::try_from(INLINE_MAX_BYTES).unwrap() * 2;
    let bytes: Vec<u8> = PNG.iter().copied().chain(std::iter::repeat_n(7, large)).collect();
    let half = bytes[..large / 4 + 1000].to_vec();
    let pictures: Vec<_> = [bytes.clone(), half.clone(), half.clone(), PNG.to_vec()]
        .into_iter()
        .map(|bytes| picture(&stand.cloud.put_file("x", bytes)))
        .collect();
    let input = stand.input(&pictures).await;
    let file = |index: usize| input["messages"][index]["files"][0].clone();
    for (index, expected) in [(0, &bytes), (2, &half)] {
        let file = file(index);
        assert_eq!((file.get("data"), &file["size"]), (None, &json!(expected.len())), "{file}");
        assert_eq!(file["contentType"], "image/png");
        assert!(file["expiresAt"].as_str().unwrap().ends_with('Z'), "{file}");
        let fetched = reqwest::get(file["url"].as_str().unwrap()).await.unwrap();
        assert_eq!(fetched.bytes().await.unwrap(), expected.as_slice());
    }
    assert_eq!(bytes_of(&file(1)), half);
    assert_eq!(bytes_of(&file(3)), PNG, "what still fits goes with the turn");
}

#[tokio::test]
async fn xpert_is_given_the_files_ahead_and_their_records_with_the_question() {
    let stand = Stand::start().await;
    let large = vec![b'x'; usize::try_from(INLINE_MAX_BYTES).unwrap() * 2];
    let said = [
        picture(&stand.cloud.put_file("x", PNG)),
        kind(
            "file",
            json!({"downloadCode": stand.cloud.put_file("x", large.clone()), "fileName": "a.txt"}),
        ),
    ];
    let outcome = stand.ask(stand.xpert(), &said, CancellationToken::new()).await;
    assert!(matches!(outcome, Ok(Outcome::Answer(_))), "{outcome:?}");
    let call = stand.xpert.calls().pop().expect("a run was asked for");
    let input = &call.body["input"]["message"]["input"];
    assert_eq!(input["input"], "[picture 1]\n[file 2 a.txt]");
    let file = |index: usize| {
        let file = &input["files"][index];
        assert!(file["id"].is_string(), "the server's own record comes back: {file}");
        json!([file["name"], file["mimeType"], file["size"]])
    };
    assert_eq!(file(0), json!(["picture-1.png", "image/png", PNG.len()]));
    assert_eq!(file(1), json!(["a.txt", "text/plain", large.len()]));
}

#[tokio::test]
async fn an_echo_fetches_nothing() {
    let stand = Stand::start().await;
    let outcome = stand.ask(RuntimeKind::Echo, &[picture("none")], CancellationToken::new()).await;
    let Ok(Outcome::Answer(answer)) = outcome else { panic!("no answer: {outcome:?}") };
    assert_eq!(answer.text, "[picture 1]");
}
