//! Servers on loopback that answer as tests tell them: a Prometheus, and an API server that has some objects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

type Asked = Arc<Mutex<Vec<String>>>;
/// Code and body for the path and the query of an address, which is decoded.
type Answer = dyn Fn(&str, &str) -> (u16, String) + Send + Sync;

/// A server that runs as long as the test does.
pub struct Server {
    pub url: String,
    asked: Asked,
}

impl Server {
    pub async fn new(answer: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static) -> Self {
        let asked: Asked = Arc::default();
        let answer: Arc<Answer> = Arc::new(answer);
        let router = Router::new().fallback(serve).with_state((answer, Arc::clone(&asked)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    /// Paths with what was asked there, and the header `authorization`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    State((answer, asked)): State<(Arc<Answer>, Asked)>,
    request: Request,
) -> (StatusCode, String) {
    let path = request.uri().path().to_owned();
    let query = decoded(request.uri().query().unwrap_or_default());
    let token =
        request.headers().get("authorization").map(|value| value.to_str().unwrap()).unwrap_or_default();
    asked.lock().unwrap().push(format!("{path} {query} {token}"));
    let (code, body) = answer(&path, &query);
    (StatusCode::from_u16(code).unwrap(), body)
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// An API server that has these objects and no others; `other` answers before it.
pub async fn api_server(
    objects: Vec<Value>,
    other: impl Fn(&str) -> Option<(u16, Value)> + Send + Sync + 'static,
) -> Server {
    let mut lists: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for object in objects {
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let group = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
        lists.entry(format!("{group}/{}s", kind.to_lowercase())).or_default().push(object);
    }
    Server::new(move |path, _| {
        if let Some((code, body)) = other(path) {
            return (code, body.to_string());
        }
        if path == "/version" {
            let version = json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
            return (200, version.to_string());
        }
        if let Some(items) = lists.get(path) {
            return (200, json!({"kind": "List", "metadata": {}, "items": items}).to_string());
        }
        let status = json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound",
            "message": "the server could not find the requested resource"});
        (404, status.to_string())
    })
    .await
}

/// What an API server says to those who may not.
pub fn forbidden(what: &str) -> (u16, Value) {
    (
        403,
        json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
            "message": format!("{what} is forbidden: User \"vera\" cannot list resource \"{what}\"")}),
    )
}
