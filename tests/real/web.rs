//! What the operator tells over HTTP, asked as Prometheus asks it.

use std::path::Path;
use std::time::{Duration, Instant};

use axum::body::to_bytes;
use axum::http::Request;
use kube::{Client, Config};

use super::api::pause;

/// Where one operator tells something.
#[derive(Clone)]
pub struct Web {
    config: Config,
}

/// What was answered.
#[derive(Debug)]
pub struct Told {
    pub code: u16,
    pub text: String,
}

impl Web {
    /// In the clear.
    pub fn plain(port: u16) -> Self {
        Self { config: config("http", port) }
    }

    /// By TLS, whoever the server is.
    pub fn tls(port: u16) -> Self {
        let mut config = config("https", port);
        config.accept_invalid_certs = true;
        Self { config }
    }

    /// By TLS, if the server shows a certificate of this issuer (DER) for this name.
    pub fn trusting(port: u16, issuer: Vec<u8>, name: &str) -> Self {
        let mut config = config("https", port);
        config.root_cert = Some(vec![issuer]);
        config.tls_server_name = Some(name.to_owned());
        Self { config }
    }

    /// Asks; none where there was no answer.
    pub async fn try_ask(&self, method: &str, path: &str, token: Option<&str>) -> Result<Told, String> {
        let client = Client::try_from(self.config.clone()).map_err(|error| error.to_string())?;
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(kube::client::Body::empty()).unwrap();
        let answer = client.send(request).await.map_err(|error| format!("{error:?}"))?;
        let code = answer.status().as_u16();
        let body = to_bytes(axum::body::Body::new(answer.into_body()), 1 << 24).await.unwrap();
        Ok(Told { code, text: String::from_utf8_lossy(&body).into_owned() })
    }

    pub async fn get(&self, path: &str, token: Option<&str>) -> Told {
        self.try_ask("GET", path, token).await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// Asks again and again until the answer is as it should be.
    pub async fn until(&self, path: &str, seconds: u64, good: impl Fn(&Told) -> bool) -> Told {
        self.until_by(path, None, seconds, good).await
    }

    /// The same with a token.
    pub async fn until_by(
        &self,
        path: &str,
        token: Option<&str>,
        seconds: u64,
        good: impl Fn(&Told) -> bool,
    ) -> Told {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let answer = self.try_ask("GET", path, token).await;
            match answer {
                Ok(told) if good(&told) => return told,
                answer => assert!(Instant::now() < deadline, "after {seconds} s {path} says {answer:?}"),
            }
            pause(200).await;
        }
    }
}

fn config(scheme: &str, port: u16) -> Config {
    let mut config = Config::new(format!("{scheme}://127.0.0.1:{port}").parse().unwrap());
    // A 503 is an answer here.
    config.default_retry = false;
    config
}

/// The port of an address that an operator has logged, in the line with these words.
pub async fn port_in_log(log: &Path, words: &str) -> u16 {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let line = text.lines().rev().find(|line| line.contains(words));
        let port = line.and_then(|line| {
            line.split("address").nth(1)?.split(':').rev().find_map(|part| {
                let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
                digits.parse::<u16>().ok().filter(|port| *port > 1023)
            })
        });
        if let Some(port) = port {
            return port;
        }
        assert!(Instant::now() < deadline, "no line with {words:?} in\n{text}");
        pause(50).await;
    }
}
