//! dev/embedded
