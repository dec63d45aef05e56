//! The stand-in for `KubeVirt` as a program of its own, for `make demo VMS=1`: it installs the definitions of `KubeVirt`'s
//! kinds into the cluster of KUBECONFIG and plays its controllers until it is ended. It runs no machine.

#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "it is of the tests, which use all of it"
)]
#[path = "mod.rs"]
mod kubevirt;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let client = match kube::Client::try_default().await {
        Ok(client) => client,
        Err(error) => {
            eprintln!("error: no cluster: {error}; set KUBECONFIG");
            return ExitCode::FAILURE;
        }
    };
    if let Err(words) = kubevirt::real::install(&client).await {
        eprintln!("error: the definitions of KubeVirt's kinds cannot be installed: {words}");
        return ExitCode::FAILURE;
    }
    println!("plays KubeVirt");
    kubevirt::real::run(client).await;
    ExitCode::SUCCESS
}
