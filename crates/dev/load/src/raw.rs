//! The store without a worker: whole objects of an envelope's size, by the product's own client.

use std::sync::Arc;

use bucket::s3::{Config, Keys, S3Bucket, StaticKeys};
use bucket::{Body, Bucket, GetOptions, Key, PutOptions, collect};
use clap::{Args, ValueEnum};

use crate::Failure;
use crate::figures::{measure, print};

#[derive(Args)]
pub(crate) struct Arguments {
    #[arg(long, value_enum)]
    what: What,
    #[arg(long)]
    endpoint: String,
    #[arg(long)]
    bucket: String,
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Bytes of an object.
    #[arg(long)]
    size: usize,
    #[arg(long, default_value_t = 16)]
    clients: usize,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Put,
    Get,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let keys = Keys {
        access_key_id: variable("ARTIFACTS_S3_ACCESS_KEY_ID")?,
        secret_access_key: variable("ARTIFACTS_S3_SECRET_ACCESS_KEY")?.into(),
        session_token: None,
        expires: None,
    };
    let mut config = Config::new(
        &arguments.bucket,
        &arguments.region,
        Arc::new(StaticKeys::new(keys)),
    );
    config.endpoint = Some(arguments.endpoint.clone());
    let store = Arc::new(S3Bucket::new(config)?);
    for client in 0..arguments.clients {
        put(&store, client, arguments.size).await?;
    }
    let size = arguments.size;
    let figures = match arguments.what {
        What::Put => {
            let ask = move |client, _| {
                let store = Arc::clone(&store);
                async move { put(&store, client, size).await }
            };
            measure(arguments.clients, arguments.seconds, ask).await?
        }
        What::Get => {
            let ask = move |client, _| {
                let store = Arc::clone(&store);
                async move { get(&store, client, size).await }
            };
            measure(arguments.clients, arguments.seconds, ask).await?
        }
    };
    print(&figures);
    Ok(())
}

async fn put(store: &S3Bucket, client: usize, size: usize) -> Result<(), Failure> {
    let body = Body::Bytes(vec![7; size].into());
    store
        .put(&key(client)?, body, PutOptions::default())
        .await?;
    Ok(())
}

async fn get(store: &S3Bucket, client: usize, size: usize) -> Result<(), Failure> {
    let found = store.get(&key(client)?, GetOptions::default()).await?;
    let length = collect(found.body).await?.len();
    (length == size)
        .then_some(())
        .ok_or_else(|| format!("{length} bytes came, not {size}").into())
}

fn key(client: usize) -> Result<Key, Failure> {
    Ok(Key::new(format!("raw/object-{client}.enc"))?)
}
