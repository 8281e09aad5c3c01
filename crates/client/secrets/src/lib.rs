//! Secrets of services (openrouter, github, stripe …) in the vault, from the client's side.
//!
//! - [`Place`]: where this machine keeps what is its own, the device's key and the login.
//! - [`DeviceKey`]: the key that proves which machine asks.

pub mod device;
pub mod place;

pub use device::{DeviceKey, Devices};
pub use place::Place;
