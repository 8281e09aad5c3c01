//! A plain S3 client for what tests do around the thing under test.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::DisplayErrorContext;

use crate::{ACCESS_KEY_ID, Error, REGION, SECRET_ACCESS_KEY};

/// A client with the testkit's keys; path style, checksums only where S3 requires them.
pub fn client(endpoint: &str) -> Client {
    let keys = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "testkit");
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .credentials_provider(keys)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}

/// Makes a bucket; blocks, and may be called from async tests too (it uses a thread and a
/// runtime of its own).
///
/// # Errors
/// [`Error::Store`] with what the server said.
pub fn create_bucket(endpoint: &str, name: &str) -> Result<(), Error> {
    let (endpoint, name) = (endpoint.to_owned(), name.to_owned());
    let what = format!("create bucket {name} at {endpoint}");
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|e| e.to_string())?;
        let request = client(&endpoint).create_bucket().bucket(name);
        let answer = runtime.block_on(async { request.send().await });
        answer
            .map(drop)
            .map_err(|e| DisplayErrorContext(&e).to_string())
    });
    let result = thread
        .join()
        .unwrap_or_else(|_| Err("the client panicked".to_owned()));
    result.map_err(|cause| Error::Store { what, cause })
}
