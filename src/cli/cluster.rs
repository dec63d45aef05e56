//! Which cluster a subcommand talks to, said as kubectl's users say it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap_complete::engine::ArgValueCompleter;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::complete;

/// How long to wait for a connection: who asks sits in front of it.
const CONNECT: Duration = Duration::from_secs(10);

/// Which cluster.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
#[group(id = "which-cluster")]
pub struct Which {
    /// Path of the kubeconfig file; default: $KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; default: its current one
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::contexts))]
    pub context: Option<String>,
}

/// Which cluster, and which namespace.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
#[group(id = "cluster")]
pub struct Args {
    /// Which cluster.
    #[command(flatten)]
    pub which: Which,

    /// Namespace; default: that of the context
    #[arg(short, long, value_name = "NAME", add = ArgValueCompleter::new(complete::namespaces))]
    pub namespace: Option<String>,
}

/// A cluster that may be asked.
#[derive(Clone)]
pub struct Cluster {
    /// Asks it.
    pub client: Client,
    /// The namespace that is meant where none is named.
    pub namespace: String,
}

impl Args {
    /// A client for it, and the namespace that is meant. Nothing is asked yet.
    ///
    /// # Errors
    /// Where there is no such file, context or credential.
    pub async fn connect(&self) -> anyhow::Result<Cluster> {
        let mut cluster = self.which.connect().await?;
        if let Some(namespace) = &self.namespace {
            cluster.namespace.clone_from(namespace);
        }
        Ok(cluster)
    }
}

impl Which {
    /// A client for it. Nothing is asked yet.
    ///
    /// # Errors
    /// Where there is no such file, context or credential.
    pub async fn connect(&self) -> anyhow::Result<Cluster> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match (&self.kubeconfig, &self.context) {
            (Some(path), _) => {
                let read = Kubeconfig::read_from(path)
                    .with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(read, &options)
                    .await
                    .context("the kubeconfig cannot be used")?
            }
            (None, Some(_)) => {
                Config::from_kubeconfig(&options).await.context("the kubeconfig cannot be used")?
            }
            (None, None) => Config::infer()
                .await
                .context("there is no cluster to talk to: set KUBECONFIG, or write --kubeconfig FILE")?,
        };
        config.connect_timeout = Some(CONNECT);
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).context("the credentials for the cluster cannot be used")?;
        Ok(Cluster { client, namespace })
    }
}

/// Runs what waits for a cluster.
///
/// # Errors
/// Those of the future.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// What a cluster that refuses or does not answer comes to, in words; `what` is as in `list nodes`.
pub fn in_words(error: &kube::Error, what: &str) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("you may not {what} ({})", status.message.trim_end_matches('.'))
        }
        kube::Error::Api(status) if status.code == 401 => {
            "the cluster does not know you: your credentials are wrong or have expired".to_owned()
        }
        kube::Error::Api(status)
            if status.code == 404 && status.message.contains("could not find the requested resource") =>
        {
            format!("cannot {what}: the cluster does not have this kind; is Weir installed there?")
        }
        kube::Error::Api(status) => format!("cannot {what}: {}", status.message),
        other => {
            let mut text = format!("cannot {what}: {other}");
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                let words = cause.to_string();
                if !text.contains(&words) {
                    text = format!("{text}: {words}");
                }
                source = cause.source();
            }
            text
        }
    }
}
