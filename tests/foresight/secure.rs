//! A Prometheus behind TLS, below a path of its address: with the certificates of its issuer it is asked, without them not.

use std::fs;
use std::sync::Arc;

use axum::Router;
use axum::serve::Listener;
use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::report::{Folder, report, texts};

/// Connections by TLS.
struct Tls(TcpListener, TlsAcceptor);

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.0.accept().await.unwrap();
            // Who does not trust us goes away again.
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

fn pem(der: &[u8]) -> String {
    let text = serde_json::to_string(&ByteString(der.to_vec())).unwrap();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", text.trim_matches('"'))
}

/// The address of a server that knows of no metric, and the certificate of who has issued its own.
async fn served() -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let issuer_certificate = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = config.with_no_client_auth().with_single_cert(chain, key.into()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer =
        |kind: &str| json!({"status": "success", "data": {"resultType": kind, "result": []}}).to_string();
    let (vector, matrix) = (answer("vector"), answer("matrix"));
    let router = Router::new()
        .route("/deep/down/api/v1/query", axum::routing::get(move || async { vector }))
        .route("/deep/down/api/v1/query_range", axum::routing::get(move || async { matrix }));
    let listener = Tls(listener, TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("https://localhost:{port}/deep/down/"), pem(issuer_certificate.der()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_behind_tls_is_asked_if_its_issuer_is_known() {
    let (url, issuer) = served().await;
    let folder = Folder::new("tls");
    let path = folder.0.join("ca.pem");
    fs::write(&path, issuer).unwrap();
    let trusting = report(&["--prometheus", &url, "--prometheus-ca", path.to_str().unwrap()]);
    let unknown = texts(&trusting["unknown"]).join("\n");
    assert!(unknown.starts_with("Prometheus knows nothing of weir_pool_allocated in this time"), "{unknown}");
    let strange = report(&["--prometheus", &url]);
    let unknown = texts(&strange["unknown"]).join("\n");
    assert!(unknown.contains("cannot reach Prometheus") && unknown.contains("UnknownIssuer"), "{unknown}");
    fs::write(&path, "no certificate").unwrap();
    let error = super::refused(
        &["report", "-f", "report", "--prometheus", &url, "--prometheus-ca", path.to_str().unwrap()],
        1,
    );
    assert!(error.contains("--prometheus: the token or the certificates cannot be used"), "{error}");
}
