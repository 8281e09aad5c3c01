//! What tests and scripts share: real servers started and stopped, a proxy that adds
//! latency and faults, endpoints that misbehave, and the finding of outside programs.
//!
//! Nothing here is linked into a program that is shipped.
//!
//! ```no_run
//! # fn main() -> Result<(), artifacts_testkit::Error> {
//! let store = artifacts_testkit::seaweedfs::SeaweedFs::start()?;
//! store.create_bucket("cases")?;
//! let slow = artifacts_testkit::proxy::Proxy::start(store.address())?;
//! slow.set_latency(std::time::Duration::from_millis(20));
//! println!("{} is {} with 20 ms added", slow.endpoint(), store.endpoint());
//! # Ok(()) }
//! ```

pub mod anvil;
pub mod error;
pub mod fake;
pub mod juicefs;
pub mod moto;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod s3;
pub mod seaweedfs;
pub mod secret_service;
pub mod tools;

pub use error::Error;

/// The access key id of every server that the testkit starts.
pub const ACCESS_KEY_ID: &str = "testkit-admin";

/// The secret to [`ACCESS_KEY_ID`]. Not a secret: it opens servers on loopback that live
/// as long as one test.
pub const SECRET_ACCESS_KEY: &str = "testkit-admin-secret";

/// The region that every server of the testkit answers to.
pub const REGION: &str = "us-east-1";
