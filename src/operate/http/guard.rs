//! Who may read metrics and debug: the API server is asked who the bearer of a token is (`TokenReview`) and whether it may
//! `get` that path (`SubjectAccessReview` of a non-resource URL). Where it cannot be asked, nobody may.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::debug;

/// How long an answer holds.
const ALLOWED: Duration = Duration::from_mins(1);
const FORBIDDEN: Duration = Duration::from_secs(10);
/// Answers that are kept.
const MOST: usize = 256;
/// The longest token that is looked at; those of `ServiceAccounts` have about a thousand bytes.
const LONGEST_TOKEN: usize = 16 << 10;
/// Questions that are put to the API server at once, and how long one waits for its turn and the answer.
const AT_ONCE: usize = 4;
const PATIENCE: Duration = Duration::from_secs(10);

/// What the API server says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Allowed,
    /// It does not know the token.
    Unknown,
    /// Who it is, and that it may not.
    Forbidden(Arc<str>),
}

/// Asks the API server, and remembers for a moment what it said.
pub(super) struct Guard {
    client: Client,
    /// By token and path.
    answers: Mutex<HashMap<(String, String), (Instant, Verdict)>>,
    turns: Semaphore,
}

/// Lets pass whom the API server lets.
pub(super) async fn ask(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return (StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n").into_response();
    }
    let path = request.uri().path().to_owned();
    let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    let Some(token) = token.filter(|token| !token.is_empty() && token.len() <= LONGEST_TOKEN) else {
        return unauthorized(
            "say who you are: Authorization: Bearer TOKEN, with the token of a ServiceAccount\n",
        );
    };
    match guard.verdict(token, &path).await {
        Ok(Verdict::Allowed) => next.run(request).await,
        Ok(Verdict::Unknown) => unauthorized("the API server does not know this token\n"),
        Ok(Verdict::Forbidden(user)) => {
            let words = format!(
                "{user} may not get {path}: bind it to the ClusterRole weir-metrics-reader (or weir-debug-reader)\n"
            );
            (StatusCode::FORBIDDEN, words).into_response()
        }
        Err(problem) => {
            debug!(%problem, "cannot ask the API server about a reader of metrics");
            let words = "the API server cannot be asked who you are; nothing is told meanwhile\n";
            (StatusCode::SERVICE_UNAVAILABLE, words).into_response()
        }
    }
}

fn unauthorized(words: &'static str) -> Response {
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], words).into_response()
}

impl Guard {
    pub(super) fn new(client: Client) -> Self {
        Self { client, answers: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }

    async fn verdict(&self, token: &str, path: &str) -> Result<Verdict, String> {
        let key = (token.to_owned(), path.to_owned());
        if let Some(verdict) = self.remembered(&key) {
            return Ok(verdict);
        }
        let answer = timeout(PATIENCE, async {
            let _turn = self.turns.acquire().await.map_err(words)?;
            // Somebody may have asked the same meanwhile.
            match self.remembered(&key) {
                Some(verdict) => Ok(verdict),
                None => self.review(token, path).await,
            }
        });
        let verdict = answer.await.map_err(words)??;
        self.remember(key, &verdict);
        Ok(verdict)
    }

    fn remembered(&self, key: &(String, String)) -> Option<Verdict> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, verdict) = answers.get(key)?;
        (Instant::now() < *until).then(|| verdict.clone())
    }

    fn remember(&self, key: (String, String), verdict: &Verdict) {
        let holds = match verdict {
            Verdict::Allowed => ALLOWED,
            Verdict::Forbidden(_) => FORBIDDEN,
            // Who guesses tokens must not push out the answers about others.
            Verdict::Unknown => return,
        };
        let now = Instant::now();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.retain(|_, (until, _)| now < *until);
        }
        if answers.len() >= MOST {
            answers.clear();
        }
        answers.insert(key, (now + holds, verdict.clone()));
    }

    async fn review(&self, token: &str, path: &str) -> Result<Verdict, String> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let params = PostParams::default();
        let answer = Api::all(self.client.clone()).create(&params, &review).await.map_err(words)?;
        let status: k8s_openapi::api::authentication::v1::TokenReviewStatus =
            answer.status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
            return Ok(Verdict::Unknown);
        };
        let UserInfo { username, groups, uid, extra } = user;
        let name: Arc<str> = username.clone().unwrap_or_default().into();
        let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some("get".to_owned()) };
        let spec = SubjectAccessReviewSpec {
            user: username,
            groups,
            uid,
            extra,
            non_resource_attributes: Some(attributes),
            resource_attributes: None,
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer = Api::all(self.client.clone()).create(&params, &review).await.map_err(words)?;
        let allowed = answer.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        Ok(if allowed { Verdict::Allowed } else { Verdict::Forbidden(name) })
    }
}

fn words(error: impl Display) -> String {
    error.to_string()
}
