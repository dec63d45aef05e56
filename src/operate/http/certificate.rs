//! The certificate with which metrics are served: that of a folder, read anew when it changes, or one that the process
//! makes for itself and renews.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::sleep;
use tracing::{info, warn};

/// The folder is looked at that often: kubelets put changed Secrets there within a minute or two.
const LOOK: Duration = Duration::from_secs(5);
/// A certificate of our own is valid for so many days and made anew each so often.
const DAYS: i64 = 90;
const RENEW: Duration = Duration::from_hours(30 * 24);

/// The certificate that is served now.
#[derive(Clone)]
pub(super) struct Certificate {
    now: Arc<RwLock<Arc<CertifiedKey>>>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Certificate {
    /// Reads or makes it, and keeps it new.
    pub(super) fn begin(folder: Option<PathBuf>, names: Vec<String>) -> anyhow::Result<Self> {
        let provider = Arc::new(default_provider());
        let Some(folder) = folder else {
            let made = Self::of(own(&names, &provider)?);
            info!(?names, "made a certificate of its own; clients cannot check it");
            tokio::spawn(made.clone().renew(names, provider));
            return Ok(made);
        };
        let files = Files::read(&folder)?;
        let read = Self::of(files.key(&provider).with_context(|| format!("{}", folder.display()))?);
        tokio::spawn(read.clone().follow(folder, files, provider));
        Ok(read)
    }

    fn of(key: CertifiedKey) -> Self {
        Self { now: Arc::new(RwLock::new(Arc::new(key))) }
    }

    /// For a server.
    pub(super) fn config(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .context("TLS cannot be set up")?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn put(&self, key: CertifiedKey) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }

    async fn renew(self, names: Vec<String>, provider: Arc<CryptoProvider>) {
        loop {
            sleep(RENEW).await;
            match own(&names, &provider) {
                Ok(key) => self.put(key),
                Err(error) => warn!(%error, "cannot renew its certificate"),
            }
        }
    }

    async fn follow(self, folder: PathBuf, mut files: Files, provider: Arc<CryptoProvider>) {
        // What was looked at last and is of no use is told once.
        let mut told = None;
        loop {
            sleep(LOOK).await;
            let read = Files::read(&folder).and_then(|now| {
                if now == files {
                    return Ok(None);
                }
                let key = now.key(&provider)?;
                Ok(Some((now, key)))
            });
            match read {
                Ok(None) => told = None,
                Ok(Some((now, key))) => {
                    files = now;
                    self.put(key);
                    info!(folder = %folder.display(), "read its certificate anew");
                    told = None;
                }
                // Half of it may be written so far.
                Err(error) => {
                    let words = format!("{error:#}");
                    if told.as_ref() != Some(&words) {
                        warn!(error = %words, folder = %folder.display(), "keeps the certificate that it has");
                        told = Some(words);
                    }
                }
            }
        }
    }
}

/// `tls.crt` and `tls.key`, as a Secret of the type `kubernetes.io/tls` has them.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Self { certificate: read("tls.crt")?, key: read("tls.key")? })
    }

    fn key(&self, provider: &CryptoProvider) -> anyhow::Result<CertifiedKey> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.context("tls.crt holds no certificates in PEM form")?;
        anyhow::ensure!(!chain.is_empty(), "tls.crt holds no certificates in PEM form");
        let key = PrivateKeyDer::from_pem_slice(&self.key).context("tls.key holds no key in PEM form")?;
        CertifiedKey::from_der(chain, key, provider).context("tls.crt and tls.key do not belong together")
    }
}

/// A certificate that nobody has signed but the process itself.
fn own(names: &[String], provider: &CryptoProvider) -> anyhow::Result<CertifiedKey> {
    let mut params = CertificateParams::new(names).context("a certificate cannot have these names")?;
    params.distinguished_name.push(DnType::CommonName, "weir");
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let day = |date: jiff::civil::Date| {
        let number = |part: i8| u8::try_from(part).unwrap_or(1);
        date_time_ymd(i32::from(date.year()), number(date.month()), number(date.day()))
    };
    params.not_before = day(today.saturating_sub(1.day()));
    params.not_after = day(today.saturating_add(DAYS.days()));
    let pair = KeyPair::generate().context("cannot make a key")?;
    let certificate = params.self_signed(&pair).context("cannot make a certificate")?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    CertifiedKey::from_der(vec![certificate.der().clone()], key, provider).context("cannot use its own key")
}
