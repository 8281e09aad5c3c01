//! `artifactsd orchestrator health`: whether a server takes requests.

use std::time::Duration;

use clap::Args;
use reqwest::{Client, Url};

/// Shorter than a container's supervisor waits.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct Health {
    /// Where the server is.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8100")]
    pub(crate) url: Url,
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Asks once.
///
/// # Errors
/// It does not answer, or its database does not.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn ask(arguments: Health) -> Result {
    let url = arguments.url.join("/readyz")?;
    // A proxy of the environment is for other machines than this one.
    let client = Client::builder().timeout(PATIENCE).no_proxy().build()?;
    let answer = client.get(url.clone()).send().await;
    let answer = answer.map_err(|error| unreachable(&url, &error))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let text = format!(
        "{url} answers {status}\nhint: the server runs; look into its log for what it needs and does not get"
    );
    Err(text.into())
}

/// The library's words end before the cause.
fn unreachable(url: &Url, error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    format!(
        "{url} cannot be reached: {cause}\nhint: check that the server runs, and where it listens: --url"
    )
}
