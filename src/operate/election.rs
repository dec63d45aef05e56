//! The election on a thread of its own: neither a long cycle nor a flood of events may delay a renewal.

use std::sync::Arc;

use anyhow::Context as _;
use kube::{Client, Config};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

use super::health::Health;
use super::http::Told;
use super::lead::{Leadership, Timing};
use super::lease::Candidate;
use super::metrics::Metrics;

/// Where this process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Another leads, or nobody does yet.
    StandsBy,
    /// This process leads.
    Leads {
        /// How often the Lease has changed hands.
        term: u64,
        /// Which lead of this process it is.
        number: u64,
    },
}

/// What the Lease is called, who asks for it, and how patiently.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// This process, and no other.
    pub identity: String,
    /// How long things take.
    pub timing: Timing,
}

/// The running election.
pub struct Election {
    /// The token that writers ask.
    pub leadership: Leadership,
    /// Where this process stands.
    pub standing: watch::Receiver<Standing>,
    give_back: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

impl Election {
    /// Begins to stand for the Lease.
    ///
    /// # Errors
    /// Where no thread can be had.
    pub fn begin(config: Config, lease: Lease, told: &Told) -> anyhow::Result<Self> {
        let leadership = Leadership::none();
        let (out, standing) = watch::channel(Standing::StandsBy);
        let (give_back, asked) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the election")?;
        let token = leadership.clone();
        let told = (told.health.clone(), told.metrics.clone());
        std::thread::Builder::new()
            .name("election".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    // Its client lives here too, so that its connections are served by this thread.
                    match Client::try_from(config) {
                        Ok(client) => stand(&client, &lease, &token, &told, &out, asked).await,
                        Err(error) => error!(%error, "the credentials for the cluster cannot be used"),
                    }
                });
            })
            .context("cannot start a thread for the election")?;
        Ok(Self { leadership, standing, give_back })
    }

    /// Gives the lead back, if this process has it, and stands for it again.
    pub async fn give_back(&self) {
        self.leadership.end();
        let (done, is_done) = oneshot::channel();
        if self.give_back.send(done).is_ok() {
            // The thread is gone only when the process ends.
            let _ = is_done.await;
        }
    }
}

async fn stand(
    client: &Client,
    lease: &Lease,
    token: &Leadership,
    (health, metrics): &(Health, Arc<Metrics>),
    out: &watch::Sender<Standing>,
    mut asked: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
) {
    let mut number = 0;
    loop {
        let Lease { namespace, name, identity, timing } = lease;
        let mut candidate = Candidate::new(client.clone(), namespace, name, identity, *timing, token.clone());
        candidate.report_to(health.clone(), metrics.clone());
        out.send_replace(Standing::StandsBy);
        loop {
            tokio::select! {
                () = candidate.acquire() => break,
                asked = asked.recv() => match asked {
                    Some(done) => { let _ = done.send(()); }
                    None => return,
                },
            }
        }
        number += 1;
        out.send_replace(Standing::Leads { term: candidate.term(), number });
        tokio::select! {
            _ = candidate.keep() => {}
            asked = asked.recv() => {
                candidate.release().await;
                match asked {
                    Some(done) => { let _ = done.send(()); }
                    None => return,
                }
            }
        }
    }
}
