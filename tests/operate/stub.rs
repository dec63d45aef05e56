//! A stand-in for the API server that answers as it is told, in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use kube::Client;
use serde_json::{Value, json};
use weir::operate::lead::Leadership;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub body: Value,
}

/// An answer to give.
pub enum Reply {
    /// This code and body.
    Say(u16, Value),
    /// The same, with `Retry-After` in seconds.
    Later(u16, u64),
    /// None, ever.
    Hang,
    /// A watch that is open and says nothing.
    Open,
}

#[derive(Default)]
struct Inner {
    asked: Vec<Asked>,
    replies: VecDeque<Reply>,
}

type Handler = dyn Fn(&Asked) -> Option<Reply> + Send + Sync;

/// The stand-in. Replies are given in order; when there are none left, by the handler.
#[derive(Clone)]
pub struct Stub {
    inner: Arc<Mutex<Inner>>,
    handler: Arc<Handler>,
}

impl Stub {
    /// Answers with these, one after another.
    pub fn saying(replies: impl IntoIterator<Item = Reply>) -> Self {
        let stub = Self::handling(|_| None);
        stub.inner.lock().unwrap().replies = replies.into_iter().collect();
        stub
    }

    /// Answers by a function.
    pub fn handling(handler: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Self {
        Self { inner: Arc::default(), handler: Arc::new(handler) }
    }

    /// What its function answers.
    pub fn answer(&self, asked: &Asked) -> Option<Reply> {
        (self.handler)(asked)
    }

    /// A client that talks to it.
    pub fn client(&self) -> Client {
        let router: Router = Router::new().fallback(serve).with_state(self.clone());
        Client::new(router, "default")
    }

    /// What was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.inner.lock().unwrap().asked.clone()
    }

    /// Methods and paths that were asked, without queries.
    pub fn lines(&self) -> Vec<String> {
        let line =
            |asked: &Asked| format!("{} {}", asked.method, asked.path.split('?').next().unwrap_or_default());
        self.asked().iter().map(line).collect()
    }
}

async fn serve(State(stub): State<Stub>, request: Request) -> Response<Body> {
    let method = request.method().to_string();
    let path = request.uri().to_string();
    let bytes = to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let asked = Asked { method, path, body: serde_json::from_slice(&bytes).unwrap_or_default() };
    let reply = {
        let mut inner = stub.inner.lock().unwrap();
        inner.asked.push(asked.clone());
        inner.replies.pop_front()
    };
    let reply = reply.or_else(|| (stub.handler)(&asked));
    let (code, after, body) = match reply {
        Some(Reply::Say(code, body)) => (code, None, body),
        Some(Reply::Later(code, after)) => (code, Some(after), failure(code, "Later", "ask later")),
        Some(Reply::Hang) => {
            tokio::time::sleep(Duration::from_hours(1)).await;
            unreachable!("nobody waits an hour")
        }
        Some(Reply::Open) => {
            let silence = futures::stream::pending::<Result<Vec<u8>, std::convert::Infallible>>();
            return Response::new(Body::from_stream(silence));
        }
        None => panic!("nothing was to be asked any more: {asked:?}"),
    };
    let mut response = Response::builder().status(StatusCode::from_u16(code).unwrap());
    if let Some(after) = after {
        response = response.header("Retry-After", after);
    }
    response.body(Body::from(serde_json::to_vec(&body).unwrap())).unwrap()
}

/// A `Status` as the API server answers with.
pub fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code})
}

/// 409, it is there.
pub fn exists(name: &str) -> Reply {
    Reply::Say(409, failure(409, "AlreadyExists", &format!("pods \"{name}\" already exists")))
}

/// 404.
pub fn missing() -> Reply {
    Reply::Say(404, failure(404, "NotFound", "not found"))
}

/// A token that leads for a long time.
pub fn leading() -> Leadership {
    let leadership = Leadership::none();
    leadership.extend(tokio::time::Instant::now() + Duration::from_secs(100_000));
    leadership
}
