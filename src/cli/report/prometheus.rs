//! Asks a Prometheus over HTTP, with the client that is there for the API server.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::body::to_bytes;
use axum::http::{Request, Uri};
use kube::{Client, Config};
use serde_json::Value;

/// How long to wait for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const MOST_BYTES: usize = 256 << 20;
const SHOWN: usize = 200;

/// Which Prometheus.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Prometheus")]
#[group(id = "which-prometheus")]
pub struct Args {
    /// Address of a Prometheus that scrapes this cluster, such as `http://localhost:9090`: use over time is read there
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,

    /// A file with a bearer token for it
    #[arg(long, value_name = "FILE", requires = "prometheus", value_hint = clap::ValueHint::FilePath)]
    prometheus_token: Option<PathBuf>,

    /// A file with certificates (PEM) of those who may have issued its certificate; default: those that the system trusts
    #[arg(long, value_name = "FILE", requires = "prometheus", value_hint = clap::ValueHint::FilePath)]
    prometheus_ca: Option<PathBuf>,
}

/// A Prometheus that may be asked.
pub struct Prometheus {
    client: Client,
    url: String,
}

/// One number and what it is of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The number.
    pub value: f64,
}

/// Numbers over time, and what they are of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970, and the number.
    pub points: Vec<(i64, f64)>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// To no question: it cannot be reached, or is none.
    Whole(String),
    /// To this one.
    One(String),
}

impl Prometheus {
    /// The one that was named, if one was. Nothing is asked yet.
    ///
    /// # Errors
    /// Where the address is none, or a file cannot be read.
    pub fn new(args: &Args) -> anyhow::Result<Option<Self>> {
        let Args { prometheus, prometheus_token, prometheus_ca } = args;
        let Some(url) = prometheus else { return Ok(None) };
        let uri: Uri = url
            .parse()
            .ok()
            .filter(|uri: &Uri| {
                matches!(uri.scheme_str(), Some("http" | "https"))
                    && uri.host().is_some_and(|host| !host.is_empty())
                    && uri.query().is_none()
            })
            .with_context(|| {
                format!("--prometheus {url:?} is no address: write one such as http://localhost:9090")
            })?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            bail!(
                "--prometheus: names and passwords in the address are not used: give a token with --prometheus-token"
            );
        }
        let mut config = Config::new(uri);
        config.connect_timeout = Some(CONNECT);
        config.default_retry = false;
        if let Some(path) = prometheus_token {
            let token = std::fs::read_to_string(path)
                .with_context(|| format!("--prometheus-token: cannot read {}", path.display()))?;
            config.auth_info.token = Some(token.trim().to_owned().into());
        }
        if let Some(path) = prometheus_ca {
            std::fs::metadata(path)
                .with_context(|| format!("--prometheus-ca: cannot read {}", path.display()))?;
            config.root_cert_file = Some(path.clone());
        }
        let client =
            Client::try_from(config).context("--prometheus: the token or the certificates cannot be used")?;
        Ok(Some(Self { client, url: url.trim_end_matches('/').to_owned() }))
    }

    /// The answer as of a time.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn at(&self, expression: &str, seconds: i64) -> Result<Vec<Sample>, Failure> {
        let path = format!("/api/v1/query?time={seconds}&query={}", encoded(expression));
        let read = |one: &Value| {
            let value = number(one.pointer("/value/1"))?;
            Some(Sample { labels: labels(one), value })
        };
        Ok(self.ask(&path, expression, "vector").await?.iter().filter_map(read).collect())
    }

    /// The answers over time.
    ///
    /// # Errors
    /// Where there are none.
    pub async fn over(&self, expression: &str, from: i64, to: i64, step: i64) -> Result<Vec<Line>, Failure> {
        let query = encoded(expression);
        let path = format!("/api/v1/query_range?start={from}&end={to}&step={step}&query={query}");
        let point = |one: &Value| {
            #[allow(clippy::cast_possible_truncation, reason = "seconds since 1970")]
            let at = one.get(0)?.as_f64()? as i64;
            Some((at, number(one.get(1))?))
        };
        let read = |one: &Value| Line {
            labels: labels(one),
            points: one["values"].as_array().into_iter().flatten().filter_map(point).collect(),
        };
        Ok(self.ask(&path, expression, "matrix").await?.iter().map(read).collect())
    }

    async fn ask(&self, path: &str, expression: &str, wanted: &str) -> Result<Vec<Value>, Failure> {
        let Self { client, url } = self;
        let request = Request::builder()
            .uri(path)
            .header("accept", "application/json")
            .body(kube::client::Body::empty());
        let request =
            request.map_err(|error| Failure::One(format!("{expression} cannot be asked: {error}")))?;
        let asked = async {
            let answer = client.send(request).await.map_err(|error| {
                let told = crate::cli::cluster::in_words(&error, &format!("reach Prometheus at {url}"));
                Failure::Whole(told)
            })?;
            let code = answer.status().as_u16();
            let body = to_bytes(axum::body::Body::new(answer.into_body()), MOST_BYTES).await;
            let body =
                body.map_err(|error| Failure::One(format!("the answer of Prometheus breaks off: {error}")))?;
            Ok((code, body))
        };
        let (code, body) = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
            let seconds = PATIENCE.as_secs();
            Err(Failure::One(format!(
                "Prometheus at {url} has not answered within {seconds} s to {expression}: a shorter --since asks for less"
            )))
        })?;
        if matches!(code, 401 | 403) {
            let told = format!(
                "Prometheus at {url} does not let you in (HTTP {code}): give a token with --prometheus-token FILE"
            );
            return Err(Failure::Whole(told));
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        match (answer["status"].as_str(), answer.pointer("/data/resultType").and_then(Value::as_str)) {
            (Some("success"), Some(found)) if found == wanted => {
                Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
            }
            (Some("error"), _) => {
                let said: String = answer["error"].as_str().unwrap_or_default().chars().take(SHOWN).collect();
                Err(Failure::One(format!("Prometheus at {url} answers {said:?} to {expression}")))
            }
            _ => Err(Failure::Whole(format!(
                "{url} answers, but not as Prometheus does (HTTP {code}): give the address below which /api/v1/query is"
            ))),
        }
    }
}

fn labels(of: &Value) -> BTreeMap<String, String> {
    let all = of["metric"].as_object().into_iter().flatten();
    all.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// A finite number: Prometheus writes them as texts, and such as NaN are none.
fn number(of: Option<&Value>) -> Option<f64> {
    of?.as_str()?.parse().ok().filter(|number: &f64| number.is_finite())
}

/// For the query of an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_written_so_that_an_address_takes_them() {
        assert_eq!(encoded("a{b=~\"x|ü\"}[5m] + 1"), "a%7Bb%3D~%22x%7C%C3%BC%22%7D%5B5m%5D%20%2B%201");
    }

    #[test]
    fn addresses_that_are_none_are_told() {
        for url in
            ["", "localhost:9090", "ftp://a", "http://", "not an address", "http://a/?x=1", "http://u:p@a"]
        {
            let args = Args { prometheus: Some(url.to_owned()), ..Args::default() };
            assert!(Prometheus::new(&args).is_err(), "{url}");
        }
        assert!(Prometheus::new(&Args::default()).unwrap().is_none());
    }
}
