//! Files: those that people attach, fetched by download code, and those that the robot uploads.
//!
//! As in the real cloud the address of a file needs no token and refuses a request with a content type.
//! Files are kept in memory.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Multipart, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Refusal, refusal, told};
use super::cloud::{Cloud, random_id};
use super::record::{Kind, Record};
use crate::sim::locked;

pub struct File {
    pub name: String,
    pub bytes: Bytes,
}

impl Cloud {
    /// Keeps a file and gives its download code.
    pub fn put_file(&self, name: &str, bytes: Bytes) -> String {
        let code = random_id("code");
        let file = Arc::new(File { name: name.to_owned(), bytes });
        locked(&self.files).insert(code.clone(), file.clone());
        // The address shows another name, which says nothing about the code.
        locked(&self.files).insert(file_id(&code), file);
        code
    }
}

fn file_id(code: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, code.as_bytes()).simple().to_string()
}

/// `POST /v1.0/robot/messageFiles/download`.
pub async fn download(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let app = cloud.authorised(&headers)?;
    let refused = |refusal| cloud.refused(&app, &body, refusal);
    let field = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let code = field("downloadCode");
    if code.is_empty() || field("robotCode").is_empty() {
        return Err(refused(refusal(400, "invalidParameter.robotCode.empty", "参数为空")));
    }
    if field("robotCode") != app.app.robot_code() {
        return Err(refused(refusal(400, "invalidParameter.robotCode.auth", "robotCode无权限")));
    }
    if !locked(&cloud.files).contains_key(code) {
        let wrong = "invalidParameter.robotCode.downloadCode";
        return Err(refused(refusal(400, wrong, "下载码有误或者已经过期")));
    }
    cloud.record(Record {
        kind: Kind::Download,
        robot: app.app.client_id.clone(),
        detail: code.to_owned(),
        ..Record::default()
    });
    let expires = cloud.now_ms() / 1000 + 3600;
    let id = file_id(code);
    let url = format!("{}/files/{id}.file?Expires={expires}&Signature=c2ltdWxhdGVk", cloud.url);
    Ok(Json(json!({ "downloadUrl": url })))
}

/// `GET /files/{id}.file`: the object store refuses a request that names a content type.
pub async fn file(
    State(cloud): State<Arc<Cloud>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    if headers.contains_key(header::CONTENT_TYPE) {
        return (StatusCode::FORBIDDEN, "SignatureDoesNotMatch").into_response();
    }
    let found = locked(&cloud.files).get(name.trim_end_matches(".file")).cloned();
    match found {
        Some(file) => {
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            (kind, file.bytes.clone()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "NoSuchKey").into_response(),
    }
}

#[derive(Deserialize)]
pub struct UploadQuery {
    #[serde(default)]
    access_token: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// `POST /media/upload`.
pub async fn upload(
    State(cloud): State<Arc<Cloud>>,
    Query(query): Query<UploadQuery>,
    form: Result<Multipart, axum::extract::multipart::MultipartRejection>,
) -> Json<Value> {
    let Some(app) = cloud.bearer(&query.access_token) else {
        return told(40_014, "不合法的access_token");
    };
    let Ok(mut form) = form else { return told(43_008, "参数需要是multipart类型") };
    let (mut kind, mut media) = (query.kind, None);
    while let Ok(Some(field)) = form.next_field().await {
        match field.name() {
            Some("media") => {
                let name = field.file_name().unwrap_or("media").to_owned();
                media = field.bytes().await.ok().map(|bytes| (name, bytes));
            }
            Some("type") => kind = field.text().await.unwrap_or_default(),
            _ => {}
        }
    }
    if !["image", "voice", "video", "file"].contains(&kind.as_str()) {
        return told(40_004, "不合法的媒体文件类型");
    }
    let Some((name, bytes)) = media else { return told(41_005, "缺少多媒体文件数据") };
    let id = random_id("@lAz");
    locked(&cloud.files).insert(id.clone(), Arc::new(File { name: name.clone(), bytes }));
    cloud.record(Record {
        kind: Kind::Upload,
        robot: app.app.client_id.clone(),
        detail: id.clone(),
        text: name,
        ..Record::default()
    });
    let created = cloud.now_ms();
    Json(
        json!({ "errcode": 0, "errmsg": "ok", "media_id": id, "created_at": created, "type": kind }),
    )
}
